//! TCP and UDP packets from the IP header on: whose they are, whether they are whole, and how a
//! datagram is made.

use std::net::{IpAddr, SocketAddr};

use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{IpAddress, IpProtocol, IpRepr, Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket, UdpRepr},
};

use super::Ends;
use crate::probe::Family;

const HOP_LIMIT: u8 = 64;

/// Whose ports a packet bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A received packet that is whole and unfragmented, with correct checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'p> {
    /// Without what the link layer padded.
    bytes: &'p [u8],
    payload: &'p [u8],
    /// TCP or UDP.
    pub transport: Transport,
    /// The sender.
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
}

impl<'p> Received<'p> {
    /// Reads a packet; `None` for whatever is no whole TCP or UDP packet of this family. With
    /// `checksum_ready` false the transport's checksum was left to a card that the packet never
    /// passed, and means nothing.
    pub fn parse(family: Family, bytes: &'p [u8], checksum_ready: bool) -> Option<Self> {
        let (source, target, protocol, header_len, total_len): (IpAddr, IpAddr, _, _, _) =
            match family {
                Family::Ipv4 => {
                    let packet = Ipv4Packet::new_checked(bytes).ok()?;
                    let whole = !packet.more_frags() && packet.frag_offset() == 0;
                    if packet.version() != 4 || !whole || !packet.verify_checksum() {
                        return None;
                    }
                    (
                        packet.src_addr().into(),
                        packet.dst_addr().into(),
                        packet.next_header(),
                        usize::from(packet.header_len()),
                        usize::from(packet.total_len()),
                    )
                }
                Family::Ipv6 => {
                    let packet = Ipv6Packet::new_checked(bytes).ok()?;
                    if packet.version() != 6 {
                        return None;
                    }
                    (
                        packet.src_addr().into(),
                        packet.dst_addr().into(),
                        packet.next_header(),
                        packet.header_len(),
                        packet.total_len(),
                    )
                }
            };
        let bytes = bytes.get(..total_len)?;
        let message = bytes.get(header_len..)?;
        let ends: (IpAddress, IpAddress) = (source.into(), target.into());
        let (transport, from_port, to_port, payload) = match protocol {
            IpProtocol::Tcp => {
                let segment = TcpPacket::new_checked(message).ok()?;
                if checksum_ready && !segment.verify_checksum(&ends.0, &ends.1) {
                    return None;
                }
                let payload = message.get(usize::from(segment.header_len())..)?;
                (
                    Transport::Tcp,
                    segment.src_port(),
                    segment.dst_port(),
                    payload,
                )
            }
            IpProtocol::Udp => {
                let datagram = UdpPacket::new_checked(message).ok()?;
                if checksum_ready && !datagram.verify_checksum(&ends.0, &ends.1) {
                    return None;
                }
                let payload = message.get(8..usize::from(datagram.len()))?;
                (
                    Transport::Udp,
                    datagram.src_port(),
                    datagram.dst_port(),
                    payload,
                )
            }
            IpProtocol::HopByHop
            | IpProtocol::Icmp
            | IpProtocol::Igmp
            | IpProtocol::Ipv6Route
            | IpProtocol::Ipv6Frag
            | IpProtocol::IpSecEsp
            | IpProtocol::IpSecAh
            | IpProtocol::Icmpv6
            | IpProtocol::Ipv6NoNxt
            | IpProtocol::Ipv6Opts
            | IpProtocol::Unknown(_) => return None,
        };
        Some(Self {
            bytes,
            payload,
            transport,
            from: SocketAddr::new(source, from_port),
            to: SocketAddr::new(target, to_port),
        })
    }

    /// The packet from the IP header on.
    pub const fn bytes(&self) -> &'p [u8] {
        self.bytes
    }

    /// What follows the TCP or UDP header.
    pub const fn payload(&self) -> &'p [u8] {
        self.payload
    }
}

