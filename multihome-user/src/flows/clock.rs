//! The clock that flows are timed by.

use multihome_common::flow;

/// The time now in [ticks](flow::ticks), by the clock that the programs read
/// (`bpf_ktime_get_coarse_ns`): CLOCK_MONOTONIC_COARSE.
pub fn now() -> u32 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure outlives the call, and this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    flow::ticks(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}
