//! The IPv6 header and its extension headers (RFC 8200).

use crate::{address::Address6, packet::Packet};

/// Length of the fixed header, in bytes.
pub const LEN: usize = 40;
/// Where the hop limit stands.
pub const HOP_LIMIT_AT: usize = 7;
/// Where the source address stands.
pub const SOURCE_AT: usize = 8;
/// Where the destination address stands.
pub const DESTINATION_AT: usize = 24;
/// Length of the fragment header, in bytes.
pub const FRAGMENT_LEN: usize = 8;

/// The fixed header.
#[derive(Clone, Copy)]
pub struct Ipv6<'p>(&'p [u8; LEN]);

impl<'p> Ipv6<'p> {
    /// The header at `at`.
    #[inline(always)]
    pub fn at<P: Packet>(packet: &'p P, at: usize) -> Option<Self> {
        packet.bytes(at).map(Self)
    }

    /// The version, 6 in a correct header.
    #[inline(always)]
    pub fn version(self) -> u8 {
        self.0[0] >> 4
    }

    /// Length of what follows the fixed header, in bytes.
    #[inline(always)]
    pub fn payload_len(self) -> usize {
        usize::from(u16::from_be_bytes([self.0[4], self.0[5]]))
    }

    /// The first extension header's number, or the payload's protocol.
    #[inline(always)]
    pub fn next_header(self) -> u8 {
        self.0[6]
    }

    /// Hop limit.
    #[inline(always)]
    pub fn hop_limit(self) -> u8 {
        self.0[7]
    }

    /// The source address.
    #[inline(always)]
    pub fn source(self) -> Address6 {
        address(self.0, SOURCE_AT)
    }

    /// The destination address.
    #[inline(always)]
    pub fn destination(self) -> Address6 {
        address(self.0, DESTINATION_AT)
    }
}

#[inline(always)]
fn address(b: &[u8; LEN], at: usize) -> Address6 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&b[at..at + 16]);
    Address6::from_bytes(bytes)
}
