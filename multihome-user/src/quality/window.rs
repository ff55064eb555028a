//! What the probes of one path have measured lately: loss, latency and jitter over a sliding window
//! of time. No I/O; the clock is passed in.
//!
//! **Loss** is that of all targets but those that are evidently worse than the better half. What a
//! path loses, all of its targets lose; what one target loses alone, because it is down, busy or
//! limits its answers, is no fault of the path.
//!
//! **Latency** is the median round-trip time to the nearest target, the one whose median is the
//! least: a mean over targets at different distances would move whenever one of them is lost, and
//! a mean over time whenever one answer is late.
//!
//! **Jitter** is the mean difference between two successive round-trip times to that target: the
//! delay variation between packets of RFC 3393 section 4.1, in magnitude, which RFC 3550 section
//! 6.4.1 calls interarrival jitter, here as a plain mean over the window rather than smoothed.
//!
//! Outcomes are kept in slices of a tenth of a second, so that a burst of probes takes no more room
//! than it has slices.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Targets of one path that are told apart. Outcomes of more count for none.
pub const MAX_TARGETS: usize = 8;
/// What one slice covers.
pub const SLICE: Duration = Duration::from_millis(100);
/// Round-trip times that are kept, at most; the oldest give way.
const MAX_TIMES: usize = 1024;
/// Round-trip times that a target needs before its latency and jitter are believed.
const ENOUGH_TIMES: usize = 5;
/// What speaks against a target that loses more than the better half: see [`evidence`].
const WORSE: f64 = 4.0;

/// Probes whose fate is known, and how many of them were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Probes.
    pub probes: u32,
    /// Those that were lost.
    pub lost: u32,
}

impl Tally {
    /// The share that was lost, 0 to 1; 0 when there was none.
    pub fn ratio(self) -> f64 {
        if self.probes == 0 {
            return 0.0;
        }
        f64::from(self.lost) / f64::from(self.probes)
    }

    /// Counts one more.
    pub fn add(&mut self, lost: bool) {
        self.probes = self.probes.saturating_add(1);
        self.lost = self.lost.saturating_add(lost.into());
    }

    fn plus(self, other: Self) -> Self {
        Self {
            probes: self.probes.saturating_add(other.probes),
            lost: self.lost.saturating_add(other.lost),
        }
    }
}

/// How much speaks against losing no more than `limit`: the exponent of Chernoff's bound. Of `n`
/// probes of which the share `q` was lost, the chance of so many is at most `exp(-n KL(q, limit))`,
/// KL the divergence of two coins. 0 when no more was lost than the limit allows.
pub fn evidence(tally: Tally, limit: f64) -> f64 {
    let (n, q) = (f64::from(tally.probes), tally.ratio());
    if q <= limit {
        return 0.0;
    }
    let answered = if q < 1.0 {
        (1.0 - q) * ((1.0 - q) / (1.0 - limit)).ln()
    } else {
        0.0
    };
    n * (q * (q / limit).ln() + answered)
}

/// The tallies of a path's targets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tallies([Tally; MAX_TARGETS]);

impl Tallies {
    /// The places of the targets whose losses can be the path's, as a set of bits: those that lost
    /// the least, half of them at least, and all that did not evidently lose more than those.
    pub fn telling(&self) -> u32 {
        let mut asked: [usize; MAX_TARGETS] = std::array::from_fn(|place| place);
        let asked_of = |place: usize| self.0[place].probes > 0;
        asked.sort_unstable_by(|&a, &b| {
            let ratio = |place: usize| self.0[place].ratio();
            (asked_of(b).cmp(&asked_of(a))).then(ratio(a).total_cmp(&ratio(b)))
        });
        let count = (0..MAX_TARGETS).filter(|&place| asked_of(place)).count();
        let (better, worse) = asked[..count].split_at(count.div_ceil(2));
        let better = better.iter().fold(0, |set, place| set | 1 << place);
        // Laplace's rule of succession: of few probes without a loss, not even the half is sure.
        let half = self.of(better);
        let expected = (f64::from(half.lost) + 1.0) / (f64::from(half.probes) + 2.0);
        worse
            .iter()
            .filter(|&&place| evidence(self.0[place], expected) < WORSE)
            .fold(better, |set, place| set | 1 << place)
    }

