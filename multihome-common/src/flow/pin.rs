//! Pins: which uplink a flow keeps to that needs no record of its own, because nothing of it is
//! translated or the translation has no state; eight bytes each, eight to a cache line.
//!
//! ```text
//! 63         32 31       16 15     8  7         6 5      0
//! | signature  | last used | flags  | present |  | uplink |
//! ```
//!
//! A pin stands in one of two lines: one of the table's near part, a quarter of it, else one of the
//! rest. It may be lost: when both are full the one that is missed least gives way. Its flow is then
//! steered like a new one, which in most cases means to the same uplink. Two flows of one signature
//! in one line share a pin; that happens to one flow in hundreds of millions, and does no more than
//! steer it like the other.
//!
//! Where flows of one host keep together, a second pin stands for their relation, and is asked when a
//! flow begins.

use super::{
    lifetime::{Kind, Timeouts},
    line_in,
    slot::Direction,
    tag::WAYS,
};
use crate::{
    hash::FlowHash,
    opaque::opaque,
    wire::tcp,
    word::{Word, Words},
};

/// Eight pins.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct PinLine(pub [Word; WAYS]);

// SAFETY: words and nothing else.
unsafe impl Words for PinLine {}

/// Where the pins lie.
///
/// The kernel runs each of the steps in a function of its own, which the verifier walks once.
pub trait PinMemory: Sized {
    /// A line.
    fn pin_line(&self, index: u32) -> Option<&PinLine>;

    /// The pin of this signature in a line, whatever its age; [`Pin::NONE`] when there is none.
    fn find_pin(&self, line: u32, signature: u32) -> Pin {
        find_in(self, line, signature)
    }

    /// The place of a line that suits the pin of this hash best.
    fn best_place(&self, line: u32, hash: FlowHash, now: u16, timeouts: &Timeouts) -> Place {
        best_place(self, line, hash, now, timeouts)
    }
}

/// A pin's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pin(pub u64);

/// Something has come back.
const ANSWERED: u64 = 1 << 8;
/// A TCP connection that is neither opening nor closing.
const CONNECTION: u64 = 1 << 9;
/// The flow came in by the uplink: it leaves by it, whatever returns.
const INBOUND: u64 = 1 << 10;
/// A TCP connection that one end has ended.
const CLOSED: u64 = 1 << 11;
/// In this unit, a packet from inside took the full way to the pin's uplink.
const SENT: u64 = 1 << 12;
/// In this unit, a packet that came by the pin's uplink took the full way to the LAN host.
const DELIVERED: u64 = 1 << 13;
const PRESENT: u64 = 1 << 7;
const UPLINK: u64 = 63;
const TIME_SHIFT: u32 = 16;
const TIME: u64 = 0xffff << TIME_SHIFT;

/// The pins' clock: units of eight ticks, so that a busy flow writes its pin every nine seconds.
#[inline(always)]
pub const fn time(ticks: u32) -> u16 {
    (ticks >> TIME_UNIT) as u16
}

const TIME_UNIT: u32 = 3;

/// Ticks of one unit.
pub const TICKS: u32 = 1 << TIME_UNIT;

/// The unit that a tick is in, of all since the machine started.
pub const fn time_unit(ticks: u32) -> u64 {
    ticks as u64 >> TIME_UNIT
}

impl Pin {
    /// No pin.
    pub const NONE: Self = Self(0);

    /// A new pin.
    #[inline(always)]
    pub const fn new(hash: FlowHash, uplink: u8, now: u16) -> Self {
        Self(
            (Self::signature(hash) as u64) << 32
                | (now as u64) << TIME_SHIFT
                | PRESENT
                | uplink as u64 & UPLINK,
        )
    }

    /// The signature of a flow of this hash: bits that do not choose its line, and one that an empty
    /// place does not have.
    #[inline(always)]
    pub const fn signature(hash: FlowHash) -> u32 {
        (hash.0 >> 32) as u32 | 1
    }

    /// Whether there is a pin.
    #[inline(always)]
    pub const fn is_some(self) -> bool {
        self.0 & PRESENT != 0
    }

    /// The uplink's id.
    #[inline(always)]
    pub const fn uplink(self) -> u8 {
        (self.0 & UPLINK) as u8
    }

    /// Whether the flow came in by its uplink.
    #[inline(always)]
    pub const fn is_inbound(self) -> bool {
        self.0 & INBOUND != 0
    }

    /// The pin of a flow that came in by its uplink.
    #[inline(always)]
    pub const fn inbound(self) -> Self {
        Self(self.0 | INBOUND)
    }

