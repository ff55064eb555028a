//! The way from one LAN host to another by an outside address.
//!
//! IPv4 (RFC 4787 REQ-9): here is the first half, in which the source becomes the outside address and
//! port that it has on the destination's uplink; the second half is that of a packet from the internet.
//! IPv6 (RFC 6296 section 4.3): both prefixes are translated here.

use super::{
    Decision, errors, fragments, inward, outward,
    stages::UNKNOWN,
    uplink::{hand_over, host},
    uplink_entry,
};
use crate::{
    address::Class,
    family::{Family, V4, V6},
    limits::MAX_UPLINKS,
    nat44::{
        quoted::Quoted,
        translate::{self, End},
    },
    packet::Packet,
    parse::Parsed,
    port::PortEntry,
    state::SharedState,
    tables::Tables,
    transport,
    uplink::UplinkEntry,
    verdict::Verdict,
    wire::{ethernet, protocol},
};

/// A packet from the LAN for an outside address; `flow` is its sender's flow once that was opened.
///
/// # Errors
/// The verdict of a packet that goes no further.
#[inline(always)]
pub fn outward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    port: &PortEntry,
    parsed: &mut Parsed,
    flow: u32,
) -> Result<Decision, Verdict> {
    if parsed.ethertype == ethernet::IPV4 {
        mapped(packet, tables, port, parsed, flow)
    } else {
        prefixed(packet, tables, port, parsed)
    }
}

/// An IPv6 packet for an address under an uplink's prefix.
#[inline(always)]
fn prefixed<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    port: &PortEntry,
    parsed: &Parsed,
) -> Result<Decision, Verdict> {
    let network = &parsed.v6;
    let state = tables.state().ok_or(Verdict::DropInternal)?;
    let uplink = under_prefix(tables, state, parsed)?;
    let inside = V6::inside_of(uplink, network.destination)?;
    match V6::class(tables, state, inside).ok_or(Verdict::DropInternal)? {
        Class::Lan => {}
        Class::Gateway | Class::Internet | Class::OnLink | Class::Special | Class::Outside => {
            return Err(Verdict::PassOnLink);
        }
    }
    if V6::is_martian_source(network.source) {
        return Err(Verdict::DropMartianSource);
    }
    if network.hop_limit <= 1 {
        return Err(Verdict::ReplyTimeExceeded);
    }
    let host = host::<V6, T>(tables, port, network.source, inside);
    if let Some(host) = &host
        && network.len > usize::from(host.mtu)
    {
        return Ok(Decision::too_big(u32::from(host.mtu)));
    }
    V6::leave(packet, parsed.network_at, network, uplink)?;
    V6::arrive(packet, parsed.network_at, network, uplink, inside)?;
    // As it came, the kernel would send it out to the provider; like this, it finds the host.
    let host = host.ok_or(Verdict::PassNoNeighbour)?;
    hand_over::<V6, P>(packet, parsed, &host)
}

/// The uplink whose prefix the destination has.
#[inline(always)]
fn under_prefix<'t, T: Tables>(
    tables: &'t T,
    state: &SharedState,
    parsed: &Parsed,
) -> Result<&'t UplinkEntry, Verdict> {
    for id in 0..MAX_UPLINKS as u8 {
        let uplink = uplink_entry(tables, state, id)?;
        if V6::is_under_prefix(uplink, parsed.v6.destination) {
            return Ok(uplink);
        }
    }
    Err(Verdict::PassOnLink)
}

/// An IPv4 packet for an address of the gateway.
#[inline(always)]
fn mapped<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    port: &PortEntry,
    parsed: &mut Parsed,
    flow: u32,
) -> Result<Decision, Verdict> {
    let network = &parsed.v4;
    let gateways = Verdict::PassGateway;
    let (id, pool) = tables.outside(network.destination).ok_or(gateways)?;
    let state = tables.state().ok_or(Verdict::DropInternal)?;
    if V4::is_error(packet, network) && !network.later_fragment {
        return error(packet, tables, state, parsed, (id, pool));
    }
    if network.later_fragment {
        return Ok(Decision::FRAGMENT);
    }
    // Without ports nobody but the gateway can be meant.
    if !matches!(network.protocol, protocol::TCP | protocol::UDP) {
        return Err(gateways);
    }
    let transport = transport::read(packet, network)?;
    let mut found = (flow != UNKNOWN).then_some(flow);
    if found.is_none() {
        let uplink = uplink_entry(tables, state, id)?;
        // What nobody asked for is still the gateway's own, coming from the LAN.
        inward::owner(tables, state, uplink, network, transport, pool).map_err(|_| gateways)?;
        if network.hop_limit <= 1 {
            return Err(Verdict::ReplyTimeExceeded);
        }
        let key = outward::key(network, transport);
        found = tables.find_flow(state, &key);
        if found.is_none() {
            outward::may_open(network, transport)?;
            tables.prepare_flow(&key, &outward::sender(packet, port)?, id, 0)?;
            return Ok(Decision::OPEN);
        }
    }
    let slot = tables
        .flow(found.unwrap_or(UNKNOWN))
        .ok_or(Verdict::DropInternal)?;
    if slot.uplink() != id {
        return Err(Verdict::DropFiltered);
    }
    let noted = (slot, false);
    outward::note(packet, tables, state, port, parsed, noted, transport)?;
    let outside = slot.outside();
    let headers = outward::headers(parsed, true);
    translate::rewrite(packet, &headers, End::Source, outside.address, outside.port)
        .ok_or(Verdict::DropTruncated)?;
    if parsed.v4.fragment {
        let translated = u64::from(outside.address) << 32 | u64::from(parsed.v4.destination.0);
        let translated = (translated, outside.port);
        fragments::remember_turned_round(packet, tables, state, port, parsed, translated);
    }
    parsed.v4.source.0 = outside.address;
    parsed.v4.ports = u32::from(outside.port) << 16 | transport.ports() & 0xffff;
    Ok(Decision::inward(id, pool))
}

/// An ICMP error from a LAN host about what came to it by an outside address (RFC 5508 REQ-7).
#[inline(always)]
fn error<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    state: &SharedState,
    parsed: &mut Parsed,
    (id, pool): (u8, u16),
) -> Result<Decision, Verdict> {
    let quoted = Quoted::read(packet, &parsed.v4).ok_or(Verdict::PassGateway)?;
    let index = tables
        .find_flow(state, &errors::flow_to_host(&quoted))
        .ok_or(Verdict::PassGateway)?;
    let slot = tables.flow(index).ok_or(Verdict::DropInternal)?;
    if slot.uplink() != id {
        return Err(Verdict::DropUnknownError);
    }
    parsed.v4.source.0 = errors::leave(packet, parsed, &quoted, slot)?;
    Ok(Decision::inward_error(id, pool))
}
