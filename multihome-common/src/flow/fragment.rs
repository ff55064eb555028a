//! Fragments of translated datagrams: only the first one has ports, so what was done with it is
//! remembered for a while, and done with the others too.
//!
//! A fragment that comes before the first of its datagram finds nothing here. The table is small and
//! forgets: the oldest datagram of four gives way to a new one.

use super::tag::Tag;
use crate::{
    branchless,
    hash::{FlowHash, Seed},
    limits::FRAGMENT_SLOTS,
    uplink::HostEntry,
    word::{Word, Words},
};

/// Slots that a datagram may stand in, one after the other.
pub const PLACES: u32 = 4;
/// For how long a datagram is remembered, in ticks: about as long as hosts wait for the rest of it
/// (RFC 791 section 3.2, RFC 8200 section 4.5: 60 s at most).
pub const REMEMBERED: u32 = 56;

/// One datagram; a cache line.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct FragmentSlot {
    /// Who owns the slot, as in the flow table.
    tag: Word,
    /// Source << 32 | destination, as they came in.
    addresses: Word,
    /// See [`Datagram::word`].
    datagram: Word,
    /// When the first fragment came, in ticks.
    came: Word,
    /// What became of source << 32 | destination.
    translated: Word,
    /// Where it went: see [`Course::way`].
    way: Word,
    /// The LAN host, when it went to one.
    host: [Word; 2],
}

const _: () = assert!(size_of::<FragmentSlot>() == 64);

// SAFETY: words and nothing else.
unsafe impl Words for FragmentSlot {}

/// Where the fragments' table lies.
///
/// The kernel runs each of the steps in a function of its own, which the verifier walks once.
pub trait FragmentMemory: Sized {
    /// A slot.
    fn fragment(&self, index: u32) -> Option<&FragmentSlot>;
}

/// Which datagram a fragment belongs to (RFC 791 section 3.2), and where it came in.
///
/// Words, because the kernel's copy lies where the verifier wants alignment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Datagram {
    /// Source << 32 | destination, in host order.
    pub addresses: u64,
    /// Slot of the device that it came in on << 24 | protocol << 16 | identification; of one that was
    /// turned round also its sender's outside port << 32 ([`Datagram::turned_round`]).
    pub word: u64,
}

impl Datagram {
    /// The datagram of these addresses (source << 32 | destination), identification and protocol,
    /// on the device of this slot.
    #[inline(always)]
    pub const fn new(addresses: u64, identification: u16, protocol: u8, slot: u32) -> Self {
        Self {
            addresses,
            word: (slot as u64) << 24 | (protocol as u64) << 16 | identification as u64,
        }
    }

    /// The datagram after its source was translated to an outside end of this port: LAN hosts share the
    /// address, and may have chosen one identification.
    #[inline(always)]
    pub const fn turned_round(self, port: u16) -> Self {
        Self {
            word: self.word | (port as u64) << 32,
            ..self
        }
    }

    #[inline(always)]
    fn hash(&self, seed: Seed) -> FlowHash {
        FlowHash::new(seed, [self.addresses, self.word])
    }
}

/// What is done with a datagram's fragments.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// What becomes of source << 32 | destination, in host order.
    pub translated: u64,
    /// The flow's slot << 32, and in bits 0 to 7 the uplink's id, [`TO_HOST`] or [`TURNED_ROUND`], then
    /// with the sender's outside port in bits 8 to 23.
    pub way: u64,
    /// The LAN host, when it goes to one.
    pub host: HostEntry,
}

/// The way of fragments to a LAN host.
pub const TO_HOST: u64 = 0xff;
/// The way of fragments that are for an outside address, from the LAN: what is done then stands with the
/// translated addresses.
pub const TURNED_ROUND: u64 = 0xfe;

impl Course {
    /// The flow's slot.
    #[inline(always)]
    pub const fn flow(&self) -> u32 {
        (self.way >> 32) as u32
    }

    /// Whether the translated addresses are to be looked up again.
    #[inline(always)]
    pub const fn is_turned_round(&self) -> bool {
        self.way & 0xff == TURNED_ROUND
    }

    /// The sender's outside port; meaningful for [`Course::is_turned_round`] alone.
    #[inline(always)]
    pub const fn outside_port(&self) -> u16 {
        (self.way >> 8) as u16
    }

    /// The uplink that the fragments leave by; `None` when they are for a LAN host.
    #[inline(always)]
    pub const fn uplink(&self) -> Option<u8> {
        if self.way & 0xff >= TURNED_ROUND {
            None
        } else {
            Some(self.way as u8 & 63)
        }
    }
}

/// The first slot of those that a datagram may stand in.
#[inline(always)]
const fn first_of(hash: FlowHash) -> u32 {
    hash.low() % (FRAGMENT_SLOTS as u32 / PLACES) * PLACES
}

