//! A slot: all that is known of one flow; 128 bytes, of which an IPv4 packet needs the first half, but for
//! one in 255, after which what was counted there is carried over to the second.

use super::{FlowKey, lifetime::Timeouts};
use crate::{
    state,
    uplink::HostEntry,
    wire::tcp,
    word::{Word, Words},
};

/// TCP's flags that a flow remembers of each direction.
const REMEMBERED: u8 = tcp::FIN | tcp::SYN | tcp::RST;

/// Where a word of a direction has TCP's flags.
const FLAGS_SHIFT: u32 = 32;
/// In a word of a direction: its last packet took the way between LAN and internet.
const PASSED: u64 = 1 << 35;
/// In a word of a direction: there was a packet.
const NOTED: u64 = 1 << 36;
const TIME_SHIFT: u32 = 40;
/// The ticks that a word of a direction has room for: they come round after 199 days, and no flow may be
/// idle for as long.
const TIME: u32 = (1 << 24) - 1;
/// What a word of a direction has counted: packets << 24 | bytes. So many packets may be of any size.
const PACKET: u64 = 1 << 24;
const BYTES: u64 = PACKET - 1;
const COUNTED: u64 = 0xffff_ffff;
const FULL: u64 = 255;

/// The flow's port is a forward of the configuration: its binding is not counted.
pub const FLAG_FORWARD: u64 = 1 << 16;
/// A packet from outside opened the flow.
pub const FLAG_INBOUND: u64 = 1 << 17;
/// The slot has a flow: who looks for it without its tag must see that it has not ended.
const LIVE: u64 = 1 << 18;
const UPLINK_SHIFT: u32 = 24;
/// The bits of [`FlowSlot::ends`] that are the key's.
const KEY_ENDS: u64 = 0xffff_ffff_0000_ffff;

/// One flow.
#[repr(C, align(128))]
#[derive(Debug, Default)]
pub struct FlowSlot {
    /// The key's `ends`, with the uplink's id in bits 24 to 31 and flags in bits 16 to 23.
    ends: Word,
    /// IPv4: the key's addresses.
    addresses4: Word,
    /// IPv4: outside address << 32 | outside port << 16 | pool.
    outside: Word,
    /// The LAN host: where packets go that come back.
    host: [Word; 2],
    /// Outward: when the last packet passed (ticks) << 40 | [`NOTED`] | [`PASSED`] | TCP flags seen << 32 |
    /// packets << 24 | bytes that `counts` has not yet.
    outward: Word,
    /// Inward, likewise.
    inward: Word,
    /// When the flow began, in ticks.
    began: Word,
    /// Packets and bytes, outward and inward, but for the last ones.
    counts: [Word; 4],
    /// IPv6: the key's addresses.
    addresses6: [Word; 4],
}

// SAFETY: `repr(C)`, words only.
unsafe impl Words for FlowSlot {}

const _: () = assert!(size_of::<FlowSlot>() == 128);

/// The outside end of a translated flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// The address, in host order.
    pub address: u32,
    /// The port, or the identifier of an ICMP query.
    pub port: u16,
    /// The number of the address's part of the port table.
    pub pool: u16,
}

impl Outside {
    /// As one word.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        (self.address as u64) << 32 | (self.port as u64) << 16 | self.pool as u64
    }

    /// From the word that [`Outside::word`] gave.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self {
            address: (word >> 32) as u32,
            port: (word >> 16) as u16,
            pool: word as u16,
        }
    }
}

/// A flow's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the LAN to the internet.
    Outward,
    /// From the internet to the LAN.
    Inward,
}

/// What one flow has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Packets to the internet.
    pub packets_out: u64,
    /// Their bytes, link header included.
    pub bytes_out: u64,
    /// Packets from the internet.
    pub packets_in: u64,
    /// Their bytes, link header included.
    pub bytes_in: u64,
}

impl FlowSlot {
    /// Fills the slot, which the caller has claimed, for a new flow.
    #[inline(always)]
    pub fn fill(
        &self,
        key: &FlowKey,
        uplink: u8,
        flags: u64,
        outside: Outside,
        host: &HostEntry,
        now: u32,
    ) {
        self.outside.store(outside.word());
        self.set_host(host);
        // The first packet notes itself, as every other does; until then the flow counts as fresh.
        self.outward.store(u64::from(now) << TIME_SHIFT);
        self.inward.store(0);
        self.began.store(u64::from(now));
        for count in &self.counts {
            count.store(0);
        }
        if key.family() == state::IPV4 {
            self.addresses4.store(key.addresses[0]);
        } else {
            for (word, half) in self.addresses6.iter().zip(key.addresses) {
                word.store(half);
            }
        }
        self.ends
            .publish(key.ends | (uplink as u64) << UPLINK_SHIFT | flags | LIVE);
    }

