//! Bursts: how fast they decide, what they spare, and what they must not take for a loss.

use super::*;

const DEFAULT: ProbeSettings = ProbeSettings {
    interval: ms_const(500),
    timeout: None,
    rate: None,
};

/// A simulation that has run for a while over a network with this round-trip time.
fn warmed_up(seed: u8, targets: u8, rtt: u64) -> Simulation {
    let mut simulation = Simulation::new(DEFAULT, seed, (0..targets).map(target));
    simulation.run(simulation.start + ms(10_000), |_, _| Some(ms(rtt)));
    simulation.outcomes.clear();
    simulation.sent.clear();
    simulation
}

impl Simulation {
    fn burst(&mut self, targets: u8) {
        let ids: Vec<TargetId> = (0..targets).map(target).collect();
        self.schedule.burst(&ids, 3, BURST_STEP, self.now);
    }

    /// When each target had lost three probes, after `since`.
    fn dead_after(&self, since: Instant) -> BTreeMap<TargetId, Duration> {
        let mut lost: BTreeMap<TargetId, u32> = BTreeMap::new();
        let mut dead = BTreeMap::new();
        for (at, event) in &self.outcomes {
            let lost = lost.entry(event.id).or_default();
            *lost = match event.outcome {
                Outcome::Lost | Outcome::Failed(_) => *lost + 1,
                Outcome::Reply { .. } => 0,
            };
            if *lost == 3 {
                dead.insert(event.id, *at - since);
            }
        }
        dead
    }
}

#[test]
fn a_burst_finds_all_targets_dead_within_their_round_trip_time_and_150_ms() {
    for seed in 0..50 {
        for (targets, rtt) in [(1, 1), (4, 20), (8, 60), (4, 300)] {
            let mut simulation = warmed_up(seed, targets, rtt);
            // Nothing of what is on its way is answered any more.
            simulation.flying.clear();
            let cut = simulation.now;
            simulation.burst(targets);
            simulation.run(cut + ms(1000), |_, _| None);
            let dead = simulation.dead_after(cut);
            assert_eq!(dead.len(), usize::from(targets));
            for (id, after) in dead {
                assert!(after <= ms(rtt + 150), "seed {seed}: {id:?} {after:?}");
            }
        }
    }
}

#[test]
fn the_probes_of_a_burst_are_25_ms_apart_and_targets_do_not_march_in_step() {
    let mut simulation = warmed_up(1, 4, 20);
    simulation.flying.clear();
    simulation.burst(4);
    simulation.run(simulation.now + ms(90), |_, _| None);
    let mut firsts = Vec::new();
    for sent in simulation.sent.values() {
        // One that was due anyway may follow.
        assert!((3..=4).contains(&sent.len()), "{sent:?}");
        let gap = |place: usize| sent[place] - sent[place - 1];
        assert!(gap(1) <= ms(25) && gap(2) <= ms(25), "{sent:?}");
        firsts.push(sent[0]);
    }
    firsts.sort();
    assert!(
        firsts.windows(2).all(|pair| pair[1] - pair[0] > ms(2)),
        "{firsts:?}"
    );
    assert!(firsts[3] - firsts[0] < ms(25));
}

#[test]
fn a_healthy_target_is_asked_no_longer_than_until_it_answers() {
    for seed in 0..20 {
        let mut simulation = warmed_up(seed, 4, 10);
        simulation.burst(4);
        simulation.run(simulation.now + ms(100), |_, _| Some(ms(10)));
        let sent: usize = simulation.sent.values().map(Vec::len).sum();
        // One each, and those that were due anyway; three each without an answer.
        assert!(sent <= 8, "seed {seed}: {sent} probes");
        assert_eq!(simulation.lost(), 0);
    }
}

#[test]
fn a_slow_path_is_not_called_dead_by_a_burst() {
    for (rtt, seed) in [(300, 1), (300, 2), (700, 3), (1500, 4)] {
        let mut simulation = warmed_up(seed, 3, rtt);
        simulation.burst(3);
        simulation.run(simulation.now + ms(5000), |_, _| Some(ms(rtt)));
        assert_eq!(simulation.lost(), 0, "{rtt} ms");
    }
    // Nothing was measured yet: the usual patience.
    let mut simulation = Simulation::new(DEFAULT, 5, [target(0)]);
    simulation.burst(1);
    simulation.run(simulation.now + ms(3000), |_, _| Some(ms(800)));
    assert_eq!(simulation.lost(), 0);
}

