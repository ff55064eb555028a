//! The bytes of one frame behind bounds-checked reads and writes, over XDP memory or over a buffer.

use crate::{checksum, limits::ICMP6_ERROR_MAX};

/// The most bytes that [`Packet::sum_from`] adds up: an ICMP error's.
pub const SUM_MAX: usize = ICMP6_ERROR_MAX;

/// A frame that the packet path reads and rewrites.
///
/// Offsets count from the first byte of the Ethernet header. Every access is checked against the
/// frame's end, so a wrong length in a packet can at worst end in `None`.
pub trait Packet {
    /// The frame's length in bytes.
    fn len(&self) -> usize;

    /// `N` bytes from `offset`, or `None` where the frame ends before.
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]>;

    /// `N` bytes from `offset` to write to, or `None` where the frame ends before.
    fn bytes_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]>;

    /// Puts `by` new bytes of undefined content before the first one.
    fn grow_front(&mut self, by: usize) -> Option<()>;

    /// Takes the first `by` bytes away.
    fn shrink_front(&mut self, by: usize) -> Option<()>;

    /// Cuts the frame down to `len` bytes.
    fn truncate(&mut self, len: usize) -> Option<()>;

    /// Adds up all bytes from `at` to the frame's end as big-endian 32-bit words, an odd end padded
    /// with zeroes (RFC 1071); at most [`SUM_MAX`] bytes.
    fn sum_from(&self, at: usize) -> u64 {
        sum_from(self, at)
    }

    /// Whether the frame has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The loop behind [`Packet::sum_from`].
#[inline(always)]
pub fn sum_from<P: Packet + ?Sized>(packet: &P, mut at: usize) -> u64 {
    let mut sum = 0;
    for _ in 0..SUM_MAX / 32 {
        let Some(words) = packet.bytes::<32>(at) else {
            break;
        };
        sum += checksum::sum_bytes(words);
        at += 32;
    }
    for _ in 0..8 {
        let Some(word) = packet.bytes::<4>(at) else {
            break;
        };
        sum += checksum::sum_u32(u32::from_be_bytes(*word));
        at += 4;
    }
    for shift in [24, 16, 8] {
        let Some(byte) = packet.bytes::<1>(at) else {
            break;
        };
        sum += checksum::sum_u32(u32::from(byte[0]) << shift);
        at += 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sim::Frame;

    proptest! {
        /// RFC 1071: the sum of all 16-bit words, an odd last byte padded with zero.
        #[test]
        fn the_sum_is_that_of_all_words(bytes in proptest::collection::vec(any::<u8>(), 0..SUM_MAX), at in 0usize..300) {
            let covered = bytes.get(at..).unwrap_or_default();
            let words = covered.chunks(2).map(|w| u64::from(w[0]) << 8 | w.get(1).map_or(0, |&b| u64::from(b)));
            let frame = Frame::new(&bytes);
            prop_assert_eq!(checksum::fold(frame.sum_from(at)), checksum::fold(words.sum()));
        }
    }
}
