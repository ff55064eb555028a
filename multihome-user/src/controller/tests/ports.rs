//! Ports with tags and sessions: where they stand in the kernel's devices, and what the programs are told.

use multihome_common::{
    framing::Framing,
    port::{NO_SLOT, PORT_FRAMED, PORT_KERNEL, PORT_RESTORE, PORT_TRUNK, PortEntry, SLOT_FRAMED},
    rules::Target,
    uplink::UPLINK_FRAMED,
};

use super::*;
use crate::{
    config::LanConfig,
    dataplane::{Runs, Tags},
    netlink::{Address, VlanOf},
    pppoe::Session,
};

const TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;

/// A kernel without devices but these.
fn net(links: &[Link]) -> NetState {
    let mut net = NetState::default();
    for link in links {
        net.apply(&NetEvent::Link(link.clone()));
    }
    net
}

fn vlan(ifindex: u32, name: &str, parent: u32, kind: u16, id: u16) -> Link {
    Link {
        vlan_of: Some(VlanOf { parent, id, kind }),
        ..link(ifindex, name, true)
    }
}

/// All that a gateway with these ports is told at its start.
fn begin(net: NetState, lan: LanConfig, uplink: UplinkConfig) -> (Controller, Vec<Action>) {
    let settings = Settings {
        lan: vec![(64, lan)],
        ..settings(vec![uplink])
    };
    let now = Instant::now();
    let mut controller = Controller::new(settings, net, now);
    let actions = controller.begin(now);
    (controller, actions)
}

fn entries(actions: &[Action]) -> Vec<PortEntry> {
    let entries = actions.iter().filter_map(|action| {
        let Action::SetPort(_, entry) = action else {
            return None;
        };
        Some(*entry)
    });
    entries.collect()
}

fn entry(actions: &[Action], ifindex: u32, framing: Framing) -> PortEntry {
    let mut found = entries(actions).into_iter();
    let found = found.find(|entry| entry.ifindex == ifindex && entry.framing == framing.key());
    found.unwrap_or_else(|| panic!("no entry of {ifindex}, {framing}: {actions:?}"))
}

/// Ifindex, program and tags by slot.
fn attached(actions: &[Action]) -> Vec<(u32, u32, Runs, Tags)> {
    let attached = actions.iter().filter_map(|action| {
        let Action::Attach {
            slot,
            ifindex,
            runs,
            tags,
            ..
        } = action
        else {
            return None;
        };
        Some((*slot, *ifindex, *runs, *tags))
    });
    attached.collect()
}

fn framings(actions: &[Action]) -> Vec<(u32, Framing)> {
    let framings = actions.iter().filter_map(|action| {
        let Action::SetFraming(slot, framing) = action else {
            return None;
        };
        Some((*slot, *framing))
    });
    framings.collect()
}

#[test]
fn vlan_devices_stand_for_the_device_below() {
    let net = net(&[
        link(1, "trunk0", true),
        vlan(2, "guest", 1, TAG, 20),
        vlan(3, "outer", 1, SERVICE_TAG, 200),
        vlan(4, "fiber", 3, TAG, 100),
    ]);
    let (_, actions) = begin(
        net,
        LanConfig::plain("guest"),
        uplink_config("a", "fiber", 1),
    );
    let guest = Framing::PLAIN.tagged(TAG, 20);
    let qinq = Framing::PLAIN.tagged(SERVICE_TAG, 200).tagged(TAG, 100);
    assert_eq!(
        attached(&actions),
        [
            (0, 1, Runs::Trunk, Tags::Kernel),
            (64, 1, Runs::Trunk, Tags::Kernel)
        ]
    );
    assert_eq!(framings(&actions), [(0, qinq), (64, guest)]);
    let lan = entry(&actions, 1, guest);
    assert_eq!((lan.slot, lan.layer3, lan.mtu), (64, 2, 1500));
    assert_eq!(lan.flags, PORT_FRAMED | PORT_RESTORE);
    // Frames bear the VLAN device's own MAC.
    assert_eq!(lan.mac, [2, 0, 0, 0, 0, 2]);
    // The kernel lets programs send one tag beyond a device's MTU.
    let uplink = entry(&actions, 1, qinq);
    assert_eq!((uplink.slot, uplink.layer3, uplink.mtu), (0, 4, 1496));
    let trunk = entry(&actions, 1, Framing::PLAIN);
    assert_eq!(
        (trunk.slot, trunk.flags, trunk.kernel_tags),
        (NO_SLOT, PORT_TRUNK | PORT_KERNEL, 0)
    );
    // The kernel answers with the VLAN device when it is asked for a host.
    let answer = entry(&actions, 2, Framing::PLAIN);
    assert_eq!(answer.slot_to_send(), 64 | SLOT_FRAMED);
}