/// The queue of an uplink is shared: what one target's probes have met, all others' may meet.
#[test]
fn a_target_that_has_only_seen_quiet_times_waits_as_long_as_the_one_that_has_not() {
    let mut simulation = warmed_up(6, 2, 20);
    let id = target(0);
    for delay in [300, 20, 300] {
        let mut left = 1;
        while left > 0 {
            simulation.run(simulation.now + ms(100), |asked, _| {
                left -= i32::from(asked == id);
                Some(ms(if asked == id { delay } else { 20 }))
            });
        }
    }
    simulation.run(simulation.now + ms(1000), |_, _| Some(ms(20)));
    simulation.outcomes.clear();
    simulation.burst(2);
    simulation.run(simulation.now + ms(1000), |_, _| Some(ms(200)));
    assert_eq!(simulation.lost(), 0);
}

#[test]
fn an_older_probe_that_may_take_its_time_does_not_hold_up_a_burst() {
    for seed in 0..50 {
        let mut simulation = warmed_up(seed, 1, 20);
        // Cut right before a probe is sent: it has half a second, were there no burst.
        simulation.run(
            simulation.schedule.next_deadline().expect("a target") - ms(1),
            |_, _| Some(ms(20)),
        );
        let cut = simulation.now;
        simulation.run(cut + ms(2), |_, _| None);
        simulation.burst(1);
        simulation.run(cut + ms(600), |_, _| None);
        let after = simulation.dead_after(cut)[&target(0)];
        assert!(after <= ms(175), "seed {seed}: {after:?}");
    }
}

#[test]
fn after_a_burst_probes_have_their_usual_time_and_pace() {
    let mut simulation = warmed_up(7, 1, 20);
    simulation.burst(1);
    simulation.run(simulation.now + ms(300), |_, _| Some(ms(20)));
    simulation.sent.clear();
    simulation.run(simulation.now + ms(10_000), |_, _| Some(ms(400)));
    assert_eq!(simulation.lost(), 0, "400 ms are within the usual timeout");
    let sent = &simulation.sent[&target(0)];
    assert!((19..=23).contains(&sent.len()), "{} probes", sent.len());
    assert!(sent.windows(2).all(|pair| pair[1] - pair[0] >= ms(440)));
}

#[test]
fn probes_that_never_left_are_made_up_for_within_bounds() {
    let mut schedule = ProbeSchedule::new(DEFAULT, [8; 32]);
    let mut now = Instant::now();
    schedule.set_targets([target(1)], now);
    schedule.burst(&[target(1)], 3, BURST_STEP, now);
    let mut asked = 0;
    for _ in 0..400 {
        now += ms(1);
        for action in schedule.poll(now) {
            match action {
                ProbeAction::Send { id, seq, .. } => {
                    asked += 1;
                    schedule.unsent(id, seq);
                }
                ProbeAction::Outcome(event) => panic!("{event:?}"),
                ProbeAction::Overdue(_) => {}
            }
        }
    }
    assert!((5..=7).contains(&asked), "{asked} probes");
}

#[test]
fn unknown_targets_are_passed_over() {
    let mut simulation = warmed_up(9, 1, 20);
    simulation.burst(3);
    simulation.run(simulation.now + ms(50), |_, _| None);
    assert_eq!(simulation.sent.len(), 1);
}

/// A probe was lost, a burst began, and the line failed in the midst of it: the suspicion that this
/// raises must be settled by losses of its own.
#[test]
fn a_burst_within_a_burst_asks_as_often_as_any() {
    for after in [1, 20, 40, 70] {
        let mut simulation = warmed_up(9, 1, 20);
        simulation.flying.clear();
        simulation.burst(1);
        simulation.run(simulation.now + ms(after), |_, _| None);
        simulation.outcomes.clear();
        simulation.sent.clear();
        let again = simulation.now;
        simulation.burst(1);
        simulation.run(again + ms(400), |_, _| None);
        assert!(simulation.sent[&target(0)].len() >= 3, "after {after} ms");
        assert!(simulation.dead_after(again)[&target(0)] <= ms(170));
    }
}

