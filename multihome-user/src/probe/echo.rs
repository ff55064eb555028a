//! ICMP and ICMPv6 echo packets (RFC 792, RFC 4443): building requests, checking replies.
//!
//! A request carries eight bytes of data: a random cookie. A host that answers must copy it, so
//! whoever cannot see the request cannot make a reply that counts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use multihome_common::checksum::finish;

use super::Family;

const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
/// ICMP header and cookie.
const ECHO_LEN: usize = 8 + 8;
const HOP_LIMIT: u8 = 64;
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_ICMPV6: u8 = 58;
const DONT_FRAGMENT: u16 = 0x4000;
/// More-fragments and fragment offset.
const FRAGMENT: u16 = 0x3fff;

/// Echo request and reply types of one family.
struct Types {
    request: u8,
    reply: u8,
}

const ICMP: Types = Types {
    request: 8,
    reply: 0,
};
const ICMPV6: Types = Types {
    request: 128,
    reply: 129,
};

/// An echo request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The sender.
    pub source: IpAddr,
    /// The receiver.
    pub destination: IpAddr,
    /// Tells one prober's replies from another's.
    pub ident: u16,
    /// The probe's number.
    pub seq: u16,
    /// What only the receiver of the request can know.
    pub cookie: u64,
}

/// Source and destination of a packet have different families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet from {from} to {to} cannot be: one address is IPv4, the other IPv6")]
pub struct MixedFamilies {
    from: IpAddr,
    to: IpAddr,
}

/// Why a packet is not an echo reply that can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    /// A length field goes beyond the packet, or the packet ends early.
    #[error("truncated")]
    Truncated,
    /// Not an unfragmented echo reply of this family.
    #[error("not an echo reply")]
    NotAReply,
    /// The data does not have the length of ours.
    #[error("carries other data than a probe's")]
    ForeignData,
    /// The IPv4 header's or the ICMP checksum is wrong.
    #[error("wrong checksum")]
    Checksum,
}

/// Whether a received packet's ICMP checksum means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpChecksum {
    /// It came over a wire, or is complete.
    Verify,
    /// The sender left it to a network card that the packet never passed (veth, loopback).
    NotComputed,
}

