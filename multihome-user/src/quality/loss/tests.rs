//! The tests of loss over simulated hours: seeds, so that each run is the same one.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;

/// Probes go out at most so often in a burst, in milliseconds.
const BURST_STEP: u64 = 25;
/// How long a burst goes on after what called for it.
const BURST: u64 = 500;
/// A path that stays in doubt is asked in bursts for so long, and then not again for [`REST`].
const DOUBT: u64 = 2_000;
const REST: u64 = 10_000;

/// A line with its targets.
#[derive(Clone, Copy)]
struct Line {
    targets: usize,
    /// Targets, of these, that never answer.
    dead: usize,
    /// What is lost from `begins` on.
    loss: f64,
    limit: f64,
    /// Nothing at all passes for `.1` of every `.0` milliseconds.
    gaps: Option<(u64, u64)>,
    begins: u64,
}

const LINE: Line = Line {
    targets: 4,
    dead: 0,
    loss: 0.0,
    limit: 0.05,
    gaps: None,
    begins: 5_000,
};

/// Probes as the prober sends them: five a second over all targets, and in bursts 25 ms apart as long as
/// there is doubt. The time in milliseconds after `begins` at which the line was found to lose too much.
fn found(line: Line, length: u64, seed: u64) -> Option<u64> {
    let mut random = StdRng::seed_from_u64(seed);
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let mut window = Window::new(Duration::from_secs(10));
    let mut patient = Patient::default();
    let interval = 200 * line.targets as u64;
    let mut next: BTreeMap<usize, u64> = (0..line.targets)
        .map(|target| (target, random.random_range(0..interval)))
        .collect();
    let mut coming: BinaryHeap<Reverse<(u64, usize, bool, bool)>> = BinaryHeap::new();
    let (mut burst_began, mut burst_until, mut rest_until) = (0, 0, 0);
    let mut now = 0;
    while now < length {
        while let Some(&Reverse((time, target, lost, late))) = coming.peek()
            && time <= now
        {
            coming.pop();
            let asks = if late {
                true
            } else {
                let rtt = (!lost).then_some(Duration::from_millis(20));
                let place = window.add(target, rtt, at(time)).expect("there is room");
                let tells = window.tallies(at(time)).telling() >> place & 1 == 1;
                let slowly = tells && patient.add(lost, line.limit, at(time)).is_some();
                let quickly = lost.then(|| quick(&window, line.limit, at(time)));
                if slowly || matches!(quickly, Some(Quick::Over(_))) {
                    return Some(time.saturating_sub(line.begins));
                }
                quickly == Some(Quick::Open)
            };
            if asks && now >= rest_until && burst_until < now + BURST {
                if burst_until < now {
                    burst_began = now;
                    next.values_mut().for_each(|next| *next = (*next).min(now));
                }
                if now - burst_began < DOUBT {
                    burst_until = now + BURST;
                } else {
                    rest_until = now + REST;
                }
            }
        }
        for (&target, next) in &mut next {
            if *next > now {
                continue;
            }
            let in_burst = now < burst_until;
            let begun = now >= line.begins;
            let gap = line.gaps.is_some_and(|(every, gap)| now % every < gap);
            let lost = target < line.dead || gap || (begun && random.random_bool(line.loss));
            let (timeout, step) = if in_burst {
                (60, BURST_STEP)
            } else {
                let jitter = random.random_range(0.9..=1.0);
                (500, (interval as f64 * jitter) as u64)
            };
            if lost && target >= line.dead {
                coming.push(Reverse((now + 60, target, true, true)));
            }
            let time = now + if lost { timeout } else { 20 };
            coming.push(Reverse((time, target, lost, false)));
            *next = now + step;
        }
        let sends = next.values().copied();
        let comes = coming.peek().map(|Reverse((time, ..))| *time);
        now = sends.chain(comes).min().unwrap_or(length).max(now + 1);
    }
    None
}