    /// Whether something has come back.
    #[inline(always)]
    pub const fn is_answered(self) -> bool {
        self.0 & ANSWERED != 0
    }

    /// When it was last used.
    #[inline(always)]
    pub const fn time(self) -> u16 {
        (self.0 >> TIME_SHIFT) as u16
    }

    /// The pin after a packet at `now` with these TCP flags, 0 for other protocols.
    #[inline(always)]
    pub const fn used(self, now: u16, direction: Direction, tcp_flags: u8) -> Self {
        let answer = match direction {
            Direction::Outward => INBOUND,
            Direction::Inward => 0,
        };
        let answered = if self.0 & INBOUND == answer {
            ANSWERED
        } else {
            0
        };
        let found = if self.time() == now {
            0
        } else {
            SENT | DELIVERED
        };
        let timed = self.0 & !(TIME | found) | (now as u64) << TIME_SHIFT | answered;
        if tcp_flags & tcp::SYN != 0 {
            Self(timed & !(CONNECTION | CLOSED))
        } else if tcp_flags & (tcp::FIN | tcp::RST) != 0 {
            Self(timed & !CONNECTION | CLOSED)
        } else if tcp_flags & tcp::ACK != 0 && timed & CLOSED == 0 {
            Self(timed | CONNECTION)
        } else {
            Self(timed)
        }
    }

    /// The pin after the full way has found that packets of this direction pass between the LAN host and
    /// the pin's uplink; the short way takes that for true until the unit ends.
    #[inline(always)]
    pub const fn passed(self, direction: Direction) -> Self {
        Self(match direction {
            Direction::Outward => self.0 | SENT,
            Direction::Inward => self.0 | DELIVERED,
        })
    }

    /// What of a pin decides how long it holds.
    #[inline(always)]
    const fn kind(self) -> Kind {
        match self.0 & (ANSWERED | CONNECTION) {
            0 | CONNECTION => Kind::UdpUnanswered,
            ANSWERED => Kind::Udp,
            _ => Kind::TcpEstablished,
        }
    }

    /// For how long it was not used, in the pins' units. The clock's numbers repeat every six days.
    #[inline(always)]
    const fn idle(self, now: u16) -> u16 {
        let idle = now.wrapping_sub(self.time());
        // Another CPU's clock may be a moment ahead.
        if idle == u16::MAX { 0 } else { idle }
    }

    /// Whether its time is up.
    #[inline(always)]
    pub const fn is_expired(self, now: u16, timeouts: &Timeouts) -> bool {
        // One unit more: the last use was at any moment of its own.
        self.idle(now) as u32 > (timeouts.get(self.kind()) >> TIME_UNIT) + 1
    }

    /// How willingly it is given up: the expired before the unanswered before the others, and of
    /// each the idlest.
    #[inline(always)]
    const fn spare(self, now: u16, timeouts: &Timeouts) -> u64 {
        let class = if self.is_expired(now, timeouts) {
            2
        } else if self.0 & ANSWERED == 0 {
            1
        } else {
            0
        };
        class << 16 | self.idle(now) as u64
    }
}

/// The lines that a flow's pin may stand in, in the order in which a place is sought and the pin is: one
/// of the near part, and one of the rest.
#[inline(always)]
const fn places(hash: FlowHash, count: u32) -> [u32; 2] {
    let near = count >> 2;
    [
        line_in(hash.low(), 0, near),
        line_in(hash.low(), near, count),
    ]
}

/// The pin of a flow of this hash, whatever its age; [`Pin::NONE`] when there is none.
#[inline(always)]
pub fn find<M: PinMemory>(memory: &M, count: u32, hash: FlowHash) -> Pin {
    for line in places(hash, count) {
        let found = memory.find_pin(line, Pin::signature(hash));
        if found.is_some() {
            return found;
        }
    }
    Pin::NONE
}

/// The way of its line that a pin of this hash prefers.
#[inline(always)]
const fn preferred(hash: FlowHash) -> usize {
    // The bits that choose the line are the upper ones of this half.
    hash.low() as usize & (WAYS - 1)
}

/// As [`find`], for the short way: first where the pin stands in a table that is not crowded.
#[inline(always)]
pub fn known<M: PinMemory>(memory: &M, count: u32, hash: FlowHash) -> Option<Pin> {
    let [near, rest] = places(hash, count);
    let pin = Pin(memory.pin_line(near)?.0[preferred(hash)].load());
    if pin.0 >> 32 == u64::from(Pin::signature(hash)) {
        return Some(pin);
    }
    let mut found = memory.find_pin(near, Pin::signature(hash));
    if !found.is_some() {
        found = memory.find_pin(rest, Pin::signature(hash));
    }
    found.is_some().then_some(found)
}

