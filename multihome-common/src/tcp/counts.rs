//! What is counted of TCP for each uplink, on each CPU.

use crate::{
    limits::MAX_UPLINKS,
    word::{Word, Words},
};

/// Upper bounds of the buckets of handshake times, in nanoseconds: 1 ms to 5 s. What took longer is in
/// a bucket of its own behind them.
pub const BOUNDS: [u64; 12] = {
    const MS: u64 = 1_000_000;
    [
        MS,
        MS * 5 / 2,
        5 * MS,
        10 * MS,
        25 * MS,
        50 * MS,
        100 * MS,
        250 * MS,
        500 * MS,
        1000 * MS,
        2500 * MS,
        5000 * MS,
    ]
};

/// Room for the buckets, a power of two.
const ROOM: usize = 16;

/// How long handshakes took.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Handshakes {
    /// Handshakes of each bucket, by itself; those behind [`BOUNDS`] and the one after are not used.
    pub buckets: [Word; ROOM],
    /// Their sum in nanoseconds.
    pub sum: Word,
}

impl Handshakes {
    /// Counts a handshake that took so many nanoseconds.
    #[inline(always)]
    pub fn count(&self, time: u64) {
        self.buckets[bucket(time) & (ROOM - 1)].add(1);
        self.sum.add(time);
    }
}

/// The bucket of a time: the number of bounds that are below it.
#[inline(always)]
const fn bucket(time: u64) -> usize {
    let (mut bucket, mut at) = (0, 0);
    while at < BOUNDS.len() {
        // 1 when the time is longer: neither is as much as 2^63.
        bucket += BOUNDS[at].wrapping_sub(time) >> 63;
        at += 1;
    }
    bucket as usize
}

/// The counts of one uplink on one CPU.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct TcpCounts {
    /// Times from SYN to SYN-ACK, by family.
    pub handshakes: [Handshakes; 2],
    /// SYNs that were sent again.
    pub syn: Word,
    /// Segments with data, of the sample, that were sent again.
    pub data: Word,
    /// Segments with data of the sample.
    pub sampled: Word,
    /// Room for later counts; zero.
    pub reserved: [Word; 3],
}

// SAFETY: `repr(C)`, words only.
unsafe impl Words for TcpCounts {}

const _: () = assert!(size_of::<TcpCounts>() == 320);

/// Where the counts of an uplink stand on a CPU.
#[inline(always)]
pub const fn place(cpu: u32, id: u8) -> u32 {
    cpu * MAX_UPLINKS as u32 + (id as u32 & (MAX_UPLINKS as u32 - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        for (at, bound) in BOUNDS.into_iter().enumerate() {
            assert_eq!(bucket(bound), at);
            assert_eq!(bucket(bound + 1), at + 1);
        }
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX >> 1), BOUNDS.len());
        assert!(BOUNDS.is_sorted() && BOUNDS.len() < ROOM);
    }
}
