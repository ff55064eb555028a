//! The way of IPv4 packets for an outside address: to the LAN host whose port it is.

use super::{
    Decision, fragments, outward,
    stages::UNKNOWN,
    uplink,
    uplink::{hand_over, host},
    uplink_entry,
};
use crate::{
    address::Address4,
    family::V4,
    flow::{
        FlowKey,
        slot::{Direction, Outside},
    },
    nat44::{
        open::pair_number,
        ports::{self, PortWord, Space},
        translate::{self, End},
    },
    packet::Packet,
    parse::{Network, Parsed},
    port::PortEntry,
    state::SharedState,
    tables::Tables,
    transport::{self, Icmp, Transport},
    uplink::{UPLINK_DROP_UNASKED, UPLINK_OPEN_FILTER, UplinkEntry},
    verdict::Verdict,
};

/// A packet for an outside address of uplink `id`, whose part of the port table is `pool`; `flow` is
/// its flow's slot once that was opened.
///
/// # Errors
/// The verdict of a packet that is not handed over.
#[inline(always)]
pub fn inward<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    port: &PortEntry,
    parsed: &Parsed,
    (id, pool): (u8, u16),
    flow: u32,
) -> Result<Decision, Verdict> {
    let network = &parsed.v4;
    let state = tables.state().ok_or(Verdict::DropInternal)?;
    let transport = transport::read(packet, network)?;
    let index = if flow == UNKNOWN {
        let uplink = uplink_entry(tables, state, id)?;
        let (owner, number) = owner(tables, state, uplink, network, transport, pool)?;
        // What comes from the LAN has the gateway's own source by now.
        if !port.is_lan() {
            uplink::check_source::<V4, T>(tables, state, network.source)?;
        }
        let key = key(network, transport, owner);
        let outside = Outside {
            address: network.destination.0,
            port: number,
            pool,
        };
        let Some(index) = tables.find_flow(state, &key) else {
            if !owner.is_forward() && uplink.flags & UPLINK_OPEN_FILTER == 0 {
                return Err(Verdict::DropFiltered);
            }
            let inside = Address4(owner.inside());
            // The kernel takes the packet for its own, and would refuse it in the host's name.
            let host = host::<V4, T>(tables, port, network.source, inside)
                .ok_or(Verdict::DropNoNeighbour)?;
            tables.prepare_flow(&key, &host, id, outside.word())?;
            return Ok(Decision::OPEN);
        };
        let slot = tables.flow(index).ok_or(Verdict::DropInternal)?;
        if slot.outside() != outside || slot.uplink() != id {
            return Err(Verdict::DropFiltered);
        }
        index
    } else {
        flow
    };
    deliver(packet, tables, state, port, parsed, index, transport)
}

/// Translates a packet of a known flow, and hands it over.
#[inline(always)]
fn deliver<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    state: &SharedState,
    port: &PortEntry,
    parsed: &Parsed,
    index: u32,
    transport: Transport,
) -> Result<Decision, Verdict> {
    let network = &parsed.v4;
    let slot = tables.flow(index).ok_or(Verdict::DropInternal)?;
    if network.hop_limit <= 1 {
        return Err(Verdict::ReplyTimeExceeded);
    }
    let host = slot.host();
    if network.len > usize::from(host.mtu) {
        return Ok(Decision::too_big(u32::from(host.mtu)));
    }
    let (flags, bytes) = (transport.tcp_flags(), packet.len() as u64);
    let passed = !network.fragment && !port.is_lan();
    slot.note(Direction::Inward, tables.now(), flags, bytes, passed);
    let (address, inside_port) = slot.inside4();
    let headers = outward::headers(parsed, true);
    translate::rewrite(packet, &headers, End::Destination, address, inside_port)
        .ok_or(Verdict::DropTruncated)?;
    if network.fragment {
        let translated = u64::from(network.source.0) << 32 | u64::from(address);
        fragments::remember_inward(
            packet,
            tables,
            state,
            port,
            parsed,
            translated,
            (index, &host),
        );
    }
    hand_over::<V4, P>(packet, parsed, &host)
}

/// Whose the outside port is, and its number.
///
/// # Errors
/// The verdict of a packet for a port that is no LAN host's.
#[inline(always)]
pub(super) fn owner<T: Tables>(
    tables: &T,
    state: &SharedState,
    uplink: &UplinkEntry,
    network: &Network<Address4>,
    transport: Transport,
    pool: u16,
) -> Result<(PortWord, u16), Verdict> {
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
    Ok((owner, number))
}

/// The flow of a packet to the owner of a port.
#[inline(always)]
const fn key(network: &Network<Address4>, transport: Transport, owner: PortWord) -> FlowKey {
    let space = Space::of(network.protocol);
    let remote_port = match space {
        Space::Tcp | Space::Udp => transport.ports() >> 16,
        Space::Query | Space::Pair => 0,
    };
    let inside_port = match space {
        Space::Pair => 0,
        Space::Tcp | Space::Udp | Space::Query => owner.inside_port(),
    };
    FlowKey::v4(
        owner.inside(),
        network.source.0,
        (inside_port as u32) << 16 | remote_port,
        network.protocol,
    )
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
