//! What the rules say of a packet from the LAN: asked once, before anything is decided about it.

use crate::{
    family::{Family, V4, V6},
    packet::Packet,
    parse::Parsed,
    port::PortEntry,
    rules::{self, Facts, Judged},
    state::IPV4,
    tables::Tables,
    transport,
    verdict::Verdict,
    way::steer::Ends,
    wire::{ethernet, protocol},
};

/// Notes in `parsed` what the rules in force say: see [`SharedState::rulebook`].
///
/// [`SharedState::rulebook`]: crate::state::SharedState::rulebook
///
/// # Errors
/// [`Verdict::DropInternal`] when there is no such copy.
#[inline(always)]
pub fn judge<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    port: &PortEntry,
    parsed: &mut Parsed,
    in_force: u32,
) -> Result<(), Verdict> {
    parsed.judged = if parsed.ethertype == ethernet::IPV4 {
        judged::<V4, P, T>(packet, tables, port, parsed, in_force)?
    } else {
        judged::<V6, P, T>(packet, tables, port, parsed, in_force)?
    };
    Ok(())
}

#[inline(always)]
fn judged<F: Family, P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    port: &PortEntry,
    parsed: &Parsed,
    in_force: u32,
) -> Result<Judged, Verdict> {
    let facts = Facts {
        ends: ends::<F, P, T>(packet, tables, parsed),
        dscp: F::dscp(packet, parsed.network_at),
        slot: port.slot,
    };
    rules::judge::<F, T>(tables, in_force, &facts)
}

/// The port of DNS servers.
const DNS: u32 = 53;

/// Whether one of the ports (source << 16 | destination) is that of DNS.
#[inline(always)]
pub const fn has_dns_port(ports: u32) -> bool {
    ports >> 16 == DNS || ports & 0xffff == DNS
}

/// Whether the packet, as it came in, may be a message of DNS.
#[inline(always)]
pub const fn is_dns(parsed: &Parsed) -> bool {
    let (number, ports) = if parsed.ethertype == ethernet::IPV4 {
        (parsed.v4.protocol, parsed.v4.ports)
    } else {
        (parsed.v6.protocol, parsed.v6.ports)
    };
    number == protocol::UDP && has_dns_port(ports)
}

/// The ends of the flow that a packet belongs to: those that an ICMP error quotes, else its own, with the ports
/// of a first fragment where the later ones follow it.
#[inline(always)]
fn ends<F: Family, P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    parsed: &Parsed,
) -> Ends<F::Address> {
    let network = F::network(parsed);
    let mut ends = Ends::outward(network);
    if network.later_fragment {
        return ends;
    }
    if F::is_error(packet, network) {
        return F::quoted_ends(packet, network).unwrap_or(ends);
    }
    let followed = F::INDEX == IPV4
        && network.fragment
        && tables.state().is_some_and(|state| state.is_tracked(IPV4));
    if followed
        && matches!(network.protocol, protocol::TCP | protocol::UDP)
        && let Ok(transport) = transport::read(packet, network)
    {
        ends.ports = transport.ports();
    }
    ends
}
