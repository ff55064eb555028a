//! IPv4 and IPv6 as two types of one path: all that differs between the families stands here.

use crate::{
    address::Class,
    hash::{FlowHash, Seed},
    packet::Packet,
    parse::{Network, Parsed},
    port::PortEntry,
    state::{Policy, SharedState},
    tables::Tables,
    uplink::{HostEntry, UplinkEntry},
    verdict::Verdict,
    way::steer::{Ask, Ends},
    wire::protocol,
};

mod prefixed;
#[cfg(test)]
mod tests;
mod v4;
mod v6;

/// An address family.
pub trait Family {
    /// An address.
    type Address: Copy + Ord + Default;
    /// The family's place in every pair of words.
    const INDEX: usize;

    /// Reads the header at `at`, checks it against itself and the frame, and finds the ports.
    fn parse<P: Packet>(packet: &P, at: usize) -> Result<Network<Self::Address>, Verdict>;

    /// What [`Family::parse`] finds in a frame without tags, when it is a whole packet of TCP or UDP
    /// without options or extension headers; `None` for all others.
    fn plain<P: Packet>(packet: &P) -> Option<Network<Self::Address>>;

    /// What the parser found of this family.
    fn network(parsed: &Parsed) -> &Network<Self::Address>;

    /// The flow's hash, over what `policy` says. Fragments are hashed by addresses and protocol,
    /// because only the first has ports; so are protocols without ports.
    fn hash(seed: Seed, policy: Policy, ends: &Ends<Self::Address>) -> FlowHash;

    /// The hash by which the short way knows a flow with ports: its record's, where addresses are
    /// translated, else its pin's.
    fn known_hash(state: &SharedState, ends: &Ends<Self::Address>) -> FlowHash;

    /// The destination in the header at `network_at`, as it is now.
    fn destination_at<P: Packet>(packet: &P, network_at: usize) -> Option<Self::Address>;

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

    /// The DSCP of the header at `network_at` (RFC 2474): 0 to 63.
    fn dscp<P: Packet>(packet: &P, network_at: usize) -> u8;

    /// The rulebook's value for this source: see [`Pieces`](crate::rules::Pieces).
    fn by_source<T: Tables>(tables: &T, copy: u32, address: Self::Address) -> Option<u32>;

    /// The rulebook's value for this destination.
    fn by_destination<T: Tables>(tables: &T, copy: u32, address: Self::Address) -> Option<u32>;

    /// The class of the domains that an address belongs to: see [`Tables::domain`].
    fn domain<T: Tables>(tables: &T, side: u32, address: Self::Address) -> u32;

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
