//! Well-formed packets for the model's traffic, with right checksums.

use std::net::IpAddr;

use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6Header};

use super::{packet::number, rewrite::sum, site::GATEWAY};

/// A transport header and its payload; the checksum is made for these addresses.
pub fn transport(
    addresses: (IpAddr, IpAddr),
    protocol: u8,
    ports: (u16, u16),
    kind: u8,
    payload: &[u8],
) -> Vec<u8> {
    with_options(addresses, protocol, ports, kind, &[], payload)
}

/// The same with options of TCP, whole words of them.
pub fn with_options(
    addresses: (IpAddr, IpAddr),
    protocol: u8,
    ports: (u16, u16),
    kind: u8,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let (from, to) = (ports.0.to_be_bytes(), ports.1.to_be_bytes());
    let (mut message, sum_at) = match protocol {
        number::TCP => {
            let head = [
                &from[..],
                &to,
                &[0, 0, 1, 7, 0, 0, 9, 3],
                &[0x50 + ((options.len() as u8 / 4) << 4), kind],
                &[4, 0, 0, 0, 0, 0],
                options,
            ];
            (head.concat(), Some(16))
        }
        number::UDP => {
            let len = (8 + payload.len() as u16).to_be_bytes();
            ([&from[..], &to, &len, &[0, 0]].concat(), Some(6))
        }
        number::ICMP | number::ICMP6 => ([&[kind, 0, 0, 0], &from[..], &[0, 1]].concat(), Some(2)),
        _ => (Vec::new(), None),
    };
    message.extend(payload);
    if let Some(at) = sum_at {
        let mut covered = message.clone();
        if protocol != number::ICMP {
            covered.splice(0..0, pseudo(addresses, protocol, message.len()));
        }
        let value = match !sum(&covered) {
            0 if protocol == number::UDP => 0xffff,
            value => value,
        };
        message[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
    message
}

/// The pseudo-header (RFC 768, RFC 8200 section 8.1).
pub fn pseudo((from, to): (IpAddr, IpAddr), protocol: u8, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [from, to] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend([0, protocol]);
    bytes.extend((len as u16).to_be_bytes());
    bytes
}

/// What of an IP header may differ.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// TTL or hop limit.
    pub ttl: u8,
    /// Identification.
    pub identification: u16,
    /// Offset of a fragment in units of eight bytes, and whether more follow.
    pub fragment: Option<(u16, bool)>,
    /// Words of IPv4 options.
    pub options: usize,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            ttl: 64,
            identification: 0,
            fragment: None,
            options: 0,
        }
    }
}

/// A frame to the gateway.
pub fn frame(
    sender: [u8; 6],
    (from, to): (IpAddr, IpAddr),
    protocol: u8,
    head: Head,
    message: &[u8],
) -> Vec<u8> {
    let mut frame = [GATEWAY, sender].concat();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend([0x08, 0x00]);
            let mut header = Ipv4Header {
                time_to_live: head.ttl,
                protocol: IpNumber(protocol),
                source: from.octets(),
                destination: to.octets(),
                identification: head.identification,
                ..Ipv4Header::default()
            };
            let options = vec![1; head.options * 4];
            header.options = options.as_slice().try_into().expect("at most ten words");
            header.total_len = (header.header_len() + message.len()) as u16;
            if let Some((offset, more)) = head.fragment {
                header.fragment_offset = IpFragOffset::try_new(offset).expect("13 bits");
                header.more_fragments = more;
            }
            header.header_checksum = header.calc_header_checksum();
            frame.extend(header.to_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame.extend([0x86, 0xdd]);
            let part = head.fragment.map(|(offset, more)| {
                let word = (offset << 3 | u16::from(more)).to_be_bytes();
                let id = head.identification.to_be_bytes();
                [protocol, 0, word[0], word[1], 0, 0, id[0], id[1]]
            });
            let part = part.as_ref().map_or(&[][..], |part| part);
            let header = Ipv6Header {
                payload_length: (part.len() + message.len()) as u16,
                next_header: IpNumber(if part.is_empty() { protocol } else { 44 }),
                hop_limit: head.ttl,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv6Header::default()
            };
            frame.extend(header.to_bytes());
            frame.extend(part);
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            unreachable!("both addresses are of one family")
        }
    }
    frame.extend(message);
    frame
}