#[test]
fn a_device_may_be_a_port_itself_and_a_trunk() {
    let net = net(&[link(1, "lan0", true), vlan(2, "lan0.7", 1, TAG, 7)]);
    let (_, actions) = begin(
        net,
        LanConfig::plain("lan0"),
        uplink_config("a", "lan0.7", 1),
    );
    assert_eq!(
        attached(&actions),
        [
            (0, 1, Runs::Trunk, Tags::Kernel),
            (64, 1, Runs::Trunk, Tags::Kernel)
        ]
    );
    let plain = entry(&actions, 1, Framing::PLAIN);
    assert_eq!((plain.slot, plain.flags), (64, PORT_TRUNK));
}

/// A rule for a VLAN is one for the LAN ports that have it, also when the kernel's VLAN device gets another id.
#[test]
fn rules_for_a_vlan_follow_the_ports_that_have_it() {
    let guests = |id| {
        net(&[
            link(1, "trunk0", true),
            vlan(2, "guest", 1, TAG, id),
            link(3, "wan0", true),
        ])
    };
    let rule = Rule {
        vlans: Some(vec!["20".parse().expect("a VLAN")]),
        ..Rule::any(Target::DROP)
    };
    let settings = Settings {
        lan: vec![(64, LanConfig::plain("guest"))],
        rules: [rule].into(),
        ..settings(vec![uplink_config("a", "wan0", 1)])
    };
    let ports_of_rule = |actions: &[Action]| {
        let mut told = actions.iter().filter_map(|action| {
            let Action::SetRules(rules, _) = action else {
                return None;
            };
            rules[0].lan.clone()
        });
        let last = told.next();
        assert!(told.next().is_none(), "told twice: {actions:?}");
        last
    };
    let now = Instant::now();
    let mut controller = Controller::new(settings, guests(20), now);
    assert_eq!(ports_of_rule(&controller.begin(now)), Some(vec![0]));
    let other = controller.handle(Event::Net(NetEvent::Resynced(guests(30).into())), now);
    assert_eq!(ports_of_rule(&other), Some(vec![]));
    let gone = controller.handle(Event::Net(NetEvent::LinkGone(2)), now);
    assert_eq!(ports_of_rule(&gone), None, "no packet comes in by it");
    let back = controller.handle(Event::Net(NetEvent::Resynced(guests(20).into())), now);
    assert_eq!(ports_of_rule(&back), Some(vec![0]));
}

/// The kernel answers with the device itself when it is asked for a host behind tags that it has no VLAN device
/// for: what is sent to the host gets the port's tags, and what comes in untagged stays the kernel's.
#[test]
fn a_host_that_the_kernel_knows_behind_tags_is_one_of_the_port() {
    let net = net(&[link(1, "lan0", true), link(2, "wan0", true)]);
    let guest = Framing::PLAIN.tagged(TAG, 20);
    let lan = LanConfig {
        vlan: guest,
        ..LanConfig::plain("lan0")
    };
    let (_, actions) = begin(net, lan, uplink_config("a", "wan0", 1));
    let answer = entry(&actions, 1, Framing::PLAIN);
    assert_eq!(
        (answer.slot_to_send(), answer.mtu),
        (64 | SLOT_FRAMED, 1500)
    );
    assert_eq!(answer.flags & PORT_KERNEL, PORT_KERNEL);
    assert_eq!(answer.kernel_tags, guest.key());
    let port = entry(&actions, 1, guest);
    assert_eq!((port.slot, port.flags & PORT_KERNEL), (64, 0));
}

