//! From a LAN port: local traffic to the kernel, all else to the uplink that the flow's bucket
//! ranks first among the eligible.

use super::{Decision, accept};
use crate::{
    address::Class,
    family::{Family, V4, V6},
    packet::Packet,
    parse,
    port::PortEntry,
    rank, rewrite,
    state::SharedState,
    tables::Tables,
    verdict::Verdict,
    wire::ethernet,
};

/// Until rules name others, all traffic belongs to this group.
pub const DEFAULT_GROUP: usize = 0;

/// Decides about a packet that came in on the LAN port `port`; rewrites what is forwarded.
///
/// What is to be answered is left as it came in: see [`super::finish`].
#[inline(always)]
pub fn decide<P: Packet, T: Tables>(packet: &mut P, tables: &T, port: &PortEntry) -> Decision {
    dispatch(packet, tables, port).unwrap_or_else(Decision::from)
}

#[inline(always)]
fn dispatch<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    port: &PortEntry,
) -> Result<Decision, Verdict> {
    let link = parse::link(packet)?;
    accept(&link, port)?;
    match link.ethertype {
        ethernet::IPV4 => steer::<V4, P, T>(packet, tables, link.len),
        ethernet::IPV6 => steer::<V6, P, T>(packet, tables, link.len),
        _ => Err(Verdict::PassNotIp),
    }
}

#[inline(always)]
fn steer<F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    network_at: usize,
) -> Result<Decision, Verdict> {
    let network = F::parse(packet, network_at)?;
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
    let id = choose::<F, T>(tables, state, &network)?;
    let entry = u32::from(id) * 2 + state.uplink_copy(id);
    let uplink = tables.uplink(entry).ok_or(Verdict::DropInternal)?;
    if network.len > uplink.mtu as usize {
        return Ok(Decision::too_big(uplink.mtu));
    }
    rewrite::forward::<F, P>(packet, network_at, &uplink.next_hop[F::INDEX])
        .ok_or(Verdict::DropInternal)?;
    Ok(Decision::forward(id))
}

/// The uplink for this packet's flow.
#[inline(always)]
fn choose<F: Family, T: Tables>(
    tables: &T,
    state: &SharedState,
    network: &parse::Network<F::Address>,
) -> Result<u8, Verdict> {
    let group = &state.groups[DEFAULT_GROUP];
    let hash = F::hash(state.seed, network);
    let row = tables
        .row(group.rows() as u32 + hash.bucket())
        .ok_or(Verdict::DropInternal)?;
    rank::choose(row, group, F::INDEX, hash).ok_or(Verdict::ReplyUnreachable)
}
