//! Up to which moment everything that came in is known: what tells our own lateness from silence.
//!
//! Whoever wakes in time and finds its sockets empty has heard everything. Whoever wakes late may have
//! slept with the whole machine, whose interrupts then have not handed over yet what the network has
//! brought meanwhile; it looks once more before it believes in silence.

use std::time::{Duration, Instant};

/// A waking later than this was late.
const LATE: Duration = Duration::from_millis(4);
/// When to look again after a late one.
const AGAIN: Duration = Duration::from_millis(2);
/// Doubts in a row after which what is known must do: nobody who keeps this machine busy, or floods its
/// sockets, may hide a peer's silence for ever.
const MAX_DOUBTS: u32 = 4;

/// What is known to have been heard.
#[derive(Clone, Copy, Debug)]
pub struct Hearing {
    until: Instant,
    woken: Instant,
    doubts: u32,
    /// When this machine was last late, and how much.
    late: Option<(Instant, Duration)>,
}

impl Hearing {
    /// Everything before `now` is known.
    pub const fn new(now: Instant) -> Self {
        Self {
            until: now,
            woken: now,
            doubts: 0,
            late: None,
        }
    }

    /// The caller woke at `now`, meant to at `wanted` or was called by a packet, and then found its
    /// sockets empty, or did not come to their end.
    pub fn woke(&mut self, wanted: Option<Instant>, now: Instant, empty: bool) {
        let late = wanted.map_or(Duration::ZERO, |wanted| {
            now.saturating_duration_since(wanted)
        });
        self.woken = now;
        if late > LATE {
            self.late = Some((now, late));
        }
        if (late > LATE || !empty) && self.doubts < MAX_DOUBTS {
            self.doubts += 1;
        } else {
            self.doubts = 0;
            self.until = now;
        }
    }

    /// Everything that came in before is known.
    pub const fn until(&self) -> Instant {
        self.until
    }

    /// When this machine was last late, and how much.
    pub const fn late(&self) -> Option<(Instant, Duration)> {
        self.late
    }

    /// When to wake for a deadline: one that has passed waits for what is not known yet.
    pub fn not_before(&self, deadline: Instant) -> Instant {
        if self.doubts > 0 {
            deadline.max(self.woken + AGAIN)
        } else {
            deadline
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn who_wakes_in_time_knows_everything() {
        let start = Instant::now();
        let mut hearing = Hearing::new(start);
        for (wanted, woke) in [(Some(10), 10), (Some(20), 23), (None, 30), (Some(50), 40)] {
            let woke = start + woke * MS;
            hearing.woke(wanted.map(|wanted| start + wanted * MS), woke, true);
            assert_eq!(hearing.until(), woke);
            assert_eq!(hearing.not_before(start), start);
        }
        assert_eq!(hearing.late(), None);
    }

    #[test]
    fn who_wakes_late_looks_once_more() {
        let start = Instant::now();
        let mut hearing = Hearing::new(start);
        let late = start + 310 * MS;
        hearing.woke(Some(start + 10 * MS), late, true);
        assert_eq!(hearing.until(), start);
        assert_eq!(hearing.late(), Some((late, 300 * MS)));
        let again = hearing.not_before(start + 30 * MS);
        assert_eq!(again, late + AGAIN);
        hearing.woke(Some(again), again, true);
        assert_eq!(hearing.until(), again);
    }

    #[test]
    fn neither_load_nor_a_flood_hides_silence_for_ever() {
        let start = Instant::now();
        for (late, empty) in [(10 * MS, true), (Duration::ZERO, false)] {
            let mut hearing = Hearing::new(start);
            let mut wanted = start;
            let mut woke = start;
            for _ in 0..=MAX_DOUBTS {
                woke = wanted + late;
                hearing.woke(Some(wanted), woke, empty);
                wanted = hearing.not_before(start);
            }
            assert_eq!(hearing.until(), woke);
        }
    }
}
