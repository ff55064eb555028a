//! The way of ICMP errors while uplinks translate: an error belongs to the flow whose packet it
//! quotes, and both are translated (RFC 5508 section 4).

use super::{Decision, lan, outward::headers, uplink::hand_over, uplink_entry};
use crate::{
    family::{V4, V6},
    flow::{
        FlowKey,
        slot::{FlowSlot, Outside},
    },
    nat44::{
        open::pair_number,
        ports::{self, Space},
        quoted::Quoted,
        translate::{self, End},
    },
    packet::Packet,
    parse::Parsed,
    state::{IPV4, SharedState},
    tables::Tables,
    verdict::Verdict,
    wire::ethernet,
};

/// An error that a LAN host, or a router before it, sends about a packet that came from the internet.
///
/// # Errors
/// The verdict of one that is not sent.
#[inline(always)]
pub fn outward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
) -> Result<Decision, Verdict> {
    let state = tables.state().ok_or(Verdict::DropInternal)?;
    if parsed.ethertype != ethernet::IPV4 {
        return lan::steer_error::<V6, P, T>(packet, tables, state, parsed);
    }
    if state.is_tracked(IPV4)
        && let Some(quoted) = Quoted::read(packet, &parsed.v4)
        && let Some(index) = tables.find_flow(state, &flow_to_host(&quoted))
    {
        return translated_outward(packet, tables, state, parsed, &quoted, index);
    }
    lan::steer_error::<V4, P, T>(packet, tables, state, parsed)
}

/// The flow of a quoted packet that was on its way to a LAN host: its destination is the inside end.
#[inline(always)]
pub(super) const fn flow_to_host(quoted: &Quoted) -> FlowKey {
    FlowKey::v4(
        quoted.destination,
        quoted.source,
        inside_first(quoted, quoted.ports.rotate_left(16)),
        quoted.protocol,
    )
}

#[inline(always)]
fn translated_outward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    state: &SharedState,
    parsed: &Parsed,
    quoted: &Quoted,
    index: u32,
) -> Result<Decision, Verdict> {
    let network = &parsed.v4;
    let slot = tables.flow(index).ok_or(Verdict::DropInternal)?;
    let id = slot.uplink();
    let uplink = uplink_entry(tables, state, id)?;
    if !state.is_alive(IPV4, id) {
        return Err(Verdict::DropUnknownError);
    }
    // Nothing is answered about an error.
    if network.len > usize::from(uplink.mtu) {
        return Err(Verdict::DropTooBig);
    }
    leave(packet, parsed, quoted, slot)?;
    lan::send::<V4, P>(packet, parsed, uplink, id)
}

/// Gives an error from a LAN host, and what it quotes, the outside end of its flow.
#[inline(always)]
pub(super) fn leave<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    quoted: &Quoted,
    slot: &FlowSlot,
) -> Result<u32, Verdict> {
    let network = &parsed.v4;
    let outside = slot.outside();
    let end_at = parsed.network_at + network.len;
    let inner = (outside.address, outside.port);
    quoted
        .rewrite(
            packet,
            network.transport_at,
            end_at,
            End::Destination,
            inner,
        )
        .ok_or(Verdict::DropInternal)?;
    let headers = headers(parsed, false);
    translate::rewrite(packet, &headers, End::Source, outside.address, 0)
        .ok_or(Verdict::DropInternal)?;
    Ok(outside.address)
}

/// An error about a packet that left with an outside address of uplink `id`, whose part of the port
/// table is `pool`.
///
/// # Errors
/// The verdict of one that is not handed over.
#[inline(always)]
pub fn inward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    (id, pool): (u8, u16),
) -> Result<Decision, Verdict> {
    let network = &parsed.v4;
    let state = tables.state().ok_or(Verdict::DropInternal)?;
    let address = network.destination.0;
    // What is no error, or about no packet of ours, is the gateway's own.
    let quoted = Quoted::read(packet, network).ok_or(Verdict::PassGateway)?;
    let space = Space::of(quoted.protocol);
    let number = match space {
        Space::Pair => pair_number(state, quoted.destination, quoted.protocol),
        Space::Tcp | Space::Udp | Space::Query => (quoted.ports >> 16) as u16,
    };
    let owner = ports::look(tables, pool, space, number).ok_or(Verdict::DropInternal)?;
    if quoted.source != address || owner.is_reserved() || owner.is_free() {
        return Err(Verdict::PassGateway);
    }
    let inside_port = match space {
        Space::Pair => 0,
        Space::Tcp | Space::Udp | Space::Query => owner.inside_port(),
    };
    let ports = u32::from(inside_port) << 16 | quoted.ports & 0xffff;
    let key = FlowKey::v4(owner.inside(), quoted.destination, ports, quoted.protocol);
    let index = tables
        .find_flow(state, &key)
        .ok_or(Verdict::DropUnknownError)?;
    let slot = tables.flow(index).ok_or(Verdict::DropInternal)?;
    let outside = Outside {
        address,
        port: number,
        pool,
    };
    if slot.outside() != outside || slot.uplink() != id {
        return Err(Verdict::DropUnknownError);
    }
    if network.hop_limit <= 1 {
        return Err(Verdict::DropHopLimit);
    }
    let host = slot.host();
    if network.len > usize::from(host.mtu) {
        return Err(Verdict::DropTooBig);
    }
    let inside = slot.inside4();
    let end_at = parsed.network_at + network.len;
    quoted
        .rewrite(packet, network.transport_at, end_at, End::Source, inside)
        .ok_or(Verdict::DropInternal)?;
    let headers = headers(parsed, false);
    translate::rewrite(packet, &headers, End::Destination, inside.0, 0)
        .ok_or(Verdict::DropInternal)?;
    hand_over::<V4, P>(packet, parsed, &host)
}

/// A flow's ports from those of a packet to it, already turned round: a query has one number only.
#[inline(always)]
const fn inside_first(quoted: &Quoted, turned: u32) -> u32 {
    match Space::of(quoted.protocol) {
        Space::Query => quoted.ports,
        Space::Tcp | Space::Udp | Space::Pair => turned,
    }
}