    /// What these targets have together.
    pub fn of(&self, set: u32) -> Tally {
        (0..MAX_TARGETS)
            .filter(|place| set >> place & 1 == 1)
            .fold(Tally::default(), |sum, place| sum.plus(self.0[place]))
    }

    fn merge(&mut self, slice: &Slice) {
        for (sum, (probes, lost)) in self.0.iter_mut().zip(slice.probes.iter().zip(slice.lost)) {
            *sum = sum.plus(Tally {
                probes: (*probes).into(),
                lost: lost.into(),
            });
        }
    }
}

/// The outcomes that became known in one slice of time, by target.
#[derive(Clone, Debug)]
pub struct Slice {
    /// When it began.
    begin: Instant,
    probes: [u8; MAX_TARGETS],
    lost: [u8; MAX_TARGETS],
}

impl Slice {
    /// When it began.
    pub fn begin(&self) -> Instant {
        self.begin
    }

    /// What these targets have in it together.
    pub fn of(&self, set: u32) -> Tally {
        let mut tallies = Tallies::default();
        tallies.merge(self);
        tallies.of(set)
    }
}

/// What the window says now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measure {
    /// The probes of the targets that tell, and how many of them were lost.
    pub loss: Tally,
    /// The median round-trip time to the nearest target; `None` when nothing is known.
    pub latency: Option<Duration>,
    /// The mean difference between successive round-trip times to it; `None` when nothing is known.
    pub jitter: Option<Duration>,
}

/// One answer.
#[derive(Clone, Copy, Debug)]
struct Answer {
    at: Instant,
    place: u8,
    rtt: Duration,
}

/// A sliding window over the outcomes of one path's probes. `K` is what a target is known by.
#[derive(Clone, Debug)]
pub struct Window<K> {
    length: Duration,
    targets: Vec<K>,
    /// Slices with outcomes, oldest first.
    slices: VecDeque<Slice>,
    /// Answers, oldest first.
    answers: VecDeque<Answer>,
}

