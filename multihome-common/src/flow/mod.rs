//! Flows: one connection in both directions, pinned to an uplink, with what it takes to translate it.
//!
//! The table is our own, in two arrays: a tag of eight bytes for each slot, eight tags to a cache
//! line, and the slots themselves. A packet of a known flow looks into the one slot that its flow prefers; any
//! other reads a line of tags, or two, and then the slot that matches. Each flow has one record, found from
//! both directions, so there are no halves that could part: a packet from outside first asks the
//! [port table](crate::nat44::ports) whom its port belongs to, and then looks for the same key as a packet
//! from inside.

pub mod fragment;
pub mod lifetime;
pub mod pin;
pub mod slot;
pub mod table;
pub mod tag;

use crate::hash::{FlowHash, Seed};

/// A flow's identity, as seen from inside: addresses in host order.
///
/// Words, because the kernel's copy lies where the verifier wants alignment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// IPv4: inside address << 32 | remote address, then zeroes. IPv6: inside, remote, each with its
    /// upper half first.
    pub addresses: [u64; 4],
    /// Inside port << 48 | remote port << 32 | protocol << 8 | family (0 = IPv4, 1 = IPv6).
    pub ends: u64,
}

impl FlowKey {
    /// The word that holds ports, protocol and family; `ports` is inside port << 16 | remote port.
    #[inline(always)]
    pub const fn ends(ports: u32, protocol: u8, family: usize) -> u64 {
        (ports as u64) << 32 | (protocol as u64) << 8 | (family as u64 & 1)
    }

    /// The key of an IPv4 flow; `ports` is inside port << 16 | remote port.
    #[inline(always)]
    pub const fn v4(inside: u32, remote: u32, ports: u32, protocol: u8) -> Self {
        Self {
            addresses: [(inside as u64) << 32 | remote as u64, 0, 0, 0],
            ends: Self::ends(ports, protocol, crate::state::IPV4),
        }
    }

    /// The inside address of an IPv4 flow.
    #[inline(always)]
    pub const fn inside4(&self) -> u32 {
        (self.addresses[0] >> 32) as u32
    }

    /// The remote address of an IPv4 flow.
    #[inline(always)]
    pub const fn remote4(&self) -> u32 {
        self.addresses[0] as u32
    }

    /// The inside port, or the identifier of an ICMP query.
    #[inline(always)]
    pub const fn inside_port(&self) -> u16 {
        (self.ends >> 48) as u16
    }

    /// The remote port; 0 for protocols without.
    #[inline(always)]
    pub const fn remote_port(&self) -> u16 {
        (self.ends >> 32) as u16
    }

    /// The IP protocol's number.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        (self.ends >> 8) as u8
    }

    /// 0 = IPv4, 1 = IPv6.
    #[inline(always)]
    pub const fn family(&self) -> usize {
        (self.ends & 1) as usize
    }

    /// The hash that the table is searched by. It differs from the one that steers, so that flows
    /// of one bucket there do not crowd together here.
    #[inline(always)]
    pub fn hash(&self, seed: Seed) -> FlowHash {
        let seed = [seed[1], seed[0]];
        if self.family() == crate::state::IPV4 {
            FlowHash::new(seed, [self.addresses[0], self.ends])
        } else {
            let [a, b, c, d] = self.addresses;
            FlowHash::new(seed, [a, b, c, d, self.ends])
        }
    }
}

/// The line of a flow of this hash in the part of a table that is made of the lines `from` to `to`; the
/// first, if there are none.
#[inline(always)]
const fn line_in(hash: u32, from: u32, to: u32) -> u32 {
    from + ((hash as u64 * (to - from) as u64) >> 32) as u32
}

/// The gateway's clock for flows: units of 2^30 ns, about 1.07 s, since the machine started.
#[inline(always)]
pub const fn ticks(nanoseconds: u64) -> u32 {
    (nanoseconds >> TICK_SHIFT) as u32
}

/// Nanoseconds are shifted right by so much to give ticks.
pub const TICK_SHIFT: u32 = 30;
