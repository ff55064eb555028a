//! From an uplink: to the LAN host that the packet is for; all else is the kernel's.

use super::{Decision, translated};
use crate::{
    address::Class,
    family::{Family, V4, V6},
    packet::Packet,
    parse::Parsed,
    port::PortEntry,
    rewrite,
    state::IPV4,
    tables::Tables,
    uplink::HostEntry,
    verdict::Verdict,
    wire::ethernet,
};

/// Decides about a packet that came in on the uplink `port`; rewrites what is forwarded.
///
/// What is to be answered is left as it came in: see [`super::finish`].
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
    if F::INDEX == IPV4
        && state.is_tracked(IPV4)
        && let Some(result) = translated::inward(packet, tables, state, port, parsed)
    {
        return result;
    }
    let class = |address| F::class(tables, state, address).ok_or(Verdict::DropInternal);
    match class(network.destination)? {
        Class::Lan => {}
        Class::Gateway => return Err(Verdict::PassGateway),
        Class::OnLink | Class::Internet => return Err(Verdict::PassNotOurs),
        Class::Special => return Err(Verdict::PassSpecial),
    }
    // BCP 38, seen from inside: nobody out there speaks with a LAN's or the gateway's address.
    if F::is_martian_source(network.source)
        || matches!(class(network.source)?, Class::Lan | Class::Gateway)
    {
        return Err(Verdict::DropMartianSource);
    }
    if network.hop_limit <= 1 {
        return Err(Verdict::ReplyTimeExceeded);
    }
    let host = match F::host(tables, network.destination) {
        Some(host) => *host,
        // Hosts behind a router in the LAN, and those the controller has not seen yet.
        None => F::kernel_route(tables, port.ifindex, network.source, network.destination)
            .ok_or(Verdict::PassNoNeighbour)?,
    };
    hand_over::<F, P>(packet, parsed, &host)
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
    rewrite::forward::<F, P>(packet, parsed.network_at, &host.hop).ok_or(Verdict::DropInternal)?;
    Ok(Decision::forward(host.slot as u8))
}
