//! The way of IPv4 packets while uplinks translate: flows are known, opened, and kept to their
//! uplink.

use super::{Decision, lan, uplink::hand_over, uplink_entry};
use crate::{
    address::Address4,
    family::V4,
    flow::{
        FlowKey,
        slot::{Direction, FlowSlot, Outside},
    },
    nat44::{
        open::pair_number,
        ports::{self, Space},
        translate::{self, End, Headers},
    },
    packet::Packet,
    parse::{Network, Parsed},
    port::PortEntry,
    state::{IPV4, SharedState},
    tables::Tables,
    transport::{self, Icmp, Transport},
    uplink::{Hop, HostEntry, MODE_NAT44, UPLINK_DROP_UNASKED, UPLINK_OPEN_FILTER, UplinkEntry},
    verdict::Verdict,
    wire::{ethernet, protocol, tcp},
};

/// A packet from the LAN for the internet.
#[inline(always)]
pub fn outward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    state: &SharedState,
    port: &PortEntry,
    parsed: &Parsed,
) -> Result<Decision, Verdict> {
    let network = &parsed.v4;
    let transport = read(packet, network)?;
    if let Icmp::Other = transport.icmp() {
        return Ok(Decision::QUOTED);
    }
    let key = FlowKey::v4(
        network.source.0,
        network.destination.0,
        flow_ports(transport.ports(), transport.icmp()),
        network.protocol,
    );
    let mut found = tables.find_flow(state, &key);
    if let Some(index) = found
        && lost(tables, state, index, transport)?
    {
        tables.close_flow(index);
        found = None;
    }
    let index = match found {
        Some(index) => index,
        None => {
            let id = lan::choose::<V4, T>(tables, state, network)?;
            let uplink = uplink_entry(tables, state, id)?;
            if uplink.mode[IPV4] != MODE_NAT44 {
                return lan::send::<V4, P>(packet, parsed, uplink, id);
            }
            may_open(network, transport)?;
            tables.open_flow(state, &key, &sender(packet, port)?, id, 0)?
        }
    };
    let slot = tables.flow(index).ok_or(Verdict::DropInternal)?;
    let id = slot.uplink();
    let uplink = uplink_entry(tables, state, id)?;
    if network.len > usize::from(uplink.mtu) {
        return Ok(Decision::too_big(u32::from(uplink.mtu)));
    }
    slot.set_host(&sender(packet, port)?);
    slot.note(
        Direction::Outward,
        tables.now(),
        transport.tcp_flags(),
        packet.len() as u64,
    );
    let outside = slot.outside();
    let headers = headers(parsed, true);
    translate::rewrite(packet, &headers, End::Source, outside.address, outside.port)
        .ok_or(Verdict::DropTruncated)?;
    lan::send::<V4, P>(packet, parsed, uplink, id)
}

/// A packet from an uplink; `None` when its destination is no outside address of the uplink.
#[inline(always)]
pub fn inward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    state: &SharedState,
    port: &PortEntry,
    parsed: &Parsed,
) -> Option<Result<Decision, Verdict>> {
    let id = port.slot as u8;
    let uplink = uplink_entry(tables, state, id).ok()?;
    if uplink.mode[IPV4] != MODE_NAT44 {
        return None;
    }
    let place = uplink.outside_place(parsed.v4.destination.0)?;
    Some(deliver(
        packet,
        tables,
        state,
        uplink,
        id,
        uplink.pool + place,
        parsed,
    ))
}

