//! What packets look like when they leave: addresses and ports changed, checksums made from all that
//! they cover, before and after.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use etherparse::{IpNumber, Ipv4Header, Ipv6Header};
use multihome_common::verdict::Verdict;

use super::{
    packet::{Packet, be, flag, number},
    site::{GATEWAY4, GATEWAY6},
};

/// The ones' complement sum of all words (RFC 1071).
pub fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for word in bytes.chunks(2) {
        sum += u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Which end of a packet changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// A frame that leaves, and where the checksums in it stand: of those, 0x0000 and 0xffff are one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Out {
    /// The bytes.
    pub bytes: Vec<u8>,
    sums: Vec<usize>,
}

impl Out {
    /// The frame as it came in.
    pub fn unchanged(frame: &[u8]) -> Self {
        Self {
            bytes: frame.to_vec(),
            sums: Vec::new(),
        }
    }

    /// Whether another frame is this one.
    pub fn is(&self, other: &[u8]) -> bool {
        if self.bytes.len() != other.len() {
            return false;
        }
        let mut other = other.to_vec();
        for &at in &self.sums {
            let both = [be(&self.bytes[at..]), be(&other[at..])];
            if both == [0, 0xffff] || both == [0xffff, 0] {
                other[at..at + 2].copy_from_slice(&self.bytes[at..at + 2]);
            }
        }
        self.bytes == other
    }

    /// Changes the checksum at `sum_at` by what changed in `covered` since `before`.
    fn mend(&mut self, sum_at: usize, before: &[u8], covered: &[u8]) {
        // RFC 1624: HC' = ~(~HC + ~m + m').
        let old = be(&self.bytes[sum_at..]);
        let parts = [!old, !sum(before), sum(covered)]
            .map(u16::to_be_bytes)
            .concat();
        self.bytes[sum_at..sum_at + 2].copy_from_slice(&(!sum(&parts)).to_be_bytes());
        self.sums.push(sum_at);
    }

    /// Leaves to the next station: both MACs, and one hop less.
    pub fn hop(mut self, at: usize, to: [u8; 6], from: [u8; 6]) -> Self {
        let before = self.bytes.clone();
        self.bytes[..6].copy_from_slice(&to);
        self.bytes[6..12].copy_from_slice(&from);
        if before[at] >> 4 == 4 {
            self.bytes[at + 8] -= 1;
            let covered = self.bytes[at..at + 10].to_vec();
            self.mend(at + 10, &before[at..at + 10], &covered);
        } else {
            self.bytes[at + 7] -= 1;
        }
        self
    }

    /// Gives one end of the IPv4 packet at `at`, which ends at `end`, another address, and another
    /// port if its transport header is there.
    pub fn translate(
        mut self,
        at: usize,
        end: usize,
        side: End,
        to: (Ipv4Addr, u16),
        transport: bool,
    ) -> Self {
        let header_len = usize::from(self.bytes[at] & 15) * 4;
        let protocol = self.bytes[at + 9];
        let before = self.bytes.clone();
        let address_at = at + if side == End::Source { 12 } else { 16 };
        self.bytes[address_at..address_at + 4].copy_from_slice(&to.0.octets());
        let covered = self.bytes[at + 12..at + 20].to_vec();
        self.mend(at + 10, &before[at + 12..at + 20], &covered);
        let port = at + header_len;
        let (port_at, sum_at) = match protocol {
            number::TCP => (port, port + 16),
            number::UDP => (port, port + 6),
            number::ICMP => (port + 4, port + 2),
            _ => return self,
        };
        if !transport || end < port_at + 2 {
            return self;
        }
        let pseudo = protocol != number::ICMP;
        let port_at = port_at
            + if pseudo && side == End::Destination {
                2
            } else {
                0
            };
        self.bytes[port_at..port_at + 2].copy_from_slice(&to.1.to_be_bytes());
        if end < sum_at + 2 || protocol == number::UDP && before[sum_at..sum_at + 2] == [0, 0] {
            return self;
        }
        let cover = |bytes: &[u8]| {
            let mut covered = bytes[port_at..port_at + 2].to_vec();
            if pseudo {
                covered.extend(&bytes[at + 12..at + 20]);
            }
            covered
        };
        let (old, new) = (cover(&before), cover(&self.bytes));
        self.mend(sum_at, &old, &new);
        if protocol == number::UDP && self.bytes[sum_at..sum_at + 2] == [0, 0] {
            self.bytes[sum_at..sum_at + 2].copy_from_slice(&[0xff, 0xff]);
        }
        self
    }

    /// Sets the options of the TCP segment at `tcp_at`.
    pub fn options(mut self, tcp_at: usize, place: Range<usize>, options: &[u8]) -> Self {
        let before = self.bytes[place.clone()].to_vec();
        self.bytes[place].copy_from_slice(options);
        self.mend(tcp_at + 16, &before, options);
        self
    }

