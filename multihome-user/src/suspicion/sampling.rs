//! When to look at the traffic: often while there is some, seldom when there is none.

use std::time::{Duration, Instant};

use crate::probe::schedule::STALL;

/// How many times to look within the time of silence that raises a suspicion.
const LOOKS: u32 = 10;
/// How often to look while nothing leaves by any path: the first look that finds something begins
/// the frequent ones.
const IDLE: Duration = Duration::from_millis(250);
/// How long after the last packet to look often.
const LINGER: Duration = Duration::from_secs(1);

/// When to look next.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    often: Duration,
    next: Instant,
    busy_until: Instant,
}

impl Sampling {
    /// Looks for a silence of this length.
    pub fn new(silence: Duration, now: Instant) -> Self {
        let often = (silence / LOOKS).clamp(Duration::from_millis(5), Duration::from_millis(50));
        Self {
            often,
            next: now + IDLE,
            busy_until: now,
        }
    }

    /// When to look.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Whether a look at `now` comes so late that this process must have been held up. Then the
    /// machine may have been too, and packets may wait that it has not come to yet.
    pub fn is_late(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.next) > STALL
    }

    /// Notes a look, and whether it found that packets had left.
    pub fn looked(&mut self, busy: bool, now: Instant) {
        if busy {
            self.busy_until = now + LINGER;
        }
        let pause = if now < self.busy_until {
            self.often
        } else {
            IDLE
        };
        self.next = now + pause;
    }
}
