//! Traffic of all kinds, and what of it is suspicious.

use std::time::Instant;

use proptest::prelude::*;

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const NEEDED: Duration = Duration::from_millis(200);
const RTT: Duration = Duration::from_millis(20);

/// A path's traffic, looked at every 20 ms.
struct Traffic {
    silence: Silence,
    sample: Sample,
    start: Instant,
    now: Instant,
}

impl Traffic {
    fn new() -> Self {
        let start = Instant::now();
        let mut silence = Silence::new(NEEDED, start);
        silence.sample(Sample::default(), RTT, start);
        Self {
            silence,
            sample: Sample::default(),
            start,
            now: start,
        }
    }

    /// Twenty milliseconds in which so many packets pass.
    fn pass(&mut self, out: u64, back: u64) -> Option<Duration> {
        self.now += ms(20);
        self.sample.out = self.sample.out.wrapping_add(out);
        self.sample.back = self.sample.back.wrapping_add(back);
        let since = self.silence.sample(self.sample, RTT, self.now)?;
        Some(self.now - since)
    }

    /// How often so many packets each 20 ms raise a suspicion within this time.
    fn suspicions(&mut self, time: Duration, out: u64, back: u64) -> usize {
        let looks = time.as_millis() / 20;
        (0..looks)
            .filter(|_| self.pass(out, back).is_some())
            .count()
    }
}

#[test]
fn what_is_sent_for_200_ms_without_an_answer_is_suspicious_once() {
    let mut traffic = Traffic::new();
    assert_eq!(traffic.suspicions(ms(1000), 3, 3), 0);
    let mut looks = 0;
    let silent = loop {
        looks += 1;
        if let Some(silent) = traffic.pass(3, 0) {
            break silent;
        }
        assert!(looks < 100);
    };
    assert_eq!(silent, NEEDED);
    assert_eq!(looks, 11);
    assert_eq!(traffic.suspicions(ms(60_000), 3, 0), 0, "said already");
}

#[test]
fn two_packets_without_an_answer_are_enough_and_a_lone_one_is_not() {
    let mut traffic = Traffic::new();
    traffic.pass(1, 1);
    traffic.pass(1, 0);
    assert_eq!(traffic.suspicions(ms(400), 0, 0), 0);
    assert!(traffic.pass(1, 0).is_some());
}

#[test]
fn what_was_never_answered_is_not_suspicious() {
    let mut traffic = Traffic::new();
    assert_eq!(traffic.suspicions(ms(600_000), 10, 0), 0);
}

#[test]
fn a_pause_in_which_nothing_is_sent_is_not_suspicious() {
    let mut traffic = Traffic::new();
    traffic.pass(5, 5);
    assert_eq!(traffic.suspicions(ms(600_000), 0, 0), 0);
}

#[test]
fn what_only_comes_in_is_not_suspicious() {
    let mut traffic = Traffic::new();
    assert_eq!(traffic.suspicions(ms(10_000), 0, 4), 0);
}

/// A log is exported, and once a second somebody else gets an answer.
#[test]
fn one_way_traffic_with_few_answers_soon_raises_no_more_suspicions() {
    let mut traffic = Traffic::new();
    let mut said = Vec::new();
    for second in 0..600 {
        for look in 0..50 {
            if traffic.pass(2, u64::from(look == 0)).is_some() {
                said.push(second);
                traffic.silence.was_wrong(traffic.now);
            }
        }
    }
    assert!(said.len() < 30, "{} suspicions in ten minutes", said.len());
    assert!(
        said.iter().filter(|second| **second < 30).count() <= 5,
        "{said:?}"
    );
}

#[test]
fn a_wrong_suspicion_is_forgotten() {
    let mut traffic = Traffic::new();
    for _ in 0..20 {
        traffic.silence.was_wrong(traffic.now);
    }
    traffic.pass(1, 1);
    assert_eq!(traffic.suspicions(ms(12_600), 1, 0), 0, "doubled six times");
    assert_eq!(traffic.suspicions(ms(400), 1, 0), 1);
    traffic.suspicions(ms(430_000), 1, 1);
    assert_eq!(traffic.suspicions(ms(240), 1, 0), 1);
}

#[test]
fn an_answer_may_take_the_paths_own_time() {
    let mut traffic = Traffic::new();
    let mut silence = traffic.silence;
    let mut now = traffic.now;
    traffic.pass(1, 1);
    let mut sample = Sample { out: 1, back: 1 };
    silence.sample(sample, ms(700), now);
    sample.out = 3;
    for _ in 0..38 {
        now += ms(20);
        assert_eq!(silence.sample(sample, ms(700), now), None);
    }
    let since = (0..10).find_map(|_| {
        now += ms(20);
        silence.sample(sample, ms(700), now)
    });
    assert_eq!(since, Some(traffic.start + ms(20)));
}

#[test]
fn after_a_late_look_the_window_begins_anew() {
    let mut traffic = Traffic::new();
    traffic.pass(1, 1);
    traffic.pass(1, 0);
    traffic.now += ms(300);
    traffic.sample.out += 10;
    traffic.silence.begin_anew(traffic.sample);
    assert_eq!(traffic.suspicions(ms(200), 1, 0), 0);
    assert_eq!(traffic.suspicions(ms(40), 1, 0), 1);
}

#[test]
fn looks_are_frequent_only_while_there_is_traffic() {
    let start = Instant::now();
    let mut sampling = Sampling::new(NEEDED, start);
    let mut now = start;
    let mut looks = 0;
    while now < start + ms(60_000) {
        now = sampling.next();
        assert!(!sampling.is_late(now));
        sampling.looked(false, now);
        looks += 1;
    }
    assert!(looks <= 241, "{looks} looks in an idle minute");
    sampling.looked(true, now);
    assert_eq!(sampling.next(), now + ms(20));
    assert!(!sampling.is_late(now + ms(60)));
    assert!(sampling.is_late(now + ms(90)));
}

#[test]
fn bursts_are_bounded() {
    let mut now = Instant::now();
    let mut allowance = Allowance::new(now);
    let mut granted = 0;
    for _ in 0..3600 * 5 {
        now += ms(200);
        granted += u32::from(allowance.take(now));
    }
    assert!((360..=366).contains(&granted), "{granted} in an hour");
    now += ms(600_000);
    let after_a_rest = (0..20).filter(|_| allowance.take(now)).count();
    assert_eq!(after_a_rest, 5);
}

proptest! {
    /// Whatever passes: a suspicion means that packets left, and that nothing came back for the
    /// time that it says.
    #[test]
    fn a_suspicion_is_what_it_says(
        looks in proptest::collection::vec((0_u64..3, 0_u64..2, 1_u64..120), 1..400),
    ) {
        let start = Instant::now();
        let mut silence = Silence::new(NEEDED, start);
        let (mut now, mut sample) = (start, Sample::default());
        let mut history = Vec::new();
        for (out, back, gap) in looks {
            now += ms(gap);
            sample.out += out;
            sample.back += u64::from(back > 0 && out > 0);
            history.push((now, sample));
            if let Some(since) = silence.sample(sample, RTT, now) {
                prop_assert!(now - since >= NEEDED);
                let before = history.iter().rev().find(|(at, _)| *at < since);
                let Some((_, before)) = before else {
                    return Err(TestCaseError::fail("a suspicion out of nothing"));
                };
                prop_assert_eq!(before.back, sample.back);
                prop_assert!(before.out != sample.out);
            }
        }
    }
}
