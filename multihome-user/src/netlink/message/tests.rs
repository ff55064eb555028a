//! Messages built by `netlink-packet-route`, which knows nothing of this decoder, and broken ones.

use netlink_packet_core::NetlinkMessage;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage},
    link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, State},
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
        NeighbourState as KernelState,
    },
    route::RouteAttribute,
};
use proptest::prelude::*;

use super::*;
use crate::netlink::ETHERNET;

mod route;

use route::{next_hop, route_message, via};

fn bytes(message: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn decode_with(message: RouteNetlinkMessage, flags: u16) -> Option<Change> {
    let bytes = bytes(message, flags);
    let mut messages = messages(&bytes);
    let message = messages
        .next()
        .expect("one message")
        .expect("a well-formed one");
    assert!(messages.next().is_none());
    message.change().expect("well-formed")
}

fn decode(message: RouteNetlinkMessage) -> Option<Change> {
    decode_with(message, 0)
}

fn link_message(flags: LinkFlags, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = 7;
    link.header.flags = flags;
    link.header.link_layer_type = LinkLayerType::Ether;
    link.attributes = attributes;
    link
}

fn wan0(flags: LinkFlags, state: State) -> LinkMessage {
    link_message(
        flags,
        vec![
            LinkAttribute::IfName("wan0".into()),
            LinkAttribute::Mtu(1492),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
            LinkAttribute::OperState(state),
        ],
    )
}

const RUNNING: LinkFlags = LinkFlags::Up
    .union(LinkFlags::LowerUp)
    .union(LinkFlags::Running);

#[test]
fn a_link_is_read() {
    let change = decode(RouteNetlinkMessage::NewLink(wan0(RUNNING, State::Up)));
    let expected = LinkChange {
        ifindex: 7,
        admin_up: true,
        carrier: true,
        name: Some("wan0".into()),
        mac: Some(Some([2, 0, 0, 0, 0, 1])),
        mtu: Some(1492),
        vlan_of: None,
        hardware: ETHERNET,
    };
    assert_eq!(change, Some(Change::Link(expected)));
    let gone = decode(RouteNetlinkMessage::DelLink(wan0(RUNNING, State::Up)));
    assert_eq!(gone, Some(Change::LinkGone(7)));
}

#[test]
fn a_vlan_device_names_the_device_below() {
    use netlink_packet_route::link::{InfoData, InfoKind, InfoVlan, LinkInfo, VlanProtocol};
    let of = |kind, elsewhere: Option<i32>| {
        let mut attributes = vec![
            LinkAttribute::IfName("wan0.100".into()),
            LinkAttribute::Link(3),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(kind),
                LinkInfo::Data(InfoData::Vlan(vec![
                    InfoVlan::Id(100),
                    InfoVlan::Protocol(VlanProtocol::Ieee8021Ad),
                ])),
            ]),
        ];
        attributes.extend(elsewhere.map(LinkAttribute::LinkNetNsId));
        let message = link_message(RUNNING, attributes);
        match decode(RouteNetlinkMessage::NewLink(message)) {
            Some(Change::Link(change)) => change.vlan_of,
            other => panic!("{other:?}"),
        }
    };
    let expected = VlanOf {
        parent: 3,
        id: 100,
        kind: 0x88a8,
    };
    assert_eq!(of(InfoKind::Vlan, None), Some(Some(expected)));
    // A veth pair's link is its peer.
    assert_eq!(of(InfoKind::Veth, None), Some(None));
    // In another network namespace: another device has that number here.
    assert_eq!(of(InfoKind::Vlan, Some(0)), Some(None));
}

#[test]
fn carrier_takes_the_lower_layer_and_the_operational_state() {
    let lower_up = LinkFlags::LowerUp;
    for (flags, state, expected) in [
        (RUNNING, State::Up, true),
        (RUNNING, State::Unknown, true),
        (RUNNING, State::Dormant, false),
        (RUNNING, State::LowerLayerDown, false),
        (RUNNING, State::Down, false),
        (RUNNING, State::NotPresent, false),
        (RUNNING, State::Testing, false),
        (LinkFlags::Up, State::Up, false),
        (lower_up, State::Up, false),
    ] {
        let Some(Change::Link(link)) = decode(RouteNetlinkMessage::NewLink(wan0(flags, state)))
        else {
            panic!("not a link")
        };
        assert_eq!(link.carrier, expected, "{flags} {state}");
    }
}

