//! The IPv4 header (RFC 791).

use crate::{address::Address4, packet::Packet};

/// Length without options, in bytes.
pub const LEN: usize = 20;
/// Where TTL and protocol stand, as one 16-bit word.
pub const TTL_AT: usize = 8;

/// The first byte of a header of version 4 without options.
pub const PLAIN: u8 = 0x45;
/// Where the header checksum stands.
pub const CHECKSUM_AT: usize = 10;

/// Where the identification stands.
pub const IDENTIFICATION_AT: usize = 4;
/// Where the source address stands.
pub const SOURCE_AT: usize = 12;
/// Where the destination address stands.
pub const DESTINATION_AT: usize = 16;

/// "Don't fragment" in the word of flags and offset.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// "More fragments" and the offset in the word of flags and offset.
pub const FRAGMENT_MASK: u16 = 0x3fff;
/// The offset alone.
pub const OFFSET_MASK: u16 = 0x1fff;

/// A header's fixed part.
#[derive(Clone, Copy)]
pub struct Ipv4<'p>(pub &'p [u8; LEN]);

impl<'p> Ipv4<'p> {
    /// The header at `at`.
    #[inline(always)]
    pub fn at<P: Packet>(packet: &'p P, at: usize) -> Option<Self> {
        packet.bytes(at).map(Self)
    }

    /// The version, 4 in a correct header.
    #[inline(always)]
    pub fn version(self) -> u8 {
        self.0[0] >> 4
    }

    /// Length with options, in bytes: 0 to 60.
    #[inline(always)]
    pub fn header_len(self) -> usize {
        usize::from(self.0[0] & 0x0f) * 4
    }

    /// Length of the packet, header included, in bytes.
    #[inline(always)]
    pub fn total_len(self) -> usize {
        usize::from(u16::from_be_bytes([self.0[2], self.0[3]]))
    }

    /// Flags and fragment offset.
    #[inline(always)]
    pub fn fragment_word(self) -> u16 {
        u16::from_be_bytes([self.0[6], self.0[7]])
    }

    /// Time to live.
    #[inline(always)]
    pub fn ttl(self) -> u8 {
        self.0[8]
    }

    /// The payload's protocol.
    #[inline(always)]
    pub fn protocol(self) -> u8 {
        self.0[9]
    }

    /// The source address.
    #[inline(always)]
    pub fn source(self) -> Address4 {
        let b = self.0;
        Address4::from_bytes([b[12], b[13], b[14], b[15]])
    }

    /// The destination address.
    #[inline(always)]
    pub fn destination(self) -> Address4 {
        let b = self.0;
        Address4::from_bytes([b[16], b[17], b[18], b[19]])
    }
}