#[test]
fn tags_without_a_vlan_device_are_given_to_the_kernels_frames_too() {
    let net = net(&[link(1, "lan0", true), link(2, "wan0", true)]);
    let qinq = Framing::PLAIN.tagged(SERVICE_TAG, 200).tagged(TAG, 100);
    let uplink = UplinkConfig {
        vlan: qinq,
        ..uplink_config("a", "wan0", 1)
    };
    let (mut controller, actions) = begin(net, LanConfig::plain("lan0"), uplink);
    assert_eq!(
        attached(&actions),
        [
            (0, 2, Runs::Trunk, Tags::Own),
            (64, 1, Runs::Lan, Tags::None)
        ]
    );
    let trunk = entry(&actions, 2, Framing::PLAIN);
    assert_eq!(trunk.kernel_tags, qinq.key());
    assert_eq!(entry(&actions, 2, qinq).flags, PORT_FRAMED);
    assert_eq!(entry(&actions, 1, Framing::PLAIN).flags, 0);
    let flagged = actions.iter().any(
        |action| matches!(action, Action::SetUplink(0, entry) if entry.flags & UPLINK_FRAMED != 0),
    );
    assert!(flagged, "{actions:?}");
    // The framing is there before anything that is sent with it.
    let first = |what: fn(&Action) -> bool| actions.iter().position(what);
    let framing = first(|action| matches!(action, Action::SetFraming(..)));
    let uplink = first(|action| matches!(action, Action::SetUplink(..)));
    assert!(framing < uplink, "{actions:?}");

    let gone = controller.handle(Event::Net(NetEvent::LinkGone(2)), Instant::now());
    assert!(gone.contains(&Action::RemovePort(2)), "{gone:?}");
}

fn session(id: u16, last: u8) -> Session {
    Session {
        id,
        peer: [2, 0, 0, 0, 9, last],
        device: "wan0".into(),
    }
}

fn ppp(ifindex: u32) -> Link {
    Link {
        mac: None,
        mtu: 1492,
        ..link(ifindex, "ppp0", true)
    }
}

fn addressed(last: u8) -> Address {
    Address {
        address: [198, 51, 100, last].into(),
        prefix_len: 32,
        usable: true,
        deprecated: false,
        broadcast: None,
        peer: Some([198, 51, 100, 1].into()),
    }
}