#[test]
fn a_bridge_port_that_leaves_is_no_removed_device() {
    let mut link = wan0(RUNNING, State::Up);
    link.header.interface_family = AddressFamily::Bridge;
    assert_eq!(decode(RouteNetlinkMessage::DelLink(link.clone())), None);
    assert_eq!(decode(RouteNetlinkMessage::NewLink(link)), None);
}

#[test]
fn a_link_message_may_leave_out_nearly_everything() {
    let Some(Change::Link(link)) =
        decode(RouteNetlinkMessage::NewLink(link_message(RUNNING, vec![])))
    else {
        panic!("not a link")
    };
    assert_eq!(
        (link.name, link.mac, link.mtu, link.carrier),
        (None, None, None, true)
    );
}

#[test]
fn a_tunnel_s_address_is_no_mac() {
    let link = link_message(RUNNING, vec![LinkAttribute::Address(vec![192, 0, 2, 1])]);
    let Some(Change::Link(link)) = decode(RouteNetlinkMessage::NewLink(link)) else {
        panic!("not a link")
    };
    assert_eq!(link.mac, Some(None));
}

fn address_message(attributes: Vec<AddressAttribute>) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.index = 7;
    message.header.prefix_len = 24;
    message.attributes = attributes;
    message
}

const LOCAL: [u8; 4] = [192, 0, 2, 2];
const PEER: [u8; 4] = [192, 0, 2, 1];

#[test]
fn an_address_is_the_local_one_and_not_the_peer_s() {
    let change = decode(RouteNetlinkMessage::NewAddress(address_message(vec![
        AddressAttribute::Address(PEER.into()),
        AddressAttribute::Local(LOCAL.into()),
        AddressAttribute::Broadcast([192, 0, 2, 255].into()),
    ])));
    let expected = Address {
        address: LOCAL.into(),
        prefix_len: 24,
        usable: true,
        deprecated: false,
        broadcast: Some([192, 0, 2, 255].into()),
        peer: Some(PEER.into()),
    };
    assert_eq!(change, Some(Change::Address(7, expected.clone())));
    let change = decode(RouteNetlinkMessage::DelAddress(address_message(vec![
        AddressAttribute::Address(LOCAL.into()),
        AddressAttribute::Broadcast([192, 0, 2, 255].into()),
    ])));
    let expected = Address {
        peer: None,
        ..expected
    };
    assert_eq!(change, Some(Change::AddressGone(7, expected)));
}

#[test]
fn tentative_and_duplicate_addresses_are_not_usable_and_deprecated_ones_are_known() {
    use AddressFlags as F;
    for (flags, usable) in [
        (F::Permanent, true),
        (F::Permanent | F::Tentative, false),
        (F::Tentative | F::Optimistic, true),
        (F::Optimistic, true),
        (F::Permanent | F::Dadfailed, false),
        (F::Tentative | F::Optimistic | F::Dadfailed, false),
        (F::Deprecated, true),
        (F::Secondary | F::Noprefixroute | F::StablePrivacy, true),
    ] {
        let mut message = address_message(vec![
            AddressAttribute::Address(
                [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].into(),
            ),
            AddressAttribute::Flags(flags),
        ]);
        message.header.family = AddressFamily::Inet6;
        let Some(Change::Address(_, address)) = decode(RouteNetlinkMessage::NewAddress(message))
        else {
            panic!("not an address")
        };
        assert_eq!(address.usable, usable, "{flags:?}");
        assert_eq!(address.deprecated, flags.contains(F::Deprecated));
    }
}

fn neighbour_message(state: KernelState, mac: Option<Vec<u8>>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = 7;
    message.header.state = state;
    message.attributes = vec![NeighbourAttribute::Destination(NeighbourAddress::Inet(
        PEER.into(),
    ))];
    message
        .attributes
        .extend(mac.map(NeighbourAttribute::LinkLayerAddress));
    message
}

#[test]
fn a_neighbour_is_valid_with_a_mac_in_a_valid_state() {
    let mac = [2, 0, 0, 0, 0, 1];
    for (state, mac_bytes, valid) in [
        (KernelState::Reachable, Some(mac.to_vec()), true),
        (KernelState::Stale, Some(mac.to_vec()), true),
        (KernelState::Failed, Some(mac.to_vec()), false),
        (KernelState::Incomplete, None, false),
        (KernelState::Noarp, None, false),
        (KernelState::Reachable, Some(vec![192, 0, 2, 1]), false),
    ] {
        let message = neighbour_message(state, mac_bytes.clone());
        let Some(Change::Neighbour {
            ifindex: 7,
            address,
            neighbour,
        }) = decode(RouteNetlinkMessage::NewNeighbour(message))
        else {
            panic!("not a neighbour")
        };
        assert_eq!(
            (address, neighbour.valid),
            (PEER.into(), valid),
            "{state} {mac_bytes:?}"
        );
        assert_eq!(neighbour.state, NeighbourState::from_bits(state.into()));
    }
    let gone = decode(RouteNetlinkMessage::DelNeighbour(neighbour_message(
        KernelState::Stale,
        None,
    )));
    assert_eq!(
        gone,
        Some(Change::NeighbourGone {
            ifindex: 7,
            address: PEER.into()
        })
    );
}

