//! Uplinks that are up and yet not to take new flows: held back after a failure, or drained.

use super::{story::FAILBACK_AFTER, *};
use crate::{
    config::DampingConfig,
    controller::eligible::Impediments,
    events::{Kind, Occurrence},
};

/// Holds of 4, 8, 16 s and so on up to a minute.
const DAMPING: DampingConfig = DampingConfig {
    hold: Duration::from_secs(4),
    max_hold: Duration::from_secs(60),
    forget: Duration::from_secs(300),
};

fn damped(tier_of_lte: u8) -> Settings {
    Settings {
        damping: DAMPING,
        ..settings(vec![
            uplink_config("fiber", "fiber0", 1),
            uplink_config("lte", "lte0", tier_of_lte),
        ])
    }
}

fn told(actions: &[Action], kind: Kind) -> Vec<&Occurrence> {
    let occurrences = actions.iter().filter_map(|action| {
        if let Action::Event(occurrence) = action {
            Some(occurrence)
        } else {
            None
        }
    });
    occurrences.filter(|it| it.kind == kind).collect()
}

fn drain(story: &mut Story, id: u8, draining: bool) -> Vec<Action> {
    story.tell(Event::Drain(id, draining, "work on the line".to_owned()))
}

/// opnsense/core 5786: no minimum stable time before fail-back.
#[test]
fn an_uplink_that_comes_back_takes_new_flows_when_it_has_stayed_up() {
    for by_carrier in [false, true] {
        let mut story = Story::begin_with(kernel(), damped(1));
        assert_eq!(story.eligible, 0b11, "the first start is not held");
        if by_carrier {
            story.net(NetEvent::Link(link(10, "fiber0", false)));
            story.net(NetEvent::Link(link(10, "fiber0", true)));
        } else {
            story.probes(FIBER, false);
        }
        let mut actions = Vec::new();
        for _ in 0..3 {
            actions.extend(story.probe(FIBER, true));
        }
        let held = told(&actions, Kind::Held);
        assert_eq!(held.len(), 1, "{actions:?}");
        assert_eq!(held[0].family, Some(IPV4));
        assert_eq!(
            held[0].cause,
            "it must stay up for 4s before it takes new flows"
        );
        assert!(story.controller.uplinks()[0].up, "it is alive");
        assert_eq!((story.eligible, story.alive), (0b10, 0b11));
        story.wait(DAMPING.hold - TICK);
        assert_eq!(story.eligible, 0b10);
        story.now += TICK;
        let actions = story.tell(Event::Tick);
        assert_eq!(story.eligible, 0b11);
        assert_eq!(told(&actions, Kind::Released).len(), 1);
    }
}

#[test]
fn an_uplink_that_flaps_is_held_longer_and_longer() {
    let mut story = Story::begin_with(kernel(), damped(1));
    let mut holds = Vec::new();
    for _ in 0..6 {
        story.probes(FIBER, false);
        story.probes(FIBER, true);
        let mut hold = Duration::ZERO;
        while story.eligible != 0b11 {
            story.wait(TICK);
            hold += TICK;
        }
        holds.push(hold.as_secs());
    }
    assert_eq!(holds, [4, 8, 16, 32, 60, 60]);
    assert_eq!(story.controller.damping(IPV4).failures(FIBER, story.now), 6);
}

#[test]
fn a_held_uplink_of_the_first_tier_leaves_the_second_in_use() {
    let mut story = Story::begin_with(kernel(), damped(2));
    story.probes(FIBER, false);
    story.probes(FIBER, true);
    assert_eq!(story.eligible, 0b10);
    story.wait(DAMPING.hold);
    assert_eq!(story.eligible, 0b01);
}

#[test]
fn a_held_uplink_serves_at_once_when_the_other_is_lost() {
    let mut story = Story::begin_with(kernel(), damped(1));
    story.probes(FIBER, false);
    story.probes(FIBER, true);
    assert_eq!(story.eligible, 0b10);
    let actions = story.net(NetEvent::Link(link(11, "lte0", false)));
    assert_eq!(actions.first(), Some(&Action::SetEligible(0, IPV4, 0b01)));
}

