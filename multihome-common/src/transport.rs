//! The transport header: what tells one flow of two hosts from another.

use crate::{
    packet::Packet,
    parse::Network,
    verdict::Verdict,
    wire::{icmp, protocol, tcp},
};

/// What a packet's transport header says about its flow.
///
/// One word, so that the kernel's copy lives in a register: ports in bits 0 to 31, TCP's flags in
/// bits 32 to 39, the kind of ICMP message from bit 40 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport(u64);

impl Transport {
    #[inline(always)]
    const fn new(ports: u32, tcp_flags: u8, icmp: Icmp) -> Self {
        Self(ports as u64 | (tcp_flags as u64) << 32 | (icmp as u64) << 40)
    }

    /// Source port << 16 | destination port; of an ICMP query its identifier in both halves; 0 for
    /// other protocols.
    #[inline(always)]
    pub const fn ports(self) -> u32 {
        self.0 as u32
    }

    /// TCP's flags as they stand in the header; 0 for other protocols.
    #[inline(always)]
    pub const fn tcp_flags(self) -> u8 {
        (self.0 >> 32) as u8
    }

    /// What kind of ICMP message it is.
    #[inline(always)]
    pub const fn icmp(self) -> Icmp {
        match self.0 >> 40 {
            0 => Icmp::Not,
            1 => Icmp::Query,
            2 => Icmp::Answer,
            _ => Icmp::Other,
        }
    }
}

/// Kinds of ICMP messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Icmp {
    /// The packet is not ICMP.
    Not = 0,
    /// A query, such as an echo request.
    Query = 1,
    /// The answer to a query.
    Answer = 2,
    /// An error about another packet, or a message that no flow can have.
    Other = 3,
}

/// Reads the transport header of a packet that has one. A header without all that translation reads
/// or changes makes the packet truncated, so that none such begins a flow.
#[inline(always)]
pub fn read<P: Packet, A>(packet: &P, network: &Network<A>) -> Result<Transport, Verdict> {
    let (at, number) = (network.transport_at, network.protocol);
    let needed = match number {
        // Up to the checksum.
        protocol::TCP => 18,
        protocol::UDP | protocol::ICMP => 8,
        _ => return Ok(Transport::new(0, 0, Icmp::Not)),
    };
    if at + needed > network.end {
        return Err(Verdict::DropTruncated);
    }
    let header = packet.bytes::<8>(at).ok_or(Verdict::DropTruncated)?;
    if number == protocol::ICMP {
        let identifier = u32::from(header[4]) << 8 | u32::from(header[5]);
        let ports = identifier << 16 | identifier;
        return Ok(Transport::new(ports, 0, icmp::v4_kind(header[0])));
    }
    let ports = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    let flags = if number == protocol::TCP {
        packet
            .bytes::<1>(at + tcp::FLAGS_AT)
            .ok_or(Verdict::DropTruncated)?[0]
    } else {
        0
    };
    Ok(Transport::new(ports, flags, Icmp::Not))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{address::Address4, sim::Frame};

    fn network(protocol: u8, end: usize) -> Network<Address4> {
        Network {
            protocol,
            transport_at: 10,
            end,
            ..Network::default()
        }
    }

    /// Nothing behind the packet's end counts, and a flow needs all that is translated.
    #[test]
    fn a_header_that_is_not_whole_is_truncated() {
        let frame = Frame::new(&[2; 40]);
        for (number, needed) in [(6, 18), (17, 8), (1, 8), (47, 0)] {
            for len in 0..24 {
                let found = read(&frame, &network(number, 10 + len));
                assert_eq!(found.is_ok(), len >= needed, "{number}, {len} bytes");
            }
            // The frame itself may end first when its header lies.
            let short = Frame::new(&[2; 12]);
            assert_eq!(read(&short, &network(number, 40)).is_ok(), needed == 0);
        }
    }
}
