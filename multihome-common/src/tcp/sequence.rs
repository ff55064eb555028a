//! How far the flows of the sample have come: the highest sequence number of each direction, with a
//! signature of the flow, in one word.

use crate::{hash::FlowHash, word::Word};

/// Flows that there is room for, a power of two.
pub const FLOWS: usize = 1 << 12;
/// Places of the table: two for each flow.
pub const PLACES: usize = 2 * FLOWS;

/// More than any window (RFC 7323 section 2.3): what is further behind is of another connection.
const FARTHEST: u32 = 1 << 30;

/// The place of a flow's direction: 0 = outward, 1 = inward.
#[inline(always)]
pub const fn place(hash: FlowHash, inward: u32) -> u32 {
    ((hash.0 >> 4) as u32 & (FLOWS as u32 - 1)) << 1 | inward & 1
}

/// Whether a segment that ends at this sequence number was sent before, as far as that is known; it is
/// known from now on.
#[inline(always)]
pub fn is_repeated(place: &Word, hash: FlowHash, end: u32) -> bool {
    let word = place.load();
    let signature = hash.0 >> 32 << 32;
    let behind = (word as u32).wrapping_sub(end);
    if word & !0xffff_ffff == signature && behind < FARTHEST {
        return true;
    }
    place.store(signature | end as u64);
    false
}
