//! Stories told to the controller without a kernel: what it sees, and what it does about it.

mod bfd;
mod delegated;
mod forwards;
mod groups;
mod impeded;
mod lines;
mod own;
mod ports;
mod quality;
mod story;
mod suspicion;
mod translation;

use std::net::IpAddr;

use multihome_common::uplink::Hop;
use proptest::prelude::*;

use self::story::{
    FIBER, LTE, SETTLE, Story, address, default_route, kernel, link, member, neighbour, next_hop,
    seen, settings, uplink_config,
};
use super::*;
use crate::{
    events::{Kind, Occurrence},
    netlink::{MAIN_TABLE, Route},
};

#[test]
fn uplinks_serve_as_soon_as_their_next_hops_are_found() {
    let story = Story::begin(1, None);
    assert_eq!(story.eligible, 0b11);
}

#[test]
fn an_entry_is_written_before_a_word_names_its_uplink() {
    let mut story = Story::begin(1, None);
    let fiber = u32::from(FIBER) + 10;
    story.net(NetEvent::LinkGone(fiber));
    assert_eq!(story.eligible, 0b10);
    let now = story.now;
    let mut fresh = Controller::new(
        settings(vec![uplink_config("fiber", "fiber0", 1)]),
        kernel(),
        now,
    );
    fresh.begin(now);
    let actions = fresh.handle(Event::Net(seen(FIBER, NeighbourState::Reachable)), now);
    let place = |wanted: fn(&Action) -> bool| actions.iter().position(wanted).unwrap();
    assert!(
        place(|action| matches!(action, Action::SetUplink(..)))
            < place(|action| matches!(action, Action::SetEligible(..)))
    );
}

#[test]
fn carrier_loss_moves_flows_with_the_first_action() {
    let mut story = Story::begin(1, None);
    let actions = story.net(NetEvent::Link(link(10, "fiber0", false)));
    assert_eq!(actions.first(), Some(&Action::SetEligible(0, IPV4, 0b10)));
}

#[test]
fn a_line_that_returns_serves_when_its_probes_answer_and_not_before() {
    let mut story = Story::begin(1, None);
    story.net(NetEvent::Link(link(10, "fiber0", false)));
    story.net(NetEvent::Link(link(10, "fiber0", true)));
    assert_eq!(story.eligible, 0b10);
    story.probes(FIBER, true);
    assert_eq!(story.eligible, 0b11);
}

/// After a flap the device has no address for a while, so nobody can be asked: that is no answer.
#[test]
fn a_line_whose_address_is_late_does_not_serve_before_its_probes_answer() {
    let mut story = Story::begin(1, None);
    story.net(NetEvent::Link(link(10, "fiber0", false)));
    story.net(NetEvent::AddressGone(10, address(FIBER)));
    story.net(NetEvent::Link(link(10, "fiber0", true)));
    assert_eq!(story.eligible, 0b10);
    story.wait(Duration::from_secs(1));
    story.net(NetEvent::AddressAdded(10, address(FIBER)));
    assert_eq!(story.eligible, 0b10);
    story.probes(FIBER, true);
    assert_eq!(story.eligible, 0b11);
}

/// A line that never had an address of ours forwards all the same: it is used, after a while.
#[test]
fn a_line_without_an_address_serves_again_without_probes() {
    let mut net = kernel();
    net.apply(&NetEvent::AddressGone(10, address(FIBER)));
    // With its last address the kernel forgot the routes.
    net.apply(&NetEvent::RouteAdded(default_route(FIBER)));
    let mut story = Story::begin_on(net, 1, None);
    assert_eq!(story.eligible, 0b11);
    story.net(NetEvent::Link(link(10, "fiber0", false)));
    story.net(NetEvent::Link(link(10, "fiber0", true)));
    assert_eq!(story.eligible, 0b10);
    story.wait(Duration::from_secs(4));
    assert_eq!(story.eligible, 0b11);
}

