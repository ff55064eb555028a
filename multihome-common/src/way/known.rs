//! The short way: packets of flows that are known, where nothing but the packet has to change. Those are
//! nearly all; what is any different takes the full way, which decides everything anew.
//!
//! What the full way found of a flow, such as the classes of its addresses, holds while
//! [nothing has changed](SharedState::is_calm) since: a flow takes the full way once in each unit of the
//! pins' clock, and the short one for the rest of it. The alive word is looked at for each packet.

use super::{
    Decision, lan, outward, policy,
    steer::{self, Ends},
    uplink, uplink_entry,
};
use crate::{
    address::Address4,
    family::{Family, V4, V6},
    flow::{
        FlowKey,
        pin::{self, Pin},
        slot::{Direction, FlowSlot, Outside},
        table,
    },
    hash::FlowHash,
    nat44::{
        ports::{self, Space},
        translate::{self, End, Headers},
    },
    packet::Packet,
    parse::Network,
    port::PortEntry,
    state::{IPV4, Policy, SharedState},
    tables::Tables,
    tcp::{is_sampled, place},
    transport,
    uplink::MODE_NAT44,
    wire::{ethernet, ethernet::Ethernet, tcp},
};

/// Decides about a packet that came in on a LAN port; `None` when it must take the full way, as it came.
#[inline(always)]
pub fn from_lan<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    port: &PortEntry,
) -> Option<Decision> {
    match ethertype(packet, port)? {
        ethernet::IPV4 => {
            let network = V4::plain(packet)?;
            let state = tables.state()?;
            if is_observed(state, network.ports) {
                None
            } else if state.is_tracked(IPV4) {
                translated_outward(packet, tables, state, port, &network)
            } else {
                pinned_outward::<V4, P, T>(packet, tables, state, &network)
            }
        }
        ethernet::IPV6 => {
            let network = V6::plain(packet)?;
            let state = tables.state()?;
            if is_observed(state, network.ports) {
                return None;
            }
            pinned_outward::<V6, P, T>(packet, tables, state, &network)
        }
        _ => None,
    }
}

/// Decides about a packet that came in on an uplink; `None` when it must take the full way, as it came.
#[inline(always)]
pub fn from_uplink<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    port: &PortEntry,
) -> Option<Decision> {
    match ethertype(packet, port)? {
        ethernet::IPV4 => {
            let network = V4::plain(packet)?;
            let state = tables.state()?;
            if is_observed(state, network.ports) {
                None
            } else if state.is_tracked(IPV4) {
                translated_inward(packet, tables, state, port, &network)
            } else {
                pinned_inward::<V4, P, T>(packet, tables, state, port, &network)
            }
        }
        ethernet::IPV6 => {
            let network = V6::plain(packet)?;
            let state = tables.state()?;
            if is_observed(state, network.ports) {
                return None;
            }
            pinned_inward::<V6, P, T>(packet, tables, state, port, &network)
        }
        _ => None,
    }
}

/// Whether a packet with these ports may be a message of DNS that the controller wants to see.
#[inline(always)]
fn is_observed(state: &SharedState, ports: u32) -> bool {
    state.observes_dns() && policy::has_dns_port(ports)
}

/// The type of a frame for this port; one of a tag leads nowhere here.
#[inline(always)]
fn ethertype<P: Packet>(packet: &P, port: &PortEntry) -> Option<u16> {
    let header = Ethernet::of(packet)?;
    (header.destination() == port.mac).then(|| header.ethertype())
}

/// The pin of a flow and its hash, if a packet changes nothing of the pin.
#[inline(always)]
fn pin<F: Family, T: Tables>(
    tables: &T,
    state: &SharedState,
    ends: &Ends<F::Address>,
    direction: Direction,
    tcp_flags: u8,
) -> Option<(Pin, FlowHash)> {
    // What opens a connection is looked at on the full way.
    if tcp_flags & tcp::SYN != 0 {
        return None;
    }
    let now = tables.now();
    let hash = F::hash(state.seed, Policy::FiveTuple, ends);
    let pin = pin::known(tables, state.pin_lines as u32, hash)?;
    // One of this very unit, so its time is not up, and with nothing that the packet would change.
    let same = pin
        .used(pin::time(now), direction, tcp_flags)
        .passed(direction)
        == pin;
    (same && state.is_calm(now)).then_some((pin, hash))
}

#[inline(always)]
fn pinned_outward<F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    state: &SharedState,
    network: &Network<F::Address>,
) -> Option<Decision> {
    if network.hop_limit <= 1 {
        return None;
    }
    let flags = steer::tcp_flags(packet, network);
    let ends = Ends::outward(network);
    let (pin, hash) = pin::<F, T>(tables, state, &ends, Direction::Outward, flags)?;
    let id = pin.uplink();
    if !state.is_alive(F::INDEX, id) {
        return None;
    }
    let uplink = uplink_entry(tables, state, id).ok()?;
    if network.len > usize::from(uplink.mtu) {
        return None;
    }
    watch(
        packet,
        tables,
        hash,
        place(id, Direction::Outward, F::INDEX),
    );
    lan::forward::<F, P>(packet, ethernet::LEN, network, uplink, id).ok()
}

