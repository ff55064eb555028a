//! From a LAN port: local traffic to the kernel, all else to the uplink that the flow's bucket
//! ranks first among the eligible.

use super::{Decision, translated};
use crate::{
    address::Class,
    family::{Family, V4, V6},
    packet::Packet,
    parse::{Network, Parsed},
    port::PortEntry,
    rank, rewrite,
    state::{IPV4, SharedState},
    tables::Tables,
    uplink::UplinkEntry,
    verdict::Verdict,
    wire::ethernet,
};

/// Until rules name others, all traffic belongs to this group.
pub const DEFAULT_GROUP: usize = 0;

/// Decides about a packet that came in on the LAN port `port`; rewrites what is forwarded.
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
        steer::<V4, P, T>(packet, tables, port, parsed)
    } else {
        steer::<V6, P, T>(packet, tables, port, parsed)
    };
    decision.unwrap_or_else(Decision::from)
}

#[inline(always)]
fn steer<F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    port: &PortEntry,
    parsed: &Parsed,
) -> Result<Decision, Verdict> {
    let network = F::network(parsed);
    let state = tables.state().ok_or(Verdict::DropInternal)?;
    match F::class(tables, state, network.destination).ok_or(Verdict::DropInternal)? {
        Class::Internet => {}
        Class::Gateway => return Err(Verdict::PassGateway),
        Class::OnLink | Class::Lan => return Err(Verdict::PassOnLink),
        Class::Special => return Err(Verdict::PassSpecial),
    }
    if F::is_martian_source(network.source) {
        return Err(Verdict::DropMartianSource);
    }
    if network.hop_limit <= 1 {
        return Err(Verdict::ReplyTimeExceeded);
    }
    if F::INDEX == IPV4 && state.is_tracked(IPV4) {
        return translated::outward(packet, tables, state, port, parsed);
    }
    let id = choose::<F, T>(tables, state, network)?;
    let uplink = super::uplink_entry(tables, state, id)?;
    send::<F, P>(packet, parsed, uplink, id)
}

/// Sends the packet, as it is, to an uplink.
#[inline(always)]
pub(super) fn send<F: Family, P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    uplink: &UplinkEntry,
    id: u8,
) -> Result<Decision, Verdict> {
    if F::network(parsed).len > usize::from(uplink.mtu) {
        return Ok(Decision::too_big(u32::from(uplink.mtu)));
    }
    rewrite::forward::<F, P>(packet, parsed.network_at, &uplink.next_hop[F::INDEX])
        .ok_or(Verdict::DropInternal)?;
    Ok(Decision::forward(id))
}

/// The uplink for this packet's flow.
#[inline(always)]
pub(super) fn choose<F: Family, T: Tables>(
    tables: &T,
    state: &SharedState,
    network: &Network<F::Address>,
) -> Result<u8, Verdict> {
    let group = &state.groups[DEFAULT_GROUP];
    let hash = F::hash(state.seed, group.policy(F::INDEX), network);
    let row = tables
        .row(group.rows() as u32 + hash.bucket())
        .ok_or(Verdict::DropInternal)?;
    rank::choose(row, group, F::INDEX, hash).ok_or(Verdict::ReplyUnreachable)
}
