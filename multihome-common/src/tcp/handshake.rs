//! Outstanding handshakes: when the SYN of a connection left, one word for each.
//!
//! ```text
//! 63       43 42 37           36 35  0
//! | signature | uplink | repeated | time |
//! ```
//!
//! The time is in units of 2^10 ns. A handshake whose SYN was sent again is not timed, since nobody can
//! tell which of them the answer is to (RFC 6298 section 3, Karn's algorithm).

use crate::{hash::FlowHash, word::Word};

/// Places of the table, a power of two: so many handshakes may be under way at a time.
pub const PLACES: usize = 1 << 14;

const SIGNATURE_SHIFT: u32 = 43;
const UPLINK_SHIFT: u32 = 37;
const REPEATED: u64 = 1 << 36;
const TIME: u64 = REPEATED - 1;
const UNIT_SHIFT: u32 = 10;
/// A SYN that comes later begins anew: by default nobody sends one again after 127 s (RFC 6298).
const LONGEST: u64 = 128_000_000_000 >> UNIT_SHIFT;

/// The place of a flow.
#[inline(always)]
pub const fn place(hash: FlowHash) -> u32 {
    // The lowest bits say whether the flow is in the sample.
    (hash.0 >> 4) as u32 & (PLACES as u32 - 1)
}

/// The upper part of a flow's word, by the uplink of this id.
#[inline(always)]
const fn owner(hash: FlowHash, id: u8) -> u64 {
    (hash.0 >> SIGNATURE_SHIFT) << SIGNATURE_SHIFT | (id as u64 & 63) << UPLINK_SHIFT
}

/// How long ago the word's SYN was sent, in units, if the word is the flow's.
#[inline(always)]
const fn age(word: u64, owner: u64, now: u64) -> Option<u64> {
    let age = (now >> UNIT_SHIFT).wrapping_sub(word) & TIME;
    if word == 0 || word & !(REPEATED | TIME) != owner || age > LONGEST {
        return None;
    }
    Some(age)
}

/// A SYN left by the uplink of this id; whether it was sent before. One that was sent by another uplink
/// before begins anew: it is that one's loss.
#[inline(always)]
pub fn sent(place: &Word, hash: FlowHash, id: u8, now: u64) -> bool {
    let (word, owner) = (place.load(), owner(hash, id));
    if age(word, owner, now).is_some() {
        place.store(word | REPEATED);
        return true;
    }
    place.store(owner | now >> UNIT_SHIFT & TIME);
    false
}

/// A SYN was answered by the uplink of this id; after how many nanoseconds, if that can be told. It is
/// told once.
#[inline(always)]
pub fn answered(place: &Word, hash: FlowHash, id: u8, now: u64) -> Option<u64> {
    let word = place.load();
    let age = age(word, owner(hash, id), now)?;
    place.store(0);
    if word & REPEATED != 0 {
        return None;
    }
    Some(age << UNIT_SHIFT)
}