#[inline(always)]
fn pinned_inward<F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    state: &SharedState,
    port: &PortEntry,
    network: &Network<F::Address>,
) -> Option<Decision> {
    if network.hop_limit <= 1 {
        return None;
    }
    let id = port.slot as u8 & 63;
    let uplink = uplink_entry(tables, state, id).ok()?;
    let inside = F::inside_of(uplink, network.destination).ok()?;
    let flags = steer::tcp_flags(packet, network);
    let ends = Ends::inward(network, inside);
    let (pin, hash) = pin::<F, T>(tables, state, &ends, Direction::Inward, flags)?;
    if pin.uplink() != id {
        return None;
    }
    let host = F::host(tables, inside)?;
    if network.len > usize::from(host.mtu) {
        return None;
    }
    watch(packet, tables, hash, place(id, Direction::Inward, F::INDEX));
    F::arrive(packet, ethernet::LEN, network, uplink, inside).ok()?;
    uplink::forward::<F, P>(packet, ethernet::LEN, host).ok()
}

#[inline(always)]
fn translated_outward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    state: &SharedState,
    port: &PortEntry,
    network: &Network<Address4>,
) -> Option<Decision> {
    if network.hop_limit <= 1 {
        return None;
    }
    let transport = transport::read(packet, network).ok()?;
    if transport.tcp_flags() & tcp::SYN != 0 {
        return None;
    }
    let key = outward::key(network, transport);
    let hash = key.hash(state.seed);
    let slot = table::known(tables, state, &key, hash)?;
    let now = tables.now();
    if !is_fresh(state, slot, Direction::Outward, now) {
        return None;
    }
    let id = slot.uplink();
    let uplink = uplink_entry(tables, state, id).ok()?;
    if !state.is_alive(IPV4, id) || network.len > usize::from(uplink.mtu) {
        return None;
    }
    slot.set_host(&outward::sender(packet, port).ok()?);
    let (flags, bytes) = (transport.tcp_flags(), packet.len() as u64);
    slot.note(Direction::Outward, now, flags, bytes, true);
    watch(
        packet,
        tables,
        hash,
        place(id, Direction::Outward, V4::INDEX),
    );
    let outside = slot.outside();
    let headers = headers(network);
    translate::rewrite(packet, &headers, End::Source, outside.address, outside.port)?;
    lan::forward::<V4, P>(packet, ethernet::LEN, network, uplink, id).ok()
}

#[inline(always)]
fn translated_inward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    state: &SharedState,
    port: &PortEntry,
    network: &Network<Address4>,
) -> Option<Decision> {
    if network.hop_limit <= 1 {
        return None;
    }
    let id = port.slot as u8 & 63;
    let uplink = uplink_entry(tables, state, id).ok()?;
    if uplink.mode[IPV4] != MODE_NAT44 {
        return None;
    }
    let outside = Outside {
        address: network.destination.0,
        port: network.ports as u16,
        pool: uplink.pool + uplink.outside_place(network.destination.0)?,
    };
    let transport = transport::read(packet, network).ok()?;
    let owner = ports::look(
        tables,
        outside.pool,
        Space::of(network.protocol),
        outside.port,
    )?;
    if owner.is_reserved() || owner.is_free() {
        return None;
    }
    let ends = u32::from(owner.inside_port()) << 16 | network.ports >> 16;
    let key = FlowKey::v4(owner.inside(), network.source.0, ends, network.protocol);
    let hash = key.hash(state.seed);
    let slot = table::known(tables, state, &key, hash)?;
    let now = tables.now();
    if transport.tcp_flags() & tcp::SYN != 0 {
        return None;
    }
    if slot.outside() != outside || slot.uplink() != id {
        return None;
    }
    if !is_fresh(state, slot, Direction::Inward, now) {
        return None;
    }
    let host = slot.host();
    if network.len > usize::from(host.mtu) {
        return None;
    }
    let (flags, bytes) = (transport.tcp_flags(), packet.len() as u64);
    slot.note(Direction::Inward, now, flags, bytes, true);
    watch(
        packet,
        tables,
        hash,
        place(id, Direction::Inward, V4::INDEX),
    );
    let (address, inside_port) = slot.inside4();
    let headers = headers(network);
    translate::rewrite(packet, &headers, End::Destination, address, inside_port)?;
    uplink::forward::<V4, P>(packet, ethernet::LEN, &host).ok()
}

/// Notes the data of a TCP flow, if it is in the sample.
#[inline(always)]
fn watch<P: Packet, T: Tables>(packet: &P, tables: &T, hash: FlowHash, place: u32) {
    // A flow of another protocol is told apart where there is room for that.
    if is_sampled(hash) {
        tables.note_plain(packet, hash, place);
    }
}

/// Whether a packet of this direction took the full way in this unit of the pins' clock, nothing has
/// changed since, and the flow's time is not up.
#[inline(always)]
fn is_fresh(state: &SharedState, slot: &FlowSlot, direction: Direction, now: u32) -> bool {
    slot.passed(direction)
        .is_some_and(|last| pin::time(last) == pin::time(now))
        && state.is_calm(now)
        && !slot.is_expired(&state.timeouts, now)
}

#[inline(always)]
const fn headers(network: &Network<Address4>) -> Headers {
    Headers {
        network_at: ethernet::LEN,
        transport_at: network.transport_at,
        protocol: network.protocol,
        transport: true,
    }
}
