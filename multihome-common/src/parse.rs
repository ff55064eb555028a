//! From a frame to what steering needs: link, addresses, ports, lengths.

use crate::{
    limits::MAX_VLAN_TAGS,
    packet::Packet,
    verdict::Verdict,
    wire::{ethernet, ethernet::Ethernet},
};

/// What the link header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The destination MAC.
    pub destination: [u8; 6],
    /// The type behind all tags.
    pub ethertype: u16,
    /// Where the payload starts: 14, 18 or 22.
    pub len: usize,
    /// The frame carries a tag with a VLAN id, not only a priority.
    pub vlan: bool,
}

/// Reads the link header, tags included.
#[inline(always)]
pub fn link<P: Packet>(packet: &P) -> Result<Link, Verdict> {
    let header = Ethernet::of(packet).ok_or(Verdict::DropTruncated)?;
    let mut link = Link {
        destination: header.destination(),
        ethertype: header.ethertype(),
        len: ethernet::LEN,
        vlan: false,
    };
    for _ in 0..MAX_VLAN_TAGS {
        if !ethernet::is_tag(link.ethertype) {
            break;
        }
        let tag: &[u8; ethernet::TAG_LEN] = packet.bytes(link.len).ok_or(Verdict::DropTruncated)?;
        link.vlan |= u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff != 0;
        link.ethertype = u16::from_be_bytes([tag[2], tag[3]]);
        link.len += ethernet::TAG_LEN;
    }
    Ok(link)
}

/// What the network header says, and the ports where they count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network<A> {
    /// The source address.
    pub source: A,
    /// The destination address.
    pub destination: A,
    /// The payload's protocol; for IPv6 the last next-header number that was reached.
    pub protocol: u8,
    /// TTL or hop limit as it came in.
    pub hop_limit: u8,
    /// The datagram is in fragments, of which this is one.
    pub fragment: bool,
    /// This fragment is not the first: there is no transport header in it.
    pub later_fragment: bool,
    /// Length of the IP packet, headers included, in bytes.
    pub len: usize,
    /// Where the transport header stands, from the frame's start.
    pub transport_at: usize,
    /// Source port << 16 | destination port of TCP and UDP that is not fragmented, else 0.
    pub ports: u32,
}

/// Source and destination port, as one number, of a protocol that has them.
#[inline(always)]
pub fn ports<P: Packet>(packet: &P, transport_at: usize) -> Result<u32, Verdict> {
    packet
        .bytes::<4>(transport_at)
        .map(|b| u32::from_be_bytes(*b))
        .ok_or(Verdict::DropTruncated)
}