#[inline(always)]
fn deliver<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    state: &SharedState,
    uplink: &UplinkEntry,
    id: u8,
    pool: u16,
    parsed: &Parsed,
) -> Result<Decision, Verdict> {
    let network = &parsed.v4;
    let transport = read(packet, network)?;
    if let Icmp::Other = transport.icmp() {
        return Ok(Decision::QUOTED);
    }
    let space = Space::of(network.protocol);
    let number = match space {
        Space::Pair => pair_number(state, network.source.0, network.protocol),
        // Queries are for the gateway: nobody in the LAN has asked for them.
        Space::Query if !matches!(transport.icmp(), Icmp::Answer) => {
            return Err(Verdict::PassGateway);
        }
        Space::Query | Space::Tcp | Space::Udp => transport.ports() as u16,
    };
    let owner = ports::look(tables, pool, space, number).ok_or(Verdict::DropInternal)?;
    if owner.is_reserved() {
        return Err(Verdict::PassGateway);
    }
    if owner.is_free() {
        return Err(unasked(uplink));
    }
    let remote_port = match space {
        Space::Tcp | Space::Udp => transport.ports() >> 16,
        Space::Query | Space::Pair => 0,
    };
    let inside_port = match space {
        Space::Pair => 0,
        Space::Tcp | Space::Udp | Space::Query => owner.inside_port(),
    };
    let key = FlowKey::v4(
        owner.inside(),
        network.source.0,
        u32::from(inside_port) << 16 | remote_port,
        network.protocol,
    );
    let outside = Outside {
        address: network.destination.0,
        port: number,
        pool,
    };
    let index = match tables.find_flow(state, &key) {
        Some(index) => index,
        None if owner.is_forward() || uplink.flags & UPLINK_OPEN_FILTER != 0 => {
            let host = tables.host4(Address4(owner.inside()));
            let host = host.ok_or(Verdict::PassNoNeighbour)?;
            tables.open_flow(state, &key, host, id, outside.word())?
        }
        None => return Err(Verdict::DropFiltered),
    };
    let slot = tables.flow(index).ok_or(Verdict::DropInternal)?;
    if slot.outside() != outside || slot.uplink() != id {
        return Err(Verdict::DropFiltered);
    }
    if network.hop_limit <= 1 {
        return Err(Verdict::ReplyTimeExceeded);
    }
    let host = slot.host();
    if network.len > usize::from(host.mtu) {
        return Ok(Decision::too_big(u32::from(host.mtu)));
    }
    slot.note(
        Direction::Inward,
        tables.now(),
        transport.tcp_flags(),
        packet.len() as u64,
    );
    let (address, inside_port) = slot.inside4();
    let headers = headers(parsed, true);
    translate::rewrite(packet, &headers, End::Destination, address, inside_port)
        .ok_or(Verdict::DropTruncated)?;
    hand_over::<V4, P>(packet, parsed, &host)
}

/// The transport header, which a later fragment does not have.
#[inline(always)]
fn read<P: Packet>(packet: &P, network: &Network<Address4>) -> Result<Transport, Verdict> {
    if network.later_fragment {
        return Err(Verdict::DropEarlyFragment);
    }
    transport::read(packet, network.transport_at, network.protocol)
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
    transport: Transport,
) -> Result<bool, Verdict> {
    let slot = tables.flow(index).ok_or(Verdict::DropInternal)?;
    let id = slot.uplink();
    let uplink = uplink_entry(tables, state, id)?;
    if !has_outside(uplink, slot) {
        // The outside address is not ours any more: nothing can come back to it.
    } else if state.is_alive(IPV4, id) {
        return Ok(false);
    } else {
        let group = &state.groups[lan::DEFAULT_GROUP];
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
fn may_open(network: &Network<Address4>, transport: Transport) -> Result<(), Verdict> {
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

/// What becomes of a packet that nobody asked for.
#[inline(always)]
const fn unasked(uplink: &UplinkEntry) -> Verdict {
    if uplink.flags & UPLINK_DROP_UNASKED != 0 {
        Verdict::DropUnasked
    } else {
        Verdict::PassGateway
    }
}

/// A flow's ports, the inside one first: of an ICMP query the identifier is the inside port.
#[inline(always)]
const fn flow_ports(ports: u32, icmp: Icmp) -> u32 {
    match icmp {
        Icmp::Not => ports,
        Icmp::Query | Icmp::Answer | Icmp::Other => ports & 0xffff_0000,
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
fn sender<P: Packet>(packet: &P, port: &PortEntry) -> Result<HostEntry, Verdict> {
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
        slot: port.slot as u16,
    })
}