/// See [`PinMemory::find_pin`].
#[inline(always)]
pub fn find_in<M: PinMemory>(memory: &M, line: u32, signature: u32) -> Pin {
    let Some(line) = memory.pin_line(line) else {
        return Pin::NONE;
    };
    let mut found = 0;
    for way in 0..WAYS {
        let word = line.0[way].load();
        // All ones where the signatures are the same, else zero.
        let mask = is_zero((word >> 32) ^ u64::from(signature)).wrapping_neg();
        found = word & mask | found & !mask;
    }
    Pin(found)
}

/// 1 when a number below 2^63 is zero, else 0, without a branch.
#[inline(always)]
fn is_zero(number: u64) -> u64 {
    opaque(number).wrapping_sub(1) >> 63
}

/// Puts the pin of a flow of this hash into the table: in its own place, else a free one, else that of
/// the least missed.
#[inline(always)]
pub fn put<M: PinMemory>(
    memory: &M,
    count: u32,
    timeouts: &Timeouts,
    hash: FlowHash,
    pin: Pin,
    now: u16,
) {
    let [near, rest] = places(hash, count);
    let best = |line| memory.best_place(line, hash, now, timeouts);
    let (mut line, mut place) = (near, best(near));
    let other = best(rest);
    if other.suits() > place.suits() {
        (line, place) = (rest, other);
    }
    // When another CPU writes the same place at once, one of the two is lost, as pins may be.
    if let Some(line) = memory.pin_line(line) {
        line.0[place.way()].store(pin.0);
    }
}

/// Bits that say how well a place suits next to others of its line: whether it is the preferred one, and
/// whether there is a place at all.
const IN_LINE: u32 = 2;

/// A place of a line that a pin may take, as one word: how well it suits << 32 | way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(pub u64);

impl Place {
    /// How well it suits, next to a place of another line.
    #[inline(always)]
    const fn suits(self) -> u64 {
        // Without the bits that tell apart those of one line.
        self.0 >> (32 + IN_LINE)
    }

    #[inline(always)]
    const fn way(self) -> usize {
        self.0 as usize & (WAYS - 1)
    }
}

/// See [`PinMemory::best_place`].
#[inline(always)]
pub fn best_place<M: PinMemory>(
    memory: &M,
    line: u32,
    hash: FlowHash,
    now: u16,
    timeouts: &Timeouts,
) -> Place {
    let Some(words) = memory.pin_line(line) else {
        return Place::default();
    };
    let (mut chosen, mut way) = (0u64, 0);
    // Not unrolled: eight times the values that are kept would be more stack than there is.
    while way < WAYS {
        let word = words.0[way].load();
        let own = is_zero((word >> 32) ^ u64::from(Pin::signature(hash)));
        let free = is_zero(word & PRESENT);
        let liked = is_zero((way ^ preferred(hash)) as u64);
        let suits =
            (own << 24 | free << 23 | Pin(word).spare(now, timeouts)) << IN_LINE | liked << 1 | 1;
        let candidate = suits << 32 | way as u64;
        // All ones where the candidate is the greater.
        let mask = (opaque(chosen.wrapping_sub(candidate)) >> 63).wrapping_neg();
        chosen = candidate & mask | chosen & !mask;
        way = opaque(way as u64 + 1) as usize;
    }
    Place(chosen)
}

#[cfg(test)]
mod tests {
    use std::{prelude::v1::*, vec};

    use proptest::prelude::*;

    use super::*;

    struct Lines(Vec<PinLine>);

    impl PinMemory for Lines {
        fn pin_line(&self, index: u32) -> Option<&PinLine> {
            self.0.get(index as usize)
        }
    }

    const TIMEOUTS: Timeouts = Timeouts([8000, 224, 28, 280, 28, 56, 280, 0]);

    fn hash(n: u64) -> FlowHash {
        FlowHash::new([1, 2], [n])
    }

