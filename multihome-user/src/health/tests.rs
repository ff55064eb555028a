//! Health against stories and random evidence.

use proptest::prelude::*;

use super::*;

mod with_schedule;

const SETTINGS: HealthSettings = HealthSettings {
    fall: 3,
    rise: 3,
    quorum: 1,
};

fn remote(last: u8) -> TargetId {
    TargetId::echo(0, [192, 0, 2, last].into())
}

fn next_hop() -> TargetId {
    TargetId::next_hop(0, [203, 0, 113, 1].into())
}

fn path(up: bool, targets: &[TargetId]) -> PathHealth {
    let mut path = PathHealth::new(SETTINGS, up, Instant::now());
    path.set_targets(targets.iter().copied());
    path
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Hands in outcomes of one target: `+` answered in 10 ms, `-` lost. Returns the transition of
/// the last one; none may come earlier.
fn feed(path: &mut PathHealth, id: TargetId, outcomes: &str) -> Option<Transition> {
    let mut last = None;
    for outcome in outcomes.chars() {
        assert_eq!(last, None, "changed before the last of {outcomes}");
        let outcome = if outcome == '+' {
            Outcome::Reply { rtt: ms(10) }
        } else {
            Outcome::Lost
        };
        let sent = Instant::now();
        last = path.handle(HealthEvent::Probe(ProbeEvent { id, outcome, sent }), sent);
    }
    last
}

fn cause(transition: Option<Transition>) -> String {
    transition.map_or_else(|| "none".into(), |it| format!("{}: {}", it.to, it.cause))
}

#[test]
fn three_losses_in_a_row_take_a_path_down_and_three_replies_bring_it_back() {
    let mut path = path(true, &[remote(1)]);
    assert_eq!(
        cause(feed(&mut path, remote(1), "---")),
        "down: 3 probes to 192.0.2.1 lost"
    );
    assert_eq!(feed(&mut path, remote(1), "---++-++"), None);
    assert_eq!(
        cause(feed(&mut path, remote(1), "+")),
        "up: 3 probes to 192.0.2.1 answered"
    );
    assert!(path.is_up());
}

#[test]
fn losses_that_are_not_in_a_row_do_nothing() {
    let mut path = path(true, &[remote(1)]);
    for _ in 0..100 {
        assert_eq!(feed(&mut path, remote(1), "--+"), None);
    }
    assert!(path.is_up());
}

#[test]
fn one_remote_target_that_answers_keeps_the_path_up() {
    let mut path = path(true, &[remote(1), remote(2), remote(3), next_hop()]);
    feed(&mut path, remote(1), "-----");
    feed(&mut path, remote(2), "-----");
    assert_eq!(feed(&mut path, remote(3), "+--"), None);
    let transition = feed(&mut path, remote(3), "-");
    assert_eq!(
        cause(transition),
        "down: 3 probes to 192.0.2.3 and 2 other targets lost"
    );
    let transition = feed(&mut path, remote(2), "+++");
    assert_eq!(cause(transition), "up: 3 probes to 192.0.2.2 answered");
}

#[test]
fn a_target_not_heard_of_yet_counts_as_answering() {
    let mut path = path(true, &[remote(1), remote(2)]);
    assert_eq!(feed(&mut path, remote(1), "----------"), None);
    let transition = feed(&mut path, remote(2), "---");
    assert_eq!(
        cause(transition),
        "down: 3 probes to 192.0.2.2 and 1 other target lost"
    );
}

#[test]
fn the_next_hop_does_not_judge_where_remote_targets_do() {
    let mut path = path(true, &[remote(1), next_hop()]);
    assert_eq!(feed(&mut path, next_hop(), "----------"), None);
    feed(&mut path, remote(1), "---");
    assert!(!path.is_up());
    assert_eq!(
        feed(&mut path, next_hop(), "++++++++++"),
        None,
        "the first hop alone is no path"
    );
}

#[test]
fn the_next_hop_judges_alone() {
    let mut path = path(true, &[next_hop()]);
    assert_eq!(
        cause(feed(&mut path, next_hop(), "---")),
        "down: 3 probes to 203.0.113.1 lost"
    );
    assert_eq!(
        cause(feed(&mut path, next_hop(), "+++")),
        "up: 3 probes to 203.0.113.1 answered"
    );
}

#[test]
fn a_next_hop_that_answers_no_pings_is_kept_up_by_its_neighbour_entry() {
    let mut path = path(true, &[next_hop()]);
    for _ in 0..20 {
        assert_eq!(
            path.handle(HealthEvent::NextHopConfirmed, Instant::now()),
            None
        );
        assert_eq!(feed(&mut path, next_hop(), "-"), None);
    }
    assert_eq!(path.rtt(), None);
    feed(&mut path, next_hop(), "---");
    assert!(!path.is_up(), "one confirmation must not count for ever");
    for _ in 0..2 {
        path.handle(HealthEvent::NextHopConfirmed, Instant::now());
        assert_eq!(feed(&mut path, next_hop(), "-"), None);
    }
    path.handle(HealthEvent::NextHopConfirmed, Instant::now());
    assert!(feed(&mut path, next_hop(), "-").is_some() && path.is_up());
}

#[test]
fn a_confirmed_next_hop_does_not_answer_for_remote_targets() {
    let mut path = path(true, &[remote(1), next_hop()]);
    path.handle(HealthEvent::NextHopConfirmed, Instant::now());
    assert!(feed(&mut path, remote(1), "---").is_some());
}

#[test]
fn events_of_foreign_targets_are_ignored() {
    let mut path = path(true, &[remote(1)]);
    assert_eq!(feed(&mut path, remote(2), "----------"), None);
    let other_uplink = TargetId {
        uplink: 1,
        ..remote(1)
    };
    assert_eq!(feed(&mut path, other_uplink, "----------"), None);
    assert!(path.is_up());
}

#[test]
fn a_quorum_counts_targets() {
    let settings = HealthSettings {
        quorum: 2,
        ..SETTINGS
    };
    let mut path = PathHealth::new(settings, true, Instant::now());
    path.set_targets([remote(1), remote(2), remote(3)]);
    feed(&mut path, remote(3), "+");
    assert_eq!(
        feed(&mut path, remote(1), "---"),
        None,
        "two of three are left"
    );
    let transition = feed(&mut path, remote(2), "---");
    assert_eq!(
        cause(transition),
        "down: 3 probes to 192.0.2.2 and 1 other target lost; 1 target is left, 2 must answer"
    );
    assert_eq!(
        feed(&mut path, remote(3), "++++"),
        None,
        "one is not enough"
    );
    assert!(feed(&mut path, remote(1), "+++").is_some());

    let mut single = PathHealth::new(settings, true, Instant::now());
    single.set_targets([remote(1)]);
    assert!(
        feed(&mut single, remote(1), "---").is_some(),
        "capped by the number of targets"
    );
    assert!(feed(&mut single, remote(1), "+++").is_some());
}

#[test]
fn reset_forgets_evidence_and_sets_the_state() {
    let start = Instant::now();
    let mut path = PathHealth::new(SETTINGS, true, start);
    path.set_targets([remote(1)]);
    feed(&mut path, remote(1), "+--");
    path.reset(start + ms(500), true);
    assert_eq!((path.since(), path.rtt()), (start, None));
    assert_eq!(
        feed(&mut path, remote(1), "--"),
        None,
        "losses of before do not count"
    );
    path.reset(start + ms(1000), false);
    assert_eq!((path.is_up(), path.since()), (false, start + ms(1000)));
    assert!(feed(&mut path, remote(1), "+++").is_some());
}

#[test]
fn changing_targets_keeps_what_is_known_of_the_others() {
    let mut path = path(true, &[remote(1), remote(2)]);
    feed(&mut path, remote(1), "--");
    feed(&mut path, remote(2), "++++");
    path.set_targets([remote(1)]);
    assert!(
        feed(&mut path, remote(1), "-").is_some(),
        "the third loss in a row"
    );
    path.set_targets([remote(3)]);
    assert!(!path.is_up(), "new targets say nothing yet");
    assert_eq!(feed(&mut path, remote(3), "++"), None);
}

#[test]
fn the_round_trip_time_is_that_of_the_nearest_target_that_answers() {
    let mut path = path(true, &[remote(1), remote(2), next_hop()]);
    let mut reply = |id, rtt| {
        let outcome = Outcome::Reply { rtt: ms(rtt) };
        let sent = Instant::now();
        path.handle(HealthEvent::Probe(ProbeEvent { id, outcome, sent }), sent);
        path.rtt()
    };
    assert_eq!(
        reply(next_hop(), 1),
        None,
        "the first hop's time is not the path's"
    );
    assert_eq!(reply(remote(1), 80), Some(ms(80)));
    assert_eq!(reply(remote(2), 20), Some(ms(20)));
    feed(&mut path, remote(2), "-");
    assert_eq!(path.rtt(), Some(ms(80)));
    assert_eq!(path.rtt_variation(), Some(ms(40)));
}

#[test]
fn settings_of_zero_count_as_one() {
    let zero = HealthSettings {
        fall: 0,
        rise: 0,
        quorum: 0,
    };
    let mut path = PathHealth::new(zero, true, Instant::now());
    path.set_targets([remote(1)]);
    assert_eq!(
        cause(feed(&mut path, remote(1), "-")),
        "down: 1 probe to 192.0.2.1 lost"
    );
    assert_eq!(
        cause(feed(&mut path, remote(1), "+")),
        "up: 1 probe to 192.0.2.1 answered"
    );
}

proptest! {
    /// Whatever comes in whatever order: no panic, and a path only changes with evidence in full.
    #[test]
    fn a_path_never_changes_without_evidence(
        up: bool,
        fall in 1_u32..6,
        rise in 1_u32..6,
        quorum in 1_u32..4,
        events in proptest::collection::vec((0_u8..8, 0_u8..4, any::<bool>()), 1..400),
    ) {
        let start = Instant::now();
        let mut path = PathHealth::new(HealthSettings { fall, rise, quorum }, up, start);
        let all = [remote(0), remote(1), remote(2), next_hop()];
        path.set_targets(all);
        // Streaks kept in the simplest way: positive for answers, negative for losses.
        let mut streaks: BTreeMap<TargetId, i64> = BTreeMap::new();
        let mut confirmed = false;
        let mut state = path.state();
        for (step, (what, which, answered)) in events.into_iter().enumerate() {
            let now = start + ms(step as u64);
            let id = all[usize::from(which)];
            let transition = match what {
                0 => {
                    confirmed = true;
                    path.handle(HealthEvent::NextHopConfirmed, now)
                }
                1 if answered => {
                    path.reset(now, which % 2 == 0);
                    streaks.clear();
                    confirmed = false;
                    state = path.state();
                    None
                }
                _ => {
                    let outcome = if answered { Outcome::Reply { rtt: ms(5) } } else { Outcome::Lost };
                    let good = answered || id == next_hop() && confirmed;
                    if id == next_hop() { confirmed = false; }
                    let streak = streaks.entry(id).or_default();
                    *streak = match (good, *streak > 0) {
                        (true, true) => *streak + 1,
                        (true, false) => 1,
                        (false, true) => -1,
                        (false, false) => *streak - 1,
                    };
                    path.handle(HealthEvent::Probe(ProbeEvent { id, outcome, sent: now }), now)
                }
            };
            let remotes = || (0..3).map(|last| streaks.get(&remote(last)).copied().unwrap_or(0));
            let needed = quorum.min(3) as usize;
            if let Some(transition) = transition {
                prop_assert_ne!(transition.to, state);
                prop_assert_eq!(transition.at, now);
                match transition.to {
                    PathState::Down => prop_assert!(remotes().filter(|it| *it > -i64::from(fall)).count() < needed),
                    PathState::Up => prop_assert!(remotes().filter(|it| *it >= i64::from(rise)).count() >= needed),
                }
                state = transition.to;
                prop_assert_eq!(path.since(), now);
            } else {
                // And with evidence in full it has changed.
                match state {
                    PathState::Up => prop_assert!(remotes().filter(|it| *it > -i64::from(fall)).count() >= needed),
                    PathState::Down => prop_assert!(remotes().filter(|it| *it >= i64::from(rise)).count() < needed),
                }
            }
            prop_assert_eq!(path.state(), state);
        }
    }
}

/// An operator asks for how long a line had been dead when that was noticed.
#[test]
fn a_transition_has_its_first_sign() {
    let mut path = path(true, &[remote(1), remote(2)]);
    let start = Instant::now();
    let mut told = Vec::new();
    // Target 2 has been dead for a minute; that alone was no sign of a dead line.
    let losses = [
        (2, 0),
        (2, 500),
        (2, 1000),
        (1, 60_000),
        (1, 60_500),
        (1, 61_000),
    ];
    let answers = [(1, 90_000), (1, 90_500), (1, 91_000)];
    for (last, at) in losses {
        let (id, outcome, sent) = (remote(last), Outcome::Lost, start + ms(at));
        let event = HealthEvent::Probe(ProbeEvent { id, outcome, sent });
        told.extend(path.handle(event, sent + ms(500)));
    }
    for (last, at) in answers {
        let (id, sent) = (remote(last), start + ms(at));
        let outcome = Outcome::Reply { rtt: ms(20) };
        let event = HealthEvent::Probe(ProbeEvent { id, outcome, sent });
        told.extend(path.handle(event, sent + ms(20)));
    }
    let signs: Vec<_> = told
        .iter()
        .map(|told| (told.to, told.sign - start))
        .collect();
    assert_eq!(
        signs,
        [(PathState::Down, ms(60_000)), (PathState::Up, ms(90_020))]
    );
    assert_eq!(told[0].at - start, ms(61_500));
}
