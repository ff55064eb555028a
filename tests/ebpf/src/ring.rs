//! A ring of flows, one packet of each in turn: what a program is fed with to measure what it costs.

use crate::{
    Flow, HEADERS4, HEADERS6, HOSTS4, HOSTS6, PORT, SERVERS4, SERVERS6, headers4, headers6,
    scattered,
};

/// Entries of a list of flows at most.
pub const MAX_LISTED: u32 = 1 << 20;

/// Which packets a program is fed with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// The number of flows.
    pub len: u64,
    /// Added to the number of each flow.
    pub first: u64,
    /// The inside IPv6 prefix as it is seen from outside, in host order: the first half of addresses.
    pub prefix: u64,
    /// And what the second half begins with, shifted to its place.
    pub rest: u64,
    /// The first outside IPv4 address, in host order; 0 = hosts are seen by their own addresses.
    pub outside: u32,
    /// Which program is fed: its place among those that may follow.
    pub next: u32,
    /// 4 or 6.
    pub family: u32,
    /// 1 = packets from the servers, 0 = from the LAN's hosts.
    pub inward: u32,
    /// 1 = the flows stand in a list, 0 = all numbers below `len`, which is a power of two.
    pub listed: u32,
    /// The frames' destination and source MAC.
    pub macs: [u8; 12],
}

/// One flow of a list, with the outside end that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its number.
    pub number: u32,
    /// Which outside address.
    pub place: u16,
    /// The port that is seen from outside.
    pub port: u16,
}

impl Listed {
    /// As the list has it.
    pub const fn word(self) -> u64 {
        (self.number as u64) << 32 | (self.place as u64) << 16 | self.port as u64
    }

    /// From the word that [`Listed::word`] gave.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self {
            number: (word >> 32) as u32,
            place: (word >> 16) as u16,
            port: word as u16,
        }
    }
}

impl Ring {
    /// The flow at a place of a ring that has no list: none has its number's place.
    #[inline(always)]
    pub const fn at(&self, place: u64) -> Listed {
        let number = scattered(place, self.len.wrapping_sub(1)).wrapping_add(self.first) as u32;
        Listed {
            number,
            place: 0,
            port: Flow::new(number as u64).port,
        }
    }

    /// Writes the headers of this flow's packet into a frame of `len` bytes, whose payload is zero.
    #[inline(always)]
    pub fn write4(&self, frame: &mut [u8; HEADERS4], listed: Listed, len: usize) {
        let flow = Flow::new(listed.number as u64);
        let server = SERVERS4 + flow.server;
        if self.inward == 0 {
            let addresses = [HOSTS4 + flow.host, server];
            headers4(frame, &self.macs, addresses, [flow.port, PORT], len);
        } else if self.outside == 0 {
            let addresses = [server, HOSTS4 + flow.host];
            headers4(frame, &self.macs, addresses, [PORT, flow.port], len);
        } else {
            let addresses = [server, self.outside + listed.place as u32];
            headers4(frame, &self.macs, addresses, [PORT, listed.port], len);
        }
    }

    /// The same for IPv6.
    #[inline(always)]
    pub fn write6(&self, frame: &mut [u8; HEADERS6], listed: Listed, len: usize) {
        let flow = Flow::new(listed.number as u64);
        let server = [SERVERS6, flow.server as u64 + 1];
        let host = flow.host as u64 + 1;
        if self.inward == 0 {
            headers6(
                frame,
                &self.macs,
                [[HOSTS6, host], server],
                [flow.port, PORT],
                len,
            );
        } else {
            let outside = [self.prefix, self.rest | host];
            headers6(frame, &self.macs, [server, outside], [PORT, flow.port], len);
        }
    }
}
