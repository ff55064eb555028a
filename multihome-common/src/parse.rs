//! From a frame to what steering needs: link, addresses, ports, lengths.

use crate::{
    address::{Address4, Address6},
    family::{Family, V4, V6},
    limits::MAX_VLAN_TAGS,
    packet::Packet,
    port::PortEntry,
    rules::Judged,
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
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Where the IP packet ends, from the frame's start: what stands behind it is padding.
    pub end: usize,
    /// Source port << 16 | destination port of TCP and UDP that is not fragmented, else 0.
    pub ports: u32,
}

/// What all stages of the way know of a packet.
///
/// The kernel keeps it in a map: what is read back from there has forgotten how it came about, so
/// the verifier need not follow each way that a parser can take through the rest of the program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Parsed {
    /// The type behind the link header.
    pub ethertype: u16,
    /// Where the IP header stands.
    pub network_at: usize,
    /// What the rules say of it, if it came from the LAN.
    pub judged: Judged,
    /// The IPv4 header, when the type says so.
    pub v4: Network<Address4>,
    /// The IPv6 header, when the type says so.
    pub v6: Network<Address6>,
}

/// Reads link and network header of a packet that came in on `port`.
///
/// # Errors
/// The verdict of a packet that is not for us, or broken.
#[inline(always)]
pub fn headers<P: Packet>(
    packet: &P,
    port: &PortEntry,
    parsed: &mut Parsed,
) -> Result<(), Verdict> {
    let link = link(packet)?;
    accept(&link, port)?;
    parsed.judged = Judged::DEFAULT;
    parsed.ethertype = link.ethertype;
    parsed.network_at = link.len;
    match link.ethertype {
        ethernet::IPV4 => parsed.v4 = V4::parse(packet, link.len)?,
        ethernet::IPV6 => parsed.v6 = V6::parse(packet, link.len)?,
        _ => return Err(Verdict::PassNotIp),
    }
    Ok(())
}

/// Checks that a frame is for this port at all.
#[inline(always)]
fn accept(link: &Link, port: &PortEntry) -> Result<(), Verdict> {
    // A promiscuous port sees frames for other stations; forwarding them would double them.
    if link.destination != port.mac {
        return Err(Verdict::PassOtherHost);
    }
    // A VLAN that is a port's own is told apart, and its tags taken off, before.
    if link.vlan {
        return Err(Verdict::PassVlanDevice);
    }
    Ok(())
}

/// Source and destination port, as one number, of a protocol that has them.
#[inline(always)]
pub fn ports<P: Packet>(packet: &P, transport_at: usize) -> Result<u32, Verdict> {
    packet
        .bytes::<4>(transport_at)
        .map(|b| u32::from_be_bytes(*b))
        .ok_or(Verdict::DropTruncated)
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use super::*;
    use crate::sim::Frame;

    fn frame(tags: &[[u16; 2]], ethertype: u16) -> Vec<u8> {
        let mut frame = vec![1; 6];
        frame.extend([2; 6]);
        for half in tags.iter().flatten() {
            frame.extend(half.to_be_bytes());
        }
        frame.extend(ethertype.to_be_bytes());
        frame
    }

    #[test]
    fn up_to_two_tags_are_stepped_over() {
        let priority_only = [0x8100, 0x6000];
        for (tags, len, vlan) in [
            (&[][..], 14, false),
            (&[[0x8100, 100]], 18, true),
            (&[priority_only], 18, false),
            (&[[0x88a8, 7], [0x8100, 100]], 22, true),
            (&[[0x88a8, 7], priority_only], 22, true),
            (&[priority_only, priority_only], 22, false),
        ] {
            let found = link(&Frame::new(&frame(tags, ethernet::IPV6)));
            let expected = Link {
                destination: [1; 6],
                ethertype: ethernet::IPV6,
                len,
                vlan,
            };
            assert_eq!(found, Ok(expected), "{tags:x?}");
        }
    }

    #[test]
    fn behind_two_tags_a_third_is_a_type_like_any_other() {
        let frame = frame(&[[0x88a8, 7], [0x8100, 100], [0x8100, 5]], ethernet::IPV4);
        let found = link(&Frame::new(&frame)).map(|link| (link.ethertype, link.len));
        assert_eq!(found, Ok((ethernet::VLAN, 22)));
    }

    #[test]
    fn a_link_header_cut_anywhere_is_truncated() {
        let frame = frame(&[[0x88a8, 7], [0x8100, 100]], ethernet::IPV4);
        for len in 0..frame.len() {
            let found = link(&Frame::new(&frame[..len]));
            assert_eq!(found, Err(Verdict::DropTruncated), "{len} bytes");
        }
    }
}