/// A session comes up, goes, and comes back as another one: id, provider's MAC, address and device are
/// followed, and between the two the uplink is down.
#[test]
fn a_session_is_followed_through_its_reconnection() {
    let net = net(&[link(1, "lan0", true), link(2, "wan0", true)]);
    let uplink = UplinkConfig {
        pppoe: Some("ppp0".into()),
        ..uplink_config("dsl", "wan0", 1)
    };
    let (mut controller, actions) = begin(net, LanConfig::plain("lan0"), uplink);
    let now = Instant::now();
    assert_eq!(attached(&actions)[0], (0, 2, Runs::Trunk, Tags::None));
    let obstacles = |controller: &Controller| controller.uplinks()[0].obstacles();
    assert_eq!(obstacles(&controller), "PPP is down");
    assert_eq!(entry(&actions, 2, Framing::PLAIN).slot, NO_SLOT);

    let up = |controller: &mut Controller, ifindex, session: &Session, last| {
        let mut actions = Vec::new();
        for event in [
            Event::Sessions(vec![session.clone()]),
            Event::Net(NetEvent::Link(ppp(ifindex))),
            Event::Net(NetEvent::AddressAdded(ifindex, addressed(last))),
            Event::CaughtUp,
        ] {
            actions.extend(controller.handle(event, now));
        }
        actions
    };
    let first = session(1, 1);
    let actions = up(&mut controller, 10, &first, 2);
    let framing = Framing::PLAIN.in_session(1);
    assert_eq!(framings(&actions), [(0, framing)]);
    let port = *entries(&actions)
        .iter()
        .rfind(|it| it.session == 1)
        .expect("the session's");
    assert_eq!((port.peer, port.mtu, port.layer3), (first.peer, 1492, 10));
    assert_eq!(port.mac, [2, 0, 0, 0, 0, 2], "of the device below");
    let hop = actions.iter().rev().find_map(|action| {
        let Action::SetUplink(0, entry) = action else {
            return None;
        };
        Some((entry.mtu, entry.next_hop[IPV4], entry.flags & UPLINK_FRAMED))
    });
    let expected = Hop::new(first.peer, [2, 0, 0, 0, 0, 2]);
    assert_eq!(hop, Some((1492, expected, UPLINK_FRAMED)));
    let path = &controller.uplinks()[0].paths[IPV4];
    assert_eq!(path.next_hop(), Some([198, 51, 100, 1].into()));
    assert!(path.is_usable(), "{:?}", path.obstacle());
    let asked = |actions: &[Action]| {
        (actions.iter()).any(|it| matches!(it, Action::Resolve(..) | Action::Confirm(..)))
    };
    assert!(!asked(&actions), "there is no ARP in a session");

    let mut actions = controller.handle(Event::Net(NetEvent::LinkGone(10)), now);
    actions.extend(controller.handle(Event::Sessions(Vec::new()), now));
    let dropped = actions
        .iter()
        .any(|action| matches!(action, Action::DropPort(entry) if entry.session == 1));
    assert!(dropped, "{actions:?}");
    assert!(!controller.uplinks()[0].paths[IPV4].is_usable());

    let second = session(0x1234, 2);
    let actions = up(&mut controller, 11, &second, 3);
    assert_eq!(framings(&actions), [(0, Framing::PLAIN.in_session(0x1234))]);
    let port = *entries(&actions)
        .iter()
        .rfind(|it| it.session == 0x1234)
        .expect("the session's");
    assert_eq!((port.peer, port.layer3), (second.peer, 11));
    let path = &controller.uplinks()[0].paths[IPV4];
    assert_eq!(path.mac(), Some(second.peer));
    assert!(path.is_usable(), "{:?}", path.obstacle());
}

/// The next session may have the same id with another concentrator: then the entry of the one before goes.
#[test]
fn a_session_of_the_same_id_with_another_station_takes_the_place_of_the_first() {
    let net = net(&[link(1, "lan0", true), link(2, "wan0", true), ppp(10)]);
    let uplink = UplinkConfig {
        pppoe: Some("ppp0".into()),
        ..uplink_config("dsl", "wan0", 1)
    };
    let (mut controller, _) = begin(net, LanConfig::plain("lan0"), uplink);
    let now = Instant::now();
    let first = controller.handle(Event::Sessions(vec![session(1, 1)]), now);
    let of = |actions: &[Action]| {
        let found = entries(actions).into_iter();
        found.filter(|it| it.session == 1).collect::<Vec<_>>()
    };
    let first = of(&first)[0];
    let actions = controller.handle(Event::Sessions(vec![session(1, 2)]), now);
    assert!(actions.contains(&Action::DropPort(first)), "{actions:?}");
    let second = of(&actions)[0];
    assert_eq!(second.peer, session(1, 2).peer);
    assert!(controller.knows_port(&second) && !controller.knows_port(&first));
}