    /// Hides the flow from who looks for it without its tag, which the caller has claimed.
    #[inline(always)]
    pub fn end(&self) {
        self.ends.store(self.ends.load() & !LIVE);
    }

    /// Whether the slot is this flow's, and that has not ended.
    #[inline(always)]
    pub fn is(&self, key: &FlowKey) -> bool {
        if self.ends.load() & (KEY_ENDS | LIVE) != key.ends | LIVE {
            return false;
        }
        if key.family() == state::IPV4 {
            return self.addresses4.load() == key.addresses[0];
        }
        self.addresses6[0].load() == key.addresses[0]
            && self.addresses6[1].load() == key.addresses[1]
            && self.addresses6[2].load() == key.addresses[2]
            && self.addresses6[3].load() == key.addresses[3]
    }

    /// The flow's key.
    pub fn key(&self) -> FlowKey {
        let ends = self.ends.load() & KEY_ENDS;
        let addresses = if ends & 1 == state::IPV4 as u64 {
            [self.addresses4.load(), 0, 0, 0]
        } else {
            core::array::from_fn(|n| self.addresses6[n].load())
        };
        FlowKey { addresses, ends }
    }

    /// The flow's protocol.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        (self.ends.load() >> 8) as u8
    }

    /// The id of the flow's uplink.
    #[inline(always)]
    pub fn uplink(&self) -> u8 {
        (self.ends.load() >> UPLINK_SHIFT) as u8 & 63
    }

    /// Whether the flow's port is a forward of the configuration.
    #[inline(always)]
    pub fn is_forward(&self) -> bool {
        self.ends.load() & FLAG_FORWARD != 0
    }

    /// Whether a packet from outside opened the flow.
    #[inline(always)]
    pub fn is_inbound(&self) -> bool {
        self.ends.load() & FLAG_INBOUND != 0
    }

    /// The outside end of the flow.
    #[inline(always)]
    pub fn outside(&self) -> Outside {
        Outside::from_word(self.outside.load())
    }

    /// The inside address and port of an IPv4 flow.
    #[inline(always)]
    pub fn inside4(&self) -> (u32, u16) {
        (
            (self.addresses4.load() >> 32) as u32,
            (self.ends.load() >> 48) as u16,
        )
    }

    /// The LAN host.
    #[inline(always)]
    pub fn host(&self) -> HostEntry {
        HostEntry::from_words([self.host[0].load(), self.host[1].load()])
    }

    /// Learns where the LAN host is, from a packet that it sent; written only when that changed.
    #[inline(always)]
    pub fn set_host(&self, host: &HostEntry) {
        for (word, new) in self.host.iter().zip(host.words()) {
            if word.load() != new {
                word.store(new);
            }
        }
    }

    /// Notes a packet: when it passed, what TCP flags it had, how long its frame was, and whether it was
    /// a whole one on the way between LAN and internet, so that others may follow by the short way.
    #[inline(always)]
    pub fn note(&self, direction: Direction, now: u32, tcp_flags: u8, bytes: u64, passed: bool) {
        let (word, at) = match direction {
            Direction::Outward => (&self.outward, 0),
            Direction::Inward => (&self.inward, 2),
        };
        let old = word.load();
        // A first segment begins anew, whatever an earlier connection of these ends has left; and who
        // goes on after a reset has not sent it.
        let kept = if tcp_flags & tcp::SYN != 0 {
            0
        } else {
            old & u64::from(REMEMBERED & !tcp::RST) << FLAGS_SHIFT
        };
        let passed = if passed { PASSED } else { 0 };
        let flags = u64::from(tcp_flags & REMEMBERED) << FLAGS_SHIFT;
        let mut counted = (old & COUNTED) + (PACKET | bytes & 0xffff);
        if counted >= FULL * PACKET {
            self.counts[at].add(counted / PACKET);
            self.counts[at + 1].add(counted & BYTES);
            counted = 0;
        }
        word.store(u64::from(now) << TIME_SHIFT | NOTED | passed | kept | flags | counted);
    }

    /// TCP flags seen outward and inward.
    #[inline(always)]
    pub fn tcp_flags(&self) -> (u8, u8) {
        let flags = |word: &Word| (word.load() >> FLAGS_SHIFT) as u8 & REMEMBERED;
        (flags(&self.outward), flags(&self.inward))
    }

    /// Whether something has come back.
    #[inline(always)]
    pub fn is_answered(&self) -> bool {
        self.inward.load() & NOTED != 0
    }

    /// Whether both ends have sent something, whoever began.
    #[inline(always)]
    pub fn is_mutual(&self) -> bool {
        self.is_answered() && self.outward.load() & NOTED != 0
    }

    /// When the last packet passed outward, in ticks modulo 2^24.
    #[inline(always)]
    pub fn last_outward(&self) -> u32 {
        (self.outward.load() >> TIME_SHIFT) as u32
    }

    /// When the last packet of a direction passed, in ticks modulo 2^24, if it was one between LAN and
    /// internet.
    #[inline(always)]
    pub fn passed(&self, direction: Direction) -> Option<u32> {
        let word = match direction {
            Direction::Outward => self.outward.load(),
            Direction::Inward => self.inward.load(),
        };
        (word & PASSED != 0).then_some((word >> TIME_SHIFT) as u32)
    }

    /// Whether the flow is one between these IPv4 addresses, inside << 32 | remote.
    #[inline(always)]
    pub fn connects(&self, addresses: u64) -> bool {
        self.addresses4.load() == addresses
    }

    /// For how long no packet has passed, in ticks.
    #[inline(always)]
    pub fn idle(&self, now: u32) -> u32 {
        let (outward, inward) = (self.outward.load(), self.inward.load());
        let out = since(outward, now);
        let back = since(inward, now);
        if inward & NOTED != 0 && back < out {
            back
        } else {
            out
        }
    }

    /// When the flow began, in ticks.
    pub fn began(&self) -> u32 {
        self.began.load() as u32
    }

    /// What the flow has carried.
    pub fn carried(&self) -> Carried {
        let sum = |at: usize, word: &Word| {
            let counted = word.load() & COUNTED;
            (
                self.counts[at].load() + counted / PACKET,
                self.counts[at + 1].load() + (counted & BYTES),
            )
        };
        let (packets_out, bytes_out) = sum(0, &self.outward);
        let (packets_in, bytes_in) = sum(2, &self.inward);
        Carried {
            packets_out,
            bytes_out,
            packets_in,
            bytes_in,
        }
    }

    /// Whether the flow's time is up.
    #[inline(always)]
    pub fn is_expired(&self, timeouts: &Timeouts, now: u32) -> bool {
        self.idle(now) > timeouts.of(self)
    }
}

