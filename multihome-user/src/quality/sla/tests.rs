//! The judgement's hysteresis.

use proptest::prelude::*;

use super::*;
use crate::config::{Limit, Ratio};

const SECOND: Duration = Duration::from_secs(1);

fn sla() -> SlaConfig {
    let ms = Duration::from_millis;
    SlaConfig {
        loss: Some(Limit {
            enter: Ratio::percent(5),
            leave: Ratio::percent(2),
        }),
        latency: Some(Limit {
            enter: ms(150),
            leave: ms(100),
        }),
        jitter: Some(Limit {
            enter: ms(30),
            leave: ms(20),
        }),
        sick_after: Duration::ZERO,
        well_after: SECOND * 10,
    }
}

/// A path whose probes, 20 each second, have this round-trip time and lose every `lost`-th.
struct Path {
    window: Window<u8>,
    judge: Judge,
    now: Instant,
    sent: u64,
}

impl Path {
    fn new(sla: SlaConfig) -> Self {
        Self {
            window: Window::new(SECOND * 10),
            judge: Judge::new(sla, false),
            now: Instant::now(),
            sent: 0,
        }
    }

    /// The verdicts of so many seconds.
    fn run(&mut self, seconds: u64, rtt: u64, lost: Option<u64>) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for _ in 0..seconds * 20 {
            self.now += Duration::from_millis(50);
            self.sent += 1;
            let lost = lost.is_some_and(|every| self.sent.is_multiple_of(every));
            let answer = (!lost).then(|| Duration::from_millis(rtt));
            self.window.add(0, answer, self.now);
            verdicts.extend(self.judge.probed(&self.window, lost, true, self.now));
            if self.sent.is_multiple_of(10) {
                verdicts.extend(self.judge.look(&self.window, self.now));
            }
        }
        verdicts
    }
}

#[test]
fn a_lossy_path_is_sick_and_well_again_with_figures() {
    let mut path = Path::new(sla());
    assert_eq!(path.run(20, 20, None), []);
    let verdicts = path.run(5, 20, Some(3));
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    assert!(verdicts[0].sick);
    let cause = &verdicts[0].cause;
    assert!(
        cause.starts_with("loss 3") && cause.ends_with(" s exceeds 5 %"),
        "{cause}"
    );
    assert_eq!(
        path.run(15, 20, None),
        [],
        "the window still has the losses, then it must last"
    );
    let verdicts = path.run(10, 20, None);
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    assert_eq!(
        verdicts[0].cause,
        "loss 0 %, latency 20 ms, jitter 0.0 ms over 10 s"
    );
    assert!(!verdicts[0].sick);
}

#[test]
fn a_slow_path_is_sick_once_half_of_the_window_says_so() {
    let mut path = Path::new(sla());
    path.run(20, 20, None);
    let verdicts = path.run(8, 180, None);
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    assert_eq!(verdicts[0].cause, "latency 180 ms over 10 s exceeds 150 ms");
}

#[test]
fn what_must_last_is_not_sick_before() {
    let mut path = Path::new(SlaConfig {
        sick_after: SECOND * 5,
        ..sla()
    });
    path.run(20, 20, None);
    assert_eq!(path.run(4, 20, Some(3)), []);
    assert_eq!(path.run(4, 20, Some(3)).len(), 1);
}

#[test]
fn silence_makes_no_path_sick_and_none_well() {
    let mut path = Path::new(sla());
    path.run(20, 20, None);
    assert_eq!(
        path.run(20, 20, Some(1)),
        [],
        "silence is for the path's health to judge"
    );
    let mut path = Path::new(sla());
    path.run(20, 20, None);
    path.run(5, 20, Some(3));
    assert!(path.judge.is_sick());
    assert_eq!(path.run(60, 20, Some(1)), []);
    assert!(path.judge.is_sick());
    path.judge.pause();
    path.window.clear();
    assert!(path.judge.is_sick(), "an outage is no cure");
    assert_eq!(path.run(12, 20, None).len(), 1);
}

#[test]
fn a_lasting_excess_that_is_small_is_found_by_patience() {
    let mut path = Path::new(sla());
    path.run(20, 20, None);
    let verdicts = path.run(240, 20, Some(12));
    let sick: Vec<bool> = verdicts.iter().map(|verdict| verdict.sick).collect();
    assert_eq!(sick, [true], "{verdicts:?}");
}

proptest! {
    /// Whatever a path was, and however it swings between the values for entering and for leaving, its
    /// judgement stays.
    #[test]
    fn nothing_changes_between_the_two_values(
        sick: bool,
        rtts in proptest::collection::vec(101_u64..150, 1..30),
        losses in proptest::collection::vec(25_u64..45, 1..30),
    ) {
        let mut path = Path::new(SlaConfig { jitter: None, ..sla() });
        if sick {
            path.run(20, 200, None);
        }
        path.run(11, 120, None);
        prop_assert_eq!(path.judge.is_sick(), sick);
        for (rtt, lost) in rtts.into_iter().zip(losses) {
            // 1 in 25 to 1 in 45 is 4 % to 2.2 %.
            let verdicts = path.run(2, rtt, Some(lost));
            prop_assert_eq!(verdicts, []);
        }
    }
}
