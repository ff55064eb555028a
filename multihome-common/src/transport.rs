//! The transport header: what tells one flow of two hosts from another.

use crate::{
    packet::Packet,
    verdict::Verdict,
    wire::{icmp, protocol},
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

/// Reads the transport header of a packet that has one. Ports that are not all there make it
/// truncated, as does a TCP header without flags.
#[inline(always)]
pub fn read<P: Packet>(packet: &P, at: usize, number: u8) -> Result<Transport, Verdict> {
    match number {
        protocol::TCP => {
            let header = packet.bytes::<14>(at).ok_or(Verdict::DropTruncated)?;
            let ports = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
            Ok(Transport::new(ports, header[13], Icmp::Not))
        }
        protocol::UDP => {
            let header = packet.bytes::<4>(at).ok_or(Verdict::DropTruncated)?;
            Ok(Transport::new(u32::from_be_bytes(*header), 0, Icmp::Not))
        }
        protocol::ICMP => {
            let header = packet.bytes::<8>(at).ok_or(Verdict::DropTruncated)?;
            let identifier = u32::from(header[4]) << 8 | u32::from(header[5]);
            let ports = identifier << 16 | identifier;
            Ok(Transport::new(ports, 0, icmp::v4_kind(header[0])))
        }
        _ => Ok(Transport::new(0, 0, Icmp::Not)),
    }
}
