//! From an uplink: to the LAN host that the packet is for; all else is the kernel's.

use super::{Decision, accept};
use crate::{
    address::Class,
    family::{V4, V6},
    icmp_error::{self, ErrorFormat, Problem},
    packet::Packet,
    parse,
    port::PortEntry,
    rewrite,
    tables::Tables,
    verdict::Verdict,
    wire::ethernet,
};

/// Decides about a packet that came in on the uplink `port`, and rewrites it to match.
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
        ethernet::IPV4 => deliver::<V4, P, T>(packet, tables, port, link.len),
        ethernet::IPV6 => deliver::<V6, P, T>(packet, tables, port, link.len),
        _ => Err(Verdict::PassNotIp),
    }
}

#[inline(always)]
fn deliver<F: ErrorFormat, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &mut T,
    port: &PortEntry,
    network_at: usize,
) -> Result<Decision, Verdict> {
    let network = F::parse(packet, network_at)?;
    let state = tables.state().ok_or(Verdict::DropInternal)?;
    let addresses = F::addresses(tables, state).ok_or(Verdict::DropInternal)?;
    match addresses.class(network.destination) {
        Class::Lan => {}
        Class::Gateway => return Err(Verdict::PassGateway),
        Class::OnLink | Class::Internet => return Err(Verdict::PassNotOurs),
        Class::Special => return Err(Verdict::PassSpecial),
    }
    // BCP 38, seen from inside: nobody out there speaks with a LAN's or the gateway's address.
    if F::is_martian_source(network.source)
        || matches!(addresses.class(network.source), Class::Lan | Class::Gateway)
    {
        return Err(Verdict::DropMartianSource);
    }
    let problem = if network.hop_limit <= 1 {
        Problem::TimeExceeded
    } else {
        let host = match F::host(tables, network.destination) {
            Some(host) => *host,
            // Hosts behind a router in the LAN, and those the controller has not seen yet.
            None => F::kernel_route(tables, port.ifindex, network.source, network.destination)
                .ok_or(Verdict::PassNoNeighbour)?,
        };
        if network.len <= usize::from(host.mtu) {
            rewrite::forward::<F, P>(packet, network_at, &host.hop).ok_or(Verdict::DropInternal)?;
            return Ok(Decision::forward(host.slot as u8));
        }
        Problem::TooBig(u32::from(host.mtu))
    };
    Err(icmp_error::answer::<F, P, T>(
        packet, tables, port, network_at, &network, problem,
    ))
}