/// What was done with the first fragment of this datagram.
#[inline(always)]
pub fn find<M: FragmentMemory>(
    memory: &M,
    seed: Seed,
    datagram: &Datagram,
    now: u32,
) -> Option<Course> {
    let hash = datagram.hash(seed);
    for place in 0..PLACES {
        let slot = memory.fragment(first_of(hash) + place)?;
        let tag = slot.tag.load();
        if Tag(tag).is(Tag::signature(hash)) && slot.is(datagram) && slot.idle(now) <= REMEMBERED {
            let course = Course {
                translated: slot.translated.load(),
                way: slot.way.load(),
                host: HostEntry::from_words([slot.host[0].load(), slot.host[1].load()]),
            };
            // What was read may belong to another datagram when the slot has changed hands since.
            return (slot.tag.load() == tag).then_some(course);
        }
    }
    None
}

/// Remembers what was done with the first fragment of a datagram.
#[inline(always)]
pub fn remember<M: FragmentMemory>(
    memory: &M,
    seed: Seed,
    datagram: &Datagram,
    course: &Course,
    now: u32,
) {
    let hash = datagram.hash(seed);
    let first = first_of(hash);
    // The slot to take, with how well it suits in the upper half.
    let mut chosen = 0;
    for place in 0..PLACES {
        let Some(slot) = memory.fragment(first + place) else {
            return;
        };
        let own = u64::from(slot.is(datagram));
        let free = u64::from(Tag(slot.tag.load()).is_free());
        let suits = own << 31 | free << 30 | u64::from(slot.idle(now)) & 0x3fff_ffff;
        let candidate = suits << 32 | u64::from(place);
        chosen = branchless::choose(branchless::less(chosen, candidate), candidate, chosen);
    }
    let Some(slot) = memory.fragment(first + chosen as u32 % PLACES) else {
        return;
    };
    let old = Tag(slot.tag.load());
    let busy = old.claimed(Tag::signature(hash));
    // Another CPU is filling it: that datagram is as good as this one.
    if old.is_busy() || !slot.tag.change(old.0, busy.0) {
        return;
    }
    slot.addresses.store(datagram.addresses);
    slot.datagram.store(datagram.word);
    slot.came.store(now.into());
    slot.translated.store(course.translated);
    slot.way.store(course.way);
    for (word, half) in slot.host.iter().zip(course.host.words()) {
        word.store(half);
    }
    slot.tag.publish(Tag::live(busy.0, Tag::signature(hash)).0);
}

impl FragmentSlot {
    #[inline(always)]
    fn is(&self, datagram: &Datagram) -> bool {
        self.addresses.load() == datagram.addresses && self.datagram.load() == datagram.word
    }

    #[inline(always)]
    fn idle(&self, now: u32) -> u32 {
        now.saturating_sub(self.came.load() as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use proptest::prelude::*;

    use super::*;

    struct Slots(Vec<FragmentSlot>);

    impl FragmentMemory for Slots {
        fn fragment(&self, index: u32) -> Option<&FragmentSlot> {
            self.0.get(index as usize)
        }
    }

    fn slots() -> Slots {
        Slots(
            (0..FRAGMENT_SLOTS)
                .map(|_| FragmentSlot::default())
                .collect(),
        )
    }

    const SEED: Seed = [3, 4];

    fn datagram(n: u16) -> Datagram {
        Datagram::new(0x0a01_0002_cb00_7109, n, 17, 64)
    }

    fn course(n: u16) -> Course {
        Course {
            translated: 0xc000_0202_cb00_7109,
            way: u64::from(n) << 32 | 3,
            host: HostEntry::default(),
        }
    }

    #[test]
    fn a_datagram_is_known_for_as_long_as_hosts_wait() {
        let slots = slots();
        remember(&slots, SEED, &datagram(1), &course(1), 100);
        assert_eq!(
            find(&slots, SEED, &datagram(1), 100 + REMEMBERED),
            Some(course(1))
        );
        assert_eq!(find(&slots, SEED, &datagram(1), 101 + REMEMBERED), None);
        assert_eq!(find(&slots, SEED, &datagram(2), 100), None);
        assert_eq!(course(1).uplink(), Some(3));
    }

    #[test]
    fn two_datagrams_of_one_identification_are_told_apart_by_all_else() {
        let slots = slots();
        let one = datagram(1);
        for (addresses, protocol, slot) in [
            (one.addresses ^ 1, 17, 64),
            (one.addresses, 1, 64),
            (one.addresses, 17, 0),
        ] {
            let other = Datagram::new(addresses, 1, protocol, slot);
            remember(&slots, SEED, &other, &course(9), 100);
        }
        assert_eq!(find(&slots, SEED, &one, 100), None);
    }

    proptest! {
        /// However many datagrams come, what is found is right, and the newest is there.
        #[test]
        fn what_is_found_is_what_was_remembered(ids in proptest::collection::vec(0u16..500, 1..2000)) {
            let slots = slots();
            for (at, &id) in ids.iter().enumerate() {
                let now = 100 + at as u32 / 100;
                remember(&slots, SEED, &datagram(id), &course(id), now);
                prop_assert_eq!(find(&slots, SEED, &datagram(id), now), Some(course(id)));
                let other = ids[at / 2];
                let found = find(&slots, SEED, &datagram(other), now);
                prop_assert!(found.is_none_or(|found| found == course(other)));
            }
        }
    }
}
