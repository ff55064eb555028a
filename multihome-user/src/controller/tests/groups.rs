//! Groups beside the default one, and what speaks against their members.

use super::*;
use crate::controller::eligible::Impediments;

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
    for (id, member) in [(1, FIBER), (2, LTE)] {
        settings.groups.push(GroupSettings {
            id,
            name: format!("only-{member}"),
            members: vec![(member, 1)],
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