/// Ticks since the last packet of a direction.
#[inline(always)]
const fn since(word: u64, now: u32) -> u32 {
    let since = now.wrapping_sub((word >> TIME_SHIFT) as u32) & TIME;
    // Two CPUs' clocks may differ by a moment around a tick.
    if since > TIME - 16 { 0 } else { since }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However many there are, and whichever of them make the words of the directions full.
        #[test]
        fn every_packet_and_byte_is_counted_once(
            packets in proptest::collection::vec((any::<bool>(), 14u64..=0xffff, 1u32..3), 0..1500),
        ) {
            let slot = FlowSlot::default();
            let key = FlowKey::v4(1, 2, 3, 17);
            slot.fill(&key, 5, FLAG_INBOUND, Outside::default(), &HostEntry::default(), 7);
            let mut sums = Carried::default();
            let mut now = 7;
            for &(outward, bytes, later) in &packets {
                now += later;
                let (direction, count, sum) = if outward {
                    (Direction::Outward, &mut sums.packets_out, &mut sums.bytes_out)
                } else {
                    (Direction::Inward, &mut sums.packets_in, &mut sums.bytes_in)
                };
                slot.note(direction, now, 0, bytes, true);
                *count += 1;
                *sum += bytes;
                prop_assert_eq!(slot.idle(now + 3), 3);
                prop_assert_eq!(slot.passed(direction), Some(now));
            }
            prop_assert_eq!(slot.carried(), sums);
            prop_assert_eq!(slot.is_answered(), sums.packets_in > 0);
            prop_assert_eq!(slot.is_mutual(), sums.packets_in > 0 && sums.packets_out > 0);
            prop_assert!(slot.is(&key) && slot.is_inbound() && slot.uplink() == 5);
        }
    }

    #[test]
    fn a_flow_that_has_ended_is_nobodys() {
        let slot = FlowSlot::default();
        assert!(
            !slot.is(&FlowKey::default()),
            "nor is a slot that nobody used"
        );
        let key = FlowKey::v4(1, 2, 3, 17);
        slot.fill(
            &key,
            5,
            FLAG_FORWARD,
            Outside::default(),
            &HostEntry::default(),
            7,
        );
        assert!(slot.is(&key));
        slot.end();
        assert!(!slot.is(&key));
        // Who ends it has yet to give back its port.
        assert!(slot.is_forward() && slot.protocol() == 17);
    }

    /// Half a year after the machine has started, the time in the slot begins anew.
    #[test]
    fn idle_times_go_on_when_the_clock_comes_round() {
        let slot = FlowSlot::default();
        let key = FlowKey::v4(1, 2, 3, 17);
        let began = TIME - 4;
        slot.fill(&key, 5, 0, Outside::default(), &HostEntry::default(), began);
        assert_eq!(slot.idle(began + 100), 100);
        slot.note(Direction::Inward, began + 60, 0, 60, true);
        assert_eq!(slot.idle(began + 100), 40);
        assert_eq!(
            slot.idle(began + 59),
            0,
            "another CPU's clock is a moment behind"
        );
    }
}