/// `ip addr flush dev wan1`: the line stayed up with nobody to watch it, for ever.
#[test]
fn a_line_that_lost_its_address_is_down_until_it_has_one_and_its_probes_answer() {
    let mut story = Story::begin(1, None);
    story.net(NetEvent::AddressGone(10, address(FIBER)));
    story.wait(Duration::from_secs(2));
    assert_eq!(story.eligible, 0b11, "it may be a renewed lease");
    story.wait(Duration::from_secs(1));
    assert_eq!(story.eligible, 0b10);
    let uplink = &story.controller.uplinks()[0];
    assert_eq!(uplink.cause, "no address of ours on the device any more");
    story.wait(Duration::from_secs(60));
    assert_eq!(story.eligible, 0b10);
    story.net(NetEvent::AddressAdded(10, address(FIBER)));
    assert_eq!(story.eligible, 0b10);
    story.probes(FIBER, true);
    assert_eq!(story.eligible, 0b11);
}

/// opnsense/core 3688: failover works once, and not the second time.
#[test]
fn failover_works_again_and_again() {
    let mut story = Story::begin(1, None);
    for _ in 0..5 {
        story.probes(FIBER, false);
        assert_eq!(story.eligible, 0b10);
        story.probes(FIBER, true);
        assert_eq!(story.eligible, 0b11);
    }
}

/// opnsense/core 9789: flows flushed although no other uplink exists.
#[test]
fn when_every_probe_fails_the_uplinks_from_before_serve_on() {
    let mut story = Story::begin(1, None);
    story.wait(SETTLE * 2);
    story.probes(FIBER, false);
    story.wait(Duration::from_millis(100));
    story.probes(LTE, false);
    assert_eq!((story.eligible, story.last_good), (0, 0b11));
}

/// openwrt/packages 3885: after all uplinks were down, nothing recovers.
#[test]
fn after_a_total_outage_each_uplink_that_returns_serves() {
    let mut story = Story::begin(1, None);
    for (ifindex, name) in [(10, "fiber0"), (11, "lte0")] {
        story.net(NetEvent::Link(link(ifindex, name, false)));
    }
    assert_eq!(story.eligible, 0);
    story.net(NetEvent::Link(link(11, "lte0", true)));
    assert_eq!(story.serving(), 0b10);
    story.probes(LTE, true);
    assert_eq!(story.eligible, 0b10);
    story.net(NetEvent::Link(link(10, "fiber0", true)));
    story.probes(FIBER, true);
    assert_eq!(story.eligible, 0b11);
}

#[test]
fn the_second_tier_steps_in_and_back() {
    let mut story = Story::begin(2, None);
    assert_eq!(story.eligible, 0b01);
    story.probes(FIBER, false);
    assert_eq!(story.eligible, 0b10);
    story.probes(FIBER, true);
    assert_eq!(story.eligible, 0b01);
}

/// vyos/vyos-1x 4818: the uplink's route is gone after a link flap.
#[test]
fn a_flap_that_takes_the_default_route_away_does_not_take_the_uplink() {
    let mut story = Story::begin(1, None);
    let off = Link {
        admin_up: false,
        carrier: false,
        ..link(10, "fiber0", false)
    };
    story.net(NetEvent::Link(off));
    assert_eq!(story.eligible, 0b10);
    // The kernel purged the route with the device; the address stayed.
    story.net(NetEvent::Link(link(10, "fiber0", true)));
    story.net(seen(FIBER, NeighbourState::Reachable));
    story.probes(FIBER, true);
    assert_eq!(story.eligible, 0b11);
}

#[test]
fn a_device_that_is_gone_and_back_is_attached_anew() {
    let mut story = Story::begin(1, None);
    let gone = story.net(NetEvent::LinkGone(10));
    assert!(gone.contains(&Action::RemovePort(10)), "{gone:?}");
    let back = story.net(NetEvent::Link(link(42, "fiber0", true)));
    let attach = Action::Attach {
        slot: u32::from(FIBER),
        device: "fiber0".to_owned(),
        ifindex: 42,
        runs: Runs::Uplink,
        tags: Tags::None,
    };
    assert!(back.contains(&attach), "{back:?}");
}