    #[test]
    fn an_opened_connection_holds_for_hours_and_a_closed_one_for_minutes() {
        let opening = Pin::new(hash(1), 5, 100).used(100, Direction::Outward, tcp::SYN);
        let opened = opening.used(100, Direction::Inward, tcp::SYN | tcp::ACK);
        let established = opened.used(100, Direction::Outward, tcp::ACK);
        let closing = established.used(100, Direction::Outward, tcp::FIN | tcp::ACK);
        let closed = closing.used(100, Direction::Inward, tcp::ACK);
        let again = closed.used(100, Direction::Outward, tcp::SYN);
        let anew = again.used(100, Direction::Outward, tcp::ACK);
        for (pin, ticks) in [
            (opening, 28),
            (opened, 280),
            (established, 8000),
            (closing, 280),
            (closed, 280),
            (again, 280),
            (anew, 8000),
        ] {
            let last = 100 + (ticks >> TIME_UNIT) as u16 + 1;
            assert!(!pin.is_expired(last, &TIMEOUTS), "{pin:?}");
            assert!(pin.is_expired(last + 1, &TIMEOUTS), "{pin:?}");
            assert_eq!(pin.uplink(), 5);
        }
    }

    #[test]
    fn what_came_in_is_answered_by_what_goes_out() {
        let came = Pin::new(hash(1), 5, 100).inbound();
        assert!(!came.used(100, Direction::Inward, 0).is_answered());
        assert!(came.used(100, Direction::Outward, 0).is_answered());
        let went = Pin::new(hash(1), 5, 100);
        assert!(!went.used(100, Direction::Outward, 0).is_answered());
        assert!(went.used(100, Direction::Inward, 0).is_answered());
    }

    #[test]
    fn in_a_full_line_the_expired_goes_first_then_the_unanswered_then_the_idlest() {
        let lines = Lines(vec![PinLine::default()]);
        let now = 1000;
        let answered = |n, at| Pin::new(hash(n), 1, at).used(at, Direction::Inward, 0);
        for n in 0..5 {
            put(
                &lines,
                1,
                &TIMEOUTS,
                hash(n),
                answered(n, now - n as u16),
                now,
            );
        }
        put(
            &lines,
            1,
            &TIMEOUTS,
            hash(5),
            Pin::new(hash(5), 1, now),
            now,
        );
        put(
            &lines,
            1,
            &TIMEOUTS,
            hash(6),
            Pin::new(hash(6), 1, now - 1),
            now,
        );
        put(&lines, 1, &TIMEOUTS, hash(7), answered(7, now - 100), now);
        for (new, gone) in [(10, 7), (11, 6), (12, 5), (13, 4), (14, 3)] {
            assert!(find(&lines, 1, hash(gone)).is_some());
            put(&lines, 1, &TIMEOUTS, hash(new), answered(new, now), now);
            assert!(!find(&lines, 1, hash(gone)).is_some(), "{new}");
        }
    }

    /// Few flows use little memory, and more of them no more than they need.
    #[test]
    fn a_table_is_filled_from_its_beginning() {
        let lines = Lines((0..512).map(|_| PinLine::default()).collect());
        let fill = |flows: core::ops::Range<u64>| {
            for n in flows {
                put(&lines, 512, &TIMEOUTS, hash(n), Pin::new(hash(n), 1, 5), 5);
            }
            let used = |line: &PinLine| line.0.iter().any(|word| word.load() != 0);
            lines.0.iter().rposition(used).unwrap()
        };
        assert!(fill(0..200) < 128);
        assert!(fill(200..1200) > 400);
        for n in 0..1200 {
            assert!(find(&lines, 512, hash(n)).is_some(), "{n}");
        }
    }

    proptest! {
        #[test]
        fn the_pin_that_was_put_last_is_found(steps in proptest::collection::vec((0u64..6, 0u8..64, 0u16..20), 1..60)) {
            let lines = Lines(vec![PinLine::default()]);
            let mut now = 0u16;
            let mut known = [None; 6];
            for (n, id, later) in steps {
                now += later;
                put(&lines, 1, &TIMEOUTS, hash(n), Pin::new(hash(n), id, now), now);
                known[n as usize] = Some(id);
                for (n, id) in known.iter().enumerate() {
                    let found = find(&lines, 1, hash(n as u64));
                    // Six pins fit into a line of eight.
                    prop_assert_eq!(found.is_some().then_some(found.uplink()), *id);
                }
            }
        }

        #[test]
        fn uplink_and_signature_survive_all_use(n in any::<u64>(), id in 0u8..64, uses in proptest::collection::vec((any::<u16>(), any::<bool>(), any::<u8>()), 0..20)) {
            let mut pin = Pin::new(hash(n), id, 7);
            for (now, out, flags) in uses {
                let direction = if out { Direction::Outward } else { Direction::Inward };
                pin = pin.used(now, direction, flags);
                prop_assert_eq!(pin.time(), now);
            }
            prop_assert!(pin.is_some() && !pin.is_inbound() && pin.inbound().is_inbound());
            prop_assert_eq!((pin.uplink(), (pin.0 >> 32) as u32), (id, Pin::signature(hash(n))));
        }
    }
}
