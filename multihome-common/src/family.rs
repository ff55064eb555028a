//! IPv4 and IPv6 as two types of one path: all that differs between the families stands here.

use crate::{
    address::{Address4, Address6, Class},
    checksum,
    hash::{FlowHash, Seed},
    limits::MAX_EXTENSION_HEADERS,
    nat44::quoted::Quoted,
    packet::Packet,
    parse::{self, Network, Parsed},
    port::PortEntry,
    state::{self, Policy, SharedState},
    tables::Tables,
    uplink::{HostEntry, MODE_NPTV6, UplinkEntry},
    verdict::Verdict,
    way::steer::{Ask, Ends},
    wire::{icmp, ipv4, ipv4::Ipv4, ipv6, ipv6::Ipv6, protocol},
};

mod prefixed;
#[cfg(test)]
mod tests;

/// An address family.
pub trait Family {
    /// An address.
    type Address: Copy + Ord + Default;
    /// The family's place in every pair of words.
    const INDEX: usize;

    /// Reads the header at `at`, checks it against itself and the frame, and finds the ports.
    fn parse<P: Packet>(packet: &P, at: usize) -> Result<Network<Self::Address>, Verdict>;

    /// What the parser found of this family.
    fn network(parsed: &Parsed) -> &Network<Self::Address>;

    /// The flow's hash, over what `policy` says. Fragments are hashed by addresses and protocol,
    /// because only the first has ports; so are protocols without ports.
    fn hash(seed: Seed, policy: Policy, ends: &Ends<Self::Address>) -> FlowHash;

    /// Whether this address can never be the source of a packet that is forwarded.
    fn is_martian_source(address: Self::Address) -> bool;

    /// Takes one from TTL or hop limit of the header at `at`.
    fn decrement_hop_limit<P: Packet>(packet: &mut P, at: usize) -> Option<()>;

    /// What an address means to this gateway, by the table in force.
    fn class<T: Tables>(tables: &T, state: &SharedState, address: Self::Address) -> Option<Class>;

    /// The LAN host of this address.
    fn host<T: Tables>(tables: &T, address: Self::Address) -> Option<&HostEntry>;

    /// What the kernel's own tables say of the way to a LAN host.
    fn kernel_route<T: Tables>(
        tables: &T,
        ingress: u32,
        source: Self::Address,
        destination: Self::Address,
    ) -> Option<HostEntry>;

    /// The source of ICMP errors sent from this port, if it has one.
    fn port_address(port: &PortEntry) -> Option<Self::Address>;

    /// Whether the packet is an ICMP error, or a message that might be one.
    fn is_error<P: Packet>(packet: &P, network: &Network<Self::Address>) -> bool;

    /// The flow whose packet this ICMP error from the LAN is about, as far as it quotes it.
    fn quoted_ends<P: Packet>(
        packet: &P,
        network: &Network<Self::Address>,
    ) -> Option<Ends<Self::Address>>;

    /// Which uplink a flow takes.
    ///
    /// # Errors
    /// See [`steer::answer`](crate::way::steer::answer).
    fn steer<T: Tables>(
        tables: &T,
        state: &SharedState,
        ends: &Ends<Self::Address>,
        ask: Ask,
    ) -> Result<u8, Verdict>;

    /// Whether the uplink gives this LAN address another prefix.
    fn has_prefix(uplink: &UplinkEntry, inside: Self::Address) -> bool;

    /// Whether this address is under the prefix that the uplink gives to LAN hosts.
    fn is_under_prefix(uplink: &UplinkEntry, address: Self::Address) -> bool;

    /// Gives a packet from the LAN the uplink's prefix, if it has one for it; an ICMP error's quoted
    /// packet too.
    ///
    /// # Errors
    /// The verdict of a packet that has no address there.
    fn leave<P: Packet>(
        packet: &mut P,
        network_at: usize,
        network: &Network<Self::Address>,
        uplink: &UplinkEntry,
    ) -> Result<(), Verdict>;

    /// The LAN address of one of the uplink's prefix; any other address as it is.
    ///
    /// # Errors
    /// The verdict of a packet for an address of the prefix that no LAN address has.
    fn inside_of(uplink: &UplinkEntry, address: Self::Address) -> Result<Self::Address, Verdict>;

    /// Gives a packet from the uplink the LAN address `inside`; an ICMP error's quoted packet too.
    ///
    /// # Errors
    /// The verdict of a packet that is not whole.
    fn arrive<P: Packet>(
        packet: &mut P,
        network_at: usize,
        network: &Network<Self::Address>,
        uplink: &UplinkEntry,
        inside: Self::Address,
    ) -> Result<(), Verdict>;

    /// Whether this packet may be answered with an ICMP error.
    fn may_answer<P: Packet>(packet: &P, network: &Network<Self::Address>) -> bool;
}

/// IPv4.
pub enum V4 {}
/// IPv6.
pub enum V6 {}

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

/// What a policy hashes besides the inside address: a mask for the remote one, and the word of
/// protocol and ports.
#[inline(always)]
fn covered<A>(policy: Policy, ends: &Ends<A>) -> (u64, u64) {
    let rest = u64::from(ends.ports) | u64::from(ends.protocol) << 32;
    match policy {
        Policy::FiveTuple => (u64::MAX, rest),
        Policy::SourceDestination => (u64::MAX, 0),
        Policy::Source => (0, 0),
    }
}

/// The first byte behind the headers, where the packet has one.
#[inline(always)]
fn first_byte<P: Packet, A>(packet: &P, network: &Network<A>) -> Option<u8> {
    if network.transport_at >= network.end {
        return None;
    }
    packet.bytes::<1>(network.transport_at).map(|byte| byte[0])
}

/// Whether flows of this protocol are told apart by ports.
#[inline(always)]
const fn has_ports(number: u8) -> bool {
    matches!(number, protocol::TCP | protocol::UDP)
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