#[test]
fn proxies_and_bridge_entries_are_no_neighbours() {
    let mut proxy = neighbour_message(KernelState::None, None);
    proxy.header.flags = NeighbourFlags::Proxy;
    assert_eq!(decode(RouteNetlinkMessage::NewNeighbour(proxy)), None);
    let mut bridge = neighbour_message(KernelState::Reachable, Some(vec![2, 0, 0, 0, 0, 1]));
    bridge.header.family = AddressFamily::Bridge;
    bridge.attributes.remove(0);
    assert_eq!(decode(RouteNetlinkMessage::NewNeighbour(bridge)), None);
}

#[test]
fn next_hop_objects_are_noticed_and_other_messages_skipped() {
    let message = |kind| Message {
        kind,
        flags: 0,
        seq: 0,
        payload: &[0; 8],
    };
    assert_eq!(
        message(RTM_NEWNEXTHOP).change(),
        Ok(Some(Change::NextHopObject))
    );
    assert_eq!(
        message(RTM_DELNEXTHOP).change(),
        Ok(Some(Change::NextHopObject))
    );
    for kind in [0, 2, 3, libc::RTM_NEWQDISC, libc::RTM_NEWRULE, 9999] {
        assert_eq!(message(kind).change(), Ok(None));
    }
}

#[test]
fn several_messages_in_a_datagram_are_all_read() {
    let mut datagram = bytes(RouteNetlinkMessage::NewLink(wan0(RUNNING, State::Up)), 0);
    datagram.extend(bytes(
        RouteNetlinkMessage::NewRoute(route_message(via(PEER, 7))),
        0,
    ));
    let kinds: Vec<u16> = messages(&datagram)
        .map(|it| it.expect("well-formed").kind)
        .collect();
    assert_eq!(kinds, [libc::RTM_NEWLINK, libc::RTM_NEWROUTE]);
}

/// One message of every kind that is read.
fn samples() -> Vec<Vec<u8>> {
    let hops = vec![next_hop(PEER, 7), next_hop([198, 51, 100, 1], 8)];
    let mac = vec![2, 0, 0, 0, 0, 1];
    [
        RouteNetlinkMessage::NewLink(wan0(RUNNING, State::Up)),
        RouteNetlinkMessage::NewAddress(address_message(vec![
            AddressAttribute::Address(PEER.into()),
            AddressAttribute::Local(LOCAL.into()),
            AddressAttribute::Flags(AddressFlags::Permanent),
        ])),
        RouteNetlinkMessage::NewRoute(route_message(via(PEER, 7))),
        RouteNetlinkMessage::NewRoute(route_message(vec![RouteAttribute::MultiPath(hops)])),
        RouteNetlinkMessage::NewNeighbour(neighbour_message(KernelState::Reachable, Some(mac))),
    ]
    .into_iter()
    .map(|message| bytes(message, 0))
    .collect()
}

#[test]
fn every_truncation_ends_in_an_error_or_a_change() {
    for sample in samples() {
        for len in 1..sample.len() {
            assert!(
                matches!(messages(&sample[..len]).next(), Some(Err(Malformed))),
                "cut to {len}"
            );
            // And with a header that does not know of the cut.
            let payload = sample.get(MESSAGE_HEADER_LEN..len).unwrap_or_default();
            let kind = u16_at(&sample, 4).expect("a header");
            let _ = Message {
                kind,
                flags: 0,
                seq: 0,
                payload,
            }
            .change();
        }
    }
}

proptest! {
    #[test]
    fn no_change_of_bytes_makes_the_decoder_panic(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let samples = samples();
        let mut bytes = which.get(&samples).clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for message in messages(&bytes).flatten() {
            let _ = message.change();
        }
        let kind = u16_at(&bytes, 4).expect("a header");
        let _ = Message { kind, flags: 0, seq: 0, payload: &bytes[MESSAGE_HEADER_LEN..] }.change();
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 16_u16..32) {
        for message in messages(&bytes).flatten() {
            let _ = message.change();
        }
        let _ = Message { kind, flags: 0, seq: 0, payload: &bytes }.change();
    }
}
