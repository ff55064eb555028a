//! The way of IPv4 packets from the LAN while uplinks translate: flows are known, opened, and kept to
//! their uplink.

use super::{
    Decision, fragments, lan,
    stages::UNKNOWN,
    steer,
    steer::{Ask, Ends},
    uplink_entry,
};
use crate::{
    address::Address4,
    family::V4,
    flow::{
        FlowKey, pin,
        slot::{Direction, FlowSlot},
    },
    nat44::translate::{self, End, Headers},
    packet::Packet,
    parse::{Network, Parsed},
    port::PortEntry,
    state::{IPV4, SharedState},
    tables::Tables,
    transport::{self, Icmp, Transport},
    uplink::{Hop, HostEntry, MODE_NAT44, UplinkEntry},
    verdict::Verdict,
    wire::{ethernet, protocol, tcp},
};

/// A packet from the LAN for the internet; `flow` is its flow's slot once that was opened.
///
/// # Errors
/// The verdict of a packet that is not sent.
#[inline(always)]
pub fn outward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    port: &PortEntry,
    parsed: &Parsed,
    flow: u32,
) -> Result<Decision, Verdict> {
    let network = &parsed.v4;
    let state = tables.state().ok_or(Verdict::DropInternal)?;
    let transport = transport::read(packet, network)?;
    let mut found = (flow != UNKNOWN).then_some(flow);
    if found.is_none() {
        let key = key(network, transport);
        found = tables.find_flow(state, &key);
        if let Some(index) = found
            && lost(tables, state, index, parsed, transport)?
        {
            tables.close_flow(index);
            found = None;
        }
        if found.is_none() {
            let ends = ends(network, transport);
            let judged = parsed.judged;
            let mut id = tables.steer4(state, &ends, Ask::owner().of(judged))?;
            if uplink_entry(tables, state, id)?.mode[IPV4] != MODE_NAT44 {
                let ask = Ask::pinned(transport.tcp_flags()).of(judged);
                id = tables.steer4(state, &ends, ask)?;
                let uplink = uplink_entry(tables, state, id)?;
                // The flow may just have moved to an uplink that does translate.
                if uplink.mode[IPV4] != MODE_NAT44 {
                    return untranslated(packet, tables, state, port, parsed, (id, uplink));
                }
            }
            may_open(network, transport)?;
            tables.prepare_flow(&key, &sender(packet, port)?, id, 0)?;
            return Ok(Decision::OPEN);
        }
    }
    // Where a flow that is being opened goes may be different from where it stays.
    let stays = flow == UNKNOWN;
    let known = (found.unwrap_or(UNKNOWN), stays);
    send(packet, tables, state, port, parsed, known, transport)
}

/// Translates a packet of a known flow, and sends it.
#[inline(always)]
fn send<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    state: &SharedState,
    port: &PortEntry,
    parsed: &Parsed,
    (index, stays): (u32, bool),
    transport: Transport,
) -> Result<Decision, Verdict> {
    let network = &parsed.v4;
    let slot = tables.flow(index).ok_or(Verdict::DropInternal)?;
    let id = slot.uplink();
    let uplink = uplink_entry(tables, state, id)?;
    if network.len > usize::from(uplink.mtu) {
        return Ok(Decision::too_big(u32::from(uplink.mtu)));
    }
    let passed = stays && !network.fragment;
    note(
        packet,
        tables,
        state,
        port,
        parsed,
        (slot, passed),
        transport,
    )?;
    let outside = slot.outside();
    let headers = headers(parsed, true);
    translate::rewrite(packet, &headers, End::Source, outside.address, outside.port)
        .ok_or(Verdict::DropTruncated)?;
    if network.fragment {
        let translated = u64::from(outside.address) << 32 | u64::from(network.destination.0);
        fragments::remember_outward(packet, tables, state, port, parsed, translated, (index, id));
    }
    lan::send::<V4, P>(packet, parsed, uplink, id)
}

/// Notes a packet from the LAN in its flow, and whether others like it may take the short way.
#[inline(always)]
pub(super) fn note<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    state: &SharedState,
    port: &PortEntry,
    parsed: &Parsed,
    (slot, passed): (&FlowSlot, bool),
    transport: Transport,
) -> Result<(), Verdict> {
    slot.set_host(&sender(packet, port)?);
    let (before, now) = (slot.last_outward(), tables.now());
    let (flags, bytes) = (transport.tcp_flags(), packet.len() as u64);
    slot.note(Direction::Outward, now, flags, bytes, passed);
    if pin::time(before) != pin::time(now) {
        let ends = Ends::outward(&parsed.v4);
        let ask = Ask::touch(slot.uplink(), slot.is_answered()).of(parsed.judged);
        tables.steer4(state, &ends, ask)?;
    }
    Ok(())
}

