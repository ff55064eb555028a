//! Lines whose addresses, routers and devices change under way, as DHCP and router advertisements have it.

use super::*;
use crate::netlink::{Address, ETHERNET};

/// Another router of the fiber's provider.
fn other_router() -> IpAddr {
    IpAddr::from([192, 0, 2, 3])
}

fn other_route() -> Route {
    Route {
        gateway: Some(other_router()),
        ..default_route(FIBER)
    }
}

fn other_seen(state: NeighbourState) -> NetEvent {
    let mut neighbour = neighbour(state);
    neighbour.mac = neighbour.mac.map(|_| [8; 6]);
    NetEvent::Neighbour {
        ifindex: 10,
        address: other_router(),
        neighbour,
    }
}

/// Where the fiber's packets go after these actions, if they go elsewhere.
fn hop(actions: &[Action]) -> Option<[u8; 6]> {
    actions.iter().find_map(|action| {
        let Action::SetUplink(FIBER, entry) = action else {
            return None;
        };
        Some(entry.next_hop[IPV4].destination())
    })
}

fn moves_flows(actions: &[Action]) -> bool {
    let is_word = |action: &Action| {
        matches!(
            action,
            Action::SetEligible(..) | Action::SetAlive(..) | Action::SetLastGood(..)
        )
    };
    actions.iter().any(is_word)
}

/// A lease with another router ended all translated connections, while its MAC was being asked for.
#[test]
fn a_new_router_is_followed_without_a_word_changing() {
    let mut story = Story::begin(1, None);
    let mut actions = story.net(NetEvent::RouteAdded(other_route()));
    actions.extend(story.net(NetEvent::RouteGone(default_route(FIBER))));
    assert!(
        actions.contains(&Action::Resolve(10, other_router())),
        "{actions:?}"
    );
    assert!(!moves_flows(&actions), "{actions:?}");
    assert_eq!(
        hop(&actions),
        None,
        "packets go to the former one until the MAC is known"
    );
    let shown = story.controller.uplinks()[0].paths[IPV4].next_hop();
    assert_eq!(shown, Some(other_router()));
    let actions = story.net(other_seen(NeighbourState::Reachable));
    assert_eq!(hop(&actions), Some([8; 6]));
    assert!(!moves_flows(&actions), "{actions:?}");
}

#[test]
fn a_new_router_that_is_not_there_takes_its_line_down() {
    let mut story = Story::begin(1, None);
    story.net(NetEvent::RouteAdded(other_route()));
    story.net(NetEvent::RouteGone(default_route(FIBER)));
    story.net(other_seen(NeighbourState::Failed));
    assert_eq!(story.eligible, 0b11, "it is asked again");
    story.wait(Duration::from_secs(3));
    assert_eq!(story.eligible, 0b10);
    assert_eq!(
        story.controller.uplinks()[0].cause,
        "next hop 192.0.2.3 does not answer ARP"
    );
}

/// Two routers on one link: the one with the lower address was asked for ever, alive or not.
#[test]
fn of_two_routers_the_one_that_answers_is_used_and_kept() {
    let mut story = Story::begin(1, None);
    let next_hop_now = |story: &Story| story.controller.uplinks()[0].paths[IPV4].next_hop();
    story.net(other_seen(NeighbourState::Stale));
    story.net(NetEvent::RouteAdded(other_route()));
    assert_eq!(next_hop_now(&story), Some(next_hop(FIBER)));
    let actions = story.net(seen(FIBER, NeighbourState::Failed));
    assert_eq!(next_hop_now(&story), Some(other_router()));
    assert_eq!(hop(&actions), Some([8; 6]));
    assert!(!moves_flows(&actions), "{actions:?}");
    // The kernel forgets entries that failed; that is no reason to go back.
    let gone = NetEvent::NeighbourGone {
        ifindex: 10,
        address: next_hop(FIBER),
    };
    story.net(gone);
    story.net(seen(FIBER, NeighbourState::Reachable));
    assert_eq!(next_hop_now(&story), Some(other_router()));
}

