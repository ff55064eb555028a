//! The seeded flow hash: which bucket a flow falls into.
//!
//! Multiply and fold, a few instructions a word. It is no cryptographic function: what keeps
//! outsiders from aiming all flows at one uplink is the 128-bit seed, which never leaves the
//! gateway.

use crate::limits::BUCKET_BITS;

/// The hash's secret: 128 random bits, the same on gateways that must choose alike.
pub type Seed = [u64; 2];

/// A flow's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHash(pub u64);

/// Odd constants with well-spread bits: the golden ratio's and SplitMix64's.
const MULTIPLY: u64 = 0x9e37_79b9_7f4a_7c15;
const FINISH: u64 = 0xbf58_476d_1ce4_e5b9;

impl FlowHash {
    /// Hashes `words` under `seed`.
    #[inline(always)]
    pub fn new<const N: usize>(seed: Seed, words: [u64; N]) -> Self {
        let mut hash = seed[0];
        for word in words {
            hash = (hash ^ word).wrapping_mul(MULTIPLY);
            hash ^= hash >> 32;
        }
        hash = (hash ^ seed[1]).wrapping_mul(FINISH);
        Self(hash ^ (hash >> 29))
    }

    /// The bucket, from the upper bits: `0..BUCKETS`.
    #[inline(always)]
    pub const fn bucket(self) -> u32 {
        (self.0 >> (64 - BUCKET_BITS)) as u32
    }

    /// Bits that do not decide the bucket.
    #[inline(always)]
    pub const fn low(self) -> u32 {
        self.0 as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::BUCKETS;
    use std::{vec, vec::Vec};

    /// Chi-squared over the upper eight bits of the bucket, for flows that differ in one field.
    fn spread(words: impl Fn(u64) -> [u64; 2]) -> f64 {
        let mut counts = vec![0u32; 256];
        let n = 65_536;
        for i in 0..n {
            let bucket = FlowHash::new([0x0123_4567_89ab_cdef, 42], words(i)).bucket();
            counts[bucket as usize * 256 / BUCKETS] += 1;
        }
        let expected = n as f64 / 256.0;
        counts
            .iter()
            .map(|&c| (f64::from(c) - expected).powi(2) / expected)
            .sum()
    }

    #[test]
    fn flows_that_differ_in_one_field_spread_over_all_buckets() {
        // 255 degrees of freedom: mean 255, standard deviation 22.6; 400 is over six of them away.
        assert!(
            spread(|i| [0x0a00_0001_c000_0201, i]) < 400.0,
            "source ports"
        );
        assert!(
            spread(|i| [0x0a00_0001_c000_0201, i << 16]) < 400.0,
            "destination ports"
        );
        assert!(
            spread(|i| [0x0a00_0000_c000_0201 + (i << 32), 0x11_0035]) < 400.0,
            "hosts"
        );
        assert!(
            spread(|i| [0x0a00_0001_0000_0000 + i, 0x11_0035]) < 400.0,
            "servers"
        );
    }

    #[test]
    fn another_seed_is_another_assignment() {
        let buckets = |seed| -> Vec<u32> {
            (0..1000)
                .map(|i| FlowHash::new(seed, [i, 7]).bucket())
                .collect()
        };
        let (a, b) = (buckets([1, 2]), buckets([1, 3]));
        let same = a.iter().zip(&b).filter(|(a, b)| a == b).count();
        assert!(
            same < 5,
            "{same} of 1000 buckets are the same under another seed"
        );
    }
}
