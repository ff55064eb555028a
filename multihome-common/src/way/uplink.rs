//! From an uplink: to the LAN host that the packet is for; all else is the kernel's.

use super::{
    Decision, steer,
    steer::{Ask, Ends},
    uplink_entry,
};
use crate::{
    address::Class,
    family::{Family, V4, V6},
    packet::Packet,
    parse::Parsed,
    port::PortEntry,
    rewrite,
    state::{IPV4, SharedState},
    tables::Tables,
    uplink::{HostEntry, MODE_NAT44, UplinkEntry},
    verdict::Verdict,
    wire::ethernet,
};

/// Decides about a packet that came in on the uplink `port`, or names the stage that does; rewrites
/// what is forwarded.
///
/// What is to be answered is left as it came in: see [`super::stages`].
#[inline(always)]
pub fn decide<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    port: &PortEntry,
    parsed: &Parsed,
) -> Decision {
    let decision = if parsed.ethertype == ethernet::IPV4 {
        deliver::<V4, P, T>(packet, tables, port, parsed)
    } else {
        deliver::<V6, P, T>(packet, tables, port, parsed)
    };
    decision.unwrap_or_else(Decision::from)
}

#[inline(always)]
fn deliver<F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    port: &PortEntry,
    parsed: &Parsed,
) -> Result<Decision, Verdict> {
    let network = F::network(parsed);
    let state = tables.state().ok_or(Verdict::DropInternal)?;
    let id = port.slot as u8 & 63;
    let uplink = uplink_entry(tables, state, id)?;
    if F::INDEX == IPV4
        && state.is_tracked(IPV4)
        && let Some(decision) = translated(packet, uplink, id, parsed)
    {
        return Ok(decision);
    }
    let class = |address| F::class(tables, state, address).ok_or(Verdict::DropInternal);
    // An address that has the gateway's own class is no LAN host's under any prefix.
    let mut destination = network.destination;
    let mut destination_class = class(destination)?;
    if !matches!(destination_class, Class::Gateway | Class::Special) {
        destination = F::inside_of(uplink, destination)?;
        if destination != network.destination {
            destination_class = class(destination)?;
        }
    }
    match destination_class {
        Class::Lan => {}
        Class::Gateway => return Err(Verdict::PassGateway),
        Class::OnLink | Class::Internet | Class::Outside => return Err(Verdict::PassNotOurs),
        Class::Special => return Err(Verdict::PassSpecial),
    }
    check_source::<F, T>(tables, state, network.source)?;
    if network.hop_limit <= 1 {
        return Err(Verdict::ReplyTimeExceeded);
    }
    // Before the host is sought: when the kernel delivers the first packet, the answer comes here.
    note::<F, P, T>(packet, tables, state, parsed, destination, id);
    let Some(host) = host::<F, T>(tables, port, network.source, destination) else {
        // The kernel, which is to find the host, knows it by its inside address alone.
        F::arrive(packet, parsed.network_at, network, uplink, destination)?;
        return Err(Verdict::PassNoNeighbour);
    };
    if network.len > usize::from(host.mtu) {
        return Ok(Decision::too_big(u32::from(host.mtu)));
    }
    F::arrive(packet, parsed.network_at, network, uplink, destination)?;
    hand_over::<F, P>(packet, parsed, &host)
}

/// Checks the source of a packet that came in on an uplink.
///
/// BCP 38, seen from inside: nobody out there speaks with a LAN's or the gateway's address.
///
/// # Errors
/// The verdict of a packet that bears one.
#[inline(always)]
pub(super) fn check_source<F: Family, T: Tables>(
    tables: &T,
    state: &SharedState,
    source: F::Address,
) -> Result<(), Verdict> {
    let class = F::class(tables, state, source).ok_or(Verdict::DropInternal)?;
    if F::is_martian_source(source) || matches!(class, Class::Lan | Class::Gateway) {
        return Err(Verdict::DropMartianSource);
    }
    Ok(())
}

/// Where a LAN host is; `None` when its MAC is not known.
#[inline(always)]
pub(super) fn host<F: Family, T: Tables>(
    tables: &T,
    port: &PortEntry,
    source: F::Address,
    inside: F::Address,
) -> Option<HostEntry> {
    match F::host(tables, inside) {
        Some(host) => Some(*host),
        // Hosts behind a router in the LAN, and those the controller has not seen yet.
        None => F::kernel_route(tables, port.layer3, source, inside),
    }
}

/// Which stage decides about an IPv4 packet for an outside address of the uplink; `None` when it is
/// for none.
#[inline(always)]
fn translated<P: Packet>(
    packet: &P,
    uplink: &UplinkEntry,
    id: u8,
    parsed: &Parsed,
) -> Option<Decision> {
    let network = &parsed.v4;
    if uplink.mode[IPV4] != MODE_NAT44 {
        return None;
    }
    let place = uplink.outside_place(network.destination.0)?;
    Some(if network.later_fragment {
        Decision::FRAGMENT
    } else if V4::is_error(packet, network) {
        Decision::inward_error(id, uplink.pool + place)
    } else {
        Decision::inward(id, uplink.pool + place)
    })
}

/// Notes which uplink the flow came by, so that it is answered the same way.
#[inline(always)]
fn note<F: Family, P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    state: &SharedState,
    parsed: &Parsed,
    inside: F::Address,
    id: u8,
) {
    let network = F::network(parsed);
    // Errors belong to the flow that they are about.
    if F::may_answer(packet, network) {
        let flags = steer::tcp_flags(packet, network);
        let ends = Ends::inward(network, inside);
        // The answer is the uplink that was told.
        let _ = F::steer(tables, state, &ends, Ask::note_inward(id, flags));
    }
}

/// Sends the packet, as it is, to a LAN host.
#[inline(always)]
pub(super) fn hand_over<F: Family, P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    host: &HostEntry,
) -> Result<Decision, Verdict> {
    if F::network(parsed).len > usize::from(host.mtu) {
        return Ok(Decision::too_big(u32::from(host.mtu)));
    }
    forward::<F, P>(packet, parsed.network_at, host)
}

/// The last step to a LAN host whose port can take the packet.
#[inline(always)]
pub(super) fn forward<F: Family, P: Packet>(
    packet: &mut P,
    network_at: usize,
    host: &HostEntry,
) -> Result<Decision, Verdict> {
    rewrite::forward::<F, P>(packet, network_at, &host.hop).ok_or(Verdict::DropInternal)?;
    Ok(Decision::forward(host.slot, F::INDEX))
}
