//! Whether a path loses more than it may: a statistical test, so that few probes and chance alone
//! decide nothing.
//!
//! Two tests stand side by side, both about "the path loses no more than `limit`":
//!
//! - **The quick one** looks back over the last seconds for a stretch that speaks against it beyond
//!   doubt: a generalised likelihood ratio ([`evidence`]) over all stretches that end now, which must
//!   reach [`EVIDENCE`]. It takes a path that loses a third of its packets out within a second of
//!   probes in bursts.
//! - **The patient one** adds up what each slice of time speaks for half as much loss again as the
//!   limit, and against it, never below zero (Page's cumulative sum), until [`EVIDENCE`] is reached.
//!   It finds a path that loses little more than it may, in its time.
//!
//! Losses come in clumps: a wireless link that is away for two tenths of a second loses all of a
//! burst's probes, and that is one event and not twenty. So the quick test asks for [`CLUMPS`]
//! clumps with answers between them, and the patient one counts a slice once, however many probes it
//! had, and of slices without any answer only the first in a row. A stretch in which nothing at all is answered is for the path's health to judge, not for this.

use std::time::{Duration, Instant};

use super::window::{SLICE, Tally, Window, evidence};

/// What evidence must reach: the negative logarithm of the chance that it lies.
pub const EVIDENCE: f64 = 8.0;
/// Clumps of losses that the quick test asks for.
const CLUMPS: u32 = 6;
/// How far back the quick test looks.
const QUICK: Duration = Duration::from_secs(3);
/// What the patient test compares the limit with, as a multiple of it.
const SLOPE: f64 = 1.5;

/// What speaks against a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The probes, and how many of them were lost.
    pub loss: Tally,
    /// The time that they were sent in.
    pub over: Duration,
}

/// What the quick test has to say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quick {
    /// Nothing speaks for more loss than the limit.
    Fine,
    /// Something does, but not beyond doubt: more probes would tell.
    Open,
    /// The path loses more than it may.
    Over(Found),
}

/// The quick test.
pub fn quick<K: Copy + PartialEq>(window: &Window<K>, limit: f64, now: Instant) -> Quick {
    let telling = window.tallies(now).telling();
    let mut best: Option<(f64, Found)> = None;
    let mut open = false;
    let mut clumps = 0;
    // The slice after the one looked at lost all that it had: one clump with those before it, unless
    // an answer stands between them.
    let mut silent = false;
    for (slice, tallies) in window.back(QUICK, now) {
        let here = slice.of(telling);
        let answered = here.probes > here.lost;
        if answered {
            clumps += u32::from(silent) + u32::from(here.lost > 0);
        }
        silent = match (here.lost > 0, answered) {
            (true, false) => true,
            (_, true) => false,
            (false, false) => silent,
        };
        // A stretch that begins with an answer says less than the shorter one without it.
        if here.lost == 0 {
            continue;
        }
        let loss = tallies.of(tallies.telling() & telling);
        let weight = evidence(loss, limit);
        open |= weight > 0.0;
        let complete = weight >= EVIDENCE && clumps + u32::from(silent) >= CLUMPS;
        if complete && best.is_none_or(|(found, _)| found < weight) {
            let over = now.saturating_duration_since(slice.begin());
            best = Some((weight, Found { loss, over }));
        }
    }
    match best {
        Some((_, found)) => Quick::Over(found),
        None if open => Quick::Open,
        None => Quick::Fine,
    }
}

/// The patient test.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patient {
    sum: f64,
    /// Since when the sum is above zero.
    since: Option<Instant>,
    /// What was counted since then.
    total: Tally,
    /// The slice that is not over yet, and what came in it.
    open: Option<(Instant, Tally)>,
    /// The slice before it had no answer: another one without is of the same clump.
    silent: bool,
}

impl Patient {
    /// Takes an outcome of a target that tells. Something when a path that may
    /// lose `limit` loses more.
    pub fn add(&mut self, lost: bool, limit: f64, now: Instant) -> Option<Found> {
        let mut found = None;
        match &mut self.open {
            Some((begin, tally)) if now.saturating_duration_since(*begin) < SLICE => {
                tally.add(lost);
            }
            Some(_) | None => {
                let mut tally = Tally::default();
                tally.add(lost);
                if let Some((begin, over)) = self.open.replace((now, tally)) {
                    found = self.close(begin, over, limit, now);
                }
            }
        }
        found
    }

    fn close(&mut self, begin: Instant, slice: Tally, limit: f64, now: Instant) -> Option<Found> {
        let more = (limit * SLOPE).min((1.0 + limit) / 2.0);
        let q = slice.ratio();
        let silent = slice.lost == slice.probes;
        if std::mem::replace(&mut self.silent, silent) && silent {
            return None;
        }
        let step = q * (more / limit).ln() + (1.0 - q) * ((1.0 - more) / (1.0 - limit)).ln();
        self.sum += step;
        if self.sum <= 0.0 {
            *self = Self {
                open: self.open,
                silent,
                ..Self::default()
            };
            return None;
        }
        let since = *self.since.get_or_insert(begin);
        self.total.probes = self.total.probes.saturating_add(slice.probes);
        self.total.lost = self.total.lost.saturating_add(slice.lost);
        (self.sum >= EVIDENCE).then(|| Found {
            loss: self.total,
            over: now.saturating_duration_since(since),
        })
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests;
