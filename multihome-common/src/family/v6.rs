//! IPv6: what of the path differs from IPv4.

use super::{Family, V6, covered, first_byte, has_ports, prefixed};
use crate::{
    address::{Address6, Class},
    hash::{FlowHash, Seed},
    limits::MAX_EXTENSION_HEADERS,
    packet::Packet,
    parse::{self, Network, Parsed},
    port::PortEntry,
    state::{self, Policy, SharedState},
    tables::Tables,
    uplink::{HostEntry, MODE_NPTV6, UplinkEntry},
    verdict::Verdict,
    way::steer::{Ask, Ends},
    wire::{ethernet, icmp, ipv6, ipv6::Ipv6, protocol},
};

impl Family for V6 {
    type Address = Address6;
    const INDEX: usize = state::IPV6;

    #[inline(always)]
    fn parse<P: Packet>(packet: &P, at: usize) -> Result<Network<Address6>, Verdict> {
        let header = Ipv6::at(packet, at).ok_or(Verdict::DropTruncated)?;
        if header.version() != 6 {
            return Err(Verdict::DropBadHeader);
        }
        let len = ipv6::LEN + header.payload_len();
        if packet.len() < at + len {
            return Err(Verdict::DropTruncated);
        }
        let mut network = Network {
            source: header.source(),
            destination: header.destination(),
            protocol: header.next_header(),
            hop_limit: header.hop_limit(),
            fragment: false,
            later_fragment: false,
            len,
            transport_at: at + ipv6::LEN,
            end: at + len,
            ports: 0,
        };
        let end = network.end;
        walk_extension_headers(packet, &mut network, end)?;
        if !network.fragment && has_ports(network.protocol) {
            if end < network.transport_at + 4 {
                return Err(Verdict::DropTruncated);
            }
            network.ports = parse::ports(packet, network.transport_at)?;
        }
        Ok(network)
    }

    #[inline(always)]
    fn plain<P: Packet>(packet: &P) -> Option<Network<Address6>> {
        let header = Ipv6::at(packet, ethernet::LEN)?;
        if !has_ports(header.next_header()) {
            return None;
        }
        Self::parse(packet, ethernet::LEN).ok()
    }

    #[inline(always)]
    fn network(parsed: &Parsed) -> &Network<Address6> {
        &parsed.v6
    }

    #[inline(always)]
    fn hash(seed: Seed, policy: Policy, ends: &Ends<Address6>) -> FlowHash {
        let (remote, rest) = covered(policy, ends);
        FlowHash::new(
            seed,
            [
                ends.inside.high,
                ends.inside.low,
                ends.remote.high & remote,
                ends.remote.low & remote,
                rest,
            ],
        )
    }

    #[inline(always)]
    fn known_hash(state: &SharedState, ends: &Ends<Address6>) -> FlowHash {
        Self::hash(state.seed, Policy::FiveTuple, ends)
    }

    #[inline(always)]
    fn destination_at<P: Packet>(packet: &P, network_at: usize) -> Option<Address6> {
        packet
            .bytes(network_at + 24)
            .copied()
            .map(Address6::from_bytes)
    }

    #[inline(always)]
    fn is_martian_source(address: Address6) -> bool {
        // RFC 4291 sections 2.5.2, 2.5.3, 2.5.6 and 2.7: unspecified and loopback, link-local,
        // multicast.
        (address.high == 0 && address.low <= 1)
            || address.high >> 54 == 0xfe80 >> 6
            || address.high >> 56 == 0xff
    }

    #[inline(always)]
    fn decrement_hop_limit<P: Packet>(packet: &mut P, at: usize) -> Option<()> {
        let hop_limit = packet.bytes_mut::<1>(at + ipv6::HOP_LIMIT_AT)?;
        hop_limit[0] = hop_limit[0].wrapping_sub(1);
        Some(())
    }

    #[inline(always)]
    fn class<T: Tables>(tables: &T, state: &SharedState, address: Address6) -> Option<Class> {
        tables.class6(state.address_copy(Self::INDEX), address)
    }

    #[inline(always)]
    fn host<T: Tables>(tables: &T, address: Address6) -> Option<&HostEntry> {
        tables.host6(address)
    }

    #[inline(always)]
    fn kernel_route<T: Tables>(
        tables: &T,
        ingress: u32,
        source: Address6,
        destination: Address6,
    ) -> Option<HostEntry> {
        tables.kernel_route6(ingress, source, destination)
    }

    #[inline(always)]
    fn port_address(port: &PortEntry) -> Option<Address6> {
        let address = Address6::from_bytes(port.address6);
        (address != Address6::default()).then_some(address)
    }

    #[inline(always)]
    fn dscp<P: Packet>(packet: &P, network_at: usize) -> u8 {
        // The traffic class stands behind the version's four bits (RFC 8200 section 3).
        match packet.bytes::<2>(network_at) {
            Some(bytes) => (bytes[0] << 2 | bytes[1] >> 6) & 0x3f,
            None => 0,
        }
    }

