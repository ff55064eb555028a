//! The inside hosts of forwards: the kernel is asked for them before anybody outside asks, since a
//! program forwards only to hosts whose MAC is known.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use super::{Action, Controller};
use crate::netlink::NeighbourState;

/// How often a host that does not answer is asked for. The kernel asks three times by itself.
const ASKED_EVERY: Duration = Duration::from_secs(5);

/// The inside hosts of forwards.
#[derive(Clone, Debug, Default)]
pub(super) struct Forwards {
    hosts: Vec<Ipv4Addr>,
    asked: Option<Instant>,
}

impl Forwards {
    pub fn new(mut hosts: Vec<Ipv4Addr>) -> Self {
        hosts.sort_unstable();
        hosts.dedup();
        Self { hosts, asked: None }
    }
}

impl Controller {
    /// Has the kernel find those that it does not know. Stale entries are checked with all others.
    pub(super) fn find_forward_hosts(&mut self, now: Instant) -> Vec<Action> {
        let early = |asked: Instant| now.saturating_duration_since(asked) < ASKED_EVERY;
        if self.forwards.hosts.is_empty() || self.forwards.asked.is_some_and(early) {
            return Vec::new();
        }
        self.forwards.asked = Some(now);
        let unknown = |ifindex: u32, host: Ipv4Addr| {
            self.net
                .neighbour(ifindex, IpAddr::V4(host))
                .is_none_or(|neighbour| match neighbour.state {
                    NeighbourState::None | NeighbourState::Failed => true,
                    NeighbourState::Incomplete
                    | NeighbourState::Reachable
                    | NeighbourState::Stale
                    | NeighbourState::Delay
                    | NeighbourState::Probe
                    | NeighbourState::NoArp
                    | NeighbourState::Permanent => false,
                })
        };
        let hosts = self.forwards.hosts.iter().copied();
        hosts
            .filter_map(|host| Some((self.lan_device_of(host)?, host)))
            .filter(|&(ifindex, host)| unknown(ifindex, host))
            .map(|(ifindex, host)| Action::Resolve(ifindex, host.into()))
            .collect()
    }

    /// The LAN port in whose subnet an address is.
    fn lan_device_of(&self, host: Ipv4Addr) -> Option<u32> {
        let is_in = |address: IpAddr, prefix_len: u8| match address {
            IpAddr::V4(own) => {
                let host_bits = 32 - u32::from(prefix_len.min(32));
                u64::from(own.to_bits() ^ host.to_bits()) >> host_bits == 0
            }
            IpAddr::V6(_) => false,
        };
        self.lan_ports().find_map(|(_, _, ifindex)| {
            let ifindex = ifindex?;
            let mut addresses = self.net.addresses_of(ifindex);
            addresses
                .any(|address| is_in(address.address, address.prefix_len))
                .then_some(ifindex)
        })
    }
}
