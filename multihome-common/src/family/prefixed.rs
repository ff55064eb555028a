//! Packets whose IPv6 prefix is translated (RFC 6296), and those that ICMPv6 errors quote.
//!
//! Translation leaves all checksums as they are: that of a quoted packet is part of the error's own
//! sum, and an address of another prefix adds just as much to it.

use crate::{
    address::Address6,
    nptv6::Translation,
    packet::Packet,
    parse::Network,
    verdict::Verdict,
    way::steer::Ends,
    wire::{icmp, ipv6, ipv6::Ipv6, protocol},
};

/// Sets the source of a packet from the LAN, and the destination of what an error quotes.
#[inline(always)]
pub(super) fn leave<P: Packet>(
    packet: &mut P,
    network_at: usize,
    network: &Network<Address6>,
    prefix: &Translation,
) -> Result<(), Verdict> {
    let outside = prefix.outward(network.source);
    let outside = outside.ok_or(Verdict::DropNoPrefix)?;
    if let Some(at) = quoted_at(packet, network) {
        let at = at + ipv6::DESTINATION_AT;
        if let Some(quoted) = read(packet, at)
            && let Some(quoted) = prefix.outward(quoted)
        {
            write(packet, at, quoted)?;
        }
    }
    write(packet, network_at + ipv6::SOURCE_AT, outside)
}

/// Sets the destination of a packet for the LAN host `inside`, and the source of what an error
/// quotes.
#[inline(always)]
pub(super) fn arrive<P: Packet>(
    packet: &mut P,
    network_at: usize,
    network: &Network<Address6>,
    prefix: &Translation,
    inside: Address6,
) -> Result<(), Verdict> {
    if let Some(at) = quoted_at(packet, network) {
        let at = at + ipv6::SOURCE_AT;
        if let Some(quoted) = read(packet, at)
            && let Some(quoted) = prefix.inward(quoted)
        {
            write(packet, at, quoted)?;
        }
    }
    write(packet, network_at + ipv6::DESTINATION_AT, inside)
}

/// The flow whose packet an ICMPv6 error quotes.
#[inline(always)]
pub(super) fn quoted_ends<P: Packet>(
    packet: &P,
    network: &Network<Address6>,
) -> Option<Ends<Address6>> {
    let at = network.transport_at + icmp::LEN;
    let header = Ipv6::at(packet, at)?;
    let number = header.next_header();
    let needed = match number {
        protocol::TCP | protocol::UDP => 4,
        _ => 0,
    };
    if header.version() != 6 || at + ipv6::LEN + needed > network.end {
        return None;
    }
    let (inside, remote) = (header.destination(), header.source());
    let ports = match number {
        protocol::TCP | protocol::UDP => {
            u32::from_be_bytes(*packet.bytes::<4>(at + ipv6::LEN)?).rotate_left(16)
        }
        _ => 0,
    };
    Some(Ends {
        inside,
        remote,
        protocol: number,
        ports,
    })
}

/// Where the packet begins that an ICMPv6 error quotes; `None` when this is no error, or quotes not
/// even a header.
#[inline(always)]
fn quoted_at<P: Packet>(packet: &P, network: &Network<Address6>) -> Option<usize> {
    if network.protocol != protocol::ICMP6 || network.later_fragment {
        return None;
    }
    let kind = packet.bytes::<1>(network.transport_at)?[0];
    let at = network.transport_at + icmp::LEN;
    (icmp::v6_is_error(kind) && at + ipv6::LEN <= network.end).then_some(at)
}

#[inline(always)]
fn read<P: Packet>(packet: &P, at: usize) -> Option<Address6> {
    packet
        .bytes::<16>(at)
        .map(|bytes| Address6::from_bytes(*bytes))
}

#[inline(always)]
fn write<P: Packet>(packet: &mut P, at: usize, address: Address6) -> Result<(), Verdict> {
    let field = packet.bytes_mut::<16>(at).ok_or(Verdict::DropTruncated)?;
    *field = address.bytes();
    Ok(())
}
