//! The packet that is asked about, as the shortest frame that a LAN host would send.

use std::net::IpAddr;

use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpDscp, IpNumber,
    Ipv4Header, Ipv6Header, TcpHeader, UdpHeader,
};
use multihome_common::{port::PortEntry, wire::protocol};

use super::query::Query;

/// The hop limit of usual hosts.
const HOPS: u8 = 64;
/// The identifier of an echo request.
const IDENTIFIER: u16 = 1;

/// The frame from `sender` to the gateway as the packet path gets it, without the tags of `port`: of a TCP
/// connection its first segment, or one further on where it is `established`.
///
/// `None` when the two addresses are of two families.
pub fn frame(
    query: &Query,
    port: &PortEntry,
    sender: [u8; 6],
    established: bool,
) -> Option<Vec<u8>> {
    let mut frame = [port.mac, sender].concat();
    if let Some(vlan) = query.vlan.filter(|_| !port.is_framed()) {
        frame.extend([0x81, 0]);
        frame.extend(vlan.to_be_bytes());
    }
    let number = IpNumber(query.protocol.0);
    let ends = (query.source.address, query.destination.address);
    let payload = transport(query, ends, established);
    match ends {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = payload.len() as u16;
            let (from, to) = (from.octets(), to.octets());
            let mut header = Ipv4Header::new(length, HOPS, number, from, to).ok()?;
            header.dscp = IpDscp::try_new(query.dscp).ok()?;
            header.dont_fragment = true;
            header.header_checksum = header.calc_header_checksum();
            frame.extend([0x08, 0x00]);
            frame.extend(header.to_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                // RFC 8200 section 7: the upper six bits, as in IPv4.
                traffic_class: query.dscp << 2,
                payload_length: payload.len() as u16,
                next_header: number,
                hop_limit: HOPS,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv6Header::default()
            };
            frame.extend([0x86, 0xdd]);
            frame.extend(header.to_bytes());
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    }
    frame.extend(payload);
    Some(frame)
}

/// What stands behind the IP header. The path looks at no transport checksum but to change it.
fn transport(query: &Query, ends: (IpAddr, IpAddr), established: bool) -> Vec<u8> {
    let (from, to) = query.ports();
    match query.protocol.0 {
        protocol::TCP => {
            let mut header = TcpHeader::new(from, to, 1, u16::MAX);
            header.syn = !established;
            header.ack = established;
            header.to_bytes().to_vec()
        }
        protocol::UDP => {
            let header = UdpHeader {
                source_port: from,
                destination_port: to,
                length: UdpHeader::LEN as u16,
                checksum: 0,
            };
            header.to_bytes().to_vec()
        }
        protocol::ICMP if ends.0.is_ipv4() => {
            let header = Icmpv4Header::new(Icmpv4Type::EchoRequest(ECHO));
            header.to_bytes().to_vec()
        }
        protocol::ICMP6 if ends.0.is_ipv6() => {
            let header = Icmpv6Header::new(Icmpv6Type::EchoRequest(ECHO));
            header.to_bytes().to_vec()
        }
        _ => vec![0; 8],
    }
}

/// What stands for the inside port of a packet without ports: an echo request's identifier.
pub const fn inside_number(query: &Query) -> u32 {
    match query.protocol.0 {
        protocol::ICMP | protocol::ICMP6 => IDENTIFIER as u32,
        _ => 0,
    }
}

const ECHO: IcmpEchoHeader = IcmpEchoHeader {
    id: IDENTIFIER,
    seq: 1,
};