#[test]
fn the_router_of_a_better_route_is_asked_on_and_gone_back_to() {
    let mut story = Story::begin(1, None);
    let worse = Route {
        metric: 500,
        ..other_route()
    };
    story.net(NetEvent::RouteAdded(worse));
    story.net(other_seen(NeighbourState::Stale));
    story.net(seen(FIBER, NeighbourState::Failed));
    let next_hop_now = |story: &Story| story.controller.uplinks()[0].paths[IPV4].next_hop();
    assert_eq!(next_hop_now(&story), Some(other_router()));
    let asked = story.tell(Event::Tick);
    assert!(
        asked.contains(&Action::Resolve(10, next_hop(FIBER))),
        "{asked:?}"
    );
    story.net(seen(FIBER, NeighbourState::Reachable));
    assert_eq!(next_hop_now(&story), Some(next_hop(FIBER)));
    assert_eq!(story.eligible, 0b11);
}

/// A router that says that it is no default router any more must not be sent packets for ever.
#[test]
fn a_router_that_withdraws_itself_takes_its_line_down_and_back() {
    let advertised = Route {
        advertised: true,
        ..default_route(FIBER)
    };
    let mut net = kernel();
    net.apply(&NetEvent::RouteGone(default_route(FIBER)));
    net.apply(&NetEvent::RouteAdded(advertised.clone()));
    let mut story = Story::begin_on(net, 1, None);
    story.net(NetEvent::RouteGone(advertised.clone()));
    story.wait(Duration::from_secs(2));
    assert_eq!(
        story.eligible, 0b11,
        "a network manager may be setting it anew"
    );
    story.wait(Duration::from_secs(1));
    assert_eq!(story.eligible, 0b10);
    let cause = &story.controller.uplinks()[0].cause;
    assert!(cause.contains("no default router any more"), "{cause}");
    story.wait(Duration::from_secs(3600));
    assert_eq!(story.eligible, 0b10);
    story.net(NetEvent::RouteAdded(advertised.clone()));
    story.probes(FIBER, true);
    assert_eq!(story.eligible, 0b11);

    // With the link the route goes too, and comes back after it: the router has withdrawn nothing.
    story.net(NetEvent::Link(Link {
        admin_up: false,
        ..link(10, "fiber0", false)
    }));
    story.wait(Duration::from_secs(60));
    story.net(NetEvent::Link(link(10, "fiber0", true)));
    story.probes(FIBER, true);
    assert_eq!(story.eligible, 0b11);
}

/// A prefix that is being replaced, with no other in sight: the line worked, and was taken down.
#[test]
fn a_deprecated_address_serves_until_there_is_another() {
    let mut story = Story::begin(1, None);
    let deprecated = Address {
        deprecated: true,
        ..address(FIBER)
    };
    story.net(NetEvent::AddressAdded(10, deprecated.clone()));
    story.wait(Duration::from_secs(60));
    assert_eq!(story.eligible, 0b11);
    let own = |story: &Story| story.controller.uplinks()[0].paths[IPV4].address();
    assert_eq!(own(&story), Some(deprecated.address));
    let new = Address {
        address: IpAddr::from([192, 0, 2, 1]),
        ..address(FIBER)
    };
    story.net(NetEvent::AddressAdded(10, new.clone()));
    assert_eq!(own(&story), Some(new.address));
}

/// A VPN's program makes a device by the name that an uplink had.
#[test]
fn a_device_without_ethernet_takes_its_line_down_and_says_what_to_do() {
    let mut story = Story::begin(1, None);
    story.net(NetEvent::LinkGone(10));
    let tunnel = Link {
        mac: None,
        hardware: 0xfffe,
        ..link(42, "fiber0", true)
    };
    let actions = story.net(NetEvent::Link(tunnel));
    assert_eq!(story.eligible, 0b10);
    let touched = |action: &Action| matches!(action, Action::Attach { .. } | Action::SetPort(..));
    assert!(!actions.iter().any(touched), "{actions:?}");
    let path = &story.controller.uplinks()[0].paths[IPV4];
    let obstacle = path.obstacle().unwrap_or_default();
    assert!(
        obstacle.contains("carries bare IP packets") && obstacle.contains("veth"),
        "{obstacle}"
    );
    story.net(NetEvent::LinkGone(42));
    let back = story.net(NetEvent::Link(Link {
        hardware: ETHERNET,
        ..link(43, "fiber0", true)
    }));
    assert!(back.iter().any(touched), "{back:?}");
}
