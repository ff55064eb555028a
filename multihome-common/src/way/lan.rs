//! From a LAN port: local traffic to the kernel, all else to the uplink that the flow's bucket
//! ranks first among the eligible.

use super::{Decision, accept};
use crate::{
    address::Class,
    family::{V4, V6},
    icmp_error::{self, ErrorFormat, Problem},
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

/// Decides about a packet that came in on the LAN port `port`, and rewrites it to match.
#[inline(always)]
pub fn handle<P: Packet, T: Tables>(packet: &mut P, tables: &mut T, port: &PortEntry) -> Decision {
    decide(packet, tables, port).unwrap_or_else(Decision::from)
}

#[inline(always)]
fn decide<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &mut T,
    port: &PortEntry,
) -> Result<Decision, Verdict> {
    let link = parse::link(packet)?;
    accept(&link, port)?;
    match link.ethertype {
        ethernet::IPV4 => steer::<V4, P, T>(packet, tables, port, link.len),
        ethernet::IPV6 => steer::<V6, P, T>(packet, tables, port, link.len),
        _ => Err(Verdict::PassNotIp),
    }
}

#[inline(always)]
fn steer<F: ErrorFormat, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &mut T,
    port: &PortEntry,
    network_at: usize,
) -> Result<Decision, Verdict> {
    let network = F::parse(packet, network_at)?;
    let state = tables.state().ok_or(Verdict::DropInternal)?;
    let addresses = F::addresses(tables, state).ok_or(Verdict::DropInternal)?;
    match addresses.class(network.destination) {
        Class::Internet => {}
        Class::Gateway => return Err(Verdict::PassGateway),
        Class::OnLink | Class::Lan => return Err(Verdict::PassOnLink),
        Class::Special => return Err(Verdict::PassSpecial),
    }
    if F::is_martian_source(network.source) {
        return Err(Verdict::DropMartianSource);
    }
    let problem = if network.hop_limit <= 1 {
        Problem::TimeExceeded
    } else {
        match choose::<F, T>(tables, state, &network)? {
            None => Problem::Unreachable,
            Some(id) => {
                let entry = u32::from(id) * 2 + state.uplink_copy(id);
                let uplink = tables.uplink(entry).ok_or(Verdict::DropInternal)?;
                if network.len <= uplink.mtu as usize {
                    rewrite::forward::<F, P>(packet, network_at, &uplink.next_hop[F::INDEX])
                        .ok_or(Verdict::DropInternal)?;
                    return Ok(Decision::forward(id));
                }
                Problem::TooBig(uplink.mtu)
            }
        }
    };
    Err(icmp_error::answer::<F, P, T>(
        packet, tables, port, network_at, &network, problem,
    ))
}

/// The uplink for this packet's flow; `None` when no uplink serves its family.
#[inline(always)]
fn choose<F: ErrorFormat, T: Tables>(
    tables: &T,
    state: &SharedState,
    network: &parse::Network<F::Address>,
) -> Result<Option<u8>, Verdict> {
    let group = &state.groups[DEFAULT_GROUP];
    let hash = F::hash(state.seed, network);
    let row = tables
        .row(group.rows() as u32 + hash.bucket())
        .ok_or(Verdict::DropInternal)?;
    Ok(rank::choose(row, group, F::INDEX, hash))
}
