//! Stories that the kernel tells, or half tells, and what the mirror makes of them.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::netlink::{
    ETHERNET, MAIN_TABLE,
    state::{Address, Neighbour, NeighbourState},
};

fn link(ifindex: u32, admin_up: bool) -> Change {
    Change::Link(LinkChange {
        ifindex,
        admin_up,
        carrier: admin_up,
        name: Some(format!("wan{ifindex}")),
        mac: Some(Some([2, 0, 0, 0, 0, 1])),
        mtu: Some(1500),
        vlan_of: Some(None),
        hardware: ETHERNET,
    })
}

fn address(ifindex: u32, last: u8) -> (u32, Address) {
    let address = [10, 0, 0, last].into();
    (
        ifindex,
        Address {
            address,
            prefix_len: 24,
            usable: true,
            deprecated: false,
            broadcast: None,
            peer: None,
        },
    )
}

fn key(metric: u32) -> RouteKey {
    RouteKey {
        destination: [0; 4].into(),
        prefix_len: 0,
        table: MAIN_TABLE,
        metric,
    }
}

fn route(metric: u32, last: u8, ifindex: u32) -> Route {
    let RouteKey {
        destination,
        prefix_len,
        table,
        metric,
    } = key(metric);
    let gateway = Some(IpAddr::from([10, 0, 0, last]));
    Route {
        destination,
        prefix_len,
        table,
        metric,
        gateway,
        ifindex,
        advertised: false,
    }
}

fn routes(how: RouteChange, metric: u32, routes: Vec<Route>) -> Change {
    Change::Routes {
        how,
        key: key(metric),
        routes,
    }
}

fn neighbour(ifindex: u32, last: u8, bits: u16) -> Change {
    let state = NeighbourState::from_bits(bits);
    let neighbour = Neighbour {
        mac: Some([2; 6]),
        valid: state.is_valid(),
        state,
    };
    Change::Neighbour {
        ifindex,
        address: [10, 0, 0, last].into(),
        neighbour,
    }
}

/// Two devices that are up.
fn mirror() -> Mirror {
    let mut mirror = Mirror::default();
    absorb(&mut mirror, &link(1, true));
    absorb(&mut mirror, &link(2, true));
    mirror
}

fn absorb(mirror: &mut Mirror, change: &Change) -> Vec<NetEvent> {
    let mut events = Vec::new();
    mirror.absorb(change, &mut events);
    events
}

#[test]
fn a_short_link_message_keeps_what_it_does_not_say() {
    let mut mirror = mirror();
    let short = LinkChange {
        ifindex: 1,
        admin_up: true,
        carrier: false,
        name: None,
        mac: None,
        mtu: None,
        vlan_of: None,
        hardware: ETHERNET,
    };
    let events = absorb(&mut mirror, &Change::Link(short.clone()));
    let [NetEvent::Link(link)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (link.name.as_str(), link.mtu, link.mac),
        ("wan1", 1500, Some([2, 0, 0, 0, 0, 1]))
    );
    assert!(!link.carrier && !mirror.take_doubt());
    assert_eq!(
        absorb(&mut mirror, &Change::Link(short.clone())),
        [],
        "nothing new"
    );
    let unknown = LinkChange {
        ifindex: 9,
        ..short
    };
    assert_eq!(absorb(&mut mirror, &Change::Link(unknown)), []);
    assert!(mirror.take_doubt(), "a device that was never named");
}

#[test]
fn silent_changes_raise_doubt_and_plain_ones_do_not() {
    let (ifindex, ipv4) = address(1, 1);
    let ipv6 = Address {
        address: IpAddr::from([0xfd; 16]),
        ..ipv4.clone()
    };
    let carrier_lost = {
        let Change::Link(link) = link(1, true) else {
            unreachable!()
        };
        Change::Link(LinkChange {
            carrier: false,
            ..link
        })
    };
    for (change, doubt) in [
        (Change::Address(ifindex, ipv4.clone()), false),
        (Change::AddressGone(ifindex, ipv4), true),
        (Change::AddressGone(ifindex, ipv6), false),
        (routes(RouteChange::Added, 0, vec![route(0, 1, 1)]), false),
        (routes(RouteChange::Removed, 0, vec![route(0, 1, 1)]), false),
        (neighbour(1, 1, 2), false),
        (carrier_lost, false),
        (link(1, false), true),
        (link(1, false), false),
        (link(1, true), true),
        (Change::LinkGone(1), true),
        (Change::NextHopObject, true),
    ] {
        let mut mirror = mirror();
        if change == link(1, false) && !doubt {
            absorb(&mut mirror, &change);
            mirror.take_doubt();
        }
        if change == link(1, true) && doubt {
            absorb(&mut mirror, &link(1, false));
            mirror.take_doubt();
        }
        absorb(&mut mirror, &change);
        assert_eq!(mirror.take_doubt(), doubt, "{change:?}");
        assert!(!mirror.take_doubt(), "asked for once");
    }
}

#[test]
fn a_replaced_route_goes_and_its_successor_comes() {
    let mut mirror = mirror();
    absorb(
        &mut mirror,
        &routes(RouteChange::Added, 0, vec![route(0, 1, 1)]),
    );
    absorb(
        &mut mirror,
        &routes(RouteChange::Added, 5, vec![route(5, 1, 1)]),
    );
    let events = absorb(
        &mut mirror,
        &routes(RouteChange::Replaced, 0, vec![route(0, 2, 2)]),
    );
    let (gone, added) = (
        NetEvent::RouteGone(route(0, 1, 1)),
        NetEvent::RouteAdded(route(0, 2, 2)),
    );
    assert_eq!(events, [gone, added], "the one with another metric stays");
    assert!(!mirror.take_doubt());
    let multipath = vec![route(0, 2, 2), route(0, 3, 1)];
    let events = absorb(&mut mirror, &routes(RouteChange::Replaced, 0, multipath));
    assert_eq!(events, [NetEvent::RouteAdded(route(0, 3, 1))]);
    absorb(
        &mut mirror,
        &routes(RouteChange::Replaced, 0, vec![route(0, 4, 1)]),
    );
    assert!(mirror.take_doubt(), "one of several routes was replaced");
}

