//! Damping: holding back paths that have come back after a failure, longer the more often they fail. No
//! I/O; the clock is passed in.
//!
//! It is kept for each path, not for each uplink: an uplink whose IPv6 tunnel flaps serves IPv4 on as if
//! nothing were. What takes both families, such as a lost carrier, counts in both.
//!
//! - A path that comes back is held for `hold`; each earlier failure that is not forgotten doubles that, up
//!   to `max_hold`. For each `forget` that it stays up, one failure is forgotten.
//! - How it failed makes no difference: by its probes, its carrier, its next hop.
//! - What is up for the first time is not held: it has not failed.
//! - A failure that leaves no path of the family up is nobody's own. All that were lost in it come back
//!   without a further hold, and it does not count. (Held or not, they would serve, since nothing better is
//!   up; but the first one that is released would take all new flows.)

use std::time::{Duration, Instant};

use multihome_common::limits::MAX_UPLINKS;

use crate::config::DampingConfig;

/// What is known of the failures of one path.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// Failures that are not forgotten, as of `since`.
    failures: u32,
    /// When it came up, or when it last forgot a failure; meaningless while it is down.
    since: Instant,
    /// Until when it is held, from its last return.
    until: Instant,
}

/// The damping of one family's paths.
#[derive(Clone, Debug)]
pub struct Damping {
    config: DampingConfig,
    up: u64,
    /// Paths that have been up, or that an earlier controller had found down.
    seen: u64,
    /// Paths that were lost together with all others.
    lost_with_all: u64,
    held: u64,
    /// When the first of those that are held is released.
    next: Option<Instant>,
    records: [Record; MAX_UPLINKS],
}

/// What a look at the paths has changed; bit n = uplink n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// They have come back, and are held from now on.
    pub held: u64,
    /// They are held no longer, and up.
    pub released: u64,
}

impl Damping {
    /// Damping for a family; `failed` are paths that an earlier controller had found down: their return
    /// is one after a failure. If nothing else was up, they were lost in a common one.
    pub fn new(config: DampingConfig, failed: u64, all_failed: bool, now: Instant) -> Self {
        let record = Record {
            failures: 0,
            since: now,
            until: now,
        };
        Self {
            config,
            up: 0,
            seen: failed,
            lost_with_all: if all_failed { failed } else { 0 },
            held: 0,
            next: None,
            records: [record; MAX_UPLINKS],
        }
    }

    /// Looks at which paths are up.
    pub fn update(&mut self, up: u64, now: Instant) -> Changes {
        if up == self.up && self.next.is_none_or(|next| now < next) {
            return Changes::default();
        }
        for id in each(self.up & !up) {
            self.forget(id, now);
        }
        if up == 0 {
            self.lost_with_all |= self.seen;
        }
        self.held &= up;
        let mut changes = Changes::default();
        for id in each(up & !self.up) {
            let bit = 1 << id;
            let record = &mut self.records[id];
            record.since = now;
            if self.seen & bit != 0 && self.lost_with_all & bit == 0 {
                record.failures = record.failures.saturating_add(1);
                record.until = now + self.config.hold_after(record.failures);
            }
            if record.until > now {
                self.held |= bit;
                changes.held |= bit;
            }
        }
        for id in each(self.held & !changes.held) {
            if self.records[id].until <= now {
                self.held &= !(1 << id);
                changes.released |= 1 << id;
            }
        }
        self.seen |= up;
        self.lost_with_all &= !up;
        self.up = up;
        self.next = each(self.held).map(|id| self.records[id].until).min();
        changes
    }

    /// The paths that are held.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Until when a path is held; `None` when it is not.
    pub fn held_until(&self, id: u8) -> Option<Instant> {
        (self.held >> id & 1 == 1).then(|| self.records[usize::from(id)].until)
    }

    /// The failures of a path that are not forgotten.
    pub fn failures(&self, id: u8, now: Instant) -> u32 {
        let id = usize::from(id);
        if self.up >> id & 1 == 0 {
            return self.records[id].failures;
        }
        self.records[id]
            .failures
            .saturating_sub(self.periods(id, now))
    }

    /// Forgets what a path that has been up until now has earned.
    fn forget(&mut self, id: usize, now: Instant) {
        let periods = self.periods(id, now);
        let record = &mut self.records[id];
        record.failures = record.failures.saturating_sub(periods);
    }

    /// For how many whole periods a path has been up.
    fn periods(&self, id: usize, now: Instant) -> u32 {
        let up = now.saturating_duration_since(self.records[id].since);
        let forget = self.config.forget.max(Duration::from_millis(1));
        u32::try_from(up.as_millis() / forget.as_millis()).unwrap_or(u32::MAX)
    }
}

