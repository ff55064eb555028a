//! Stories of prefixes that providers delegate: told, changed, withdrawn, and there after a restart.

use std::net::Ipv6Addr;

use multihome_common::{
    address::{Address6, Class},
    state::IPV6,
    uplink::MODE_NPTV6,
};

use super::*;
use crate::{
    config::{Ipv6Prefix, Mode, UplinkPrefix},
    events::Kind,
    netlink::Address,
};

const A: &str = "2001:db8:a::/48";
const B: &str = "2001:db8:b::/48";
const FIXED: &str = "2001:db8:f::/48";

fn prefix(text: &str) -> Ipv6Prefix {
    text.parse().expect("a prefix")
}

/// The machine of the stories, with IPv6 on both uplinks.
fn both_families() -> NetState {
    let mut net = kernel();
    for id in [FIBER, LTE] {
        let ifindex = u32::from(id) + 10;
        net.apply(&NetEvent::RouteAdded(Route {
            destination: Ipv6Addr::UNSPECIFIED.into(),
            gateway: Some(next_hop6()),
            ..default_route(id)
        }));
        net.apply(&NetEvent::AddressAdded(
            ifindex,
            Address {
                address: format!("fe80::{}", id + 2).parse().expect("an address"),
                prefix_len: 64,
                usable: true,
                deprecated: false,
                broadcast: None,
                peer: None,
            },
        ));
        net.apply(&NetEvent::Neighbour {
            ifindex,
            address: next_hop6(),
            neighbour: neighbour(NeighbourState::Reachable),
        });
    }
    net
}

fn next_hop6() -> IpAddr {
    "fe80::1".parse().expect("an address")
}

/// The fibre's prefix is delegated, the other one's is not.
fn one_delegated(told: Option<&str>) -> Settings {
    let mut given = settings(vec![
        uplink_config("fiber", "fiber0", 1),
        uplink_config("lte", "lte0", 1),
    ]);
    for ((_, uplink), prefix) in given
        .uplinks
        .iter_mut()
        .zip([UplinkPrefix::Delegated, UplinkPrefix::Fixed(prefix(FIXED))])
    {
        uplink.mode = Mode::Nptv6;
        uplink.prefix = Some(prefix);
    }
    given.translation.inside_prefix = Some(prefix("fd12:3456:789a::/48"));
    given.translation.delegated = told.map(|told| (FIBER, prefix(told))).into_iter().collect();
    given
}

fn begin(told: Option<&str>) -> (Controller, Vec<Action>, Instant) {
    let now = Instant::now();
    let mut controller = Controller::new(one_delegated(told), both_families(), now);
    let actions = controller.begin(now);
    (controller, actions, now)
}

fn tell(controller: &mut Controller, told: Option<&str>, now: Instant) -> Vec<Action> {
    controller.handle(Event::Delegated(FIBER, told.map(prefix)), now)
}

fn entries(actions: &[Action]) -> Vec<(u8, UplinkEntry)> {
    let entries = actions.iter().filter_map(|action| {
        let Action::SetUplink(id, entry) = action else {
            return None;
        };
        Some((*id, *entry))
    });
    entries.collect()
}

/// What an entry makes of a LAN host's address.
fn outward(entry: &UplinkEntry) -> Option<Ipv6Addr> {
    let host: Ipv6Addr = "fd12:3456:789a:5::10".parse().expect("an address");
    let outside = entry.prefix.outward(Address6::from_bytes(host.octets()))?;
    Some(outside.bytes().into())
}

/// The prefix that LAN hosts have outside, as the address table that these actions set has it.
fn outsides(actions: &[Action]) -> Vec<Ipv6Addr> {
    let mut tables = actions.iter().filter_map(|action| {
        let Action::SetSegments(IPV6, segments) = action else {
            return None;
        };
        Some(segments)
    });
    let last = tables.next_back().expect("the table is written");
    let outside = last.iter().filter(|(_, class)| *class == Class::Outside);
    outside
        .map(|(first, _)| Ipv6Addr::from_bits(*first))
        .collect()
}

fn place(actions: &[Action], wanted: fn(&Action) -> bool) -> usize {
    actions.iter().position(wanted).expect("it is told")
}

fn network(text: &str) -> Ipv6Addr {
    prefix(text).network()
}

fn in_prefix(address: Option<Ipv6Addr>, text: &str) -> bool {
    address.is_some_and(|address| address.to_bits() >> 80 == network(text).to_bits() >> 80)
}