/// openwrt/packages 3885: after all uplinks were down, nothing recovers.
#[test]
fn after_a_total_outage_nothing_is_held() {
    let mut story = Story::begin_with(kernel(), damped(1));
    story.wait(SETTLE * 2);
    story.probes(FIBER, false);
    story.probes(LTE, false);
    assert_eq!((story.eligible, story.serving()), (0, 0b11));
    story.probes(LTE, true);
    assert_eq!(story.eligible, 0b10);
    story.probes(FIBER, true);
    assert_eq!(story.eligible, 0b11);
}

#[test]
fn a_restart_holds_what_was_down_when_it_comes_back_and_nothing_else() {
    let adopted = Adopted {
        known: 0b11,
        alive: [0b10, 0],
        ..Adopted::default()
    };
    let mut given = damped(1);
    given.adopted = Some(adopted);
    given.groups[0].left.eligible = [0b10, 0];
    let mut story = Story::begin_with(kernel(), given);
    assert_eq!(story.eligible, 0b10);
    story.probes(FIBER, true);
    assert_eq!(story.eligible, 0b10, "it has failed, whoever saw it");
    story.wait(DAMPING.hold);
    assert_eq!(story.eligible, 0b11);
}

#[test]
fn new_flows_avoid_a_draining_uplink_and_old_ones_are_not_told() {
    let mut story = Story::begin(1, None);
    story.wait(FAILBACK_AFTER);
    assert_eq!((story.eligible, story.settled), (0b11, 0b11));
    let actions = drain(&mut story, FIBER, true);
    assert_eq!(actions[0], Action::SetEligible(0, IPV4, 0b10));
    assert_eq!((story.eligible, story.alive), (0b10, 0b11));
    assert_eq!(story.settled, 0b10, "nothing goes back to it");
    assert_eq!(told(&actions, Kind::Draining)[0].cause, "work on the line");
    assert_eq!(story.controller.takes_new_flows(FIBER), []);
    story.wait(FAILBACK_AFTER * 2);
    assert_eq!((story.eligible, story.settled), (0b10, 0b10));
    let actions = drain(&mut story, FIBER, false);
    assert_eq!(told(&actions, Kind::Undrained).len(), 1);
    assert_eq!((story.eligible, story.settled), (0b11, 0b11));
}

#[test]
fn a_draining_uplink_serves_while_nothing_else_is_up_and_no_longer() {
    let mut story = Story::begin(1, None);
    drain(&mut story, FIBER, true);
    story.probes(LTE, false);
    assert_eq!(story.eligible, 0b01);
    assert_eq!(story.controller.takes_new_flows(FIBER), [("default", IPV4)]);
    story.probes(LTE, true);
    assert_eq!(story.eligible, 0b10);
    // Both: then it is as if none was.
    drain(&mut story, LTE, true);
    assert_eq!(story.eligible, 0b11);
}

#[test]
fn a_drain_goes_on_over_a_restart_and_is_told_of() {
    let mut given = settings(vec![
        uplink_config("fiber", "fiber0", 1),
        uplink_config("lte", "lte0", 1),
    ]);
    given.draining = [(FIBER, "since yesterday".to_owned())].into();
    let now = Instant::now();
    let mut controller = Controller::new(given, kernel(), now);
    let actions = controller.begin(now);
    assert_eq!(told(&actions, Kind::Draining)[0].cause, "since yesterday");
    for id in [LTE, FIBER] {
        let actions = controller.handle(Event::Net(seen(id, NeighbourState::Reachable)), now);
        assert!(told(&actions, Kind::Draining).is_empty(), "it is told once");
    }
    assert_eq!(controller.groups()[0].eligible(IPV4), 1 << LTE);
}

