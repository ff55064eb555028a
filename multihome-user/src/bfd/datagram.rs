//! UDP datagrams that begin with their IP header: building those of ours, checking those that come in.
//!
//! They leave with a TTL or hop limit of 255 (RFC 5881 section 5) and the class of network control
//! (CS6, RFC 4594 section 3.2). Checksums are always computed, also where IPv4 could do without.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use multihome_common::checksum::finish;

use crate::probe::Family;

const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const UDP_LEN: usize = 8;
const PROTOCOL_UDP: u8 = 17;
/// The TTL or hop limit of a packet that no router has forwarded (RFC 5082).
pub const HOP_LIMIT: u8 = 255;
const TRAFFIC_CLASS: u8 = 0xc0;
const DONT_FRAGMENT: u16 = 0x4000;
/// More-fragments and fragment offset.
const FRAGMENT: u16 = 0x3fff;

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'p> {
    /// The sender.
    pub source: IpAddr,
    /// The receiver.
    pub destination: IpAddr,
    /// The sender's port.
    pub source_port: u16,
    /// The receiver's port.
    pub destination_port: u16,
    /// The TTL or hop limit.
    pub hop_limit: u8,
    /// What is carried.
    pub payload: &'p [u8],
}

/// Builds a datagram of ours; `None` when the addresses are of different families.
pub fn build(
    (source, source_port): (IpAddr, u16),
    (destination, destination_port): (IpAddr, u16),
    payload: &[u8],
) -> Option<Vec<u8>> {
    let udp_len = (UDP_LEN + payload.len()) as u16;
    let mut packet = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => ipv4_header(source, destination, udp_len),
        (IpAddr::V6(source), IpAddr::V6(destination)) => ipv6_header(source, destination, udp_len),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    let udp_at = packet.len();
    for word in [source_port, destination_port, udp_len, 0] {
        packet.extend(word.to_be_bytes());
    }
    packet.extend(payload);
    let checksum = match finish(pseudo_sum(source, destination, udp_len) + sum(&packet[udp_at..])) {
        // Zero means that there is none (RFC 768).
        0 => 0xffff,
        checksum => checksum,
    };
    packet[udp_at + 6..udp_at + 8].copy_from_slice(&checksum.to_be_bytes());
    Some(packet)
}

/// Reads a whole datagram of a family; what the link added behind it is ignored. `verify` says whether
/// the UDP checksum means anything: a sender on the same machine may have left it to a card that the
/// packet never passed.
///
/// `None` for anything but an unfragmented datagram without extension headers whose lengths and
/// checksums are right.
pub fn parse(family: Family, packet: &[u8], verify: bool) -> Option<Datagram<'_>> {
    let (source, destination, hop_limit, body): (IpAddr, IpAddr, u8, &[u8]) = match family {
        Family::Ipv4 => {
            let fixed: &[u8; IPV4_LEN] = packet.first_chunk()?;
            let header_len = usize::from(fixed[0] & 0xf) * 4;
            let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
            let whole = packet.get(..total_len)?;
            let (header, body) = whole.split_at_checked(header_len)?;
            let fragment = u16::from_be_bytes([fixed[6], fixed[7]]) & FRAGMENT;
            if fixed[0] >> 4 != 4
                || header_len < IPV4_LEN
                || fixed[9] != PROTOCOL_UDP
                || fragment != 0
                || finish(sum(header)) != 0
            {
                return None;
            }
            let address = |at: usize| {
                Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]).into()
            };
            (address(12), address(16), fixed[8], body)
        }
        Family::Ipv6 => {
            let header: &[u8; IPV6_LEN] = packet.first_chunk()?;
            if header[0] >> 4 != 6 || header[6] != PROTOCOL_UDP {
                return None;
            }
            let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
            let body = packet.get(IPV6_LEN..IPV6_LEN + len)?;
            let address = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&header[at..at + 16]);
                Ipv6Addr::from(octets).into()
            };
            (address(8), address(24), header[7], body)
        }
    };
    let udp: &[u8; UDP_LEN] = body.first_chunk()?;
    let word = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    let body = body.get(..usize::from(word(4)))?;
    let payload = body.get(UDP_LEN..)?;
    let unprotected = word(6) == 0;
    let right = || finish(pseudo_sum(source, destination, word(4)) + sum(body)) == 0;
    // Only IPv4 may do without (RFC 8200 section 8.1).
    if unprotected && family == Family::Ipv6 || !unprotected && verify && !right() {
        return None;
    }
    Some(Datagram {
        source,
        destination,
        source_port: word(0),
        destination_port: word(2),
        hop_limit,
        payload,
    })
}

