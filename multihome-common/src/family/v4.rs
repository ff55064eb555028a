//! IPv4: what of the path differs from IPv6.

use super::{Family, V4, covered, first_byte, has_ports};
use crate::{
    address::{Address4, Class},
    checksum,
    hash::{FlowHash, Seed},
    nat44::quoted::Quoted,
    packet::Packet,
    parse::{self, Network, Parsed},
    port::PortEntry,
    state::{self, Policy, SharedState},
    tables::Tables,
    uplink::{HostEntry, UplinkEntry},
    verdict::Verdict,
    way::steer::{Ask, Ends},
    wire::{ethernet, icmp, ipv4, ipv4::Ipv4, protocol},
};

impl Family for V4 {
    type Address = Address4;
    const INDEX: usize = state::IPV4;

    #[inline(always)]
    fn parse<P: Packet>(packet: &P, at: usize) -> Result<Network<Address4>, Verdict> {
        let header = Ipv4::at(packet, at).ok_or(Verdict::DropTruncated)?;
        let header_len = header.header_len();
        let len = header.total_len();
        if header.version() != 4 || header_len < ipv4::LEN || len < header_len {
            return Err(Verdict::DropBadHeader);
        }
        // RFC 1812 section 5.2.2: a router verifies the checksum before it looks further.
        let mut sum = checksum::sum_bytes(header.0);
        for word in 0..10 {
            let option_at = ipv4::LEN + word * 4;
            if option_at >= header_len {
                break;
            }
            let option = packet
                .bytes::<4>(at + option_at)
                .ok_or(Verdict::DropTruncated)?;
            sum += checksum::sum_u32(u32::from_be_bytes(*option));
        }
        if checksum::fold(sum) != 0xffff {
            return Err(Verdict::DropBadChecksum);
        }
        if packet.len() < at + len {
            return Err(Verdict::DropTruncated);
        }
        let fragment_word = header.fragment_word();
        let transport_at = at + header_len;
        let mut network = Network {
            source: header.source(),
            destination: header.destination(),
            protocol: header.protocol(),
            hop_limit: header.ttl(),
            fragment: fragment_word & ipv4::FRAGMENT_MASK != 0,
            later_fragment: fragment_word & ipv4::OFFSET_MASK != 0,
            len,
            transport_at,
            end: at + len,
            ports: 0,
        };
        if !network.fragment && has_ports(network.protocol) {
            if len < header_len + 4 {
                return Err(Verdict::DropTruncated);
            }
            network.ports = parse::ports(packet, transport_at)?;
        }
        Ok(network)
    }

    #[inline(always)]
    fn plain<P: Packet>(packet: &P) -> Option<Network<Address4>> {
        let header = Ipv4::at(packet, ethernet::LEN)?;
        let fragment = header.fragment_word() & ipv4::FRAGMENT_MASK != 0;
        if header.0[0] != ipv4::PLAIN || fragment || !has_ports(header.protocol()) {
            return None;
        }
        Self::parse(packet, ethernet::LEN).ok()
    }

    #[inline(always)]
    fn network(parsed: &Parsed) -> &Network<Address4> {
        &parsed.v4
    }

    #[inline(always)]
    fn hash(seed: Seed, policy: Policy, ends: &Ends<Address4>) -> FlowHash {
        let (remote, rest) = covered(policy, ends);
        let remote = u64::from(ends.remote.0) & remote;
        FlowHash::new(seed, [u64::from(ends.inside.0) << 32 | remote, rest])
    }

    #[inline(always)]
    fn known_hash(state: &SharedState, ends: &Ends<Address4>) -> FlowHash {
        if state.is_tracked(state::IPV4) {
            crate::flow::FlowKey::v4(ends.inside.0, ends.remote.0, ends.ports, ends.protocol)
                .hash(state.seed)
        } else {
            Self::hash(state.seed, Policy::FiveTuple, ends)
        }
    }

    #[inline(always)]
    fn destination_at<P: Packet>(packet: &P, network_at: usize) -> Option<Address4> {
        packet
            .bytes(network_at + 16)
            .copied()
            .map(Address4::from_bytes)
    }

    #[inline(always)]
    fn is_martian_source(address: Address4) -> bool {
        // RFC 1812 section 5.3.7 and RFC 3927 section 2.7: "this network", loopback, link-local,
        // multicast and reserved.
        let first = address.0 >> 24;
        first == 0 || first == 127 || first >= 224 || address.0 >> 16 == 0xa9fe
    }