impl<K: Copy + PartialEq> Window<K> {
    /// A window of this length that nothing is known in.
    pub fn new(length: Duration) -> Self {
        Self {
            length,
            targets: Vec::new(),
            slices: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    /// How far back it looks.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// Takes the outcome of one probe: the round-trip time, or `None` when it was lost. Returns the
    /// place of its target among the tallies.
    pub fn add(&mut self, target: K, rtt: Option<Duration>, now: Instant) -> Option<usize> {
        self.forget(now);
        let place = self.place(target)?;
        let begin = now;
        let slice = match self.slices.back_mut() {
            Some(last) if now.saturating_duration_since(last.begin) < SLICE => last,
            Some(_) | None => {
                self.slices.push_back(Slice {
                    begin,
                    probes: [0; MAX_TARGETS],
                    lost: [0; MAX_TARGETS],
                });
                self.slices.back_mut()?
            }
        };
        // Beyond 255 in a tenth of a second the share does not change any more.
        if slice.probes[place] < u8::MAX {
            slice.probes[place] += 1;
            slice.lost[place] += u8::from(rtt.is_none());
        }
        if let Some(rtt) = rtt {
            if self.answers.len() == MAX_TIMES {
                self.answers.pop_front();
            }
            self.answers.push_back(Answer {
                at: now,
                place: place as u8,
                rtt,
            });
        }
        Some(place)
    }

    /// Takes an answer whose time says nothing about the path.
    pub fn add_untimed(&mut self, target: K, now: Instant) -> Option<usize> {
        let place = self.add(target, Some(Duration::ZERO), now)?;
        self.answers.pop_back();
        Some(place)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.targets.clear();
        self.slices.clear();
        self.answers.clear();
    }

    /// What was measured within the window.
    pub fn measure(&self, now: Instant) -> Measure {
        let tallies = self.tallies(now);
        let (latency, jitter) = self.times(now).map_or((None, None), |(latency, jitter)| {
            (Some(latency), Some(jitter))
        });
        Measure {
            loss: tallies.of(tallies.telling()),
            latency,
            jitter,
        }
    }

    /// The outcomes within the window, by target.
    pub fn tallies(&self, now: Instant) -> Tallies {
        let mut tallies = Tallies::default();
        for slice in self.recent(self.length, now) {
            tallies.merge(slice);
        }
        tallies
    }

    /// The slices of the time that is given, latest first, each with the tallies of it and of those
    /// that came after it.
    pub fn back(&self, time: Duration, now: Instant) -> impl Iterator<Item = (&Slice, Tallies)> {
        self.recent(time, now)
            .scan(Tallies::default(), |sum, slice| {
                sum.merge(slice);
                Some((slice, *sum))
            })
    }

    fn recent(&self, time: Duration, now: Instant) -> impl Iterator<Item = &Slice> {
        self.slices
            .iter()
            .rev()
            .take_while(move |slice| now.saturating_duration_since(slice.begin) < time)
    }

    fn place(&mut self, target: K) -> Option<usize> {
        if let Some(place) = self.targets.iter().position(|known| *known == target) {
            return Some(place);
        }
        if self.targets.len() == MAX_TARGETS {
            return None;
        }
        self.targets.push(target);
        Some(self.targets.len() - 1)
    }

    fn forget(&mut self, now: Instant) {
        let over = |at: Instant| now.saturating_duration_since(at) >= self.length;
        while self.slices.front().is_some_and(|slice| over(slice.begin)) {
            self.slices.pop_front();
        }
        while self.answers.front().is_some_and(|answer| over(answer.at)) {
            self.answers.pop_front();
        }
        if self.slices.is_empty() && self.answers.is_empty() {
            self.targets.clear();
        }
    }

    /// Latency and jitter: those of the target with the least median.
    fn times(&self, now: Instant) -> Option<(Duration, Duration)> {
        let mut of: [Vec<Duration>; MAX_TARGETS] = Default::default();
        for answer in &self.answers {
            if now.saturating_duration_since(answer.at) < self.length {
                of[usize::from(answer.place)].push(answer.rtt);
            }
        }
        of.iter_mut()
            .filter(|times| times.len() >= ENOUGH_TIMES)
            .map(|times| {
                let steps: Duration = times.windows(2).map(|two| two[0].abs_diff(two[1])).sum();
                let jitter = steps / (times.len() - 1) as u32;
                let middle = times.len() / 2;
                let (_, median, _) = times.select_nth_unstable(middle);
                (*median, jitter)
            })
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn outcomes_leave_with_time_however_often_was_asked() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(10));
        for n in 0..20 {
            window.add('a', None, start + ms(n * 25));
        }
        assert_eq!(
            window.measure(start + ms(500)).loss,
            Tally {
                probes: 20,
                lost: 20
            }
        );
        window.add('a', Some(ms(5)), start + ms(10_050));
        let left = window.measure(start + ms(10_050)).loss;
        assert_eq!(
            left,
            Tally {
                probes: 17,
                lost: 16
            },
            "whole slices leave"
        );
        assert_eq!(window.measure(start + ms(30_000)), Measure::default());
    }

    #[test]
    fn latency_is_the_nearest_targets_median_and_jitter_its_mean_step() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(10));
        for (n, rtt) in [20, 22, 20, 500, 20, 22].into_iter().enumerate() {
            let now = start + ms(n as u64 * 100);
            window.add("near", Some(ms(rtt)), now);
            window.add("far", Some(ms(90)), now);
        }
        let measure = window.measure(start + ms(600));
        assert_eq!(measure.latency, Some(ms(22)));
        // Steps of 2, 2, 480, 480 and 2.
        assert_eq!(measure.jitter, Some(ms(966) / 5));
    }

    #[test]
    fn few_answers_are_no_latency() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(10));
        for n in 0..4 {
            window.add(0, Some(ms(5)), start + ms(n));
        }
        assert_eq!(window.measure(start + ms(5)).latency, None);
        window.add(0, Some(ms(5)), start + ms(5));
        assert_eq!(window.measure(start + ms(5)).latency, Some(ms(5)));
        assert_eq!(window.measure(start + ms(5)).jitter, Some(ms(0)));
    }

    #[test]
    fn more_targets_than_there_is_room_for_count_for_none() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(10));
        for target in 0..20 {
            assert_eq!(
                window.add(target, None, start).is_some(),
                target < MAX_TARGETS
            );
        }
        assert_eq!(window.measure(start).loss.probes, MAX_TARGETS as u32);
    }
}
