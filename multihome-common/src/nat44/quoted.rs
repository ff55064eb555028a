//! The packet that an ICMP error quotes: whose it was, and its translation along with the error's.

use super::translate::End;
use crate::{
    address::Address4,
    checksum::Difference,
    packet::Packet,
    parse::Network,
    wire::{icmp, ipv4, ipv4::Ipv4, protocol},
};

/// What is quoted, as far as it tells a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Where the quoted IP header stands.
    at: usize,
    /// Where the quoted transport header stands.
    transport_at: usize,
    /// The quoted packet's source, in host order.
    pub source: u32,
    /// The quoted packet's destination, in host order.
    pub destination: u32,
    /// Its source port << 16 | destination port; of an ICMP query the identifier << 16.
    pub ports: u32,
    /// Its protocol.
    pub protocol: u8,
}

impl Quoted {
    /// Reads what an ICMP message quotes; `None` when it is no error, or quotes too little to tell a
    /// flow. RFC 792 quotes eight bytes behind the IP header, which is enough.
    #[inline(always)]
    pub fn read<P: Packet>(packet: &P, network: &Network<Address4>) -> Option<Self> {
        let icmp_at = network.transport_at;
        let kind = packet.bytes::<1>(icmp_at)?[0];
        if !matches!(
            kind,
            icmp::V4_UNREACHABLE | icmp::V4_TIME_EXCEEDED | icmp::V4_PARAMETER_PROBLEM
        ) {
            return None;
        }
        let at = icmp_at + icmp::LEN;
        let header = Ipv4::at(packet, at)?;
        let len = header.header_len();
        // Only a first fragment has ports.
        if header.version() != 4
            || len < ipv4::LEN
            || header.fragment_word() & ipv4::OFFSET_MASK != 0
        {
            return None;
        }
        let (source, destination) = (header.source().0, header.destination().0);
        let (number, transport_at) = (header.protocol(), at + len);
        let needed = match number {
            protocol::TCP | protocol::UDP => 4,
            protocol::ICMP => 8,
            _ => 0,
        };
        if transport_at + needed > network.end {
            return None;
        }
        let ports = match number {
            protocol::TCP | protocol::UDP => u32::from_be_bytes(*packet.bytes::<4>(transport_at)?),
            protocol::ICMP => {
                let head = packet.bytes::<8>(transport_at)?;
                u32::from_be_bytes([head[4], head[5], 0, 0])
            }
            _ => 0,
        };
        Some(Self {
            at,
            transport_at,
            source,
            destination,
            ports,
            protocol: number,
        })
    }

    /// Sets one end's address, and its port or query identifier, in the quoted packet, and mends all
    /// checksums: the quoted ones where they are quoted, and that of the message at `icmp_at`, which
    /// ends at `end_at`.
    ///
    /// `None` when a field is missing that was there when the packet was read.
    #[inline(always)]
    pub fn rewrite<P: Packet>(
        &self,
        packet: &mut P,
        icmp_at: usize,
        end_at: usize,
        end: End,
        (address, port): (u32, u16),
    ) -> Option<()> {
        let (address_at, port_at) = match end {
            End::Source => (self.at + ipv4::SOURCE_AT, 0),
            End::Destination => (self.at + ipv4::DESTINATION_AT, 2),
        };
        let field = packet.bytes_mut::<4>(address_at)?;
        let moved = Difference::of_u32(u32::from_be_bytes(*field), address);
        *field = address.to_be_bytes();
        let mut all = moved.and(mend(packet, self.at + ipv4::CHECKSUM_AT, moved)?);
        let (port_at, sum_at, covered) = match self.protocol {
            protocol::TCP => (port_at, 16, moved),
            protocol::UDP => (port_at, 6, moved),
            protocol::ICMP => (4, 2, Difference::default()),
            _ => return mend(packet, icmp_at + 2, all).map(|_| ()),
        };
        let field = packet.bytes_mut::<2>(self.transport_at + port_at)?;
        let renumbered = Difference::of_u16(u16::from_be_bytes(*field), port);
        *field = port.to_be_bytes();
        all = all.and(renumbered);
        let sum_at = self.transport_at + sum_at;
        // Not every error quotes so much; and what stands behind its end is only padding.
        if sum_at + 2 <= end_at {
            let none = self.protocol == protocol::UDP && *packet.bytes::<2>(sum_at)? == [0, 0];
            if !none {
                all = all.and(mend(packet, sum_at, covered.and(renumbered))?);
            }
        }
        mend(packet, icmp_at + 2, all).map(|_| ())
    }
}

/// Mends the checksum at `at`; what that in turn changes for checksums that cover it.
#[inline(always)]
fn mend<P: Packet>(packet: &mut P, at: usize, difference: Difference) -> Option<Difference> {
    let field = packet.bytes_mut::<2>(at)?;
    let old = *field;
    *field = difference.apply(old);
    Some(Difference::of_u16(
        u16::from_be_bytes(old),
        u16::from_be_bytes(*field),
    ))
}