    #[inline(always)]
    fn by_source<T: Tables>(tables: &T, copy: u32, address: Address6) -> Option<u32> {
        tables.by_source6(copy, address)
    }

    #[inline(always)]
    fn by_destination<T: Tables>(tables: &T, copy: u32, address: Address6) -> Option<u32> {
        tables.by_destination6(copy, address)
    }

    #[inline(always)]
    fn domain<T: Tables>(tables: &T, side: u32, address: Address6) -> u32 {
        tables.domain(side, [address.high, address.low])
    }

    #[inline(always)]
    fn may_answer<P: Packet>(packet: &P, network: &Network<Address6>) -> bool {
        // RFC 4443 section 2.4 (e): never about an ICMPv6 error. About a later fragment it may,
        // but then nobody can tell whether it belongs to an error.
        if network.later_fragment {
            return false;
        }
        !Self::is_error(packet, network)
    }

    #[inline(always)]
    fn is_error<P: Packet>(packet: &P, network: &Network<Address6>) -> bool {
        network.protocol == protocol::ICMP6
            && !first_byte(packet, network).is_some_and(icmp::v6_is_query)
    }

    #[inline(always)]
    fn quoted_ends<P: Packet>(packet: &P, network: &Network<Address6>) -> Option<Ends<Address6>> {
        prefixed::quoted_ends(packet, network)
    }

    #[inline(always)]
    fn steer<T: Tables>(
        tables: &T,
        state: &SharedState,
        ends: &Ends<Address6>,
        ask: Ask,
    ) -> Result<u8, Verdict> {
        tables.steer6(state, ends, ask)
    }

    #[inline(always)]
    fn has_prefix(uplink: &UplinkEntry, inside: Address6) -> bool {
        uplink.mode[Self::INDEX] == MODE_NPTV6 && uplink.prefix.is_inside(inside)
    }

    #[inline(always)]
    fn is_under_prefix(uplink: &UplinkEntry, address: Address6) -> bool {
        uplink.mode[Self::INDEX] == MODE_NPTV6 && uplink.prefix.is_outside(address)
    }

    #[inline(always)]
    fn leave<P: Packet>(
        packet: &mut P,
        network_at: usize,
        network: &Network<Address6>,
        uplink: &UplinkEntry,
    ) -> Result<(), Verdict> {
        if !Self::has_prefix(uplink, network.source) {
            return Ok(());
        }
        prefixed::leave(packet, network_at, network, &uplink.prefix)
    }

    #[inline(always)]
    fn inside_of(uplink: &UplinkEntry, address: Address6) -> Result<Address6, Verdict> {
        if !Self::is_under_prefix(uplink, address) {
            return Ok(address);
        }
        uplink.prefix.inward(address).ok_or(Verdict::DropNoPrefix)
    }

    #[inline(always)]
    fn arrive<P: Packet>(
        packet: &mut P,
        network_at: usize,
        network: &Network<Address6>,
        uplink: &UplinkEntry,
        inside: Address6,
    ) -> Result<(), Verdict> {
        if inside == network.destination {
            return Ok(());
        }
        prefixed::arrive(packet, network_at, network, &uplink.prefix, inside)
    }
}

/// Moves `network` behind the extension headers, up to the transport, the fragment header of a
/// fragment, or the limit.
///
/// The number in the fragment header is the same in every fragment of a datagram, and what follows
/// it is not, so the walk ends there: all fragments hash alike.
#[inline(always)]
fn walk_extension_headers<P: Packet>(
    packet: &P,
    network: &mut Network<Address6>,
    end: usize,
) -> Result<(), Verdict> {
    for _ in 0..MAX_EXTENSION_HEADERS {
        let len = match network.protocol {
            protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::DESTINATION_OPTIONS
            | protocol::MOBILITY => {
                let head = packet
                    .bytes::<2>(network.transport_at)
                    .ok_or(Verdict::DropTruncated)?;
                network.protocol = head[0];
                (usize::from(head[1]) + 1) * 8
            }
            // RFC 4302 section 2.2: in units of four bytes, less two.
            protocol::AUTHENTICATION => {
                let head = packet
                    .bytes::<2>(network.transport_at)
                    .ok_or(Verdict::DropTruncated)?;
                network.protocol = head[0];
                (usize::from(head[1]) + 2) * 4
            }
            protocol::FRAGMENT => {
                let head = packet
                    .bytes::<4>(network.transport_at)
                    .ok_or(Verdict::DropTruncated)?;
                let word = u16::from_be_bytes([head[2], head[3]]);
                network.protocol = head[0];
                // An atomic fragment (RFC 6946) is a whole datagram: offset 0, nothing follows.
                network.fragment = word & 0xfff9 != 0;
                network.later_fragment = word & 0xfff8 != 0;
                ipv6::FRAGMENT_LEN
            }
            _ => return Ok(()),
        };
        network.transport_at += len;
        if network.transport_at > end {
            return Err(Verdict::DropTruncated);
        }
        if network.fragment {
            return Ok(());
        }
    }
    Ok(())
}
