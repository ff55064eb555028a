//! Keeping the kernel's neighbour entries true: those of next hops, and those of LAN hosts, whose
//! packets the kernel no longer sees.

use std::{net::IpAddr, time::Instant};

use super::{Action, Controller, Uplink, path::Path};
use crate::{
    netlink::NeighbourState,
    probe::{TargetId, TargetKind},
};

/// Stale LAN neighbours that are checked at each tick, at most.
const HOST_CHECKS: usize = 128;

impl Controller {
    /// Many next hops answer no pings: one that never did is asked by ARP or neighbour discovery
    /// along with each ping, and the kernel's confirmation counts as the answer.
    ///
    /// In a PPPoE session there is neither, and pppd's LCP echoes watch the next hop: as long as the session
    /// is there, they are answered.
    pub(super) fn ask_silent_next_hop(&mut self, id: TargetId, now: Instant) -> Vec<Action> {
        let Some(uplink) = self.uplinks.of_mut(id.uplink) else {
            return Vec::new();
        };
        if uplink.config.pppoe.is_some() {
            let paths = uplink.paths.iter_mut();
            for path in paths.filter(|path| path.next_hop() == Some(id.target) && path.is_usable())
            {
                path.confirm(now);
            }
            return Vec::new();
        }
        let silent = |path: &&Path| path.next_hop() == Some(id.target) && path.is_silent();
        match (&uplink.link, uplink.paths.iter().find(silent)) {
            (Some(link), Some(_)) if id.kind == TargetKind::NextHop => {
                vec![Action::Confirm(link.ifindex, id.target)]
            }
            _ => Vec::new(),
        }
    }

    /// The kernel confirmed a neighbour.
    pub(super) fn confirm(&mut self, ifindex: u32, address: IpAddr, now: Instant) {
        let on_device = |uplink: &&mut Uplink| {
            uplink
                .link
                .as_ref()
                .is_some_and(|link| link.ifindex == ifindex)
        };
        for path in self
            .uplinks
            .iter_mut()
            .filter(on_device)
            .flat_map(|uplink| &mut uplink.paths)
        {
            if path.next_hop() == Some(address) {
                path.confirm(now);
            }
        }
    }

    /// The packets of the LAN's hosts no longer pass through the kernel, which therefore never
    /// finds out that a host is gone or has another MAC: it is asked to check.
    pub(super) fn check_stale_hosts(&self) -> Vec<Action> {
        self.net
            .neighbours
            .iter()
            .filter(|((ifindex, _), neighbour)| {
                neighbour.state == NeighbourState::Stale && self.lan_slot(*ifindex).is_some()
            })
            .take(HOST_CHECKS)
            .map(|(&(ifindex, address), _)| Action::Resolve(ifindex, address))
            .collect()
    }

    /// Keeps the next hops' neighbour entries alive, for the same reason.
    pub(super) fn resolve_next_hops(&self, all: bool) -> Vec<Action> {
        let mut actions = Vec::new();
        let on_ethernet = |uplink: &&Uplink| uplink.config.pppoe.is_none();
        for uplink in self.uplinks.iter().filter(on_ethernet) {
            let Some(link) = uplink.link.as_ref().filter(|link| link.admin_up) else {
                continue;
            };
            for next_hop in uplink.paths.iter().flat_map(Path::neighbours) {
                let fresh = self
                    .net
                    .neighbour(link.ifindex, next_hop)
                    .is_some_and(|neighbour| {
                        matches!(
                            neighbour.state,
                            NeighbourState::Reachable
                                | NeighbourState::Delay
                                | NeighbourState::Probe
                                | NeighbourState::Incomplete
                                | NeighbourState::NoArp
                                | NeighbourState::Permanent
                        )
                    });
                if all || !fresh {
                    actions.push(Action::Resolve(link.ifindex, next_hop));
                }
            }
        }
        actions
    }
}