#[test]
fn without_a_prefix_no_packet_leaves_and_the_other_uplink_serves() {
    let (controller, actions, _) = begin(None);
    let fiber = &controller.uplinks()[0];
    assert_eq!(controller.groups()[0].eligible(IPV6), 1 << LTE);
    assert!(fiber.paths[IPV4].exists() && fiber.paths[IPV6].exists());
    assert!(!fiber.paths[IPV6].is_usable());
    assert!(
        fiber.story().contains("no IPv6 prefix is delegated"),
        "{}",
        fiber.story()
    );
    let told = actions.iter().find_map(|action| {
        let Action::Treats(FIBER, IPV6, treatment) = action else {
            return None;
        };
        Some(treatment.to_string())
    });
    assert_eq!(
        told.as_deref(),
        Some("fd12:3456:789a::/48 is to be translated (nptv6), but no prefix is delegated yet")
    );
    let (_, entry) = entries(&actions)[0];
    assert_eq!(entry.mode[IPV6], MODE_NPTV6, "never as it is");
    assert_eq!(outward(&entry), None);
    assert_eq!(outsides(&actions), [network(FIXED)]);
}

#[test]
fn a_prefix_that_is_told_is_in_force_at_once() {
    let (mut controller, _, now) = begin(None);
    let actions = tell(&mut controller, Some(A), now);
    let changed = entries(&actions);
    assert_eq!(changed.len(), 1, "the other uplink is left alone");
    assert!(in_prefix(outward(&changed[0].1), A));
    assert_eq!(outsides(&actions), [network(A), network(FIXED)]);
    assert_eq!(controller.groups()[0].eligible(IPV6), 0b11);
    let table = place(&actions, |action| matches!(action, Action::SetSegments(..)));
    let entry = place(&actions, |action| matches!(action, Action::SetUplink(..)));
    let word = place(&actions, |action| {
        matches!(action, Action::SetEligible(0, IPV6, _))
    });
    assert!(table < entry && entry < word, "{actions:?}");
    let change = actions.iter().find_map(|action| {
        let Action::Event(event) = action else {
            return None;
        };
        Some((event.kind, event.family, event.cause.as_str()))
    });
    let expected = (Kind::PathUp, Some(IPV6), "a prefix is delegated");
    assert_eq!(change, Some(expected));
    assert_eq!(tell(&mut controller, Some(A), now), [], "nothing new");
}

#[test]
fn another_prefix_takes_the_place_of_the_one_before_and_no_path_goes_down() {
    let (mut controller, _, now) = begin(Some(A));
    assert_eq!(controller.groups()[0].eligible(IPV6), 0b11);
    let actions = tell(&mut controller, Some(B), now);
    let changed = entries(&actions);
    assert_eq!(changed.len(), 1, "the other uplink is left alone");
    assert!(in_prefix(outward(&changed[0].1), B));
    assert_eq!(outsides(&actions), [network(B), network(FIXED)]);
    let moves = |action: &Action| {
        matches!(
            action,
            Action::SetEligible(..) | Action::SetAlive(..) | Action::Event(_)
        )
    };
    assert!(!actions.iter().any(moves), "{actions:?}");
}

#[test]
fn a_prefix_that_is_withdrawn_takes_the_path_with_it_and_back() {
    let (mut controller, _, now) = begin(Some(A));
    let actions = tell(&mut controller, None, now);
    assert_eq!(controller.groups()[0].eligible(IPV6), 1 << LTE);
    assert_eq!(outsides(&actions), [network(FIXED)]);
    assert_eq!(entries(&actions), [], "what is on its way leaves as before");
    let word = place(&actions, |action| {
        matches!(action, Action::SetEligible(0, IPV6, _))
    });
    let table = place(&actions, |action| matches!(action, Action::SetSegments(..)));
    assert!(word < table, "{actions:?}");
    let actions = tell(&mut controller, Some(B), now);
    assert!(in_prefix(outward(&entries(&actions)[0].1), B));
}

#[test]
fn what_was_told_before_a_restart_is_in_force_from_the_start() {
    let (controller, actions, _) = begin(Some(B));
    assert!(in_prefix(outward(&entries(&actions)[0].1), B));
    assert_eq!(outsides(&actions), [network(B), network(FIXED)]);
    assert_eq!(controller.groups()[0].eligible(IPV6), 0b11);
}

/// Between a configured prefix and one that is not told yet no packet may leave as it is: the words of
/// the earlier controller go before the entry.
#[test]
fn a_restart_without_a_prefix_moves_flows_before_it_changes_the_entry() {
    let mut given = one_delegated(None);
    given.adopted = Some(Adopted {
        known: 0b11,
        alive: [0b11; 2],
        ..Adopted::default()
    });
    given.groups[0].left.eligible = [0b11; 2];
    let now = Instant::now();
    let mut controller = Controller::new(given, both_families(), now);
    let actions = controller.begin(now);
    let word = place(&actions, |action| {
        matches!(action, Action::SetEligible(0, IPV6, 0b10))
    });
    let entry = place(&actions, |action| matches!(action, Action::SetUplink(..)));
    assert!(word < entry, "{actions:?}");
}

#[test]
fn a_fixed_prefix_is_not_changed_by_what_is_told() {
    let (mut controller, _, now) = begin(None);
    let event = Event::Delegated(LTE, Some(prefix(B)));
    let actions = controller.handle(event, now);
    assert_eq!(entries(&actions), []);
    let lte = &controller.uplinks()[1].treatments[IPV6];
    assert_eq!(lte.prefix(), Some(prefix(FIXED)));
}
