//! Rank rows and words: which uplink a bucket's flows take.
//!
//! The controller ranks a group's members for every bucket and writes the first eight ids as one
//! u64; the eligible word says which of them may be used now. Failing over is one store to that
//! word: no row changes, so only flows of the uplink that left the word move, and exactly those
//! return.

use crate::{hash::FlowHash, limits::RANKED, state::GroupWords};

/// A place of a rank row without an uplink.
pub const NO_UPLINK: u8 = 0xff;

/// Eight uplink ids in order of preference; the first is the lowest byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankRow(pub u64);

impl RankRow {
    /// A row without any uplink.
    pub const EMPTY: Self = Self(u64::MAX);

    /// The row of these ids, best first; at most [`RANKED`] are kept.
    pub fn new(ids: impl IntoIterator<Item = u8>) -> Self {
        let mut row = [NO_UPLINK; RANKED];
        for (place, id) in row.iter_mut().zip(ids) {
            *place = id;
        }
        Self(u64::from_le_bytes(row))
    }

    /// The row with an id at a place below [`RANKED`], and what stood there and behind one place further
    /// back; the last one falls out.
    #[inline]
    #[must_use]
    pub const fn with(self, place: usize, id: u8) -> Self {
        let shift = 8 * (place % RANKED) as u32;
        let before = (1 << shift) - 1;
        Self(self.0 & before | (id as u64) << shift | (self.0 & !before) << 8)
    }

    /// The row with the ids of another behind its own, as far as there is room.
    #[inline]
    #[must_use]
    pub const fn followed_by(self, other: Self) -> Self {
        match 8 * (RANKED as u32 - self.0.leading_ones() / 8) {
            64 => self,
            shift => Self(self.0 & ((1 << shift) - 1) | other.0 << shift),
        }
    }

    /// The first id whose bit is set in `word`.
    #[inline(always)]
    pub fn first_in(self, word: u64) -> Option<u8> {
        let mut rest = self.0;
        for _ in 0..RANKED {
            let id = rest as u8;
            // The shift takes the id's low six bits: NO_UPLINK must be told apart before.
            if id != NO_UPLINK && (word >> (id & 63)) & 1 == 1 {
                return Some(id & 63);
            }
            rest >>= 8;
        }
        None
    }
}

/// Any set bit of `word`, each as likely, decided by the flow's hash.
#[inline(always)]
pub fn any_in(word: u64, hash: FlowHash) -> Option<u8> {
    if word == 0 {
        return None;
    }
    let mut skip = hash.low() % word.count_ones();
    let mut rest = word;
    // At most 63 lower bits can stand before the chosen one.
    for _ in 0..63 {
        if skip == 0 {
            break;
        }
        rest &= rest - 1;
        skip -= 1;
    }
    Some(rest.trailing_zeros() as u8 & 63)
}

/// The uplink for a flow of this hash: by rank among the eligible, else any eligible one, and with
/// none eligible the same among those that were last known good.
///
/// `row` is the rank row of the hash's bucket. `None` means that no uplink was ever good for this
/// family.
#[inline(always)]
pub fn choose(row: RankRow, words: &GroupWords, family: usize, hash: FlowHash) -> Option<u8> {
    let mut word = words.eligible(family);
    if word == 0 {
        word = words.last_good(family);
    }
    match row.first_in(word) {
        Some(id) => Some(id),
        None => any_in(word, hash),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_member_whose_bit_is_set_is_taken() {
        let row = RankRow::new([5, 0, 63]);
        assert_eq!(row.first_in(u64::MAX), Some(5));
        assert_eq!(row.first_in(1 | 1 << 63), Some(0));
        assert_eq!(row.first_in(1 << 63), Some(63));
        assert_eq!(row.first_in(1 << 7), None);
        assert_eq!(RankRow::EMPTY.first_in(u64::MAX), None);
    }

    proptest! {
        #[test]
        fn rows_are_made_as_lists_are(
            ids in proptest::collection::vec(0u8..64, 0..9),
            others in proptest::collection::vec(0u8..64, 0..9),
            id in 0u8..64,
            place in 0..RANKED,
        ) {
            let (row, other) = (RankRow::new(ids.clone()), RankRow::new(others.clone()));
            let mut both = ids.clone();
            both.extend(others);
            prop_assert_eq!(row.followed_by(other), RankRow::new(both));
            let mut with = ids;
            let place = place.min(with.len());
            with.insert(place, id);
            prop_assert_eq!(row.with(place, id), RankRow::new(with));
        }

        #[test]
        fn any_in_names_a_set_bit_and_reaches_each(word in 1u64.., low in any::<u32>()) {
            let id = any_in(word, FlowHash(u64::from(low))).unwrap();
            prop_assert!(word >> id & 1 == 1);
            let bits = word.count_ones();
            let mut reached = 0u64;
            for n in 0..bits {
                reached |= 1 << any_in(word, FlowHash(u64::from(n))).unwrap();
            }
            prop_assert_eq!(reached, word);
        }

        /// Failover in one sentence: under any two words, a flow whose two uplinks are in both words
        /// has one uplink.
        #[test]
        fn only_who_must_move_moves(ids in proptest::collection::vec(0u8..64, 0..9), words in any::<[u64; 2]>(), hash in any::<u64>()) {
            let row = RankRow::new(ids);
            let [a, b] = words.map(|word| row.first_in(word));
            if let (Some(a), Some(b)) = (a, b) {
                prop_assert!(a == b || words[1] >> a & 1 == 0 || words[0] >> b & 1 == 0);
            }
            for word in words {
                let words = GroupWords { eligible: [0, word], last_good: [0, !word], ..GroupWords::ZERO };
                let id = choose(row, &words, 1, FlowHash(hash)).unwrap();
                let serving = if word == 0 { !word } else { word };
                prop_assert!(serving >> id & 1 == 1);
                prop_assert!(row.first_in(serving).is_none_or(|first| first == id));
            }
        }

        #[test]
        fn with_nothing_eligible_the_last_known_good_serve(last_good in 1u64.., hash in any::<u64>(), ids in proptest::collection::vec(0u8..64, 0..8)) {
            let words = GroupWords { eligible: [0; 2], last_good: [last_good, 0], ..GroupWords::ZERO };
            let id = choose(RankRow::new(ids), &words, 0, FlowHash(hash)).unwrap();
            prop_assert!(last_good >> id & 1 == 1);
            prop_assert_eq!(choose(RankRow::EMPTY, &words, 1, FlowHash(hash)), None);
        }
    }
}
