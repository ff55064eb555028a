//! The token bucket that bounds what the gateway itself sends in answer to packets.

use crate::{
    limits::{REPLIES_PER_SECOND, REPLY_BURST, RESET_BURST, RESETS_PER_SECOND},
    tables::Answer,
};

/// One token bucket, kept as the time at which it would be full again.
///
/// A bucket of zeroes is full.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenBucket {
    /// When the bucket is full again, in nanoseconds of the caller's clock.
    full_at: u64,
}

impl TokenBucket {
    /// Takes one token at time `now` (nanoseconds), by the rate for such answers; `false` when none
    /// is left.
    #[inline(always)]
    pub fn take(&mut self, answer: Answer, now: u64) -> bool {
        let (rate, burst) = match answer {
            Answer::Error => (REPLIES_PER_SECOND, REPLY_BURST),
            Answer::Reset => (RESETS_PER_SECOND, RESET_BURST),
        };
        let per_token = 1_000_000_000 / rate;
        let full_at = if self.full_at > now {
            self.full_at
        } else {
            now
        };
        let next = full_at.wrapping_add(per_token);
        if next.wrapping_sub(now) > burst * per_token {
            return false;
        }
        self.full_at = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PER_TOKEN: u64 = 1_000_000_000 / REPLIES_PER_SECOND;

    proptest! {
        /// In no span of time, however packets come, are there more tokens than the burst and what
        /// the rate gives; and whoever pauses long enough has the burst again.
        #[test]
        fn no_span_has_more_than_burst_and_rate(
            start in 0u64..1 << 60, gaps in proptest::collection::vec(0u64..3_000_000, 1..600)
        ) {
            let mut bucket = TokenBucket::default();
            let (mut now, mut taken) = (start, std::vec::Vec::new());
            for gap in gaps {
                now += gap;
                if bucket.take(Answer::Error, now) {
                    taken.push(now);
                }
            }
            for first in 0..taken.len() {
                for last in first..taken.len() {
                    let tokens = (last - first + 1) as u64;
                    let span = taken[last] - taken[first];
                    prop_assert!(tokens <= REPLY_BURST + span / PER_TOKEN + 1);
                }
            }
            let rested = now + REPLY_BURST * PER_TOKEN;
            prop_assert_eq!((0..1000).filter(|_| bucket.take(Answer::Error, rested)).count() as u64, REPLY_BURST);
        }
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = TokenBucket::default();
        let start = 5_000_000_000;
        let burst = (0..1000)
            .filter(|_| bucket.take(Answer::Error, start))
            .count() as u64;
        assert_eq!(burst, REPLY_BURST);
        let second = (1..=1_000_000_000u64 / 100_000)
            .filter(|n| bucket.take(Answer::Error, start + n * 100_000))
            .count() as u64;
        assert_eq!(second, REPLIES_PER_SECOND);
    }
}
