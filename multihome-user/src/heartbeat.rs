//! The control loop's sign of life, which other threads can read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// When the control loop last went round. Clones share one heart.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    start: Instant,
    // Milliseconds from `start`.
    last: Arc<AtomicU64>,
}

impl Heartbeat {
    /// A heart that beats for the first time at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            last: Arc::default(),
        }
    }

    /// Says that the control loop went round at `now`.
    pub fn beat(&self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.start);
        // A controller that runs for 584 million years may stand still after that.
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    /// How long ago the control loop last went round, to the millisecond.
    pub fn age(&self, now: Instant) -> Duration {
        let last = self.start + Duration::from_millis(self.last.load(Ordering::Relaxed));
        now.saturating_duration_since(last)
    }

    /// When the control loop last went round, in seconds of Unix time.
    pub fn unix_seconds(&self, now: Instant, wall_clock: SystemTime) -> f64 {
        let since_epoch = wall_clock.duration_since(UNIX_EPOCH).unwrap_or_default();
        since_epoch.saturating_sub(self.age(now)).as_secs_f64()
    }
}

/// CLOCK_MONOTONIC in nanoseconds, which is what the programs see too.
pub fn monotonic_nanoseconds() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure outlives the call, and this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_age_of_the_last_beat() {
        let start = Instant::now();
        let heart = Heartbeat::new(start);
        let other = heart.clone();
        assert_eq!(
            other.age(start + Duration::from_secs(6)),
            Duration::from_secs(6)
        );
        heart.beat(start + Duration::from_secs(5));
        assert_eq!(
            other.age(start + Duration::from_secs(6)),
            Duration::from_secs(1)
        );
        assert_eq!(other.age(start), Duration::ZERO);
        let wall_clock = UNIX_EPOCH + Duration::from_secs(1_000);
        assert_eq!(
            other.unix_seconds(start + Duration::from_secs(6), wall_clock),
            999.0
        );
    }
}