    /// Translates what an ICMP error at `icmp_at` quotes, and mends the error's own checksum.
    pub fn translate_quoted(
        mut self,
        icmp_at: usize,
        end: usize,
        side: End,
        to: (Ipv4Addr, u16),
    ) -> Self {
        let before = self.bytes.clone();
        self = self.translate(icmp_at + 8, end, side, to, true);
        let covered = self.bytes[icmp_at + 4..end].to_vec();
        self.mend(icmp_at + 2, &before[icmp_at + 4..end], &covered);
        self
    }

    /// Sets an IPv6 address.
    pub fn set6(mut self, at: usize, address: Ipv6Addr) -> Self {
        self.bytes[at..at + 16].copy_from_slice(&address.octets());
        self
    }
}

/// The ICMP error about a packet, sent back by the device that it came in on.
pub fn error(packet: &Packet<'_>, verdict: Verdict, mtu: u16) -> Out {
    let (kind, code) = match (packet.is_v6(), verdict) {
        (false, Verdict::ReplyTimeExceeded) => (11, 0),
        (false, Verdict::ReplyTooBig) => (3, 4),
        (false, _) => (3, 0),
        (true, Verdict::ReplyTimeExceeded) => (3, 0),
        (true, Verdict::ReplyTooBig) => (2, 0),
        (true, _) => (1, 0),
    };
    // RFC 1812 section 4.3.2.3 and RFC 4443 section 2.4 (c).
    let most = if packet.is_v6() { 1280 - 48 } else { 576 - 28 };
    let quoted = &packet.frame[packet.at..packet.end];
    let quoted = &quoted[..quoted.len().min(most)];
    let mtu = if verdict == Verdict::ReplyTooBig {
        mtu
    } else {
        0
    }
    .to_be_bytes();
    let message = [&[kind, code, 0, 0, 0, 0, mtu[0], mtu[1]], quoted].concat();
    let (protocol, gateway) = if packet.is_v6() {
        (number::ICMP6, IpAddr::V6(GATEWAY6))
    } else {
        (number::ICMP, IpAddr::V4(GATEWAY4))
    };
    own(packet, gateway, protocol, message, 2)
}

/// The reset of a TCP segment (RFC 9293 section 3.10.7.1).
pub fn reset(packet: &Packet<'_>) -> Out {
    let segment = packet.payload();
    let (flags, header_len) = (segment[13], usize::from(segment[12] >> 4) * 4);
    let mut reply = [
        &segment[2..4],
        &segment[..2],
        &[0; 8],
        &[0x50, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    if flags & flag::ACK != 0 {
        reply[4..8].copy_from_slice(&segment[8..12]);
        reply[13] = flag::RST;
    } else {
        let data = segment.len().saturating_sub(header_len) as u32;
        let taken = data + u32::from(flags & flag::SYN != 0) + u32::from(flags & flag::FIN != 0);
        let number = u32::from_be_bytes(segment[4..8].try_into().expect("four bytes"));
        reply[8..12].copy_from_slice(&number.wrapping_add(taken).to_be_bytes());
        reply[13] = flag::RST | flag::ACK;
    }
    own(packet, packet.destination, number::TCP, reply, 16)
}

/// A packet of the gateway's own, back to where another came from.
fn own(
    packet: &Packet<'_>,
    from: IpAddr,
    protocol: u8,
    mut message: Vec<u8>,
    sum_at: usize,
) -> Out {
    let len = message.len() as u16;
    let mut frame = [
        &packet.frame[6..12],
        &packet.frame[..6],
        &packet.frame[12..packet.at],
    ]
    .concat();
    let mut covered = Vec::new();
    let header = match (from, packet.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header =
                Ipv4Header::new(len, 64, IpNumber(protocol), from.octets(), to.octets())
                    .expect("a length that fits");
            header.dscp = etherparse::IpDscp::try_new(0x30).expect("six bits");
            header.dont_fragment = true;
            header.header_checksum = header.calc_header_checksum();
            if protocol != number::ICMP {
                covered = [
                    &from.octets()[..],
                    &to.octets(),
                    &[0, protocol],
                    &len.to_be_bytes(),
                ]
                .concat();
            }
            header.to_bytes().to_vec()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            covered = [
                &from.octets()[..],
                &to.octets(),
                &[0, protocol],
                &len.to_be_bytes(),
            ]
            .concat();
            Ipv6Header {
                payload_length: len,
                next_header: IpNumber(protocol),
                hop_limit: 64,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv6Header::default()
            }
            .to_bytes()
            .to_vec()
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            unreachable!("one family")
        }
    };
    covered.extend(&message);
    message[sum_at..sum_at + 2].copy_from_slice(&(!sum(&covered)).to_be_bytes());
    frame.extend(header);
    let sums = vec![frame.len() + sum_at];
    frame.extend(message);
    Out { bytes: frame, sums }
}
