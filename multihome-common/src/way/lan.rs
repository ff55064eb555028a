//! From a LAN port: local traffic to the kernel, all else to the uplink that the flow is pinned to or
//! its bucket ranks first.

use super::{
    Decision, steer,
    steer::{Ask, Ends},
    uplink_entry,
};
use crate::{
    address::Class,
    family::{Family, V4, V6},
    packet::Packet,
    parse::{Network, Parsed},
    rewrite,
    state::{IPV4, SharedState},
    tables::Tables,
    uplink::{MODE_NAT44, UplinkEntry},
    verdict::Verdict,
    wire::ethernet,
};

/// Decides about a packet that came in on a LAN port, or names the stage that does; rewrites what is
/// forwarded.
///
/// What is to be answered is left as it came in: see [`super::stages`].
#[inline(always)]
pub fn decide<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed) -> Decision {
    let decision = if parsed.ethertype == ethernet::IPV4 {
        steer::<V4, P, T>(packet, tables, parsed)
    } else {
        steer::<V6, P, T>(packet, tables, parsed)
    };
    decision.unwrap_or_else(Decision::from)
}

#[inline(always)]
fn steer<F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
) -> Result<Decision, Verdict> {
    let network = F::network(parsed);
    let state = tables.state().ok_or(Verdict::DropInternal)?;
    let tracked = F::INDEX == IPV4 && state.is_tracked(IPV4);
    match F::class(tables, state, network.destination).ok_or(Verdict::DropInternal)? {
        Class::Internet => {}
        Class::Gateway if tracked => return Ok(Decision::HAIRPIN),
        Class::Gateway => return Err(Verdict::PassGateway),
        Class::Outside => return Ok(Decision::HAIRPIN),
        Class::OnLink | Class::Lan => return Err(Verdict::PassOnLink),
        Class::Special => return Err(Verdict::PassSpecial),
    }
    if F::is_martian_source(network.source) {
        return Err(Verdict::DropMartianSource);
    }
    if network.hop_limit <= 1 {
        return Err(Verdict::ReplyTimeExceeded);
    }
    if tracked && network.later_fragment {
        return Ok(Decision::FRAGMENT);
    }
    if parsed.judged.is_drop() {
        return Err(Verdict::ReplyProhibited);
    }
    // A later fragment tells nothing of what it is.
    if !network.later_fragment && F::is_error(packet, network) {
        return Ok(Decision::QUOTED);
    }
    if tracked {
        return Ok(Decision::OUTWARD);
    }
    let flags = steer::tcp_flags(packet, network);
    let ask = Ask::pinned(flags).of(parsed.judged);
    let id = F::steer(tables, state, &Ends::outward(network), ask)?;
    send::<F, P>(packet, parsed, uplink_entry(tables, state, id)?, id)
}

/// The way of an ICMP error that is about no translated IPv4 flow: to the uplink of the flow that it
/// is about, as far as it says.
#[inline(always)]
pub fn steer_error<F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    state: &SharedState,
    parsed: &Parsed,
) -> Result<Decision, Verdict> {
    let network = F::network(parsed);
    let ends = match F::quoted_ends(packet, network) {
        Some(ends) => ends,
        None => Ends::outward(network),
    };
    let id = F::steer(tables, state, &ends, Ask::owner().of(parsed.judged))?;
    let uplink = uplink_entry(tables, state, id)?;
    if F::INDEX == IPV4 && uplink.mode[IPV4] == MODE_NAT44 {
        return Err(Verdict::DropUnknownError);
    }
    send::<F, P>(packet, parsed, uplink, id)
}

/// Sends the packet to an uplink, under the uplink's prefix if it has one.
#[inline(always)]
pub(super) fn send<F: Family, P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    uplink: &UplinkEntry,
    id: u8,
) -> Result<Decision, Verdict> {
    let network = F::network(parsed);
    if network.len > usize::from(uplink.mtu) {
        return Ok(Decision::too_big(u32::from(uplink.mtu)));
    }
    forward::<F, P>(packet, parsed.network_at, network, uplink, id)
}

/// The last step to an uplink that can take the packet.
#[inline(always)]
pub(super) fn forward<F: Family, P: Packet>(
    packet: &mut P,
    network_at: usize,
    network: &Network<F::Address>,
    uplink: &UplinkEntry,
    id: u8,
) -> Result<Decision, Verdict> {
    F::leave(packet, network_at, network, uplink)?;
    rewrite::forward::<F, P>(packet, network_at, &uplink.next_hop[F::INDEX])
        .ok_or(Verdict::DropInternal)?;
    Ok(Decision::forward(uplink.slot_to_send(id), F::INDEX))
}
