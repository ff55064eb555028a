//! The words: which uplinks are eligible, and which serve when none is. No I/O; the clock is
//! passed in.

use std::time::{Duration, Instant};

use super::eligible::{Against, Common, best_tier, eligible};

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

    /// The new words for this health; `against` says what speaks against uplinks, `tiers` gives the
    /// members of each tier, best tier first.
    ///
    /// The eligible word is that of [`eligible`]. When no member's path is up, the uplinks that were good
    /// before the failure began serve on, as far as they are usable: a failure that all probes see at once
    /// is more likely the probes' than the uplinks'. Of what speaks against uplinks only the operator's
    /// wish counts then: the rest is measured by what has failed.
    pub fn update(&mut self, health: Health, against: &Against, tiers: &[u64], now: Instant) {
        if now.saturating_duration_since(self.since) >= self.settle && self.eligible != 0 {
            self.settled = self.eligible;
        }
        let eligible = eligible(health.up, against, tiers);
        if eligible == 0 {
            let against = Against {
                common: Common {
                    draining: against.common.draining,
                    ..Common::default()
                },
                ..Against::default()
            };
            let members = tiers.iter().fold(0, |members, tier| members | tier);
            let usable = health.usable & members;
            let good = against.least(self.settled & usable);
            // One that is draining serves only when nothing else is there.
            if good & !against.common.draining != 0 {
                self.last_good = good;
            } else if usable != 0 {
                self.last_good = best_tier(against.least(usable), tiers);
            } else {
                // Nothing can serve now; what is remembered is not to name who is drained meanwhile.
                self.last_good = against.least(self.last_good);
            }
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
        words.update(all(0b11), &Against::default(), &[0b11], start);
        let later = start + Duration::from_secs(60);
        words.update(
            Health {
                up: 0b10,
                usable: 0b11,
            },
            &Against::default(),
            &[0b11],
            later,
        );
        assert_eq!(words.eligible, 0b10);
        words.update(
            Health {
                up: 0,
                usable: 0b11,
            },
            &Against::default(),
            &[0b11],
            later + Duration::from_millis(80),
        );
        assert_eq!((words.eligible, words.last_good), (0, 0b11));
    }

    /// An uplink that was drained while nothing was usable was still named as last known good, beside one
    /// that was not.
    #[test]
    fn what_is_drained_during_an_outage_is_not_remembered_as_good() {
        let start = Instant::now();
        let mut words = Words::new(0, 0b11, SETTLE, start);
        words.update(Health::default(), &Against::default(), &[0b11], start);
        assert_eq!((words.eligible, words.last_good), (0, 0b11));
        let mut against = Against::default();
        against.common.draining = 0b01;
        words.update(Health::default(), &against, &[0b11], start);
        assert_eq!((words.eligible, words.last_good), (0, 0b10));
        against.common.draining = 0b11;
        words.update(Health::default(), &against, &[0b11], start);
        assert_eq!((words.eligible, words.last_good), (0, 0b10));
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
            &Against::default(),
            &[0b11],
            start,
        );
        assert_eq!((words.eligible, words.last_good), (0, 0b10));
    }

    #[test]
    fn the_second_tier_serves_only_when_the_first_is_gone() {
        let start = Instant::now();
        let mut words = Words::new(0, 0, SETTLE, start);
        words.update(all(0b111), &Against::default(), &[0b011, 0b100], start);
        assert_eq!(words.eligible, 0b011);
        words.update(all(0b100), &Against::default(), &[0b011, 0b100], start);
        assert_eq!(words.eligible, 0b100);
        words.update(all(0b101), &Against::default(), &[0b011, 0b100], start);
        assert_eq!(words.eligible, 0b001);
    }

    #[test]
    fn a_draining_uplink_is_not_last_known_good_while_another_is_usable() {
        let start = Instant::now();
        let draining = Against {
            common: Common {
                draining: 0b01,
                ..Common::default()
            },
            ..Against::default()
        };
        let none_up = |usable| Health { up: 0, usable };
        let mut words = Words::new(0b11, 0, SETTLE, start);
        words.update(none_up(0b11), &draining, &[0b11], start);
        assert_eq!((words.eligible, words.last_good), (0, 0b10));
        // Also one that nobody remembers as good.
        let mut words = Words::new(0b01, 0, SETTLE, start);
        words.update(none_up(0b11), &draining, &[0b11], start);
        assert_eq!(words.last_good, 0b10);
        words.update(none_up(0b01), &draining, &[0b11], start);
        assert_eq!(words.last_good, 0b01, "nothing else is left");
    }

    #[derive(Clone, Debug)]
    struct Step {
        usable: u64,
        up: u64,
        here: [u64; 3],
        held: u64,
        draining: u64,
        millis: u64,
    }

    prop_compose! {
        fn step()(words in proptest::array::uniform7(0u64..16), millis in 0u64..10_000) -> Step {
            let [usable, up, full, sick, spent, held, draining] = words;
            Step { usable, up: usable & up, here: [full, sick, spent], held, draining, millis }
        }
    }

    proptest! {
        /// No order of events makes the words name a dead or a draining uplink while a healthy one exists,
        /// or nothing while one is usable. Uplink 3 is no member.
        #[test]
        fn some_uplink_always_serves(steps in proptest::collection::vec(step(), 1..50)) {
            let mut now = Instant::now();
            let mut words = Words::new(0, 0, SETTLE, now);
            for Step { usable, up, here: [full, sick, spent], held, draining, millis } in steps {
                now += Duration::from_millis(millis);
                let against = Against {
                    here: super::super::eligible::Impediments { full, sick, spent },
                    common: Common { held, draining },
                };
                let health = Health { up, usable };
                words.update(health, &against, &[0b011, 0b100], now);
                let (up, usable) = (up & 0b111, usable & 0b111);
                prop_assert_eq!(words.eligible & !up, 0);
                prop_assert_eq!(words.eligible == 0, up == 0);
                if up & !draining != 0 {
                    prop_assert_eq!(words.eligible & draining, 0);
                }
                let healthy = up & !against.any();
                if healthy != 0 {
                    prop_assert_eq!(words.eligible & !healthy, 0);
                }
                if words.eligible == 0 && usable != 0 {
                    prop_assert!(words.last_good != 0 && words.last_good & !usable == 0);
                    if usable & !draining != 0 {
                        prop_assert_eq!(words.last_good & draining, 0);
                    }
                }
            }
        }
    }
}
