//! The next hop of a path as the kernel's default routes have it: the first of several that serves.

use std::net::IpAddr;

use crate::netlink::{Link, NeighbourState, NetState, Route};

/// What the default routes over a device say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Routed {
    /// The next hop, and whether a router's advertisements named it.
    pub(super) next_hop: Option<(IpAddr, bool)>,
    /// One of a better route that does not serve now: it is to be asked on.
    pub(super) sought: Option<IpAddr>,
}

/// Looks for the next hop of one family among the default routes over a device, while packets go to `current`.
///
/// Those of the main table come first, then the lower metric. Of several routers that a provider's link has, one
/// that answers neither ARP nor neighbour discovery is passed over, as hosts do (RFC 4861 section 6.3.6); and of
/// two that are equally good the one in use stays.
pub(super) fn routed(
    net: &NetState,
    link: &Link,
    is_ipv4: bool,
    current: Option<IpAddr>,
) -> Routed {
    let routes = net.default_routes(link.ifindex);
    let gateway_of = |route: &&Route| {
        let gateway = route
            .gateway
            .filter(|gateway| gateway.is_ipv4() == is_ipv4)?;
        (route.destination.is_ipv4() == is_ipv4).then_some((gateway, route.advertised))
    };
    let rank = |route: &Route| (route.table, route.metric);
    let mut candidates: Vec<_> = routes
        .iter()
        .filter_map(|route| Some((rank(route), gateway_of(route)?)))
        .collect();
    // Stable, within the order that the routes have.
    if let Some(at) = candidates
        .iter()
        .position(|(_, (it, _))| Some(*it) == current)
    {
        let first = candidates
            .iter()
            .position(|(rank, _)| *rank == candidates[at].0);
        candidates[first.unwrap_or(at)..=at].rotate_right(1);
    }
    let state = |gateway| net.neighbour(link.ifindex, gateway);
    let answers = |gateway| state(gateway).is_some_and(|it| it.valid);
    let failed = |gateway| state(gateway).is_some_and(|it| it.state == NeighbourState::Failed);
    let in_use = |gateway: &IpAddr| Some(*gateway) == current;
    let held = candidates
        .iter()
        .any(|(_, (it, _))| in_use(it) && answers(*it));
    let serves = |gateway: IpAddr| {
        // One that was never asked is taken, unless another is in use that answers.
        !failed(gateway) && (answers(gateway) || in_use(&gateway) || !held)
    };
    let mut chosen = candidates.iter().find(|(_, (it, _))| serves(*it));
    chosen = chosen.or_else(|| candidates.iter().find(|(_, (it, _))| in_use(it)));
    let chosen = chosen.or(candidates.first()).map(|(_, found)| *found);
    let best = candidates.first().map(|(_, (best, _))| *best);
    Routed {
        next_hop: chosen,
        sought: best.filter(|best| chosen.is_some_and(|(chosen, _)| chosen != *best)),
    }
}
