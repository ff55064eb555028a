//! Events applied to the mirror, and what they take with them.

use proptest::prelude::*;

use super::*;

fn link(ifindex: u32, name: &str) -> Link {
    Link {
        ifindex,
        name: name.into(),
        mac: Some([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        admin_up: true,
        carrier: true,
        vlan_of: None,
        hardware: ETHERNET,
    }
}

fn address(address: [u8; 4]) -> Address {
    Address {
        address: address.into(),
        prefix_len: 24,
        usable: true,
        deprecated: false,
        broadcast: None,
        peer: None,
    }
}

fn route(
    destination: impl Into<IpAddr>,
    prefix_len: u8,
    gateway: Option<[u8; 4]>,
    ifindex: u32,
) -> Route {
    Route {
        destination: destination.into(),
        prefix_len,
        table: MAIN_TABLE,
        metric: 0,
        gateway: gateway.map(IpAddr::from),
        ifindex,
        advertised: false,
    }
}

const ANY4: [u8; 4] = [0; 4];
const ANY6: [u8; 16] = [0; 16];
const GATEWAY: [u8; 4] = [192, 0, 2, 1];

fn neighbour(state: NeighbourState) -> Neighbour {
    Neighbour {
        mac: Some([2, 0, 0, 0, 0, 9]),
        valid: state.is_valid(),
        state,
    }
}

/// Two devices with an address, routes of both families and a neighbour each.
fn full() -> NetState {
    let mut state = NetState::default();
    for (ifindex, name) in [(2, "wan0"), (3, "wan1")] {
        for event in [
            NetEvent::Link(link(ifindex, name)),
            NetEvent::AddressAdded(ifindex, address([192, 0, 2, 2])),
            NetEvent::RouteAdded(route(ANY4, 0, Some(GATEWAY), ifindex)),
            NetEvent::RouteAdded(route([192, 0, 2, 0], 24, None, ifindex)),
            NetEvent::RouteAdded(route(ANY6, 0, None, ifindex)),
            NetEvent::Neighbour {
                ifindex,
                address: GATEWAY.into(),
                neighbour: neighbour(NeighbourState::Reachable),
            },
        ] {
            assert!(state.apply(&event), "{event:?}");
            assert!(!state.apply(&event), "a second time: {event:?}");
        }
    }
    state
}

#[test]
fn a_removed_device_takes_everything_with_it_and_nothing_of_others() {
    let mut state = full();
    assert!(state.apply(&NetEvent::LinkGone(2)));
    assert!(!state.apply(&NetEvent::LinkGone(2)));
    assert!(state.routes.iter().all(|route| route.ifindex == 3));
    assert_eq!((state.links.len(), state.addresses.len()), (1, 1));
    assert_eq!((state.routes.len(), state.neighbours.len()), (3, 1));
}

#[test]
fn a_device_switched_off_loses_its_routes_but_not_its_ipv4_addresses() {
    let mut state = full();
    assert!(state.apply(&NetEvent::Link(Link {
        admin_up: false,
        carrier: false,
        ..link(2, "wan0")
    })));
    assert!(state.routes.iter().all(|route| route.ifindex == 3));
    assert_eq!(state.addresses_of(2).count(), 1);
}

#[test]
fn lost_carrier_takes_no_routes() {
    let mut state = full();
    assert!(state.apply(&NetEvent::Link(Link {
        carrier: false,
        ..link(2, "wan0")
    })));
    assert_eq!(state.routes.len(), 6);
}

#[test]
fn a_renamed_device_is_found_by_its_new_name() {
    let mut state = full();
    assert!(state.apply(&NetEvent::Link(link(2, "isp"))));
    assert_eq!(state.link_by_name("wan0"), None);
    assert_eq!(state.link_by_name("isp").map(|link| link.ifindex), Some(2));
}

#[test]
fn the_last_ipv4_address_takes_the_ipv4_routes_with_it() {
    let mut state = full();
    let second = address([192, 0, 2, 3]);
    state.apply(&NetEvent::AddressAdded(2, second.clone()));
    assert!(state.apply(&NetEvent::AddressGone(2, address([192, 0, 2, 2]))));
    assert_eq!(state.routes.len(), 6, "one address is left");
    assert!(state.apply(&NetEvent::AddressGone(2, second.clone())));
    assert!(!state.apply(&NetEvent::AddressGone(2, second)));
    let left: Vec<&Route> = state
        .routes
        .iter()
        .filter(|route| route.ifindex == 2)
        .collect();
    assert!(left.len() == 1 && left[0].destination.is_ipv6(), "{left:?}");
}

#[test]
fn a_changed_address_replaces_itself() {
    let mut state = full();
    let deprecated = Address {
        usable: false,
        ..address([192, 0, 2, 2])
    };
    assert!(state.apply(&NetEvent::AddressAdded(2, deprecated.clone())));
    assert_eq!(state.addresses_of(2).collect::<Vec<_>>(), [&deprecated]);
    assert!(
        state.apply(&NetEvent::AddressGone(2, address([192, 0, 2, 2]))),
        "whatever its flags"
    );
}

#[test]
fn default_routes_come_main_table_first_then_by_metric() {
    let mut state = full();
    let with = |table, metric, last| Route {
        table,
        metric,
        ..route(ANY4, 0, Some([192, 0, 2, last]), 2)
    };
    for route in [
        with(100, 0, 10),
        with(MAIN_TABLE, 50, 11),
        with(MAIN_TABLE, 7, 12),
    ] {
        state.apply(&NetEvent::RouteAdded(route));
    }
    let routes = state.default_routes(2);
    let ipv4: Vec<_> = routes
        .iter()
        .filter(|route| route.destination.is_ipv4())
        .collect();
    let order: Vec<(u32, u32)> = ipv4
        .iter()
        .map(|route| (route.table, route.metric))
        .collect();
    assert_eq!(
        order,
        [(MAIN_TABLE, 0), (MAIN_TABLE, 7), (MAIN_TABLE, 50), (100, 0)]
    );
    assert_eq!(routes.len(), 5, "and the IPv6 one");
    assert!(routes.iter().all(|route| route.ifindex == 2));
}

#[test]
fn neighbour_states_follow_the_kernel_s_bits() {
    use NeighbourState::{
        Delay, Failed, Incomplete, NoArp, None, Permanent, Probe, Reachable, Stale,
    };
    let states: Vec<NeighbourState> = (0..8)
        .map(|bit| NeighbourState::from_bits(1 << bit))
        .collect();
    assert_eq!(
        states,
        [
            Incomplete, Reachable, Stale, Delay, Probe, Failed, NoArp, Permanent
        ]
    );
    assert_eq!(NeighbourState::from_bits(0), None);
    let invalid: Vec<NeighbourState> = states.into_iter().filter(|it| !it.is_valid()).collect();
    assert_eq!(invalid, [Incomplete, Failed]);
}

#[test]
fn resynced_replaces_everything() {
    let mut state = full();
    let mut other = full();
    assert!(!state.apply(&NetEvent::Resynced(Box::new(other.clone()))));
    other.apply(&NetEvent::LinkGone(3));
    assert!(state.apply(&NetEvent::Resynced(Box::new(other.clone()))));
    assert_eq!(state, other);
}

#[test]
fn what_cannot_be_is_removed() {
    let mut state = full();
    state.links.get_mut(&2).expect("a link").admin_up = false;
    state.links.remove(&3);
    state.remove_impossible();
    assert!(state.routes.is_empty());
    assert_eq!(state.addresses.keys().collect::<Vec<_>>(), [&2]);
    assert_eq!(state.neighbours.len(), 1);
}

fn event() -> impl Strategy<Value = NetEvent> {
    let ifindex = 1_u32..4;
    let links =
        (ifindex.clone(), any::<bool>(), any::<bool>()).prop_map(|(ifindex, admin_up, carrier)| {
            NetEvent::Link(Link {
                admin_up,
                carrier,
                ..link(ifindex, "x")
            })
        });
    let addresses = (ifindex.clone(), 0_u8..3, any::<bool>(), any::<bool>()).prop_map(
        |(ifindex, last, usable, gone)| {
            let address = Address {
                usable,
                ..address([10, 0, 0, last])
            };
            if gone {
                NetEvent::AddressGone(ifindex, address)
            } else {
                NetEvent::AddressAdded(ifindex, address)
            }
        },
    );
    let routes = (ifindex.clone(), 0_u8..3, any::<bool>()).prop_map(|(ifindex, last, gone)| {
        let route = route([10, 0, 0, last], 32, None, ifindex);
        if gone {
            NetEvent::RouteGone(route)
        } else {
            NetEvent::RouteAdded(route)
        }
    });
    let neighbours = (ifindex.clone(), 0_u8..3, 0_u16..9, any::<bool>()).prop_map(
        |(ifindex, last, bit, gone)| {
            let address = IpAddr::from([10, 0, 0, last]);
            if gone {
                NetEvent::NeighbourGone { ifindex, address }
            } else {
                let neighbour = neighbour(NeighbourState::from_bits(1 << bit));
                NetEvent::Neighbour {
                    ifindex,
                    address,
                    neighbour,
                }
            }
        },
    );
    prop_oneof![
        links,
        ifindex.prop_map(NetEvent::LinkGone),
        addresses,
        routes,
        neighbours
    ]
}

proptest! {
    /// `apply` says it changed something exactly when it did, and a second time it never does.
    #[test]
    fn apply_tells_the_truth(events in proptest::collection::vec(event(), 0..200)) {
        let mut state = NetState::default();
        for event in events {
            let before = state.clone();
            prop_assert_eq!(state.apply(&event), before != state, "{:?}", event);
            prop_assert!(!state.apply(&event), "again: {:?}", event);
            prop_assert!(state.addresses.values().all(|addresses| !addresses.is_empty()));
        }
    }
}
