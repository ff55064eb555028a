//! How many bursts in vain an uplink may have: a few at once, then one in a while.

use std::time::{Duration, Instant};

/// Bursts that an uplink may have one after the other. Enough for a line that loses one packet in a
/// hundred, where a probe is lost every twenty seconds, never to be without.
const MOST: u32 = 5;
/// How long it takes to get one back. A burst of 8 targets that all stay silent has 24 probes, so
/// in the long run bursts cost less than 2.4 packets a second, and on a line that answers a third
/// of that.
const PAUSE: Duration = Duration::from_secs(10);

/// The bursts that one uplink may have. Those that find a path dead are given back: they cannot be
/// many, since the path has to come up again first.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    /// All that there may be.
    pub fn new(now: Instant) -> Self {
        Self {
            left: MOST,
            since: now,
        }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        while self.left < MOST && now.saturating_duration_since(self.since) >= PAUSE {
            self.left += 1;
            self.since += PAUSE;
        }
        if self.left == MOST {
            self.since = now;
        }
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        true
    }

    /// Gives one back that was not in vain.
    pub fn give_back(&mut self) {
        self.left = (self.left + 1).min(MOST);
    }
}
