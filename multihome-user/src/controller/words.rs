//! The words: which uplinks are eligible, and which serve when none is. No I/O; the clock is
//! passed in.

use std::time::{Duration, Instant};

/// What the controller says about one family's uplinks; bit n = uplink n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Paths that can carry packets and whose probes answer.
    pub up: u64,
    /// Paths that can carry packets, whatever the probes say: carrier and next hop are there.
    pub usable: u64,
}

/// The words of one group and family, and the memory that the last-known-good word needs.
#[derive(Clone, Debug)]
pub struct Words {
    /// The eligible word in force.
    pub eligible: u64,
    /// The last-known-good word in force.
    pub last_good: u64,
    /// The last eligible word that held for the settling time.
    settled: u64,
    since: Instant,
    settle: Duration,
}

impl Words {
    /// Words that an earlier controller left, or zeroes.
    ///
    /// `settle` is how long an eligible word must hold to be remembered as good: longer than it
    /// takes for all probes to notice one common failure.
    pub fn new(eligible: u64, last_good: u64, settle: Duration, now: Instant) -> Self {
        let settled = if eligible != 0 { eligible } else { last_good };
        Self {
            eligible,
            last_good,
            settled,
            since: now,
            settle,
        }
    }

    /// The new words for this health; `tiers` gives the members of each tier, best tier first.
    ///
    /// Of the tiers, the best one that has a path up serves. When none has, the uplinks that were
    /// good before the failure began serve on, as far as they are usable: a failure that all
    /// probes see at once is more likely the probes' than the uplinks'.
    pub fn update(&mut self, health: Health, tiers: &[u64], now: Instant) {
        if now.saturating_duration_since(self.since) >= self.settle && self.eligible != 0 {
            self.settled = self.eligible;
        }
        let best = |word: u64| tiers.iter().map(|tier| tier & word).find(|&word| word != 0);
        let eligible = best(health.up).unwrap_or(0);
        if eligible == 0 {
            let good = self.settled & health.usable;
            let usable = best(health.usable);
            self.last_good = if good != 0 {
                good
            } else {
                usable.unwrap_or(self.last_good)
            };
        }
        if eligible != self.eligible {
            self.eligible = eligible;
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTLE: Duration = Duration::from_secs(3);

    fn all(word: u64) -> Health {
        Health {
            up: word,
            usable: word,
        }
    }

    #[test]
    fn when_all_probes_fail_one_after_the_other_the_uplinks_from_before_serve() {
        let start = Instant::now();
        let mut words = Words::new(0, 0, SETTLE, start);
        words.update(all(0b11), &[0b11], start);
        let later = start + Duration::from_secs(60);
        words.update(
            Health {
                up: 0b10,
                usable: 0b11,
            },
            &[0b11],
            later,
        );
        assert_eq!(words.eligible, 0b10);
        words.update(
            Health {
                up: 0,
                usable: 0b11,
            },
            &[0b11],
            later + Duration::from_millis(80),
        );
        assert_eq!((words.eligible, words.last_good), (0, 0b11));
    }

    #[test]
    fn an_uplink_without_carrier_does_not_serve_as_last_known_good() {
        let start = Instant::now();
        let mut words = Words::new(0b11, 0, SETTLE, start);
        words.update(
            Health {
                up: 0,
                usable: 0b10,
            },
            &[0b11],
            start,
        );
        assert_eq!((words.eligible, words.last_good), (0, 0b10));
    }

    #[test]
    fn the_second_tier_serves_only_when_the_first_is_gone() {
        let start = Instant::now();
        let mut words = Words::new(0, 0, SETTLE, start);
        words.update(all(0b111), &[0b011, 0b100], start);
        assert_eq!(words.eligible, 0b011);
        words.update(all(0b100), &[0b011, 0b100], start);
        assert_eq!(words.eligible, 0b100);
        words.update(all(0b101), &[0b011, 0b100], start);
        assert_eq!(words.eligible, 0b001);
    }

    proptest! {
        /// No order of events makes the words name a dead uplink while a healthy one exists, or
        /// nothing while one is usable.
        #[test]
        fn some_uplink_always_serves(steps in proptest::collection::vec((0u64..8, 0u64..8, 0u64..10_000), 1..50)) {
            let mut now = Instant::now();
            let mut words = Words::new(0, 0, SETTLE, now);
            for (usable, up, millis) in steps {
                now += Duration::from_millis(millis);
                let health = Health { up: usable & up, usable };
                words.update(health, &[0b011, 0b100], now);
                prop_assert_eq!(words.eligible & !health.up, 0);
                prop_assert_eq!(words.eligible == 0, health.up == 0);
                if words.eligible == 0 && usable != 0 {
                    prop_assert!(words.last_good != 0 && words.last_good & !usable == 0);
                }
            }
        }
    }
}