#[test]
fn a_next_hop_that_changes_its_mac_is_followed_without_a_word_changing() {
    let mut story = Story::begin(1, None);
    let mut moved = neighbour(NeighbourState::Reachable);
    moved.mac = Some([8; 6]);
    let actions = story.net(NetEvent::Neighbour {
        ifindex: 10,
        address: next_hop(FIBER),
        neighbour: moved,
    });
    let hop = actions.iter().find_map(|action| {
        let Action::SetUplink(FIBER, entry) = action else {
            return None;
        };
        Some(entry.next_hop[IPV4].destination())
    });
    assert_eq!(hop, Some([8; 6]));
    assert!(
        !actions
            .iter()
            .any(|action| matches!(action, Action::SetEligible(..)))
    );
}

#[test]
fn a_default_route_that_is_gone_is_told_once_and_its_next_hop_used_on() {
    let mut story = Story::begin(1, None);
    story.net(NetEvent::RouteGone(default_route(FIBER)));
    let mut told = Vec::new();
    for _ in 0..10 {
        story.now += TICK;
        told.extend(story.tell(Event::Tick));
    }
    let words = "default route gone; the last next hop 192.0.2.1 is used on";
    let remark = Occurrence::new(Kind::PathRemark, words);
    let remark = Action::Event(remark.uplink(FIBER).family(IPV4));
    assert_eq!(told.iter().filter(|action| **action == remark).count(), 1);
    assert_eq!(story.eligible, 0b11);
    let shown = |story: &Story| story.controller.uplinks()[0].story();
    assert_eq!(shown(&story), format!("next hop found; {words}"));
    story.net(NetEvent::RouteAdded(default_route(FIBER)));
    assert_eq!(shown(&story), "next hop found");
}

/// A start waited its whole second for next hops that could not answer.
#[test]
fn a_start_waits_only_for_next_hops_that_may_still_answer() {
    let settings = || settings(vec![uplink_config("fiber", "fiber0", 1)]);
    let now = Instant::now();
    let mut controller = Controller::new(settings(), kernel(), now);
    controller.begin(now);
    assert!(!controller.resolved(), "it may answer");
    controller.handle(Event::Net(seen(FIBER, NeighbourState::Incomplete)), now);
    assert!(!controller.resolved(), "it is being asked");
    controller.handle(Event::Net(seen(FIBER, NeighbourState::Failed)), now);
    assert!(controller.resolved(), "it did not answer");

    let mut net = kernel();
    net.apply(&NetEvent::Link(link(10, "fiber0", false)));
    let mut controller = Controller::new(settings(), net, now);
    controller.begin(now);
    assert!(controller.resolved(), "without carrier nobody answers");
}

fn route(n: u32) -> Route {
    Route {
        destination: IpAddr::from((0x0a40_0000 + n * 512).to_be_bytes()),
        prefix_len: 24,
        table: MAIN_TABLE,
        metric: 0,
        gateway: Some(next_hop(LTE)),
        ifindex: 11,
        advertised: false,
    }
}

/// A routing daemon's routes, each followed by all work that a change may cause, kept a lost
/// carrier waiting for minutes.
#[test]
fn routes_are_only_noted_until_it_is_time_and_a_lost_carrier_is_not() {
    let mut story = Story::begin(1, None);
    for n in 0..100 {
        let actions = story.tell(Event::Net(NetEvent::RouteAdded(route(n))));
        assert_eq!(actions, []);
    }
    let actions = story.tell(Event::Net(NetEvent::Link(link(10, "fiber0", false))));
    assert_eq!(actions.first(), Some(&Action::SetEligible(0, IPV4, 0b10)));
    let tables = |actions: &[Action]| {
        let is_table = |action: &&Action| matches!(action, Action::SetSegments(..));
        actions.iter().filter(is_table).count()
    };
    assert_eq!(tables(&actions), 0);
    assert_eq!(tables(&story.tell(Event::CaughtUp)), 0);
    assert!(story.controller.wants_tables());
    assert_eq!(tables(&story.tell(Event::Tables)), 1);
    assert!(!story.controller.wants_tables());
    assert_eq!(tables(&story.tell(Event::Tables)), 0);
}

