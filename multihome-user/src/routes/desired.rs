//! From how the uplinks are to the routes and rules that there should be: no I/O.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    DEFAULT_TABLE,
    choice::{Candidate, choose},
    model::{Hop, Route, Rule, Selector},
    priority, table_of,
};
use crate::{controller::FAMILIES, netlink::MAIN_TABLE};

/// The metric of a route to a next hop.
const METRIC: u32 = 1;
/// The metric of the route behind it, which says that there is no way.
const LAST_METRIC: u32 = 2;

/// An uplink as its routes need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its id.
    pub id: u8,
    /// Its failover priority.
    pub tier: u8,
    /// Its share relative to the others.
    pub weight: u32,
    /// The device's name.
    pub device: String,
    /// The next hops by family, on a device that is there and switched on.
    pub hops: [Option<Hop>; 2],
    /// Whether it has, or had, a next hop, by family.
    pub exists: [bool; 2],
    /// Addresses and prefixes that are its own, of both families: address and length.
    pub sources: Vec<(IpAddr, u8)>,
}

/// The routes and rules that there should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Rules.
    pub rules: BTreeSet<Rule>,
    /// Routes.
    pub routes: BTreeSet<Route>,
}

/// What was chosen, and what should be there. Remembers the former choice, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Designer {
    /// The uplinks that the gateway's own traffic takes, by family.
    pub chosen: [Option<u8>; 2],
}

impl Designer {
    /// What there should be for these uplinks; `serving` is the word in force, by family.
    pub fn design(&mut self, views: &[View], serving: [u64; 2]) -> Desired {
        let mut desired = Desired::default();
        for family in FAMILIES {
            // A family that no uplink carries is none of our business.
            if !views.iter().any(|view| view.exists[family]) {
                self.chosen[family] = None;
                continue;
            }
            let candidates: Vec<Candidate> = views
                .iter()
                .map(|view| Candidate {
                    id: view.id,
                    tier: view.tier,
                    weight: view.weight,
                    routable: view.hops[family].is_some(),
                })
                .collect();
            self.chosen[family] = choose(self.chosen[family], serving[family], &candidates);
            desired.add_family(family, views, self.chosen[family]);
        }
        desired
    }
}

impl Desired {
    fn add_family(&mut self, family: usize, views: &[View], chosen: Option<u8>) {
        let rule = |priority, selector, table, suppress| Rule {
            family,
            priority,
            selector,
            table,
            suppress,
        };
        let mut taken = BTreeSet::new();
        for view in views {
            let table = table_of(view.id);
            // A mark asks for this uplink and no other, also when it has no way.
            self.rules
                .insert(rule(priority::MARK, Selector::Mark(table), table, None));
            self.routes.insert(Route {
                family,
                table,
                metric: LAST_METRIC,
                hop: None,
            });
            if !view.exists[family] {
                continue;
            }
            self.routes
                .extend(view.hops[family].map(|hop| to(family, table, hop)));
            let device = Selector::Device(view.device.clone());
            self.rules
                .insert(rule(priority::DEVICE, device, table, None));
            for &(address, length) in &view.sources {
                // What two uplinks call their own is the first one's.
                let is_of_family = address.is_ipv4() == (family == multihome_common::state::IPV4);
                if is_of_family && taken.insert((address, length)) {
                    let source = Selector::Source(address, length);
                    self.rules
                        .insert(rule(priority::SOURCE, source, table, None));
                }
            }
        }
        for (priority, length) in [(priority::MAIN, 1), (priority::HALVES, 0)] {
            self.rules
                .insert(rule(priority, Selector::All, MAIN_TABLE, Some(length)));
        }
        let hop = views
            .iter()
            .find(|view| Some(view.id) == chosen)
            .and_then(|view| view.hops[family]);
        if let Some(hop) = hop {
            self.routes.insert(to(family, DEFAULT_TABLE, hop));
        }
        self.rules
            .insert(rule(priority::DEFAULT, Selector::All, DEFAULT_TABLE, None));
    }
}

