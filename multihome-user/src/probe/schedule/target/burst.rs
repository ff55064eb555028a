//! A burst of probes of one target: several in quick succession, each judged in haste.

use std::time::{Duration, Instant};

use super::{SmoothedRtt, State, Target};
use crate::probe::schedule::GRACE;

/// A burst under way.
#[derive(Debug)]
pub(in crate::probe::schedule) struct Burst {
    next: Instant,
    step: Duration,
    /// Probes to send yet.
    left: u32,
    /// Probes that may be sent for such that could not be, so that a queue that stays full does
    /// not make an endless burst.
    spare: u32,
    /// How much longer than the mean a reply may take.
    margin: Duration,
    /// The numbers of its first and its last probe yet.
    sent: Option<(u16, u16)>,
    /// An answer does not end it.
    whole: bool,
}

impl Burst {
    /// A burst of so many probes, the first at `start`, each `step` after the one before it. An answer ends
    /// it, unless it is to be sent as a `whole`.
    pub fn new(start: Instant, step: Duration, probes: u32, margin: Duration, whole: bool) -> Self {
        Self {
            next: start,
            step,
            left: probes,
            spare: probes,
            margin,
            sent: None,
            whole,
        }
    }

    /// When the next probe is to be sent.
    pub fn next_send(&self) -> Option<Instant> {
        (self.left > 0).then_some(self.next)
    }

    /// How long a reply is waited for, where `usual` is the timeout outside of bursts.
    pub fn timeout(&self, rtt: Option<&SmoothedRtt>, usual: Duration) -> Duration {
        rtt.map_or(usual, |rtt| usual.min(rtt.smoothed() + self.margin))
    }

    /// Whether the probe of this number is one of the burst: when it is time for the next one, or
    /// when a probe is sent anyway. Rounds that were missed are not made up for.
    pub fn take(&mut self, seq: u16, anyway: bool, now: Instant) -> bool {
        if self.left == 0 || !(anyway || self.next <= now) {
            return false;
        }
        self.left -= 1;
        self.next = now + self.step;
        self.sent = Some((self.sent.map_or(seq, |(first, _)| first), seq));
        true
    }

    /// Sends another one for one that never left.
    pub fn unsent(&mut self, seq: u16) {
        if self.spare > 0 && self.contains(seq) {
            self.spare -= 1;
            self.left += 1;
        }
    }

    fn contains(&self, seq: u16) -> bool {
        self.sent
            .is_some_and(|(first, last)| seq.wrapping_sub(first) <= last.wrapping_sub(first))
    }

    fn is_over_with(&self, seq: u16) -> bool {
        self.left == 0 && self.sent.is_some_and(|(_, last)| last == seq)
    }
}

impl Target {
    /// Begins a burst, in place of one that is under way. What is on its way already is judged in
    /// the same haste, or it would hold up the burst's outcomes; but nothing before replies that
    /// lie ready are read. `usual` is the timeout outside of bursts.
    pub fn begin_burst(&mut self, burst: Burst, now: Instant, usual: Duration) {
        // Who wants all of its probes to be sent gets them; what the other wants to know, they tell as well.
        let tells_all = |under_way: &Burst| under_way.whole && under_way.left >= burst.left;
        if !burst.whole && self.burst.as_ref().is_some_and(tells_all) {
            return;
        }
        let rtt = self.rtt.as_ref();
        let timeout = burst.timeout(rtt, usual);
        for probe in &mut self.in_flight {
            if !probe.graced {
                let hasty = (probe.sent + timeout).max(now + GRACE);
                probe.deadline = probe.deadline.min(hasty);
            }
        }
        self.burst = Some(burst);
    }

    /// A probe was answered in time. If it was one of the burst, the target is alive: the burst is
    /// over, and what was sent after this probe may take its usual time.
    pub(super) fn answered_in_burst(&mut self, seq: u16) {
        let ends = |burst: &Burst| !burst.whole && burst.contains(seq);
        if self.burst.as_ref().is_some_and(ends) {
            self.end_burst(seq);
        }
    }

    /// A probe's fate was told. With that of its last one the burst is over.
    pub(super) fn judged_in_burst(&mut self, seq: u16) {
        if self
            .burst
            .as_ref()
            .is_some_and(|burst| burst.is_over_with(seq))
        {
            self.end_burst(seq);
        }
    }

    fn end_burst(&mut self, seq: u16) {
        self.burst = None;
        let Some(front) = self.in_flight.front() else {
            return;
        };
        let later = usize::from(seq.wrapping_sub(front.seq).wrapping_add(1));
        // When the probe itself has left the queue, all that is left was sent after it.
        let later = if later > self.in_flight.len() {
            0
        } else {
            later
        };
        for probe in self.in_flight.iter_mut().skip(later) {
            if probe.state == State::Waiting {
                probe.deadline = probe.deadline.max(probe.usual);
            }
        }
    }
}
