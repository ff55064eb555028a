//! The first half of the way from one LAN host to another by an outside address (RFC 4787 REQ-9): the
//! source becomes the outside address and port that it has on the destination's uplink. The second
//! half is that of a packet from the internet.

use super::{Decision, inward, outward, stages::UNKNOWN, uplink_entry};
use crate::{
    nat44::translate::{self, End},
    packet::Packet,
    parse::Parsed,
    port::PortEntry,
    tables::Tables,
    transport,
    verdict::Verdict,
    wire::protocol,
};

/// A packet from the LAN for an address of the gateway; `flow` is its sender's flow once that was
/// opened.
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
    let network = &parsed.v4;
    // Without ports nobody but the gateway can be meant; and a later fragment does not tell.
    if !matches!(network.protocol, protocol::TCP | protocol::UDP) || network.later_fragment {
        return Err(Verdict::PassGateway);
    }
    let (id, pool) = tables
        .outside(network.destination)
        .ok_or(Verdict::PassGateway)?;
    let state = tables.state().ok_or(Verdict::DropInternal)?;
    let transport = transport::read(packet, network.transport_at, network.protocol)?;
    let mut found = (flow != UNKNOWN).then_some(flow);
    if found.is_none() {
        let uplink = uplink_entry(tables, state, id)?;
        // What nobody asked for is still the gateway's own, coming from the LAN.
        inward::owner(tables, state, uplink, network, transport, pool)
            .map_err(|_| Verdict::PassGateway)?;
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
    outward::note(packet, tables, state, port, network, slot, transport)?;
    let outside = slot.outside();
    let headers = outward::headers(parsed, true);
    translate::rewrite(packet, &headers, End::Source, outside.address, outside.port)
        .ok_or(Verdict::DropTruncated)?;
    parsed.v4.source.0 = outside.address;
    parsed.v4.ports = u32::from(outside.port) << 16 | transport.ports() & 0xffff;
    Ok(Decision::inward(id, pool))
}
