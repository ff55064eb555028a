//! Rewriting one address and one port of an IPv4 packet, checksums by difference (RFC 1624).

use crate::{
    checksum::Difference,
    packet::Packet,
    wire::{ipv4, protocol},
};

/// Which end of the packet is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Source address and port, of packets to the internet.
    Source,
    /// Destination address and port, of packets from the internet.
    Destination,
}

/// Where the headers of a packet stand, and which of them it has.
#[derive(Clone, Copy, Debug)]
pub struct Headers {
    /// Where the IP header stands.
    pub network_at: usize,
    /// Where the transport header stands.
    pub transport_at: usize,
    /// The payload's protocol.
    pub protocol: u8,
    /// The packet has a transport header: it is no later fragment.
    pub transport: bool,
}

/// Sets one end's address, and its port or query identifier; `None` when the packet ends before a
/// field that must change. Then nothing has been changed.
#[inline(always)]
pub fn rewrite<P: Packet>(
    packet: &mut P,
    headers: &Headers,
    end: End,
    address: u32,
    port: u16,
) -> Option<()> {
    let address_at = headers.network_at
        + match end {
            End::Source => ipv4::SOURCE_AT,
            End::Destination => ipv4::DESTINATION_AT,
        };
    let old = u32::from_be_bytes(*packet.bytes::<4>(address_at)?);
    let difference = Difference::of_u32(old, address);
    // The transport first: only there a field can be missing.
    if headers.transport {
        rewrite_transport(packet, headers, end, port, difference)?;
    }
    *packet.bytes_mut::<4>(address_at)? = address.to_be_bytes();
    let sum = packet.bytes_mut::<2>(headers.network_at + ipv4::CHECKSUM_AT)?;
    *sum = difference.apply(*sum);
    Some(())
}

#[inline(always)]
fn rewrite_transport<P: Packet>(
    packet: &mut P,
    headers: &Headers,
    end: End,
    port: u16,
    address: Difference,
) -> Option<()> {
    let at = headers.transport_at;
    // Of two ports the first is the source's.
    let port_at = match end {
        End::Source => 0,
        End::Destination => 2,
    };
    match headers.protocol {
        protocol::TCP => {
            let header = packet.bytes_mut::<18>(at)?;
            let old = u16::from_be_bytes([header[port_at], header[port_at + 1]]);
            let difference = address.and(Difference::of_u16(old, port));
            let new = port.to_be_bytes();
            header[port_at] = new[0];
            header[port_at + 1] = new[1];
            let sum = difference.apply([header[16], header[17]]);
            header[16] = sum[0];
            header[17] = sum[1];
        }
        protocol::UDP => {
            let header = packet.bytes_mut::<8>(at)?;
            let old = u16::from_be_bytes([header[port_at], header[port_at + 1]]);
            let difference = address.and(Difference::of_u16(old, port));
            let new = port.to_be_bytes();
            header[port_at] = new[0];
            header[port_at + 1] = new[1];
            // RFC 768: zero means that the sender made no checksum.
            if header[6] != 0 || header[7] != 0 {
                let sum = difference.apply_udp([header[6], header[7]]);
                header[6] = sum[0];
                header[7] = sum[1];
            }
        }
        // The checksum of ICMP covers no addresses.
        protocol::ICMP => {
            let header = packet.bytes_mut::<6>(at)?;
            let old = u16::from_be_bytes([header[4], header[5]]);
            let sum = Difference::of_u16(old, port).apply([header[2], header[3]]);
            let new = port.to_be_bytes();
            header[2] = sum[0];
            header[3] = sum[1];
            header[4] = new[0];
            header[5] = new[1];
        }
        _ => {}
    }
    Some(())
}
