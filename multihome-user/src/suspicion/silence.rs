//! Packets leave by a path and nothing comes back: for how long, and whether that means something.

use std::time::{Duration, Instant};

use super::Sample;

/// How many times the needed silence may double.
const MOST_DOUBLINGS: u32 = 6;
/// Packets that must have gone unanswered: a lone one may be such that nobody answers, as an ICMP error is, and
/// whoever waits for an answer sends again.
const LEAST: u64 = 2;
/// How long without a suspicion that proved wrong until half as much silence is needed again.
const FORGETS: Duration = Duration::from_secs(60);

/// The traffic of one path.
///
/// There is traffic that nobody answers, such as exported logs, and traffic whose answers take
/// their time. So:
///
/// - only what was answered since the last suspicion raises one, and several packets must have left;
/// - at least the path's own round-trip time must have passed, and half of the silence again;
/// - when suspicions prove wrong one soon after the other, pauses are usual in this traffic, and
///   twice as much silence is needed each time. That is forgotten again after a while.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    needed: Duration,
    last: Option<Sample>,
    /// Something came back since the last suspicion.
    answered: bool,
    /// When it was seen that the first packet had left to which no answer has come since, and how many had
    /// left before it.
    unanswered: Option<(Instant, u64)>,
    /// How many suspicions proved wrong that are not forgotten.
    wrong: u32,
    /// When that number last changed.
    changed: Instant,
}

impl Silence {
    /// A path of which nothing is known.
    pub fn new(needed: Duration, now: Instant) -> Self {
        Self {
            needed,
            last: None,
            answered: false,
            unanswered: None,
            wrong: 0,
            changed: now,
        }
    }

    /// Takes what has passed by now; `rtt` is how long an answer may take. Returns since when
    /// packets have gone unanswered, when that is for so long that the path is to be suspected.
    pub fn sample(&mut self, sample: Sample, rtt: Duration, now: Instant) -> Option<Instant> {
        self.forget(now);
        let last = self.last.replace(sample)?;
        if sample.back != last.back {
            self.answered = true;
            self.unanswered = None;
            return None;
        }
        if sample.out != last.out {
            self.unanswered.get_or_insert((now, last.out));
        }
        let (since, before) = self.unanswered.filter(|_| self.answered)?;
        let long = now.saturating_duration_since(since) >= self.needed(rtt);
        if !long || sample.out.wrapping_sub(before) < LEAST {
            return None;
        }
        self.answered = false;
        Some(since)
    }

    /// Takes what has passed by now when this process was held up meanwhile: the window begins
    /// anew.
    pub fn begin_anew(&mut self, sample: Sample) {
        self.answered |= self.last.is_some_and(|last| last.back != sample.back);
        self.last = Some(sample);
        self.unanswered = None;
    }

    /// The path cannot be judged by its traffic now, as when it is down.
    pub fn pause(&mut self) {
        self.last = None;
        self.unanswered = None;
    }

    /// A suspicion proved wrong.
    pub fn was_wrong(&mut self, now: Instant) {
        self.wrong = (self.wrong + 1).min(MOST_DOUBLINGS + 1);
        self.changed = now;
    }

    /// A suspicion proved right.
    pub fn was_right(&mut self, now: Instant) {
        self.wrong = 0;
        self.changed = now;
    }

    /// Whether packets have left since the sample before.
    pub fn has_left(&self, sample: Sample) -> bool {
        self.last.is_some_and(|last| last.out != sample.out)
    }

    /// One that proved wrong may be chance, the next ones are not.
    fn needed(&self, rtt: Duration) -> Duration {
        let needed = self.needed * (1 << self.wrong.saturating_sub(1));
        needed.max(rtt + self.needed / 2)
    }

    fn forget(&mut self, now: Instant) {
        if self.wrong > 0 && now.saturating_duration_since(self.changed) >= FORGETS {
            self.wrong -= 1;
            self.changed = now;
        }
    }
}
