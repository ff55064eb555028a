//! What a frame says, read by the model on its own, and never beyond the length that the IP header
//! states.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use multihome_common::verdict::Verdict;

use super::site::GATEWAY;

/// Protocol numbers.
pub mod number {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMP6: u8 = 58;
}

/// TCP's flags.
pub mod flag {
    /// The last segment.
    pub const FIN: u8 = 1;
    /// The first segment.
    pub const SYN: u8 = 2;
    /// A reset.
    pub const RST: u8 = 4;
    /// An acknowledgement.
    pub const ACK: u8 = 16;
}

/// An IP packet within its frame.
#[derive(Clone, Debug)]
pub struct Packet<'f> {
    /// The frame.
    pub frame: &'f [u8],
    /// Where the IP header stands.
    pub at: usize,
    /// Where the transport header stands.
    pub transport: usize,
    /// Where the IP packet ends.
    pub end: usize,
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The payload's protocol.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// It is a fragment.
    pub fragment: bool,
    /// It is a fragment, and not the first.
    pub later: bool,
    /// The identification of IPv4.
    pub identification: u16,
}

impl<'f> Packet<'f> {
    /// Reads a frame that came in on some device of the gateway.
    ///
    /// # Errors
    /// The verdict of a frame that is not for us, or broken.
    pub fn read(frame: &'f [u8]) -> Result<Self, Verdict> {
        let short = Verdict::DropTruncated;
        let mut at = 12;
        for _ in 0..2 {
            if matches!(
                frame.get(at..at + 2).ok_or(short)?,
                [0x81, 0] | [0x88, 0xa8]
            ) {
                at += 4;
            }
        }
        let kind: [u8; 2] = frame
            .get(at..at + 2)
            .ok_or(short)?
            .try_into()
            .expect("two bytes");
        at += 2;
        if frame[..6] != GATEWAY {
            return Err(Verdict::PassOtherHost);
        }
        match kind {
            [0x08, 0x00] => Self::read4(frame, at),
            [0x86, 0xdd] => Self::read6(frame, at),
            _ => Err(Verdict::PassNotIp),
        }
    }

    fn read4(frame: &'f [u8], at: usize) -> Result<Self, Verdict> {
        let header = frame.get(at..at + 20).ok_or(Verdict::DropTruncated)?;
        let header_len = usize::from(header[0] & 15) * 4;
        let len = usize::from(be(&header[2..]));
        if header[0] >> 4 != 4 || header_len < 20 || len < header_len {
            return Err(Verdict::DropBadHeader);
        }
        let whole = frame
            .get(at..at + header_len)
            .ok_or(Verdict::DropTruncated)?;
        if super::rewrite::sum(whole) != 0xffff {
            return Err(Verdict::DropBadChecksum);
        }
        if frame.len() < at + len {
            return Err(Verdict::DropTruncated);
        }
        let address = |from: usize| {
            IpAddr::V4(Ipv4Addr::new(
                header[from],
                header[from + 1],
                header[from + 2],
                header[from + 3],
            ))
        };
        let offset = be(&header[6..]);
        let packet = Self {
            frame,
            at,
            transport: at + header_len,
            end: at + len,
            source: address(12),
            destination: address(16),
            protocol: header[9],
            ttl: header[8],
            fragment: offset & 0x3fff != 0,
            later: offset & 0x1fff != 0,
            identification: be(&header[4..]),
        };
        packet.with_ports()
    }

    fn read6(frame: &'f [u8], at: usize) -> Result<Self, Verdict> {
        let header = frame.get(at..at + 40).ok_or(Verdict::DropTruncated)?;
        if header[0] >> 4 != 6 {
            return Err(Verdict::DropBadHeader);
        }
        let end = at + 40 + usize::from(be(&header[4..]));
        if frame.len() < end {
            return Err(Verdict::DropTruncated);
        }
        let address = |from: usize| {
            let octets: [u8; 16] = header[from..from + 16].try_into().expect("sixteen bytes");
            IpAddr::V6(Ipv6Addr::from(octets))
        };
        let mut packet = Self {
            frame,
            at,
            transport: at + 40,
            end,
            source: address(8),
            destination: address(24),
            protocol: header[6],
            ttl: header[7],
            fragment: false,
            later: false,
            identification: 0,
        };
        // The limit of six is the gateway's own.
        for _ in 0..6 {
            let rest = &frame[packet.transport..end];
            let length = match packet.protocol {
                0 | 43 | 60 | 135 if rest.len() >= 2 => (usize::from(rest[1]) + 1) * 8,
                51 if rest.len() >= 2 => (usize::from(rest[1]) + 2) * 4,
                44 if rest.len() >= 8 => {
                    let word = be(&rest[2..]);
                    packet.fragment = word & 0xfff9 != 0;
                    packet.later = word & 0xfff8 != 0;
                    8
                }
                0 | 43 | 44 | 51 | 60 | 135 => return Err(Verdict::DropTruncated),
                _ => break,
            };
            if rest.len() < length {
                return Err(Verdict::DropTruncated);
            }
            packet.protocol = rest[0];
            packet.transport += length;
            if packet.fragment {
                break;
            }
        }
        packet.with_ports()
    }

    fn with_ports(self) -> Result<Self, Verdict> {
        let has_ports = matches!(self.protocol, number::TCP | number::UDP);
        if has_ports && !self.fragment && self.payload().len() < 4 {
            return Err(Verdict::DropTruncated);
        }
        Ok(self)
    }

    /// Whether it is IPv6.
    pub const fn is_v6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// The length of the IP packet.
    pub const fn len(&self) -> usize {
        self.end - self.at
    }

    /// Whether there is nothing of it: never.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What stands behind the IP header.
    pub fn payload(&self) -> &'f [u8] {
        &self.frame[self.transport..self.end]
    }

    /// The source's MAC.
    pub fn sender(&self) -> [u8; 6] {
        self.frame[6..12].try_into().expect("six bytes")
    }

    /// TCP's flags, where they are.
    pub fn tcp_flags(&self) -> u8 {
        match (self.protocol, self.later) {
            (number::TCP, false) => self.payload().get(13).copied().unwrap_or(0),
            _ => 0,
        }
    }

    /// Both ports of a whole datagram that has them, else zeroes: what steering goes by.
    pub fn steering_ports(&self) -> (u16, u16) {
        if self.fragment || !matches!(self.protocol, number::TCP | number::UDP) {
            return (0, 0);
        }
        (be(self.payload()), be(&self.payload()[2..]))
    }

    /// Whether it is an ICMP error or might be one.
    pub fn is_error(&self) -> bool {
        let kind = self.payload().first().copied();
        match (self.is_v6(), self.protocol) {
            // RFC 1122 section 3.2.2 and RFC 792: queries and answers are no errors.
            (false, number::ICMP) => !matches!(kind, Some(0 | 8..=10 | 13..=18)),
            // RFC 4443 section 2.1 and section 2.4 (e).
            (true, number::ICMP6) => !matches!(kind, Some(128..=136 | 138..)),
            _ => false,
        }
    }

    /// Whether an ICMP error may be sent about it.
    pub fn may_be_answered(&self) -> bool {
        !self.later && !self.is_error()
    }
}

/// A big-endian number of two bytes.
pub fn be(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

/// An IPv4 address.
pub fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => unreachable!("an IPv4 packet has IPv4 addresses"),
    }
}