#[derive(Clone, Debug)]
enum Step {
    Carrier(u8, bool),
    Probes(u8, bool),
    Neighbour(u8, NeighbourState),
    Gone(u8),
    Drain(u8, bool),
    Impede(usize, [u64; 3]),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let state = prop_oneof![
        Just(NeighbourState::Reachable),
        Just(NeighbourState::Stale),
        Just(NeighbourState::Failed),
        Just(NeighbourState::Incomplete),
    ];
    let words = proptest::array::uniform3(0u64..4);
    prop_oneof![
        (0u8..2, any::<bool>()).prop_map(|(id, up)| Step::Carrier(id, up)),
        (0u8..2, any::<bool>()).prop_map(|(id, answered)| Step::Probes(id, answered)),
        (0u8..2, state).prop_map(|(id, state)| Step::Neighbour(id, state)),
        (0u8..2).prop_map(Step::Gone),
        (0u8..2, any::<bool>()).prop_map(|(id, draining)| Step::Drain(id, draining)),
        (0usize..3, words).prop_map(|(group, words)| Step::Impede(group, words)),
        (0u64..20_000).prop_map(Step::Wait),
    ]
}

impl Step {
    fn tell(self, story: &mut Story) {
        match self {
            Self::Carrier(id, up) => {
                let name = ["fiber0", "lte0"][usize::from(id)];
                story.net(NetEvent::Link(link(u32::from(id) + 10, name, up)));
            }
            Self::Probes(id, answered) => story.probes(id, answered),
            Self::Neighbour(id, state) => {
                story.net(seen(id, state));
            }
            Self::Gone(id) => {
                story.net(NetEvent::LinkGone(u32::from(id) + 10));
            }
            Self::Drain(id, draining) => {
                drain(story, id, draining);
            }
            Self::Impede(group, [full, sick, spent]) => {
                let here = Impediments { full, sick, spent };
                story.controller.groups[group].impede(IPV4, here);
                let actions = story.controller.refresh_words(story.now);
                story.store(&actions);
            }
            Self::Wait(millis) => story.wait(Duration::from_millis(millis)),
        }
    }
}

proptest! {
    /// No order of events makes a group's eligible word name a dead or a draining uplink while a healthy
    /// one exists, or leaves it empty while any member is up.
    #[test]
    fn no_order_of_events_leaves_a_group_worse_off_than_it_need_be(
        steps in proptest::collection::vec(step(), 1..60),
        tier in 1u8..3,
        hold in 0u64..6,
    ) {
        let mut given = damped(tier);
        given.damping.hold = Duration::from_secs(hold);
        for (id, members) in [(1, vec![member(FIBER, 1)]), (2, vec![member(FIBER, 2), member(LTE, 1)])] {
            let first = given.groups[0].clone();
            given.groups.push(GroupSettings { id, name: format!("g{id}"), members, ..first });
        }
        let mut story = Story::begin_with(kernel(), given);
        for step in steps {
            step.tell(&mut story);
            let controller = &story.controller;
            let up = (controller.uplinks().iter())
                .filter(|uplink| uplink.paths[IPV4].is_up())
                .fold(0u64, |word, uplink| word | 1 << uplink.id);
            prop_assert_eq!(story.alive, up);
            for group in controller.groups() {
                let (eligible, up) = (group.eligible(IPV4), up & group.members());
                let against = group.against(IPV4, controller.common(IPV4));
                prop_assert_eq!(eligible & !up, 0, "a dead uplink");
                prop_assert_eq!(eligible == 0, up == 0, "none");
                let healthy = up & !against.any();
                prop_assert!(healthy == 0 || eligible & !healthy == 0, "a worse one");
                let draining = against.common.draining;
                prop_assert!(up & !draining == 0 || eligible & draining == 0, "a draining one");
                prop_assert_eq!(group.settled[IPV4].word & against.any(), 0);
                if eligible == 0 && group.last_good(IPV4) & !draining != 0 {
                    prop_assert_eq!(group.last_good(IPV4) & draining, 0);
                }
            }
            prop_assert_eq!(story.eligible, controller.groups()[0].eligible(IPV4));
        }
        // Nobody is held for ever.
        story.wait(DAMPING.max_hold);
        prop_assert_eq!(story.controller.common(IPV4).held, 0);
    }
}
