//! The one clock that all measurements use: CLOCK_MONOTONIC, in nanoseconds.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// The time now.
pub fn now() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC)
}

/// What to add to a time of the wall clock (as kernel timestamps of packets and RFC 3339 times
/// have it) to get a time of this clock. To be taken anew for each measurement, as the wall clock
/// may be set.
pub fn offset_of_wall_clock() -> i64 {
    let before = now();
    let wall = nanoseconds(ClockId::CLOCK_REALTIME);
    let after = now();
    (before.midpoint(after)).cast_signed() - wall.cast_signed()
}

/// Waits until the clock shows that time; returns at once when it has passed.
pub fn sleep_until(time: u64) {
    let left = time.saturating_sub(now());
    if left > 0 {
        std::thread::sleep(Duration::from_nanos(left));
    }
}

/// Milliseconds from one time to a later one; negative when it is earlier.
pub fn milliseconds(from: u64, to: u64) -> f64 {
    (to.cast_signed() - from.cast_signed()) as f64 / 1e6
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("Linux has this clock");
    let seconds = u64::try_from(time.tv_sec()).expect("the time is after 1970");
    let part = u64::try_from(time.tv_nsec()).expect("a part of a second is positive");
    seconds * SECOND + part
}