#[test]
fn a_probe_that_left_late_has_its_whole_time_from_then() {
    let mut schedule = ProbeSchedule::new(DEFAULT, [10; 32]);
    let start = Instant::now();
    schedule.set_targets([target(1)], start);
    let due = start + ms(500);
    let sent = schedule.poll(due);
    let [ProbeAction::Send { id, seq, cookie }] = sent[..] else {
        panic!("{sent:?}")
    };
    // Stopped between the poll and the send for three seconds.
    let left = due + ms(3000);
    schedule.sent_at(id, seq, left);
    let received = left + ms(900);
    assert!(schedule.reply(1, id.target, seq, cookie, received));
    let outcomes: Vec<ProbeAction> = schedule
        .poll(received)
        .into_iter()
        .filter(|action| matches!(action, ProbeAction::Outcome(_)))
        .collect();
    let outcome = Outcome::Reply { rtt: ms(900) };
    let sent = left;
    assert_eq!(
        outcomes,
        [ProbeAction::Outcome(ProbeEvent { id, outcome, sent })]
    );
}

proptest! {
    /// At whatever moment this process is held up, and for how long, and however often: what was
    /// answered in time is no loss, in bursts or out of them.
    #[test]
    fn no_stall_makes_a_loss_of_what_was_answered(
        seed: u8,
        rtt in 1_u64..60,
        stalls in proptest::collection::vec((1_u64..400, 1_u64..3000, any::<bool>()), 1..12),
    ) {
        let mut simulation = warmed_up(seed, 3, rtt);
        for (until, length, burst) in stalls {
            if burst {
                simulation.burst(3);
            }
            simulation.run(simulation.now + ms(until), |_, _| Some(ms(rtt)));
            // Nobody looks for a while; replies wait in the sockets with the times of their arrival.
            simulation.now += ms(length);
            simulation.step(&mut |_, _| Some(ms(rtt)));
        }
        simulation.run(simulation.now + ms(3000), |_, _| Some(ms(rtt)));
        prop_assert_eq!(simulation.lost(), 0);
    }

    /// The same with sockets that are read only after the judgement, as when the kernel itself was
    /// held up, or had not told of them yet.
    #[test]
    fn no_stall_makes_a_loss_of_what_is_read_a_moment_later(
        seed: u8,
        rtt in 1_u64..24,
        stalls in proptest::collection::vec((1_u64..400, 60_u64..3000, any::<bool>()), 1..12),
    ) {
        let mut simulation = warmed_up(seed, 3, rtt);
        for (until, length, burst) in stalls {
            if burst {
                simulation.burst(3);
            }
            simulation.run(simulation.now + ms(until), |_, _| Some(ms(rtt)));
            simulation.now += ms(length);
            let late: Vec<_> = simulation.flying.drain(..).collect();
            simulation.step(&mut |_, _| Some(ms(rtt)));
            simulation.now += ms(1);
            for (at, id, seq, cookie) in late {
                // Stamped when the kernel came to it, at last.
                let at = if at < simulation.now { simulation.now } else { at };
                simulation.flying.push_back((at, id, seq, cookie));
            }
            simulation.step(&mut |_, _| Some(ms(rtt)));
        }
        simulation.run(simulation.now + ms(3000), |_, _| Some(ms(rtt)));
        prop_assert_eq!(simulation.lost(), 0);
    }
}

/// The prober reads answers at once in haste, and gathers them otherwise.
#[test]
fn a_schedule_is_in_haste_while_any_target_is_in_a_burst() {
    let ids = [target(1), target(2)];
    let mut simulation = Simulation::new(INTERVAL_100, 7, ids);
    simulation.run(simulation.start + ms(1000), |_, _| Some(ms(5)));
    assert!(!simulation.schedule.is_in_haste());
    let now = simulation.now;
    simulation.schedule.burst(&ids, 3, ms(25), now);
    assert!(simulation.schedule.is_in_haste());
    // One that is gone takes its burst along.
    simulation.schedule.set_targets([target(2)], now);
    assert!(simulation.schedule.is_in_haste());
    simulation.run(now + ms(1000), |_, _| Some(ms(5)));
    assert!(!simulation.schedule.is_in_haste());
    let now = simulation.now;
    simulation.schedule.burst(&ids, 3, ms(25), now);
    simulation.schedule.set_targets([], now);
    assert!(!simulation.schedule.is_in_haste());
}
