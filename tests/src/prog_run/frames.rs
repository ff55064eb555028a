//! Frames for rows, built with etherparse.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, TcpHeader, UdpHeader};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

/// An Ethernet frame: destination, source, tags as (type, control information), payload.
pub fn ethernet(
    destination: [u8; 6],
    source: [u8; 6],
    tags: &[(u16, u16)],
    ethertype: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = [destination, source].concat();
    for (kind, control) in tags {
        frame.extend(kind.to_be_bytes());
        frame.extend(control.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet; `edit` changes the header before its checksum is made.
pub fn ipv4(
    (source, destination): (Ipv4Addr, Ipv4Addr),
    ttl: u8,
    protocol: u8,
    payload: &[u8],
    edit: impl FnOnce(&mut Ipv4Header),
) -> Vec<u8> {
    let len = payload.len() as u16;
    let (from, to) = (source.octets(), destination.octets());
    let mut header =
        Ipv4Header::new(len, ttl, IpNumber(protocol), from, to).expect("a length that fits");
    header.dont_fragment = false;
    edit(&mut header);
    let options = header.options.len() as u16;
    if header.total_len == 20 + len {
        header.total_len += options;
    }
    header.header_checksum = header.calc_header_checksum();
    [header.to_bytes().as_slice(), payload].concat()
}

/// An IPv6 packet.
pub fn ipv6(
    (source, destination): (Ipv6Addr, Ipv6Addr),
    hop_limit: u8,
    next_header: u8,
    payload: &[u8],
) -> Vec<u8> {
    let header = Ipv6Header {
        payload_length: payload.len() as u16,
        next_header: IpNumber(next_header),
        hop_limit,
        source: source.octets(),
        destination: destination.octets(),
        ..Ipv6Header::default()
    };
    [header.to_bytes().as_slice(), payload].concat()
}

/// A UDP datagram, its checksum for no addresses in particular: the path never looks at it.
pub fn udp(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let header = UdpHeader {
        source_port: ports.0,
        destination_port: ports.1,
        length: 8 + payload.len() as u16,
        checksum: 0x1234,
    };
    [header.to_bytes().as_slice(), payload].concat()
}

/// A TCP segment.
pub fn tcp(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut header = TcpHeader::new(ports.0, ports.1, 7, 1000);
    header.checksum = 0x4321;
    [header.to_bytes().as_slice(), payload].concat()
}

/// An ICMP or ICMPv6 message.
pub fn icmp(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0x12, 0x34, 0, 7, 0, 1], payload].concat()
}

/// An IPv6 extension header of `units` times eight bytes.
pub fn extension(next_header: u8, units: u8) -> Vec<u8> {
    let mut header = vec![0; usize::from(units) * 8];
    header[0] = next_header;
    header[1] = units - 1;
    header
}

/// An IPv6 fragment header (RFC 8200 section 4.5): offset in units of eight bytes.
pub fn fragment(next_header: u8, offset: u16, more: bool) -> Vec<u8> {
    let word = offset << 3 | u16::from(more);
    let word = word.to_be_bytes();
    vec![next_header, 0, word[0], word[1], 0, 0, 0, 9]
}

/// Where the IP header stands in a frame, behind its tags.
pub fn network_at(frame: &[u8]) -> usize {
    let mut at = 12;
    while matches!(frame.get(at..at + 2), Some([0x81, 0x00] | [0x88, 0xa8])) {
        at += 4;
    }
    at + 2
}

/// The frame as it leaves to the next station: MACs, one hop less, checksum made anew.
pub fn forwarded(frame: &[u8], destination: [u8; 6], source: [u8; 6]) -> Vec<u8> {
    let mut out = frame.to_vec();
    out[..6].copy_from_slice(&destination);
    out[6..12].copy_from_slice(&source);
    let at = network_at(frame);
    if out[at] >> 4 == 4 {
        let (mut header, rest) = Ipv4Header::from_slice(&out[at..]).expect("an IPv4 header");
        header.time_to_live -= 1;
        header.header_checksum = header.calc_header_checksum();
        let packet = [header.to_bytes().as_slice(), rest].concat();
        out.truncate(at);
        out.extend(packet);
    } else {
        out[at + 7] -= 1;
    }
    out
}