    #[inline(always)]
    fn decrement_hop_limit<P: Packet>(packet: &mut P, at: usize) -> Option<()> {
        let bytes = packet.bytes_mut::<4>(at + ipv4::TTL_AT)?;
        let old = u16::from_be_bytes([bytes[0], bytes[1]]);
        let new = old.wrapping_sub(0x0100);
        let sum = u16::from_be_bytes([bytes[2], bytes[3]]);
        let sum = checksum::replace(sum, old, new).to_be_bytes();
        let new = new.to_be_bytes();
        *bytes = [new[0], new[1], sum[0], sum[1]];
        Some(())
    }

    #[inline(always)]
    fn class<T: Tables>(tables: &T, state: &SharedState, address: Address4) -> Option<Class> {
        tables.class4(state.address_copy(Self::INDEX), address)
    }

    #[inline(always)]
    fn host<T: Tables>(tables: &T, address: Address4) -> Option<&HostEntry> {
        tables.host4(address)
    }

    #[inline(always)]
    fn kernel_route<T: Tables>(
        tables: &T,
        ingress: u32,
        source: Address4,
        destination: Address4,
    ) -> Option<HostEntry> {
        tables.kernel_route4(ingress, source, destination)
    }

    #[inline(always)]
    fn port_address(port: &PortEntry) -> Option<Address4> {
        let address = Address4::from_bytes(port.address4);
        (address.0 != 0).then_some(address)
    }

    #[inline(always)]
    fn dscp<P: Packet>(packet: &P, network_at: usize) -> u8 {
        match packet.bytes::<2>(network_at) {
            Some(bytes) => bytes[1] >> 2,
            None => 0,
        }
    }

    #[inline(always)]
    fn by_source<T: Tables>(tables: &T, copy: u32, address: Address4) -> Option<u32> {
        tables.by_source4(copy, address)
    }

    #[inline(always)]
    fn by_destination<T: Tables>(tables: &T, copy: u32, address: Address4) -> Option<u32> {
        tables.by_destination4(copy, address)
    }

    #[inline(always)]
    fn domain<T: Tables>(tables: &T, side: u32, address: Address4) -> u32 {
        tables.domain(side, [0, 0xffff << 32 | u64::from(address.0)])
    }

    #[inline(always)]
    fn may_answer<P: Packet>(packet: &P, network: &Network<Address4>) -> bool {
        // RFC 1122 section 3.2.2: never about an ICMP error or a later fragment. Broadcast and
        // multicast never come this far.
        if network.later_fragment {
            return false;
        }
        !Self::is_error(packet, network)
    }

    #[inline(always)]
    fn is_error<P: Packet>(packet: &P, network: &Network<Address4>) -> bool {
        network.protocol == protocol::ICMP
            && !first_byte(packet, network).is_some_and(icmp::v4_is_query)
    }

    #[inline(always)]
    fn quoted_ends<P: Packet>(packet: &P, network: &Network<Address4>) -> Option<Ends<Address4>> {
        let quoted = Quoted::read(packet, network)?;
        let ports = match quoted.protocol {
            protocol::TCP | protocol::UDP => quoted.ports.rotate_left(16),
            _ => 0,
        };
        Some(Ends {
            inside: Address4(quoted.destination),
            remote: Address4(quoted.source),
            protocol: quoted.protocol,
            ports,
        })
    }

    #[inline(always)]
    fn steer<T: Tables>(
        tables: &T,
        state: &SharedState,
        ends: &Ends<Address4>,
        ask: Ask,
    ) -> Result<u8, Verdict> {
        tables.steer4(state, ends, ask)
    }

    #[inline(always)]
    fn has_prefix(_: &UplinkEntry, _: Address4) -> bool {
        false
    }

    #[inline(always)]
    fn is_under_prefix(_: &UplinkEntry, _: Address4) -> bool {
        false
    }

    #[inline(always)]
    fn leave<P: Packet>(
        _: &mut P,
        _: usize,
        _: &Network<Address4>,
        _: &UplinkEntry,
    ) -> Result<(), Verdict> {
        Ok(())
    }

    #[inline(always)]
    fn inside_of(_: &UplinkEntry, address: Address4) -> Result<Address4, Verdict> {
        Ok(address)
    }

    #[inline(always)]
    fn arrive<P: Packet>(
        _: &mut P,
        _: usize,
        _: &Network<Address4>,
        _: &UplinkEntry,
        _: Address4,
    ) -> Result<(), Verdict> {
        Ok(())
    }
}
