//! Messages about routes, built by `netlink-packet-route`.

use netlink_packet_core::NLM_F_REPLACE;
use netlink_packet_route::route::{
    RouteAddress, RouteFlags, RouteMessage, RouteNextHop, RouteNextHopFlags, RouteProtocol,
    RouteType, RouteVia,
};

use super::*;

pub(super) fn route_message(attributes: Vec<RouteAttribute>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.table = 254;
    message.header.kind = RouteType::Unicast;
    message.attributes = attributes;
    message
}

fn default_route(gateway: [u8; 4], ifindex: u32) -> Route {
    Route {
        destination: [0; 4].into(),
        prefix_len: 0,
        table: 254,
        metric: 0,
        gateway: Some(gateway.into()),
        ifindex,
        advertised: false,
    }
}

/// The routes of a message that must be one about routes.
fn routes_of(message: RouteMessage) -> Vec<Route> {
    match decode(RouteNetlinkMessage::NewRoute(message)) {
        Some(Change::Routes {
            how: RouteChange::Added,
            routes,
            ..
        }) => routes,
        other => panic!("{other:?}"),
    }
}

pub(super) fn via(gateway: [u8; 4], ifindex: u32) -> Vec<RouteAttribute> {
    vec![
        RouteAttribute::Gateway(RouteAddress::Inet(gateway.into())),
        RouteAttribute::Oif(ifindex),
    ]
}

#[test]
fn a_default_route_is_read() {
    assert_eq!(
        routes_of(route_message(via(PEER, 7))),
        [default_route(PEER, 7)]
    );
}

#[test]
fn a_route_of_router_advertisements_is_told_from_others() {
    let of = |protocol| {
        let mut message = route_message(via(PEER, 7));
        message.header.protocol = protocol;
        routes_of(message)[0].advertised
    };
    assert!(of(RouteProtocol::Ra));
    assert!(!of(RouteProtocol::Dhcp) && !of(RouteProtocol::Static) && !of(RouteProtocol::Kernel));
}

#[test]
fn metric_table_and_prefix_are_read() {
    let mut message = route_message(vec![
        RouteAttribute::Destination(RouteAddress::Inet([198, 51, 100, 0].into())),
        RouteAttribute::Oif(7),
        RouteAttribute::Priority(100),
        RouteAttribute::Table(1000),
    ]);
    message.header.destination_prefix_length = 24;
    message.header.table = 252;
    let expected = Route {
        destination: [198, 51, 100, 0].into(),
        prefix_len: 24,
        table: 1000,
        metric: 100,
        gateway: None,
        ifindex: 7,
        advertised: false,
    };
    assert_eq!(routes_of(message), [expected]);
}

pub(super) fn next_hop(gateway: [u8; 4], ifindex: u32) -> RouteNextHop {
    let mut hop = RouteNextHop::default();
    hop.interface_index = ifindex;
    hop.attributes = vec![RouteAttribute::Gateway(RouteAddress::Inet(gateway.into()))];
    hop
}

#[test]
fn a_multipath_route_becomes_one_for_each_living_next_hop() {
    let mut dead = next_hop([192, 0, 2, 9], 9);
    dead.flags = RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown;
    let hops = vec![
        next_hop(PEER, 7),
        dead.clone(),
        next_hop([198, 51, 100, 1], 8),
    ];
    let message = route_message(vec![RouteAttribute::MultiPath(hops)]);
    let expected = [default_route(PEER, 7), default_route([198, 51, 100, 1], 8)];
    assert_eq!(routes_of(message), expected);

    let message = route_message(vec![RouteAttribute::MultiPath(vec![dead])]);
    let Some(Change::Routes {
        how: RouteChange::Removed,
        routes,
        ..
    }) = decode(RouteNetlinkMessage::DelRoute(message))
    else {
        panic!("not a removal")
    };
    assert_eq!(
        routes,
        [default_route([192, 0, 2, 9], 9)],
        "a dead one can still be removed"
    );
}

#[test]
fn an_ipv4_route_may_have_an_ipv6_next_hop() {
    let gateway: std::net::Ipv6Addr = "fe80::1".parse().expect("an address");
    let message = route_message(vec![
        RouteAttribute::Via(RouteVia::Inet6(gateway)),
        RouteAttribute::Oif(7),
    ]);
    assert_eq!(routes_of(message)[0].gateway, Some(gateway.into()));
}

#[test]
fn replacing_is_told_from_adding() {
    let message = RouteNetlinkMessage::NewRoute(route_message(via(PEER, 7)));
    let Some(Change::Routes { how, key, .. }) = decode_with(message, NLM_F_REPLACE) else {
        panic!("not a route")
    };
    assert_eq!(how, RouteChange::Replaced);
    assert_eq!(
        (key.destination, key.prefix_len, key.table),
        ([0; 4].into(), 0, 254)
    );
}

#[test]
fn routes_that_are_not_general_unicast_are_left_out() {
    let with = |change: fn(&mut RouteMessage)| {
        let mut message = route_message(via(PEER, 7));
        change(&mut message);
        decode(RouteNetlinkMessage::NewRoute(message))
    };
    assert_eq!(with(|it| it.header.kind = RouteType::Local), None);
    assert_eq!(with(|it| it.header.kind = RouteType::BlackHole), None);
    assert_eq!(with(|it| it.header.table = 255), None);
    assert_eq!(with(|it| it.header.tos = 0x10), None);
    assert_eq!(with(|it| it.header.source_prefix_length = 64), None);
    assert_eq!(with(|it| it.header.flags = RouteFlags::Cloned), None);
    assert_eq!(
        with(|it| it.header.address_family = AddressFamily::Mpls),
        None
    );
    assert!(with(|_| ()).is_some());
}
