//! A tag: who owns a slot of the flow table, told in eight bytes.
//!
//! ```text
//! 63      58 57 56 55          32 31         0
//! | unused  | state | generation | signature |
//! ```
//!
//! The generation grows whenever the slot changes hands, so a compare-and-exchange with an old tag
//! fails, however often the slot was used since.

use crate::{
    hash::FlowHash,
    opaque::opaque,
    word::{Word, Words},
};

/// Tags in one cache line, which is one bucket of the table.
pub const WAYS: usize = 8;

/// One bucket's tags.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct TagLine(pub [Word; WAYS]);

// SAFETY: `repr(C)`, words only.
unsafe impl Words for TagLine {}

impl TagLine {
    /// The place of a live flow of this signature; [`WAYS`] or more when there is none, or several.
    #[inline(always)]
    pub fn way_of(&self, signature: u64) -> u64 {
        /// Counts, above the sum of the ways that are counted.
        const ONE: u64 = 1 << 8;
        let mut found = 0;
        for way in 0..WAYS {
            let differs = (self.0[way].load() ^ (LIVE | signature)) & (STATE | SIGNATURE);
            // 1 where nothing differs, else 0.
            let same = opaque(differs).wrapping_sub(1) >> 63;
            found += same * (ONE | way as u64);
        }
        found.wrapping_sub(ONE)
    }
}

/// A tag's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag(pub u64);

const STATE_SHIFT: u32 = 56;
const STATE: u64 = 3 << STATE_SHIFT;
const BUSY: u64 = 1 << STATE_SHIFT;
/// Both bits, so that one bit alone tells whether the slot is taken.
const LIVE: u64 = 3 << STATE_SHIFT;
const SIGNATURE: u64 = 0xffff_ffff;
const GENERATION_ONE: u64 = 1 << 32;
const GENERATION: u64 = 0x00ff_ffff << 32;

impl Tag {
    /// The signature of a flow of this hash: bits that its buckets leave open.
    #[inline(always)]
    pub const fn signature(hash: FlowHash) -> u64 {
        hash.0 >> 32
    }

    /// No flow is in the slot.
    #[inline(always)]
    pub const fn is_free(self) -> bool {
        self.0 & STATE == 0
    }

    /// The slot is being filled or emptied.
    #[inline(always)]
    pub const fn is_busy(self) -> bool {
        self.0 & STATE == BUSY
    }

    /// A flow is in the slot.
    #[inline(always)]
    pub const fn is_live(self) -> bool {
        self.0 & STATE == LIVE
    }

    /// A flow of this signature is in the slot.
    #[inline(always)]
    pub const fn is(self, signature: u64) -> bool {
        self.0 & (STATE | SIGNATURE) == LIVE | signature
    }

    /// 1 when a flow is in the slot, or about to be, else 0.
    #[inline(always)]
    pub const fn occupied(self) -> u64 {
        (self.0 >> STATE_SHIFT) & 1
    }

    /// The generation, where it stands in the word.
    #[inline(always)]
    pub const fn generation(self) -> u64 {
        self.0 & GENERATION
    }

    /// The tag while a new owner, of this signature, fills the slot.
    #[inline(always)]
    pub const fn claimed(self, signature: u64) -> Self {
        Self((self.0.wrapping_add(GENERATION_ONE) & GENERATION) | BUSY | signature)
    }

    /// The tag of a slot that was filled: its generation's bits count of `word`.
    #[inline(always)]
    pub const fn live(word: u64, signature: u64) -> Self {
        Self(word & GENERATION | LIVE | signature)
    }

    /// The tag of a slot that was emptied: its generation's bits count of `word`.
    #[inline(always)]
    pub const fn freed(word: u64) -> Self {
        Self(word.wrapping_add(GENERATION_ONE) & GENERATION)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_slot_goes_from_hand_to_hand(start in any::<u64>(), hash in any::<u64>()) {
            let signature = Tag::signature(FlowHash(hash));
            let free = Tag::freed(start);
            prop_assert!(free.is_free() && !free.is(signature) && free.occupied() == 0);
            let busy = free.claimed(signature);
            prop_assert!(busy.is_busy() && !busy.is(signature) && busy.occupied() == 1);
            prop_assert_ne!(busy.generation(), free.generation());
            let live = Tag::live(busy.0, signature);
            prop_assert!(live.is(signature) && live.is_live() && live.occupied() == 1);
            prop_assert!(!live.is(signature ^ 1));
            let freed = Tag::freed(live.0);
            prop_assert!(freed.is_free());
            prop_assert_ne!(freed, free);
        }
    }
}
