//! How often the address tables are compared: at once after a pause, rarely while changes go on.

use std::time::{Duration, Instant};

/// The shortest time from one comparison to the next.
const SHORTEST: Duration = Duration::from_millis(50);
/// A comparison is followed by a pause of at least this many times its own duration, so that it
/// never takes more than a tenth of the loop's time.
const PAUSE: u32 = 10;

/// When the next comparison may begin.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    next: Instant,
}

impl Pace {
    /// Nothing was compared yet.
    pub fn new(now: Instant) -> Self {
        Self { next: now }
    }

    /// When the next comparison may begin.
    pub fn next(self) -> Instant {
        self.next
    }

    /// Notes a comparison.
    pub fn done(&mut self, began: Instant, ended: Instant) {
        let took = ended.saturating_duration_since(began);
        self.next = ended + (took * PAUSE).max(SHORTEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_comparison_is_made_at_once_and_the_next_after_a_pause() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert!(pace.next() <= now);
        pace.done(now, now);
        assert_eq!(pace.next(), now + SHORTEST);
    }

    #[test]
    fn long_comparisons_leave_nine_tenths_of_the_time_to_others() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let ended = now + Duration::from_millis(40);
        pace.done(now, ended);
        assert_eq!(pace.next(), ended + Duration::from_millis(400));
    }
}