#[test]
fn routes_that_no_table_has_room_for_are_told_of_once() {
    let mut story = Story::begin(1, None);
    let mut told = Vec::new();
    for n in 0..600 {
        told.extend(story.net(NetEvent::RouteAdded(route(n))));
    }
    for n in 0..300 {
        told.extend(story.net(NetEvent::RouteGone(route(n))));
    }
    let count = |wanted: fn(&&Action) -> bool| told.iter().filter(wanted).count();
    assert_eq!(count(|it| matches!(it, Action::SegmentsRefused(_))), 1);
    assert_eq!(count(|it| matches!(it, Action::SegmentsFit(IPV4))), 1);
    assert!(matches!(told.last(), Some(Action::SetSegments(IPV4, _))));
}

#[test]
fn a_flushed_neighbour_table_does_not_take_uplinks_down() {
    let mut story = Story::begin(1, None);
    story.net(NetEvent::NeighbourGone {
        ifindex: 10,
        address: next_hop(FIBER),
    });
    story.net(seen(FIBER, NeighbourState::Incomplete));
    assert_eq!(story.eligible, 0b11);
    story.net(seen(FIBER, NeighbourState::Failed));
    assert_eq!(story.eligible, 0b10);
}

#[test]
fn a_restart_keeps_a_dead_uplink_out_until_it_answers() {
    let adopted = Adopted {
        known: 0b11,
        alive: [0b10, 0],
        ..Adopted::default()
    };
    let left = LeftWords {
        eligible: [0b10, 0],
        ..LeftWords::default()
    };
    let mut story = Story::begin_after(1, adopted, left);
    assert_eq!(story.eligible, 0b10);
    story.probes(FIBER, true);
    assert_eq!(story.eligible, 0b11);
}

/// A packet to a MAC of zeroes is lost: what an earlier controller knew of the next hop holds.
#[test]
fn a_restart_without_a_known_next_hop_keeps_the_one_that_there_was() {
    let old = Hop::new([2, 0, 0, 9, 9, 9], [2, 0, 0, 0, 0, 11]);
    let entry = UplinkEntry {
        mtu: 1500,
        next_hop: [old; 2],
        ..UplinkEntry::default()
    };
    let adopted = Adopted {
        known: 0b11,
        alive: [0b11; 2],
        ..Adopted::default()
    };
    let uplinks = vec![
        uplink_config("fiber", "fiber0", 1),
        uplink_config("lte", "lte0", 1),
    ];
    let settings = Settings {
        adopted: Some(adopted),
        entries: [(FIBER, entry), (LTE, entry)].into(),
        ..settings(uplinks)
    };
    let now = Instant::now();
    let mut controller = Controller::new(settings, kernel(), now);
    for action in controller.begin(now) {
        if let Action::SetUplink(id, entry) = action {
            assert_eq!(entry.next_hop, [old; 2], "uplink {id}");
        }
    }
}

/// The word stood in the map while the new controller took it for zero, so it would write none.
#[test]
fn a_common_failure_outlasts_a_restart() {
    let adopted = Adopted {
        known: 0b11,
        ..Adopted::default()
    };
    let left = LeftWords {
        last_good: [0b10, 0],
        ..LeftWords::default()
    };
    let story = Story::begin_after(1, adopted, left);
    assert_eq!((story.eligible, story.last_good), (0, 0b10));
}

/// An uplink that the earlier controller did not have was taken for one that it had found dead.
#[test]
fn an_uplink_that_is_new_at_a_restart_serves_as_soon_as_its_next_hop_is_found() {
    let adopted = Adopted {
        known: 0b10,
        alive: [0b10, 0],
        ..Adopted::default()
    };
    let left = LeftWords {
        eligible: [0b10, 0],
        ..LeftWords::default()
    };
    assert_eq!(Story::begin_after(1, adopted, left).eligible, 0b11);
}