/// The times at which a lossy line was found, sorted.
fn times(line: Line, trials: u64) -> Vec<u64> {
    let mut times: Vec<u64> = (0..trials)
        .map(|seed| found(line, 60_000, seed).expect("it is found in less than a minute"))
        .collect();
    times.sort_unstable();
    times
}

#[test]
fn a_line_that_loses_a_third_each_way_is_found_in_three_seconds() {
    // A packet and its answer pass both ways.
    let loss = 1.0 - 0.7 * 0.7;
    for targets in [1, 2, 4] {
        let times = times(
            Line {
                targets,
                loss,
                ..LINE
            },
            100,
        );
        let p99 = times[times.len() * 99 / 100];
        assert!(p99 < 3_000, "{targets} targets: {p99} ms");
    }
}

#[test]
fn a_line_that_loses_a_third_one_way_is_found_soon_after_the_first_loss_is_seen() {
    for targets in [1, 2, 4] {
        let times = times(
            Line {
                targets,
                loss: 0.3,
                ..LINE
            },
            100,
        );
        // At five probes a second the first loss alone is seen after 2.6 s at p99.
        let (p50, p90) = (times[times.len() / 2], times[times.len() * 9 / 10]);
        assert!(
            p50 < 1_500 && p90 < 2_700,
            "{targets} targets: {p50}, {p90} ms"
        );
    }
}

#[test]
fn a_line_that_loses_three_times_what_it_may_is_found_in_time() {
    let times = times(Line { loss: 0.15, ..LINE }, 50);
    assert!(times[25] < 5_000, "{times:?}");
}

#[test]
fn an_hour_of_one_percent_random_loss_is_no_alarm() {
    for (targets, dead, seeds) in [(1, 0, 0..3), (4, 0, 3..6), (4, 1, 6..8), (2, 1, 8..10)] {
        for seed in seeds {
            let line = Line {
                targets,
                dead,
                loss: 0.01,
                begins: 0,
                ..LINE
            };
            let alarm = found(line, 3_600_000, seed);
            assert_eq!(alarm, None, "{targets} targets, {dead} dead, seed {seed}");
        }
    }
}

#[test]
fn short_gaps_are_no_loss() {
    for (every, gap) in [(20_000, 200), (30_000, 300)] {
        for targets in [1, 4] {
            for seed in 0..2 {
                let line = Line {
                    targets,
                    gaps: Some((every, gap)),
                    ..LINE
                };
                let alarm = found(line, 3_600_000, seed);
                assert_eq!(
                    alarm, None,
                    "{gap} of {every} ms, {targets} targets, {seed}"
                );
            }
        }
    }
}

#[test]
fn what_one_target_loses_is_not_the_paths_loss() {
    let start = Instant::now();
    let mut window = Window::new(Duration::from_secs(10));
    for n in 0..100 {
        let now = start + Duration::from_millis(n * 50);
        for target in 0..4 {
            let answered = target > 0 || n % 3 == 0;
            window.add(target, answered.then_some(Duration::from_millis(20)), now);
        }
    }
    let now = start + Duration::from_secs(5);
    assert_eq!(
        window.measure(now).loss,
        Tally {
            probes: 300,
            lost: 0
        }
    );
    assert_eq!(quick(&window, 0.05, now), Quick::Fine);
}

#[test]
fn evidence_bounds_the_chance() {
    // 5 of 10 lost where 5 % may be: the binomial tail is 2.7e-5 and the bound has to be above it.
    let tally = Tally {
        probes: 10,
        lost: 5,
    };
    let bound = (-evidence(tally, 0.05)).exp();
    assert!(bound > 6.4e-5 && bound < 1e-3, "{bound}");
    let none = Tally {
        probes: 100,
        lost: 5,
    };
    assert_eq!(evidence(none, 0.05), 0.0);
    let all = Tally { probes: 2, lost: 2 };
    assert!((evidence(all, 0.05) - 2.0 * 20.0_f64.ln()).abs() < 1e-9);
}