/// The numbers of the bits that are set.
fn each(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let id = word.trailing_zeros();
        word &= word.checked_sub(1)?;
        Some(id as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Holds of 5, 10, 20 s and so on up to 60 s; a failure is forgotten after 100 s.
    fn config() -> DampingConfig {
        DampingConfig {
            hold: 5 * SECOND,
            max_hold: 60 * SECOND,
            forget: 100 * SECOND,
        }
    }

    /// Two paths: 0 flaps, 1 is up all the time.
    struct Line {
        damping: Damping,
        now: Instant,
    }

    impl Line {
        fn new(config: DampingConfig) -> Self {
            let now = Instant::now();
            let mut damping = Damping::new(config, 0, false, now);
            assert_eq!(damping.update(0b11, now), Changes::default());
            Self { damping, now }
        }

        fn after(&mut self, seconds: u32, up: u64) -> Changes {
            self.now += seconds * SECOND;
            self.damping.update(up, self.now)
        }

        /// Path 0 fails, comes back a second later, and how long it is held then, in seconds.
        fn flap(&mut self) -> u64 {
            self.after(0, 0b10);
            self.after(1, 0b11);
            self.hold()
        }

        fn hold(&self) -> u64 {
            let until = self.damping.held_until(0);
            until.map_or(0, |until| (until - self.now).as_secs())
        }
    }

    #[test]
    fn what_is_up_for_the_first_time_is_not_held() {
        let mut line = Line::new(config());
        assert_eq!(line.damping.held(), 0);
        assert_eq!(line.after(5, 0b111), Changes::default(), "one more");
        assert_eq!(line.damping.held(), 0);
    }

    #[test]
    fn a_path_that_comes_back_is_held_until_it_has_stayed_for_long_enough() {
        let mut line = Line::new(config());
        line.after(10, 0b10);
        let held = Changes {
            held: 0b01,
            released: 0,
        };
        assert_eq!(line.after(30, 0b11), held);
        assert_eq!(line.damping.held(), 0b01);
        assert_eq!(line.after(4, 0b11), Changes::default());
        let released = Changes {
            held: 0,
            released: 0b01,
        };
        assert_eq!(line.after(1, 0b11), released);
        assert_eq!((line.damping.held(), line.hold()), (0, 0));
    }

    /// opnsense/core 5786: no minimum stable time before fail-back, so a flapping line is used each time.
    #[test]
    fn each_failure_doubles_the_hold_and_time_without_one_halves_it_again() {
        let mut line = Line::new(config());
        let holds: Vec<u64> = (0..6).map(|_| line.flap()).collect();
        assert_eq!(holds, [5, 10, 20, 40, 60, 60]);
        assert_eq!(line.damping.failures(0, line.now), 6);
        line.after(250, 0b11);
        assert_eq!(line.damping.failures(0, line.now), 4);
        assert_eq!(line.flap(), 60, "the fifth");
        line.after(400, 0b11);
        assert_eq!(line.flap(), 10, "one was left");
        line.after(1_000, 0b11);
        assert_eq!(line.damping.failures(0, line.now), 0);
        assert_eq!(line.flap(), 5);
    }

    #[test]
    fn time_that_it_is_down_forgets_nothing() {
        let mut line = Line::new(config());
        line.flap();
        line.after(0, 0b10);
        line.after(100_000, 0b11);
        assert_eq!(line.hold(), 10);
    }

    #[test]
    fn a_failure_while_it_is_held_begins_a_longer_hold() {
        let mut line = Line::new(config());
        assert_eq!(line.flap(), 5);
        let gone = line.after(2, 0b10);
        assert_eq!(gone, Changes::default(), "it is down, not released");
        assert_eq!(line.damping.held(), 0);
        line.after(1, 0b11);
        assert_eq!(line.hold(), 10);
    }

    /// openwrt/packages 3885: after all uplinks were down, nothing recovers.
    #[test]
    fn what_was_lost_with_all_others_comes_back_at_once_and_uncounted() {
        let mut line = Line::new(config());
        line.after(10, 0b10);
        line.after(1, 0);
        assert_eq!(line.after(30, 0b01), Changes::default());
        assert_eq!(line.after(5, 0b11), Changes::default());
        assert_eq!(line.damping.failures(0, line.now), 0);
        assert_eq!(line.flap(), 5, "the next one is its own again");
    }

    #[test]
    fn a_common_failure_does_not_end_a_hold_that_was_earned_before() {
        let mut line = Line::new(config());
        for _ in 0..5 {
            line.flap();
        }
        assert_eq!(line.hold(), 60);
        line.after(10, 0);
        line.after(10, 0b11);
        assert_eq!(line.hold(), 40);
        assert_eq!(line.damping.held(), 0b01);
    }

    #[test]
    fn an_earlier_controller_had_found_it_down() {
        let now = Instant::now();
        let mut damping = Damping::new(config(), 0b01, false, now);
        assert_eq!(damping.update(0b10, now), Changes::default());
        assert_eq!(damping.update(0b11, now + SECOND).held, 0b01);
        let mut damping = Damping::new(config(), 0b11, true, now);
        assert_eq!(damping.update(0b01, now), Changes::default());
        assert_eq!(damping.update(0b11, now + SECOND), Changes::default());
    }

    #[test]
    fn without_a_hold_nothing_is_held() {
        let mut line = Line::new(DampingConfig {
            hold: Duration::ZERO,
            ..config()
        });
        for _ in 0..5 {
            assert_eq!(line.flap(), 0);
        }
        assert_eq!(line.damping.failures(0, line.now), 5, "they are counted");
    }

    proptest! {
        /// However paths come and go: who is held is up, and is released in time.
        #[test]
        fn who_is_held_is_up_and_is_released(
            steps in proptest::collection::vec((0u64..8, 0u64..40_000), 1..80),
        ) {
            let mut now = Instant::now();
            let mut damping = Damping::new(config(), 0, false, now);
            let mut last = 0;
            for (up, millis) in steps {
                now += Duration::from_millis(millis);
                let before = damping.held();
                let changes = damping.update(up, now);
                prop_assert_eq!(damping.held() & !up, 0);
                prop_assert_eq!(changes.held & !(up & !last), 0, "only who comes back");
                prop_assert_eq!(changes.released & !(before & up & last), 0);
                for id in each(damping.held()) {
                    let until = damping.held_until(id as u8).unwrap();
                    prop_assert!(until > now && until <= now + config().max_hold);
                }
                last = up;
            }
            damping.update(last, now + config().max_hold);
            prop_assert_eq!(damping.held(), 0);
        }
    }
}