impl Echo {
    /// Encodes an echo request with its IP header: don't-fragment and TTL 64, or hop limit 64.
    ///
    /// # Errors
    /// When the addresses are of different families.
    pub fn request(&self) -> Result<Vec<u8>, MixedFamilies> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut packet = ipv4_header(source, destination);
                packet.extend(self.message(ICMP.request, 0));
                Ok(packet)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut packet = ipv6_header(source, destination);
                let pseudo = pseudo_header_sum(source, destination, ECHO_LEN);
                packet.extend(self.message(ICMPV6.request, pseudo));
                Ok(packet)
            }
            (from @ IpAddr::V4(_), to @ IpAddr::V6(_))
            | (from @ IpAddr::V6(_), to @ IpAddr::V4(_)) => Err(MixedFamilies { from, to }),
        }
    }

    /// Decodes an echo reply that begins with the IP header of `family`. Link-layer padding
    /// behind the packet is ignored.
    ///
    /// # Errors
    /// When it is anything but a whole, unfragmented reply to a probe with correct checksums.
    pub fn parse_reply(
        family: Family,
        packet: &[u8],
        checksum: IcmpChecksum,
    ) -> Result<Self, BadReply> {
        match family {
            Family::Ipv4 => Self::parse_reply4(packet, checksum),
            Family::Ipv6 => Self::parse_reply6(packet, checksum),
        }
    }

    fn parse_reply4(packet: &[u8], checksum: IcmpChecksum) -> Result<Self, BadReply> {
        let fixed: &[u8; IPV4_LEN] = packet.first_chunk().ok_or(BadReply::Truncated)?;
        let header_len = usize::from(fixed[0] & 0xf) * 4;
        let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if fixed[0] >> 4 != 4 || header_len < IPV4_LEN {
            return Err(BadReply::NotAReply);
        }
        let packet = packet.get(..total_len).ok_or(BadReply::Truncated)?;
        let (header, message) = packet
            .split_at_checked(header_len)
            .ok_or(BadReply::Truncated)?;
        if fixed[9] != PROTOCOL_ICMP || u16::from_be_bytes([fixed[6], fixed[7]]) & FRAGMENT != 0 {
            return Err(BadReply::NotAReply);
        }
        if finish(sum(header)) != 0 {
            return Err(BadReply::Checksum);
        }
        let address = |at: usize| {
            Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]).into()
        };
        Self::parse_message(message, &ICMP, 0, checksum, address(12), address(16))
    }

    fn parse_reply6(packet: &[u8], checksum: IcmpChecksum) -> Result<Self, BadReply> {
        let header: &[u8; IPV6_LEN] = packet.first_chunk().ok_or(BadReply::Truncated)?;
        // A reply to a probe has no reason for extension headers, and the filter lets none pass.
        if header[0] >> 4 != 6 || header[6] != PROTOCOL_ICMPV6 {
            return Err(BadReply::NotAReply);
        }
        let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let message = packet
            .get(IPV6_LEN..IPV6_LEN + len)
            .ok_or(BadReply::Truncated)?;
        let address = |at: usize| {
            let mut octets = [0; 16];
            octets.copy_from_slice(&header[at..at + 16]);
            Ipv6Addr::from(octets)
        };
        let (source, destination) = (address(8), address(24));
        let pseudo = pseudo_header_sum(source, destination, len);
        Self::parse_message(
            message,
            &ICMPV6,
            pseudo,
            checksum,
            source.into(),
            destination.into(),
        )
    }

    fn parse_message(
        message: &[u8],
        types: &Types,
        pseudo: u64,
        checksum: IcmpChecksum,
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<Self, BadReply> {
        let header: &[u8; 8] = message.first_chunk().ok_or(BadReply::Truncated)?;
        if header[0] != types.reply || header[1] != 0 {
            return Err(BadReply::NotAReply);
        }
        match checksum {
            IcmpChecksum::Verify if finish(pseudo + sum(message)) != 0 => {
                return Err(BadReply::Checksum);
            }
            IcmpChecksum::Verify | IcmpChecksum::NotComputed => {}
        }
        let cookie = message[8..].try_into().map_err(|_| BadReply::ForeignData)?;
        Ok(Self {
            source,
            destination,
            ident: u16::from_be_bytes([header[4], header[5]]),
            seq: u16::from_be_bytes([header[6], header[7]]),
            cookie: u64::from_be_bytes(cookie),
        })
    }

    /// The ICMP message; `pseudo` is the sum of the pseudo header, zero for ICMP.
    fn message(&self, kind: u8, pseudo: u64) -> [u8; ECHO_LEN] {
        let mut message = [0; ECHO_LEN];
        message[0] = kind;
        message[4..6].copy_from_slice(&self.ident.to_be_bytes());
        message[6..8].copy_from_slice(&self.seq.to_be_bytes());
        message[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        let checksum = finish(pseudo + sum(&message));
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        message
    }
}

fn ipv4_header(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let mut header = Vec::with_capacity(IPV4_LEN + ECHO_LEN);
    header.extend([0x45, 0]);
    header.extend(((IPV4_LEN + ECHO_LEN) as u16).to_be_bytes());
    // An unfragmentable packet needs no identification (RFC 6864 section 4.1).
    header.extend([0, 0]);
    header.extend(DONT_FRAGMENT.to_be_bytes());
    header.extend([HOP_LIMIT, PROTOCOL_ICMP, 0, 0]);
    header.extend(source.octets());
    header.extend(destination.octets());
    let checksum = finish(sum(&header));
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

fn ipv6_header(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let mut header = Vec::with_capacity(IPV6_LEN + ECHO_LEN);
    header.extend([0x60, 0, 0, 0]);
    header.extend((ECHO_LEN as u16).to_be_bytes());
    header.extend([PROTOCOL_ICMPV6, HOP_LIMIT]);
    header.extend(source.octets());
    header.extend(destination.octets());
    header
}

/// RFC 8200 section 8.1.
fn pseudo_header_sum(source: Ipv6Addr, destination: Ipv6Addr, len: usize) -> u64 {
    sum(&source.octets()) + sum(&destination.octets()) + len as u64 + u64::from(PROTOCOL_ICMPV6)
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
mod tests;
