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

/// What a change of some words does to every checksum that covers them (RFC 1624 equation 3): the sum
/// of the complements of the old words and of the new ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference(u64);

impl Difference {
    /// Two neighbouring 16-bit words, `old`, become `new`.
    #[inline(always)]
    pub const fn of_u32(old: u32, new: u32) -> Self {
        Self(!old as u64 + new as u64)
    }

    /// One 16-bit word, `old`, becomes `new`.
    #[inline(always)]
    pub const fn of_u16(old: u16, new: u16) -> Self {
        Self(!old as u64 + new as u64)
    }

    /// Both changes.
    #[inline(always)]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum field after the change, as it stands in the packet.
    #[inline(always)]
    pub const fn apply(self, field: [u8; 2]) -> [u8; 2] {
        finish(!u16::from_be_bytes(field) as u64 + self.0).to_be_bytes()
    }

    /// The same for UDP, where zero means that there is no checksum (RFC 768).
    #[inline(always)]
    pub const fn apply_udp(self, field: [u8; 2]) -> [u8; 2] {
        match self.apply(field) {
            [0, 0] => [0xff, 0xff],
            sum => sum,
        }
    }
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