/// A packet whose uplink `id` does not translate.
#[inline(always)]
fn untranslated<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    state: &SharedState,
    port: &PortEntry,
    parsed: &Parsed,
    (id, uplink): (u8, &UplinkEntry),
) -> Result<Decision, Verdict> {
    let network = &parsed.v4;
    if network.fragment && network.len <= usize::from(uplink.mtu) {
        let addresses = u64::from(network.source.0) << 32 | u64::from(network.destination.0);
        fragments::remember_outward(
            packet,
            tables,
            state,
            port,
            parsed,
            addresses,
            (UNKNOWN, id),
        );
    }
    lan::send::<V4, P>(packet, parsed, uplink, id)
}

/// The flow of a packet from the LAN: of an ICMP query the identifier is the inside port.
#[inline(always)]
pub(super) const fn key(network: &Network<Address4>, transport: Transport) -> FlowKey {
    let ports = match transport.icmp() {
        Icmp::Not => transport.ports(),
        Icmp::Query | Icmp::Answer | Icmp::Other => transport.ports() & 0xffff_0000,
    };
    FlowKey::v4(
        network.source.0,
        network.destination.0,
        ports,
        network.protocol,
    )
}

/// What a flow is steered by where flows are looked up: also its first fragments have ports, and the later
/// ones go where the first went.
#[inline(always)]
fn ends(network: &Network<Address4>, transport: Transport) -> Ends<Address4> {
    let mut ends = Ends::outward(network);
    if network.fragment && matches!(network.protocol, protocol::TCP | protocol::UDP) {
        ends.ports = transport.ports();
    }
    ends
}

/// Whether a known flow has lost its uplink and must begin anew on another.
///
/// # Errors
/// The verdict of a packet that ends with its flow.
#[inline(always)]
fn lost<T: Tables>(
    tables: &T,
    state: &SharedState,
    index: u32,
    parsed: &Parsed,
    transport: Transport,
) -> Result<bool, Verdict> {
    let group = parsed.judged.group();
    let slot = tables.flow(index).ok_or(Verdict::DropInternal)?;
    let id = slot.uplink();
    let uplink = uplink_entry(tables, state, id)?;
    if !has_outside(uplink, slot) {
        // The outside address is not ours any more: nothing can come back to it.
    } else if state.is_alive(IPV4, id) {
        // What came in by the uplink leaves by it.
        let ends = ends(&parsed.v4, transport);
        if slot.is_forward()
            || slot.is_inbound()
            || !steer::returns::<V4, T>(tables, state, &ends, group, id)?
        {
            return Ok(false);
        }
    } else {
        let group = steer::group(state, group);
        // Without another uplink, or where flows are to hold out, the flow waits.
        if group.eligible(IPV4) == 0 || group.holds() {
            return Ok(false);
        }
    }
    // A connection that is just being opened can as well be opened elsewhere.
    if slot.protocol() == protocol::TCP && transport.tcp_flags() & tcp::SYN == 0 {
        tables.close_flow(index);
        return Err(reset(transport));
    }
    Ok(true)
}

/// Whether the flow's outside address is still one of its uplink's.
#[inline(always)]
fn has_outside(uplink: &UplinkEntry, slot: &FlowSlot) -> bool {
    let outside = slot.outside();
    uplink
        .outside_place(outside.address)
        .is_some_and(|place| uplink.pool + place == outside.pool)
}

/// Whether this packet may be a flow's first.
///
/// # Errors
/// The verdict of one that may not.
#[inline(always)]
pub(super) fn may_open(network: &Network<Address4>, transport: Transport) -> Result<(), Verdict> {
    if network.protocol == protocol::TCP && transport.tcp_flags() & tcp::SYN == 0 {
        return Err(reset(transport));
    }
    match transport.icmp() {
        Icmp::Not | Icmp::Query => Ok(()),
        // An answer to nobody's query; errors go another way.
        Icmp::Answer | Icmp::Other => Err(Verdict::DropUnknownError),
    }
}

/// The verdict of a segment whose connection nobody knows.
#[inline(always)]
const fn reset(transport: Transport) -> Verdict {
    if transport.tcp_flags() & tcp::RST != 0 {
        Verdict::DropUnknownConnection
    } else {
        Verdict::ReplyReset
    }
}

/// Where the headers stand of a packet whose transport header, if it has one, is translated too.
#[inline(always)]
pub(super) const fn headers(parsed: &Parsed, transport: bool) -> Headers {
    Headers {
        network_at: parsed.network_at,
        transport_at: parsed.v4.transport_at,
        protocol: parsed.v4.protocol,
        transport,
    }
}

/// Where the station is that sent this frame: the way back.
#[inline(always)]
pub(super) fn sender<P: Packet>(packet: &P, port: &PortEntry) -> Result<HostEntry, Verdict> {
    let source = packet
        .bytes::<6>(ethernet::SOURCE_AT)
        .ok_or(Verdict::DropTruncated)?;
    Ok(HostEntry {
        hop: Hop::new(*source, port.mac),
        mtu: if port.mtu > 0xffff {
            0xffff
        } else {
            port.mtu as u16
        },
        slot: port.slot_to_send(),
    })
}
