//! Headers of packets that the gateway makes itself.

use crate::{
    address::{Address4, Address6},
    checksum,
    family::{Family, V4, V6},
    packet::Packet,
    wire::{ipv4, ipv6},
};

/// The hop limit that own packets start with (RFC 1700).
const HOP_LIMIT: u8 = 64;

/// A family's header, as the gateway writes it.
pub trait IpHeader: Family {
    /// Length of the header, in bytes.
    const HEADER_LEN: usize;

    /// Writes a header at `at`, for a payload of so many bytes; the sum of the pseudo-header (RFC 768,
    /// RFC 8200 section 8.1).
    fn write_header<P: Packet>(
        packet: &mut P,
        at: usize,
        protocol: u8,
        from: Self::Address,
        to: Self::Address,
        payload: usize,
    ) -> Option<u64>;
}

impl IpHeader for V4 {
    const HEADER_LEN: usize = ipv4::LEN;

    #[inline(always)]
    fn write_header<P: Packet>(
        packet: &mut P,
        at: usize,
        protocol: u8,
        from: Address4,
        to: Address4,
        payload: usize,
    ) -> Option<u64> {
        let len = ((ipv4::LEN + payload) as u16).to_be_bytes();
        let (from, to) = (from.bytes(), to.bytes());
        // RFC 1812 section 4.3.2.5: precedence 6, internetwork control. DF makes the datagram
        // atomic, so its identification may be 0 (RFC 6864).
        let mut header = [
            0x45, 0xc0, len[0], len[1], 0, 0, 0x40, 0, HOP_LIMIT, protocol, 0, 0, from[0], from[1],
            from[2], from[3], to[0], to[1], to[2], to[3],
        ];
        let sum = checksum::finish(checksum::sum_bytes(&header)).to_be_bytes();
        header[ipv4::CHECKSUM_AT] = sum[0];
        header[ipv4::CHECKSUM_AT + 1] = sum[1];
        *packet.bytes_mut(at)? = header;
        Some(
            checksum::sum_bytes(&from)
                + checksum::sum_bytes(&to)
                + payload as u64
                + u64::from(protocol),
        )
    }
}

impl IpHeader for V6 {
    const HEADER_LEN: usize = ipv6::LEN;

    #[inline(always)]
    fn write_header<P: Packet>(
        packet: &mut P,
        at: usize,
        protocol: u8,
        from: Address6,
        to: Address6,
        payload: usize,
    ) -> Option<u64> {
        let len = (payload as u16).to_be_bytes();
        let first = [0x60, 0, 0, 0, len[0], len[1], protocol, HOP_LIMIT];
        let (from, to) = (from.bytes(), to.bytes());
        *packet.bytes_mut(at)? = first;
        *packet.bytes_mut(at + 8)? = from;
        *packet.bytes_mut(at + 24)? = to;
        Some(
            checksum::sum_bytes(&from)
                + checksum::sum_bytes(&to)
                + payload as u64
                + u64::from(protocol),
        )
    }
}
