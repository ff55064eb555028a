//! Groups beside the default one, and what speaks against their members.

use super::*;
use crate::{
    config::{Failback, HashPolicy, OnUplinkLoss},
    controller::eligible::Impediments,
    ranking::Member,
};
use multihome_common::state::{GROUP_HOLD, GroupWords, Policy};

/// The words that were stored last: by group, of IPv4.
#[derive(Default)]
struct Stored([u64; 3]);

impl Stored {
    fn take(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::SetEligible(group, IPV4, word) = action {
                self.0[usize::from(*group)] = *word;
            }
        }
    }
}

/// The default group with both uplinks, one with fiber alone, and one with lte alone.
fn three_groups() -> Settings {
    let mut settings = settings(vec![
        uplink_config("fiber", "fiber0", 1),
        uplink_config("lte", "lte0", 1),
    ]);
    for (id, only) in [(1, FIBER), (2, LTE)] {
        settings.groups.push(GroupSettings {
            id,
            name: format!("only-{only}"),
            members: vec![member(only, 1)],
            ..settings.groups[0].clone()
        });
    }
    settings
}

fn begin() -> (Controller, Stored, Instant) {
    let now = Instant::now();
    let mut controller = Controller::new(three_groups(), kernel(), now);
    let mut stored = Stored::default();
    stored.take(&controller.begin(now));
    for id in [FIBER, LTE] {
        stored.take(&controller.handle(Event::Net(seen(id, NeighbourState::Reachable)), now));
    }
    (controller, stored, now)
}

#[test]
fn each_group_has_words_of_its_own_members_and_moves_with_them() {
    let (mut controller, mut stored, now) = begin();
    assert_eq!(stored.0, [0b11, 0b01, 0b10]);
    let actions = controller.handle(Event::Net(NetEvent::Link(link(10, "fiber0", false))), now);
    stored.take(&actions);
    assert_eq!(stored.0, [0b10, 0, 0b10]);
    // One store for each group that has the uplink, and only then what is told.
    let stores = actions
        .iter()
        .filter(|action| matches!(action, Action::SetEligible(..)));
    assert_eq!(stores.count(), 2);
    assert_eq!(actions[0], Action::SetEligible(0, IPV4, 0b10));
}

#[test]
fn an_impediment_in_one_group_takes_the_uplink_out_of_that_group_only_and_leaves_it_alive() {
    let (mut controller, mut stored, now) = begin();
    let sick = |word| Impediments {
        sick: word,
        ..Impediments::default()
    };
    // The default group, and the one that has nothing else.
    for group in &mut controller.groups[..2] {
        group.impede(IPV4, sick(1 << FIBER));
    }
    let actions = controller.refresh_words(now);
    stored.take(&actions);
    assert_eq!(stored.0, [0b10, 0b01, 0b10]);
    assert!(
        !actions.iter().any(|it| matches!(it, Action::SetAlive(..))),
        "{actions:?}"
    );
    controller.groups[0].impede(IPV4, sick(0));
    stored.take(&controller.refresh_words(now));
    assert_eq!(stored.0, [0b11, 0b01, 0b10]);
}

#[test]
fn a_member_has_a_tier_of_its_own_in_each_group() {
    let mut settings = three_groups();
    settings.groups[1].members = vec![member(FIBER, 2), member(LTE, 1)];
    settings.groups[2].members = vec![member(FIBER, 1), member(LTE, 2)];
    let now = Instant::now();
    let mut controller = Controller::new(settings, kernel(), now);
    let mut stored = Stored::default();
    stored.take(&controller.begin(now));
    for id in [FIBER, LTE] {
        stored.take(&controller.handle(Event::Net(seen(id, NeighbourState::Reachable)), now));
    }
    assert_eq!(stored.0, [0b11, 0b10, 0b01]);
    let down = Event::Net(NetEvent::Link(link(10, "fiber0", false)));
    stored.take(&controller.handle(down, now));
    assert_eq!(stored.0, [0b10, 0b10, 0b10]);
}

#[test]
fn each_group_hashes_and_moves_flows_as_it_is_told() {
    let mut settings = three_groups();
    settings.groups[1].config.hash = Some(HashPolicy::Src);
    settings.groups[1].config.on_uplink_loss = OnUplinkLoss::Hold;
    settings.groups[2].config.failback = Failback::Sticky;
    let now = Instant::now();
    let mut controller = Controller::new(settings, kernel(), now);
    let mut told = controller.begin(now);
    for id in [FIBER, LTE] {
        told.extend(controller.handle(Event::Net(seen(id, NeighbourState::Reachable)), now));
    }
    let conduct = |id| {
        let mut all = told.iter().rev();
        all.find_map(|action| {
            if let Action::SetConduct(group, word) = action
                && *group == id
            {
                Some(*word)
            } else {
                None
            }
        })
    };
    let five = GroupWords::conduct([Policy::FiveTuple; 2], 0);
    let source = GroupWords::conduct([Policy::Source; 2], GROUP_HOLD);
    assert_eq!(
        [conduct(0), conduct(1), conduct(2)],
        [Some(five), Some(source), Some(five)]
    );
    let later = now + story::FAILBACK_AFTER;
    let settled = controller.handle(Event::Tick, later);
    let groups: Vec<u8> = settled
        .iter()
        .filter_map(|action| {
            if let Action::SetSettled(group, IPV4, _) = action {
                Some(*group)
            } else {
                None
            }
        })
        .collect();
    assert_eq!(groups, [0, 1], "{settled:?}");
}

/// What LAN hosts are steered by holds for the gateway's own traffic too.
#[test]
fn the_gateways_own_traffic_follows_the_tiers_of_the_default_group() {
    let mut settings = three_groups();
    settings.groups[0].members = vec![
        member(FIBER, 2),
        Member {
            weight: 5,
            ..member(LTE, 1)
        },
    ];
    let controller = Controller::new(settings, kernel(), Instant::now());
    let ranks: Vec<(u8, u32)> = (controller.views().iter())
        .map(|view| (view.tier, view.weight))
        .collect();
    assert_eq!(ranks, [(2, 1), (1, 5)]);
}
