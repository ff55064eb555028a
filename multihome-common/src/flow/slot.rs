//! A slot: all that is known of one flow; 128 bytes, of which an IPv4 packet needs the first half
//! and two counters.

use super::{FlowKey, lifetime::Timeouts};
use crate::{
    state,
    uplink::HostEntry,
    wire::tcp,
    word::{Word, Words},
};

/// TCP's flags that a flow remembers of each direction.
const REMEMBERED: u8 = tcp::FIN | tcp::SYN | tcp::RST;

/// In a word of a direction: its last packet took the way between LAN and internet.
const PASSED: u64 = 1 << 8;

/// The flow's port is a forward of the configuration: its binding is not counted.
pub const FLAG_FORWARD: u64 = 1 << 16;
/// A packet from outside opened the flow.
pub const FLAG_INBOUND: u64 = 1 << 17;
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
    /// Outward: when the last packet passed (ticks) << 32 | [`PASSED`] | TCP flags seen.
    outward: Word,
    /// Inward, likewise; 0 = no packet yet.
    inward: Word,
    /// When the flow began, in ticks.
    began: Word,
    /// Packets and bytes, outward and inward.
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
        self.ends
            .store(key.ends | (uplink as u64) << UPLINK_SHIFT | flags);
        self.outside.store(outside.word());
        self.set_host(host);
        // The first packet notes itself, as every other does; until then the flow counts as fresh.
        self.outward.store(u64::from(now) << 32);
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
    }

    /// Whether the slot is this flow's.
    #[inline(always)]
    pub fn is(&self, key: &FlowKey) -> bool {
        if self.ends.load() & KEY_ENDS != key.ends {
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
            old & u64::from(REMEMBERED & !tcp::RST)
        };
        let passed = if passed { PASSED } else { 0 };
        let new = u64::from(now) << 32 | passed | kept | u64::from(tcp_flags & REMEMBERED);
        // Most packets change nothing, and an unwritten line stays shared between the CPUs.
        if new != old {
            word.store(new);
        }
        self.counts[at].add(1);
        self.counts[at + 1].add(bytes);
    }

    /// TCP flags seen outward and inward.
    #[inline(always)]
    pub fn tcp_flags(&self) -> (u8, u8) {
        (self.outward.load() as u8, self.inward.load() as u8)
    }

    /// Whether something has come back.
    #[inline(always)]
    pub fn is_answered(&self) -> bool {
        self.inward.load() != 0
    }

    /// Whether both ends have sent something, whoever began.
    #[inline(always)]
    pub fn is_mutual(&self) -> bool {
        self.is_answered() && self.counts[0].load() != 0
    }

    /// When the last packet passed outward, in ticks.
    #[inline(always)]
    pub fn last_outward(&self) -> u32 {
        (self.outward.load() >> 32) as u32
    }

    /// When the last packet of a direction passed, in ticks, if it was one between LAN and internet.
    #[inline(always)]
    pub fn passed(&self, direction: Direction) -> Option<u32> {
        let word = match direction {
            Direction::Outward => self.outward.load(),
            Direction::Inward => self.inward.load(),
        };
        (word & PASSED != 0).then_some((word >> 32) as u32)
    }

    /// Whether the flow is one between these IPv4 addresses, inside << 32 | remote.
    #[inline(always)]
    pub fn connects(&self, addresses: u64) -> bool {
        self.addresses4.load() == addresses
    }

    /// When the last packet passed, in ticks.
    #[inline(always)]
    pub fn last_packet(&self) -> u32 {
        let (out, back) = (self.outward.load() >> 32, self.inward.load() >> 32);
        if out > back { out as u32 } else { back as u32 }
    }

    /// When the flow began, in ticks.
    pub fn began(&self) -> u32 {
        self.began.load() as u32
    }

    /// What the flow has carried.
    pub fn carried(&self) -> Carried {
        let [packets_out, bytes_out, packets_in, bytes_in] =
            core::array::from_fn(|n| self.counts[n].load());
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
        // Two CPUs' clocks may differ by a moment around a tick.
        let idle = now.saturating_sub(self.last_packet());
        idle > timeouts.of(self)
    }
}