fn to(family: usize, table: u32, hop: Hop) -> Route {
    Route {
        family,
        table,
        metric: METRIC,
        hop: Some(hop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multihome_common::state::{IPV4, IPV6};

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn view(id: u8, sources: &[(&str, u8)]) -> View {
        let hop = |gateway: &str| Hop {
            ifindex: 20 + u32::from(id),
            gateway: address(gateway),
        };
        View {
            id,
            tier: 1,
            weight: 1,
            device: format!("wan{id}"),
            hops: [Some(hop("192.0.2.1")), Some(hop("fe80::1"))],
            exists: [true; 2],
            sources: sources
                .iter()
                .map(|&(text, n)| (address(text), n))
                .collect(),
        }
    }

    fn shown(desired: &Desired, family: usize) -> Vec<String> {
        let rules = desired.rules.iter().filter(|rule| rule.family == family);
        let routes = desired.routes.iter().filter(|it| it.family == family);
        rules
            .map(ToString::to_string)
            .chain(routes.map(ToString::to_string))
            .collect()
    }

    #[test]
    fn sources_marks_and_devices_lead_to_their_uplink_and_all_else_to_the_chosen_one() {
        let views = [
            view(0, &[("192.0.2.2", 32), ("2001:db8:1::", 56)]),
            view(3, &[("192.0.2.6", 32), ("192.0.2.2", 32)]),
        ];
        let mut designer = Designer::default();
        let desired = designer.design(&views, [0b1000, 0b1001]);
        assert_eq!(
            shown(&desired, IPV4),
            [
                "7700: from all lookup main suppress_prefixlength 1 (IPv4)",
                "7701: from all fwmark 0x1e14 lookup 7700 (IPv4)",
                "7701: from all fwmark 0x1e17 lookup 7703 (IPv4)",
                "7702: from all oif wan0 lookup 7700 (IPv4)",
                "7702: from all oif wan3 lookup 7703 (IPv4)",
                "7703: from 192.0.2.2/32 lookup 7700 (IPv4)",
                "7703: from 192.0.2.6/32 lookup 7703 (IPv4)",
                "7704: from all lookup main suppress_prefixlength 0 (IPv4)",
                "7705: from all lookup 7764 (IPv4)",
                "default via 192.0.2.1 on the device with index 20 table 7700 metric 1",
                "unreachable default table 7700 metric 2 (IPv4)",
                "default via 192.0.2.1 on the device with index 23 table 7703 metric 1",
                "unreachable default table 7703 metric 2 (IPv4)",
                "default via 192.0.2.1 on the device with index 23 table 7764 metric 1",
            ]
        );
        assert!(
            shown(&desired, IPV6)
                .contains(&"7703: from 2001:db8:1::/56 lookup 7700 (IPv6)".to_owned())
        );
        assert_eq!(designer.chosen, [Some(3), Some(0)]);
    }

    #[test]
    fn an_uplink_that_does_not_carry_a_family_is_not_left_by_its_mark() {
        let mut one = view(1, &[("192.0.2.6", 32)]);
        one.exists[IPV6] = false;
        one.hops[IPV6] = None;
        let desired = Designer::default().design(&[view(0, &[]), one], [0b11; 2]);
        let sixes = shown(&desired, IPV6);
        assert!(sixes.contains(&"unreachable default table 7701 metric 2 (IPv6)".to_owned()));
        assert!(sixes.contains(&"7701: from all fwmark 0x1e15 lookup 7701 (IPv6)".to_owned()));
        assert!(!sixes.iter().any(|it| it.contains("oif wan1")), "{sixes:?}");
    }

    #[test]
    fn a_family_that_no_uplink_carries_is_left_alone() {
        let mut only = view(0, &[("192.0.2.2", 32)]);
        only.exists[IPV6] = false;
        only.hops[IPV6] = None;
        let desired = Designer::default().design(&[only], [1; 2]);
        assert_eq!(shown(&desired, IPV6), [""; 0]);
    }

    #[test]
    fn without_any_way_the_kernels_own_default_route_is_left_to_serve() {
        let mut only = view(0, &[]);
        only.hops = [None; 2];
        let mut designer = Designer {
            chosen: [Some(0); 2],
        };
        let desired = designer.design(&[only], [1; 2]);
        assert!(
            desired
                .routes
                .iter()
                .all(|route| route.table != DEFAULT_TABLE)
        );
        assert_eq!(designer.chosen, [None; 2]);
    }
}