fn ipv4_header(source: Ipv4Addr, destination: Ipv4Addr, udp_len: u16) -> Vec<u8> {
    let mut header = Vec::with_capacity(IPV4_LEN + usize::from(udp_len));
    header.extend([0x45, TRAFFIC_CLASS]);
    header.extend((IPV4_LEN as u16 + udp_len).to_be_bytes());
    // An unfragmentable packet needs no identification (RFC 6864 section 4.1).
    header.extend([0, 0]);
    header.extend(DONT_FRAGMENT.to_be_bytes());
    header.extend([HOP_LIMIT, PROTOCOL_UDP, 0, 0]);
    header.extend(source.octets());
    header.extend(destination.octets());
    let checksum = finish(sum(&header));
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

fn ipv6_header(source: Ipv6Addr, destination: Ipv6Addr, udp_len: u16) -> Vec<u8> {
    let mut header = Vec::with_capacity(IPV6_LEN + usize::from(udp_len));
    header.extend([0x60 | TRAFFIC_CLASS >> 4, TRAFFIC_CLASS << 4, 0, 0]);
    header.extend(udp_len.to_be_bytes());
    header.extend([PROTOCOL_UDP, HOP_LIMIT]);
    header.extend(source.octets());
    header.extend(destination.octets());
    header
}

/// The sum of the pseudo header (RFC 768, RFC 8200 section 8.1), which adds up alike in both families.
fn pseudo_sum(source: IpAddr, destination: IpAddr, udp_len: u16) -> u64 {
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    };
    address(source) + address(destination) + u64::from(udp_len) + u64::from(PROTOCOL_UDP)
}

/// The sum of the bytes as big-endian 16-bit words, an odd byte padded with zero (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    let (words, odd) = bytes.as_chunks::<2>();
    let last = odd.first().map_or(0, |&byte| u64::from(byte) << 8);
    words
        .iter()
        .map(|&word| u64::from(u16::from_be_bytes(word)))
        .sum::<u64>()
        + last
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(family: Family) -> ((IpAddr, u16), (IpAddr, u16)) {
        let (source, destination) = match family {
            Family::Ipv4 => ("192.0.2.2", "192.0.2.1"),
            Family::Ipv6 => ("fe80::2", "fe80::1"),
        };
        let address = |text: &str| text.parse().expect("an address");
        ((address(source), 50_000), (address(destination), 3784))
    }

    fn sample(family: Family, payload: &[u8]) -> Vec<u8> {
        let (from, to) = ends(family);
        build(from, to, payload).expect("one family")
    }

    const BOTH: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    #[test]
    fn what_is_built_is_read_with_a_hop_limit_of_255() {
        for family in BOTH {
            for payload in [&[1, 2, 3][..], &[0; 24], &[]] {
                let mut packet = sample(family, payload);
                // The link may pad short frames.
                packet.extend([0xaa; 7]);
                let ((source, source_port), (destination, destination_port)) = ends(family);
                let expected = Datagram {
                    source,
                    destination,
                    source_port,
                    destination_port,
                    hop_limit: 255,
                    payload,
                };
                assert_eq!(parse(family, &packet, true), Some(expected));
            }
        }
    }

    #[test]
    fn addresses_of_two_families_make_no_datagram() {
        let ((v4, _), _) = ends(Family::Ipv4);
        let ((v6, _), _) = ends(Family::Ipv6);
        assert_eq!(build((v4, 1), (v6, 2), &[]), None);
    }

    #[test]
    fn whatever_byte_is_wrong_the_datagram_is_not_taken_as_it_was() {
        for family in BOTH {
            let packet = sample(family, &[7; 24]);
            let whole = parse(family, &packet, true);
            for at in 0..packet.len() {
                let mut wrong = packet.clone();
                wrong[at] ^= 0x10;
                // IPv6 has no checksum over traffic class, flow label and hop limit.
                assert_ne!(
                    parse(family, &wrong, true).filter(|_| family == Family::Ipv4 || at > 7),
                    whole,
                    "{family} byte {at}"
                );
            }
        }
    }

    #[test]
    fn a_checksum_that_was_left_to_a_card_is_not_looked_at() {
        for family in BOTH {
            let mut packet = sample(family, &[7; 24]);
            let at = packet.len() - 24 - 2;
            packet[at] ^= 1;
            assert_eq!(parse(family, &packet, true), None);
            assert!(parse(family, &packet, false).is_some());
            packet[at..at + 2].fill(0);
            // Zero is "none", which IPv6 does not allow.
            assert_eq!(
                parse(family, &packet, true).is_some(),
                family == Family::Ipv4
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..96),
            begin in any::<bool>(),
        ) {
            for family in BOTH {
                let mut packet = if begin { sample(family, &[]) } else { Vec::new() };
                for (n, byte) in bytes.iter().enumerate() {
                    match packet.get_mut(n) {
                        Some(place) => *place ^= byte & 1,
                        None => packet.push(*byte),
                    }
                }
                let _ = parse(family, &packet, true);
                let _ = parse(family, &packet, false);
            }
        }
    }
}
