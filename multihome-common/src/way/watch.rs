//! What is noted of the TCP segments that are forwarded on the full way between LAN and uplinks; see
//! [`crate::tcp`]. The packet is as it left, and parsed as it came.

use super::Decision;
use crate::{
    family::{Family, V4, V6},
    flow::slot::Direction,
    limits::MAX_UPLINKS,
    packet::Packet,
    parse::{Network, Parsed},
    tables::Tables,
    tcp::{self, Segment},
    verdict::Verdict,
    way::steer::Ends,
    wire::{ethernet, protocol},
};

/// Notes a packet from the LAN.
#[inline(always)]
pub fn outward<P: Packet, T: Tables>(packet: &P, tables: &T, parsed: &Parsed, decision: Decision) {
    let id = decision.egress();
    // From one LAN host to another, nothing passes an uplink.
    if !is_forwarded(decision) || id as usize >= MAX_UPLINKS {
        return;
    }
    if parsed.ethertype == ethernet::IPV4 {
        sent::<V4, P, T>(packet, tables, parsed, id);
    } else {
        sent::<V6, P, T>(packet, tables, parsed, id);
    }
}

/// Notes a packet that came by the uplink of this id.
#[inline(always)]
pub fn inward<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    parsed: &Parsed,
    id: u8,
    decision: Decision,
) {
    if !is_forwarded(decision) {
        return;
    }
    if parsed.ethertype == ethernet::IPV4 {
        delivered::<V4, P, T>(packet, tables, parsed, id);
    } else {
        delivered::<V6, P, T>(packet, tables, parsed, id);
    }
}

#[inline(always)]
const fn is_forwarded(decision: Decision) -> bool {
    decision.verdict_number() == Verdict::Forwarded.number()
}

#[inline(always)]
const fn is_segment<A>(network: &Network<A>) -> bool {
    network.protocol == protocol::TCP && !network.fragment
}

#[inline(always)]
fn sent<F: Family, P: Packet, T: Tables>(packet: &P, tables: &T, parsed: &Parsed, id: u8) {
    let network = F::network(parsed);
    if !is_segment(network) {
        return;
    }
    let Some(state) = tables.state() else {
        return;
    };
    let Some(segment) = Segment::read(
        packet,
        network,
        tcp::place(id, Direction::Outward, F::INDEX),
    ) else {
        return;
    };
    let hash = F::known_hash(state, &Ends::outward(network));
    tables.note_segment(hash, segment);
}

#[inline(always)]
fn delivered<F: Family, P: Packet, T: Tables>(packet: &P, tables: &T, parsed: &Parsed, id: u8) {
    let network = F::network(parsed);
    if !is_segment(network) {
        return;
    }
    let Some(state) = tables.state() else {
        return;
    };
    // What it was translated to.
    let Some(port) = packet.bytes::<2>(network.transport_at + 2) else {
        return;
    };
    let port = u32::from(u16::from_be_bytes(*port));
    let Some(inside) = F::destination_at(packet, parsed.network_at) else {
        return;
    };
    let Some(segment) = Segment::read(packet, network, tcp::place(id, Direction::Inward, F::INDEX))
    else {
        return;
    };
    let ends = Ends {
        inside,
        remote: network.source,
        protocol: protocol::TCP,
        ports: port << 16 | network.ports >> 16,
    };
    tables.note_segment(F::known_hash(state, &ends), segment);
}