/// What an earlier controller left goes on: a session that is there when the next one begins is served at once.
#[test]
fn a_session_that_is_there_at_the_start_is_not_taken_out() {
    let mut net = net(&[link(1, "lan0", true), link(2, "wan0", true), ppp(10)]);
    net.apply(&NetEvent::AddressAdded(10, addressed(2)));
    let uplink = UplinkConfig {
        pppoe: Some("ppp0".into()),
        ..uplink_config("dsl", "wan0", 1)
    };
    let settings = Settings {
        sessions: vec![session(1, 1)],
        adopted: Some(Adopted {
            known: 1,
            alive: [1; 2],
            ..Adopted::default()
        }),
        ..settings(vec![uplink])
    };
    let now = Instant::now();
    let mut controller = Controller::new(settings, net, now);
    let actions = controller.begin(now);
    let is_of_none = |action: &Action| {
        matches!(
            action,
            Action::SetEligible(_, IPV4, 0) | Action::SetAlive(IPV4, 0)
        )
    };
    let taken_out = actions.iter().any(is_of_none);
    assert!(!taken_out, "{actions:?}");
    let path = &controller.uplinks()[0].paths[IPV4];
    assert!(path.is_usable(), "{:?}", path.obstacle());
}

/// A VLAN device that is made anew with another id moves its port: frames of the old id are the kernel's.
#[test]
fn a_vlan_device_with_another_id_is_another_port_of_the_trunk() {
    let with = |id| {
        net(&[
            link(1, "lan0", true),
            link(2, "wan0", true),
            vlan(3, "guest", 1, TAG, id),
        ])
    };
    let guest = |id| Framing::PLAIN.tagged(TAG, id);
    let lan = LanConfig::plain("guest");
    let (mut controller, actions) = begin(with(20), lan, uplink_config("a", "wan0", 1));
    let old = entry(&actions, 1, guest(20));
    let other = Event::Net(NetEvent::Resynced(with(30).into()));
    let actions = controller.handle(other, Instant::now());
    assert!(actions.contains(&Action::DropPort(old)), "{actions:?}");
    assert_eq!(entry(&actions, 1, guest(30)).slot, 64);
    assert_eq!(framings(&actions), [(64, guest(30))]);
    // In an order in which nothing is sent with the old tag by the new entry.
    let first = |what: fn(&Action) -> bool| actions.iter().position(what);
    let framing = first(|action| matches!(action, Action::SetFraming(..)));
    assert!(framing < first(|action| matches!(action, Action::SetPort(..))));
}

/// Behind a tag without a VLAN device pppd runs over the plain device, and gets its frames without the tag.
#[test]
fn a_session_behind_a_tag_leaves_the_rest_of_the_vlan_to_pppd() {
    let net = net(&[link(1, "lan0", true), link(2, "wan0", true), ppp(10)]);
    let tag = Framing::PLAIN.tagged(TAG, 7);
    let uplink = UplinkConfig {
        vlan: tag,
        pppoe: Some("ppp0".into()),
        ..uplink_config("dsl", "wan0", 1)
    };
    let (mut controller, actions) = begin(net, LanConfig::plain("lan0"), uplink);
    assert_eq!(attached(&actions)[0], (0, 2, Runs::Trunk, Tags::Own));
    assert_eq!(entry(&actions, 2, Framing::PLAIN).kernel_tags, tag.key());
    let rest = entry(&actions, 2, tag);
    assert_eq!(rest.flags & PORT_KERNEL, PORT_KERNEL);
    let sessions = Event::Sessions(vec![session(1, 1)]);
    let actions = controller.handle(sessions, Instant::now());
    let port = entry(&actions, 2, tag.in_session(1));
    assert_eq!(port.flags, PORT_FRAMED);
}

/// Two sessions over one device cannot be told apart: neither is taken for the uplink's.
#[test]
fn of_two_sessions_over_one_device_none_is_guessed() {
    let net = net(&[link(1, "lan0", true), link(2, "wan0", true), ppp(10)]);
    let uplink = UplinkConfig {
        pppoe: Some("ppp0".into()),
        ..uplink_config("dsl", "wan0", 1)
    };
    let (mut controller, _) = begin(net, LanConfig::plain("lan0"), uplink);
    let both = Event::Sessions(vec![session(1, 1), session(2, 2)]);
    controller.handle(both, Instant::now());
    assert_eq!(controller.uplinks()[0].session, None);
}
