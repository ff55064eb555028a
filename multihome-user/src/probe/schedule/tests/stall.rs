//! What happens when nobody polls for a while.

use super::*;

#[test]
fn replies_that_waited_out_a_stall_of_ours_are_not_losses() {
    for drained_first in [true, false] {
        let mut simulation = Simulation::new(INTERVAL_100, 8, (0..20).map(target));
        let network = |_: TargetId, _: Instant| Some(ms(30));
        simulation.run(simulation.start + ms(2000), network);
        // Two seconds pass; whatever was on its way lies in the socket's queue.
        simulation.now += ms(2000);
        if !drained_first {
            for action in simulation.schedule.poll(simulation.now) {
                match action {
                    ProbeAction::Send { id, seq, cookie } => {
                        simulation
                            .flying
                            .push_back((simulation.now + ms(30), id, seq, cookie));
                    }
                    ProbeAction::Outcome(event) => {
                        simulation.outcomes.push((simulation.now, event))
                    }
                    ProbeAction::Overdue(_) => {}
                }
            }
        }
        simulation.step(&mut { network });
        simulation.run(simulation.now + ms(2000), network);
        assert_eq!(simulation.lost(), 0, "drained first: {drained_first}");
    }
}

#[test]
fn a_stall_does_not_hide_a_true_loss() {
    let mut simulation = Simulation::new(INTERVAL_100, 9, [target(1)]);
    simulation.run(simulation.start + ms(2000), |_, _| Some(ms(10)));
    simulation.flying.clear();
    simulation.run(simulation.now + ms(150), |_, _| None);
    let before = simulation.lost();
    simulation.now += ms(500);
    simulation.step(&mut |_, _| None);
    assert_eq!(
        simulation.lost(),
        before,
        "judged before the queues could be read again"
    );
    simulation.run(simulation.now + GRACE, |_, _| None);
    assert!(simulation.lost() > before, "not judged after the grace");
}

#[test]
fn grace_is_granted_once_so_that_a_slow_machine_still_sees_losses() {
    let mut simulation = Simulation::new(INTERVAL_100, 10, [target(1)]);
    // Every single poll is late by more than a stall.
    for _ in 0..50 {
        simulation.now += ms(200);
        simulation.step(&mut |_, _| None);
    }
    assert!(simulation.lost() > 20, "{} lost", simulation.lost());
}

#[test]
fn a_stall_is_followed_by_one_probe_per_target_not_by_many() {
    let mut simulation = Simulation::new(INTERVAL_100, 11, (0..20).map(target));
    simulation.run(simulation.start + ms(1000), |_, _| Some(ms(1)));
    let before: usize = simulation.sent.values().map(Vec::len).sum();
    simulation.now += ms(10_000);
    simulation.step(&mut |_, _| Some(ms(1)));
    let after: usize = simulation.sent.values().map(Vec::len).sum();
    assert_eq!(after - before, 20);
    let resumed = simulation.now;
    simulation.run(resumed + ms(105), |_, _| Some(ms(1)));
    let mut again: Vec<Instant> = simulation
        .sent
        .values()
        .filter_map(|sent| sent.iter().copied().find(|&at| at > resumed))
        .collect();
    assert_eq!(again.len(), 20);
    again.sort_unstable();
    assert!(again[0] >= resumed + ms(45), "too soon");
    again.dedup();
    assert!(again.len() >= 10, "the targets march in step: {again:?}");
}