#[test]
fn a_neighbour_confirmed_again_is_told_again() {
    let mut mirror = mirror();
    assert_eq!(absorb(&mut mirror, &neighbour(1, 1, 2)).len(), 1);
    assert_eq!(absorb(&mut mirror, &neighbour(1, 1, 2)).len(), 1);
}

#[test]
fn changes_during_a_listing_count() {
    // Listed: the route before it was removed, and not yet the second address.
    let mut listing = mirror();
    absorb(
        &mut listing,
        &routes(RouteChange::Added, 0, vec![route(0, 1, 1)]),
    );
    let (ifindex, second) = address(1, 2);
    let changes = [
        routes(RouteChange::Removed, 0, vec![route(0, 1, 1)]),
        Change::Address(ifindex, second.clone()),
        routes(RouteChange::Added, 5, vec![route(5, 1, 2)]),
    ];
    let state = Mirror::merge(listing.into_state(), &changes);
    assert_eq!(
        state.routes.into_iter().collect::<Vec<_>>(),
        [route(5, 1, 2)]
    );
    assert!(state.addresses[&1].contains(&second));
}

#[test]
fn routes_over_a_device_that_was_off_when_listed_are_dropped() {
    // The kernel says that the device is off before it purges the routes.
    let mut listing = mirror();
    absorb(
        &mut listing,
        &routes(RouteChange::Added, 0, vec![route(0, 1, 1)]),
    );
    let mut state = listing.into_state();
    state.links.get_mut(&1).expect("a link").admin_up = false;
    assert!(Mirror::merge(state, &[]).routes.is_empty());
}

fn change() -> impl Strategy<Value = Change> {
    let ifindex = 1_u32..4;
    prop_oneof![
        (ifindex.clone(), any::<bool>()).prop_map(|(ifindex, up)| link(ifindex, up)),
        ifindex.clone().prop_map(Change::LinkGone),
        (ifindex.clone(), 0_u8..4, any::<bool>()).prop_map(|(ifindex, last, gone)| {
            let (ifindex, address) = address(ifindex, last);
            if gone {
                Change::AddressGone(ifindex, address)
            } else {
                Change::Address(ifindex, address)
            }
        }),
        (
            0_u8..3,
            0_u32..2,
            proptest::collection::vec((0_u8..3, ifindex.clone()), 1..3)
        )
            .prop_map(|(how, metric, hops)| {
                let how = [
                    RouteChange::Added,
                    RouteChange::Replaced,
                    RouteChange::Removed,
                ][usize::from(how)];
                let hops = hops
                    .into_iter()
                    .map(|(last, ifindex)| route(metric, last, ifindex))
                    .collect();
                routes(how, metric, hops)
            }),
        (ifindex, 0_u8..4, 0_u16..8).prop_map(|(ifindex, last, bit)| neighbour(
            ifindex,
            last,
            1 << bit
        )),
    ]
}

fn state(changes: &[Change]) -> NetState {
    Mirror::merge(NetState::default(), changes)
}

proptest! {
    /// Whoever applies the events has the mirror's state.
    #[test]
    fn events_tell_the_whole_story(changes in proptest::collection::vec(change(), 0..100)) {
        let mut mirror = Mirror::default();
        let mut follower = NetState::default();
        for change in &changes {
            for event in absorb(&mut mirror, change) {
                follower.apply(&event);
            }
            prop_assert_eq!(&follower, mirror.state(), "after {:?}", change);
        }
    }

    /// From any state to any other there are events, and none if they are the same.
    #[test]
    fn any_state_is_reached_by_events(
        before in proptest::collection::vec(change(), 0..60),
        after in proptest::collection::vec(change(), 0..60),
    ) {
        let (before, after) = (state(&before), state(&after));
        let mut follower = before.clone();
        let mut mirror = Mirror::new(before);
        let mut events = Vec::new();
        mirror.become_state(after.clone(), &mut events);
        for event in &events {
            follower.apply(event);
        }
        prop_assert_eq!(&follower, &after);
        prop_assert_eq!(mirror.state(), &after);
        events.clear();
        mirror.become_state(after, &mut events);
        prop_assert_eq!(events, []);
    }

    /// A listing made at any moment during a series of changes, with all of the series applied to
    /// it, is the state at the end. (But for IPv4 addresses that go: whether one was the last of
    /// its device depends on the moment. They raise doubt, so another listing follows.)
    #[test]
    fn a_listing_may_be_made_at_any_moment(
        changes in proptest::collection::vec(
            change().prop_filter("in doubt", |it| !matches!(it, Change::AddressGone(..))), 1..60),
        from in any::<prop::sample::Index>(),
        listed in any::<prop::sample::Index>(),
    ) {
        let from = from.index(changes.len());
        let listed = from + listed.index(changes.len() - from);
        let mut mirror = Mirror::default();
        for change in &changes[..listed] {
            absorb(&mut mirror, change);
        }
        let merged = Mirror::merge(mirror.into_state(), &changes[from..]);
        let mut truth = Mirror::default();
        for change in &changes {
            absorb(&mut truth, change);
        }
        let mut truth = truth.into_state();
        truth.remove_impossible();
        prop_assert_eq!(merged, truth);
    }
}