#[test]
fn lan_hosts_follow_the_neighbour_table_and_their_port() {
    let mut story = Story::begin(1, None);
    let host = IpAddr::from([10, 1, 0, 2]);
    let seen = |neighbour| NetEvent::Neighbour {
        ifindex: 1,
        address: host,
        neighbour,
    };
    let entered = |actions: &[Action]| {
        actions.iter().find_map(|action| {
            let Action::SetHost(address, entry) = action else {
                return None;
            };
            (*address == host).then_some(*entry)
        })
    };
    let actions = story.net(seen(neighbour(NeighbourState::Stale)));
    let entry = entered(&actions).flatten().unwrap();
    assert_eq!(
        (entry.slot, entry.mtu, entry.hop.destination()),
        (64, 1500, [6; 6])
    );
    let actions = story.net(NetEvent::Link(Link {
        mtu: 1400,
        ..link(1, "lan0", true)
    }));
    assert_eq!(
        entered(&actions).flatten().map(|entry| entry.mtu),
        Some(1400)
    );
    let actions = story.net(seen(neighbour(NeighbourState::Failed)));
    assert_eq!(entered(&actions), Some(None));
}

#[derive(Clone, Debug)]
enum Step {
    Carrier(u8, bool),
    Probes(u8, bool),
    Neighbour(u8, NeighbourState),
    Gone(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let state = prop_oneof![
        Just(NeighbourState::Reachable),
        Just(NeighbourState::Stale),
        Just(NeighbourState::Failed),
        Just(NeighbourState::Incomplete),
    ];
    prop_oneof![
        (0u8..2, any::<bool>()).prop_map(|(id, up)| Step::Carrier(id, up)),
        (0u8..2, any::<bool>()).prop_map(|(id, answered)| Step::Probes(id, answered)),
        (0u8..2, state).prop_map(|(id, state)| Step::Neighbour(id, state)),
        (0u8..2).prop_map(Step::Gone),
        (0u64..5000).prop_map(Step::Wait),
    ]
}

proptest! {
    /// No order of events makes the eligible word name a dead uplink, or leaves traffic without an
    /// uplink while one is up.
    #[test]
    fn the_words_name_what_is_up(steps in proptest::collection::vec(step(), 1..60), tier in 1u8..3) {
        let mut story = Story::begin(tier, None);
        for step in steps {
            match step {
                Step::Carrier(id, up) => {
                    let name = ["fiber0", "lte0"][usize::from(id)];
                    story.net(NetEvent::Link(link(u32::from(id) + 10, name, up)));
                }
                Step::Probes(id, answered) => story.probes(id, answered),
                Step::Neighbour(id, state) => {
                    story.net(seen(id, state));
                }
                Step::Gone(id) => {
                    story.net(NetEvent::LinkGone(u32::from(id) + 10));
                }
                Step::Wait(millis) => story.wait(Duration::from_millis(millis)),
            }
            let up = story
                .controller
                .uplinks()
                .iter()
                .filter(|uplink| uplink.paths[IPV4].is_up())
                .fold(0u64, |word, uplink| word | 1 << uplink.id);
            prop_assert_eq!(story.eligible & !up, 0);
            prop_assert_eq!(story.eligible == 0, up == 0);
            prop_assert_eq!(story.eligible, story.controller.groups()[0].eligible(IPV4));
        }
    }
}

#[test]
fn the_largest_mss_follows_the_mtu_of_the_uplink_and_of_the_lan() {
    let mut story = Story::begin(1, None);
    let mut told = |ifindex, name, mtu| {
        let actions = story.net(NetEvent::Link(Link {
            mtu,
            ..link(ifindex, name, true)
        }));
        let entries = actions.iter().filter_map(|action| {
            if let Action::SetUplink(id, entry) = action {
                Some((*id, entry.mtu, entry.mss))
            } else {
                None
            }
        });
        entries.collect::<Vec<_>>()
    };
    let fits = [1452, 1432];
    assert_eq!(told(10, "fiber0", 1492), [(FIBER, 1492, fits)]);
    assert_eq!(told(10, "fiber0", 1500), [(FIBER, 1500, [0; 2])]);
    // Jumbo frames in the LAN.
    let full = [1460, 1440];
    assert_eq!(
        told(1, "lan0", 9000),
        [(FIBER, 1500, full), (LTE, 1500, full)]
    );
}
