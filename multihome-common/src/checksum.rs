//! The internet checksum (RFC 1071) and its change by difference (RFC 1624).

/// Folds a sum of 16-bit words to 16 bits with end-around carry.
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The checksum field's value for a sum of all other 16-bit words.
#[inline(always)]
pub const fn finish(sum: u64) -> u16 {
    !fold(sum)
}

/// The sum of one 32-bit piece of the data, in host order.
#[inline(always)]
pub const fn sum_u32(word: u32) -> u64 {
    word as u64
}

/// The new checksum after the 16-bit word `old` became `new` (RFC 1624 equation 3).
#[inline(always)]
pub const fn replace(checksum: u16, old: u16, new: u16) -> u16 {
    finish((!checksum) as u64 + (!old) as u64 + new as u64)
}

/// Adds up `N` bytes as big-endian 32-bit words; `N` is a multiple of four.
#[inline(always)]
pub fn sum_bytes<const N: usize>(bytes: &[u8; N]) -> u64 {
    const { assert!(N.is_multiple_of(4), "sum_bytes takes whole 32-bit words") };
    let mut sum = 0;
    let mut at = 0;
    while at < N {
        sum += sum_u32(u32::from_be_bytes([
            bytes[at],
            bytes[at + 1],
            bytes[at + 2],
            bytes[at + 3],
        ]));
        at += 4;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 section 3: the example's words add up to ddf2.
    #[test]
    fn rfc_1071_example() {
        assert_eq!(fold(0x0001_f203 + 0xf4f5_f6f7), 0xddf2);
    }

    proptest! {
        #[test]
        fn a_change_by_difference_equals_a_new_sum(mut words in proptest::collection::vec(any::<u16>(), 2..40), at in any::<prop::sample::Index>(), new in any::<u16>()) {
            // A header always has a word that is not zero, so -0 and +0 do not meet.
            words[0] = 0x4500;
            let at = 1 + at.index(words.len() - 1);
            let sum = |words: &[u16]| finish(words.iter().map(|&w| u64::from(w)).sum());
            let before = sum(&words);
            let old = words[at];
            words[at] = new;
            prop_assert_eq!(replace(before, old, new), sum(&words));
        }
    }
}