/// A UDP datagram with its IP header.
pub fn datagram(ends: Ends, payload: &[u8]) -> Vec<u8> {
    let (source, target): (IpAddress, IpAddress) =
        (ends.source.ip().into(), ends.target.ip().into());
    let udp = UdpRepr {
        src_port: ends.source.port(),
        dst_port: ends.target.port(),
    };
    let udp_len = udp.header_len() + payload.len();
    let ip = IpRepr::new(source, target, IpProtocol::Udp, udp_len, HOP_LIMIT);
    let checksums = ChecksumCapabilities::default();
    let mut packet = vec![0; ip.header_len() + udp_len];
    ip.emit(&mut packet, &checksums);
    let mut message = UdpPacket::new_unchecked(&mut packet[ip.header_len()..]);
    udp.emit(
        &mut message,
        &source,
        &target,
        payload.len(),
        |place| place.copy_from_slice(payload),
        &checksums,
    );
    packet
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(source: &str, target: &str) -> Ends {
        let end = |text: &str| text.parse().expect("an address and a port");
        Ends {
            source: end(source),
            target: end(target),
        }
    }

    #[test]
    fn a_datagram_is_read_as_it_was_made() {
        for (family, ends) in [
            (Family::Ipv4, ends("192.0.2.1:40000", "198.51.100.1:53")),
            (
                Family::Ipv6,
                ends("[2001:db8::1]:40000", "[2001:db8::2]:53"),
            ),
        ] {
            let mut bytes = datagram(ends, b"query");
            let whole = bytes.clone();
            let packet = Received::parse(family, &whole, true).expect("whole");
            assert_eq!((packet.from, packet.to), (ends.source, ends.target));
            assert_eq!(packet.payload(), b"query");
            assert_eq!(packet.transport, Transport::Udp);
            // An independent reader agrees.
            let copy = bytes.clone();
            let sliced = etherparse::SlicedPacket::from_ip(&copy).expect("whole");
            assert!(matches!(
                sliced.transport,
                Some(etherparse::TransportSlice::Udp(udp)) if udp.payload() == b"query"
            ));
            for cut in 0..bytes.len() {
                assert_eq!(Received::parse(family, &bytes[..cut], true), None, "{cut}");
            }
            bytes.extend([0; 20]);
            let padded =
                Received::parse(family, &bytes, true).map(|padded| padded.payload().to_vec());
            assert_eq!(padded.as_deref(), Some(&b"query"[..]), "padding is ignored");
            let last = bytes.len() - 21;
            bytes[last] ^= 1;
            assert_eq!(Received::parse(family, &bytes, true), None, "checksum");
            assert!(Received::parse(family, &bytes, false).is_some());
        }
    }

    #[test]
    fn fragments_are_not_whole() {
        let bytes = datagram(ends("192.0.2.1:40000", "198.51.100.1:53"), b"query");
        for (at, bit) in [(6, 0x20), (7, 1)] {
            let mut fragment = bytes.clone();
            fragment[at] |= bit;
            let mut header = Ipv4Packet::new_unchecked(&mut fragment);
            header.fill_checksum();
            assert_eq!(Received::parse(Family::Ipv4, &fragment, true), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), first in 0_usize..4, ready: bool) {
            let mut bytes = bytes;
            if let (Some(byte), Some(version)) = (bytes.first_mut(), [0x45, 0x4f, 0x60].get(first)) {
                *byte = *version;
            }
            for family in [Family::Ipv4, Family::Ipv6] {
                let _ = Received::parse(family, &bytes, ready);
            }
        }

        #[test]
        fn no_change_of_a_true_packet_makes_it_panic(at: proptest::sample::Index, value: u8, six: bool) {
            let (family, ends) = if six {
                (Family::Ipv6, ends("[2001:db8::1]:40000", "[2001:db8::2]:53"))
            } else {
                (Family::Ipv4, ends("192.0.2.1:40000", "198.51.100.1:53"))
            };
            let mut bytes = datagram(ends, b"query");
            let at = at.index(bytes.len());
            bytes[at] = value;
            let _ = Received::parse(family, &bytes, false);
        }
    }
}
