//! DNS messages as they pass: an IP packet with UDP in it, of which nothing may be taken for granted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use multihome_common::wire::protocol;
use simple_dns::{Name, Packet, PacketFlag, QCLASS, QTYPE, RCODE, TYPE, rdata::RData};

/// The port of DNS servers.
const PORT: u16 = 53;
/// Links of a chain of CNAMEs that are followed.
const MAX_CHAIN: usize = 16;
/// Addresses of one answer that count.
const MAX_ADDRESSES: usize = 64;

/// Who asks whom what: what an answer must repeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// The host and its port.
    pub host: SocketAddr,
    /// The server and its port.
    pub server: SocketAddr,
    /// The query's number.
    pub id: u16,
    /// The name that is asked for, in lower case and without the dot at the end.
    pub name: String,
    /// IPv6 addresses are asked for, not IPv4 ones.
    pub ipv6: bool,
}

/// An answer that names addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it answers.
    pub query: Query,
    /// The addresses of the name, or of what it is an alias of, and for how many seconds they hold.
    pub addresses: Vec<(IpAddr, u32)>,
}

/// A message that passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A host asks.
    Query(Query),
    /// A server answers.
    Answer(Answer),
}

impl Message {
    /// Reads an IP packet; `None` for all that is neither a query for addresses nor an answer to one.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let (source, destination, payload) = datagram(packet)?;
        let message = Packet::parse(payload).ok()?;
        let [question] = message.questions.as_slice() else {
            return None;
        };
        let ipv6 = question.qtype == QTYPE::TYPE(TYPE::AAAA);
        if !ipv6 && question.qtype != QTYPE::TYPE(TYPE::A) {
            return None;
        }
        if question.qclass != QCLASS::CLASS(simple_dns::CLASS::IN) {
            return None;
        }
        let name = plain(&question.qname)?;
        let id = message.id();
        let query = |host, server| Query {
            host,
            server,
            id,
            name: name.clone(),
            ipv6,
        };
        if !message.has_flags(PacketFlag::RESPONSE) {
            return (destination.port() == PORT).then(|| Self::Query(query(source, destination)));
        }
        if source.port() != PORT || message.rcode() != RCODE::NoError {
            return None;
        }
        Some(Self::Answer(Answer {
            addresses: addresses(&message, &name, ipv6),
            query: query(destination, source),
        }))
    }
}

/// The addresses that an answer gives a name, by way of its aliases.
fn addresses(message: &Packet<'_>, name: &str, ipv6: bool) -> Vec<(IpAddr, u32)> {
    let mut name = name.to_owned();
    let mut ttl = u32::MAX;
    for _ in 0..MAX_CHAIN {
        let of_name = || {
            let records = message.answers.iter();
            records.filter(|record| plain(&record.name).as_ref() == Some(&name))
        };
        let found: Vec<(IpAddr, u32)> = of_name()
            .filter_map(|record| {
                let address = address(&record.rdata).filter(|it| it.is_ipv6() == ipv6)?;
                Some((address, record.ttl.min(ttl)))
            })
            .take(MAX_ADDRESSES)
            .collect();
        if !found.is_empty() {
            return found;
        }
        let alias = of_name().find_map(|record| {
            let RData::CNAME(cname) = &record.rdata else {
                return None;
            };
            Some((plain(&cname.0)?, record.ttl))
        });
        let Some((next, holds)) = alias else {
            return Vec::new();
        };
        (name, ttl) = (next, ttl.min(holds));
    }
    Vec::new()
}

/// The address that a record gives.
fn address(data: &RData<'_>) -> Option<IpAddr> {
    if let RData::A(a) = data {
        Some(Ipv4Addr::from_bits(a.address).into())
    } else if let RData::AAAA(aaaa) = data {
        Some(Ipv6Addr::from_bits(aaaa.address).into())
    } else {
        None
    }
}

/// A name in lower case, without the dot at the end; `None` if it is no text.
fn plain(name: &Name<'_>) -> Option<String> {
    let mut text = String::new();
    for label in name.as_bytes() {
        if !text.is_empty() {
            text.push('.');
        }
        // A dot within a label would make another name of it.
        if label.contains(&b'.') {
            return None;
        }
        text.push_str(std::str::from_utf8(label).ok()?);
    }
    text.make_ascii_lowercase();
    Some(text)
}

/// The ends and the payload of an IP packet with an unfragmented UDP datagram in it.
fn datagram(packet: &[u8]) -> Option<(SocketAddr, SocketAddr, &[u8])> {
    let (source, destination, udp): (IpAddr, IpAddr, &[u8]) = match packet.first()? >> 4 {
        4 => {
            let header: &[u8; 20] = packet.first_chunk()?;
            let length = usize::from(header[0] & 0xf) * 4;
            let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
            if header[9] != protocol::UDP || fragment != 0 {
                return None;
            }
            let address = |at: usize| {
                let bytes: [u8; 4] = header[at..at + 4].try_into().expect("four bytes");
                IpAddr::from(bytes)
            };
            (address(12), address(16), packet.get(length..total)?)
        }
        6 => {
            let header: &[u8; 40] = packet.first_chunk()?;
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            if header[6] != protocol::UDP {
                return None;
            }
            let address = |at: usize| {
                let bytes: [u8; 16] = header[at..at + 16].try_into().expect("sixteen bytes");
                IpAddr::from(bytes)
            };
            (address(8), address(24), packet.get(40..40 + length)?)
        }
        _ => return None,
    };
    let header: &[u8; 8] = udp.first_chunk()?;
    let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let payload = udp.get(8..usize::from(number(4)))?;
    Some((
        (source, number(0)).into(),
        (destination, number(2)).into(),
        payload,
    ))
}
