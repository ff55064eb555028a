//! The flow table: finding a flow, claiming a slot for a new one, giving a slot back.
//!
//! A flow may stand in one of two buckets of eight: a new one goes to the first while that has room to
//! spare, then to the emptier of the two. When both are full, a slot whose time is up is taken over on the
//! spot, else that of the oldest flow that nobody ever answered: whoever floods the table with openings
//! displaces his own, and never a flow that is answered.
//!
//! In its bucket a flow has a way that it prefers. So a packet of a known flow looks into the slot there
//! before it asks the tags: in a table that is not crowded this is all that it needs, one line of memory.

use super::{
    FlowKey,
    lifetime::Timeouts,
    line_in,
    slot::FlowSlot,
    tag::{Tag, TagLine, WAYS},
};
use crate::{branchless, hash::FlowHash, limits::CLAIM_ATTEMPTS, state::SharedState};

/// Where the flow table lies: BPF maps in the kernel, shared or plain memory elsewhere.
///
/// The kernel runs each of the steps in a function of its own, which the verifier walks once.
pub trait FlowMemory: Sized {
    /// The tags of a bucket.
    fn tags(&self, bucket: u32) -> Option<&TagLine>;
    /// A slot; index = 8 x bucket + way.
    fn flow(&self, index: u32) -> Option<&FlowSlot>;

    /// The slot of a live flow, if it is in this bucket.
    fn find_in(
        &self,
        bucket: u32,
        key: &FlowKey,
        hash: FlowHash,
        now: u32,
        timeouts: &Timeouts,
    ) -> Option<u32> {
        find_in(self, bucket, key, hash, now, timeouts)
    }

    /// The slot of a live flow of this signature in a table of so many buckets; [`u32::MAX`] when there is
    /// none or when a bucket has several.
    fn known_by_tag(&self, count: u32, hash: FlowHash) -> u32 {
        known_by_tag(self, count, hash)
    }

    /// Claims a free slot of a bucket, that of this way if it is free.
    fn claim_in(&self, bucket: u32, signature: u32, preferred: u32) -> Claim {
        claim_in(self, bucket, signature, preferred)
    }

    /// How willingly the flow in this slot is given up; 0 = not at all.
    fn age(&self, index: u32, now: u32, timeouts: &Timeouts) -> u32 {
        age(self, index, now, timeouts)
    }

    /// Takes over the slot of a flow of these buckets whose time is up, else of the oldest that was
    /// never answered.
    fn displace(&self, buckets: [u32; 2], signature: u32, now: u32, timeouts: &Timeouts) -> Claim {
        displace(self, buckets, signature, now, timeouts)
    }
}

/// A first bucket with fewer flows than this takes any that is new.
const CROWDED: u64 = 5;

/// A slot that a new flow may fill, or none, as one word: the slot's index in bits 0 to 31, the
/// generation as in the tag, whether there was a flow that must be released in bit 62, and in bit 63
/// whether there is a slot at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim(pub u64);

impl Claim {
    /// No slot is to be had.
    pub const NONE: Self = Self(0);
    const SOME: u64 = 1 << 63;
    const DISPLACES: u64 = 1 << 62;

    #[inline(always)]
    const fn new(index: u32, tag: Tag, displaces: bool) -> Self {
        let displaces = if displaces { Self::DISPLACES } else { 0 };
        Self(index as u64 | tag.generation() | Self::SOME | displaces)
    }

    /// Whether there is a slot.
    #[inline(always)]
    pub const fn is_some(self) -> bool {
        self.0 & Self::SOME != 0
    }

    /// The slot.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self.0 as u32
    }

    /// Whether the flow that was there must be released first.
    #[inline(always)]
    pub const fn displaces(self) -> bool {
        self.0 & Self::DISPLACES != 0
    }
}

/// The buckets that a flow may stand in, in the order in which it is looked for.
#[inline(always)]
pub const fn buckets(hash: FlowHash, count: u32) -> [u32; 2] {
    // The upper half is the signature; two stretches of the lower half choose the buckets.
    let (a, b) = (
        hash.0 as u32,
        (hash.0 as u32).rotate_left(16) ^ (hash.0 >> 32) as u32,
    );
    [line_in(a, 0, count), line_in(b, 0, count)]
}

/// The way that a flow prefers in its bucket.
#[inline(always)]
pub const fn preferred(hash: FlowHash) -> u32 {
    // The bits that choose the bucket are the upper ones of this half.
    hash.low() & (WAYS as u32 - 1)
}

/// The slot of a live flow.
#[inline(always)]
pub fn find<M: FlowMemory>(
    memory: &M,
    state: &SharedState,
    key: &FlowKey,
    hash: FlowHash,
    now: u32,
) -> Option<u32> {
    for bucket in buckets(hash, state.flow_buckets()) {
        let found = memory.find_in(bucket, key, hash, now, &state.timeouts);
        if found.is_some() {
            return found;
        }
    }
    None
}

/// See [`FlowMemory::find_in`].
#[inline(always)]
pub fn find_in<M: FlowMemory>(
    memory: &M,
    bucket: u32,
    key: &FlowKey,
    hash: FlowHash,
    now: u32,
    timeouts: &Timeouts,
) -> Option<u32> {
    let line = memory.tags(bucket)?;
    for way in 0..WAYS {
        if !Tag(line.0[way].load()).is(Tag::signature(hash)) {
            continue;
        }
        let index = bucket * WAYS as u32 + way as u32;
        let slot = memory.flow(index)?;
        if slot.is(key) && !slot.is_expired(timeouts, now) {
            return Some(index);
        }
    }
    None
}

/// As [`find`], for the short way: whatever the flow's age, and only where the signature tells it apart
/// from its neighbours.
#[inline(always)]
pub fn known<'m, M: FlowMemory>(
    memory: &'m M,
    state: &SharedState,
    key: &FlowKey,
    hash: FlowHash,
) -> Option<&'m FlowSlot> {
    let [first, _] = buckets(hash, state.flow_buckets());
    let slot = memory.flow(first * WAYS as u32 + preferred(hash))?;
    if slot.is(key) {
        return Some(slot);
    }
    let slot = memory.flow(memory.known_by_tag(state.flow_buckets(), hash))?;
    slot.is(key).then_some(slot)
}

/// See [`FlowMemory::known_by_tag`].
#[inline(always)]
pub fn known_by_tag<M: FlowMemory>(memory: &M, count: u32, hash: FlowHash) -> u32 {
    for bucket in buckets(hash, count) {
        let index = known_in(memory, bucket, hash);
        if index != NOT_HERE {
            return index;
        }
    }
    NOT_HERE
}

/// The index of no slot.
const NOT_HERE: u32 = u32::MAX;

#[inline(always)]
fn known_in<M: FlowMemory>(memory: &M, bucket: u32, hash: FlowHash) -> u32 {
    let Some(line) = memory.tags(bucket) else {
        return NOT_HERE;
    };
    let way = line.way_of(Tag::signature(hash));
    if way < WAYS as u64 {
        bucket * WAYS as u32 + way as u32
    } else {
        NOT_HERE
    }
}

/// Claims a slot for a new flow.
///
/// The caller releases what the claim displaces, fills the slot, and calls [`settle`].
#[inline(always)]
pub fn claim<M: FlowMemory>(memory: &M, state: &SharedState, hash: FlowHash, now: u32) -> Claim {
    let signature = Tag::signature(hash) as u32;
    let preferred = preferred(hash);
    let [first, second] = buckets(hash, state.flow_buckets());
    let taken = occupied(memory, first);
    let bucket = if taken >= CROWDED && occupied(memory, second) < taken {
        second
    } else {
        first
    };
    let claim = memory.claim_in(bucket, signature, preferred);
    if claim.is_some() {
        return claim;
    }
    memory.displace([first, second], signature, now, &state.timeouts)
}

/// Flows in a bucket.
#[inline(always)]
fn occupied<M: FlowMemory>(memory: &M, bucket: u32) -> u64 {
    let Some(line) = memory.tags(bucket) else {
        return 0;
    };
    let mut count = 0;
    for way in 0..WAYS {
        count += Tag(line.0[way].load()).occupied();
    }
    count
}

/// See [`FlowMemory::claim_in`].
#[inline(always)]
pub fn claim_in<M: FlowMemory>(memory: &M, bucket: u32, signature: u32, preferred: u32) -> Claim {
    let Some(line) = memory.tags(bucket) else {
        return Claim::NONE;
    };
    // When another CPU takes the place first, there may be a next one.
    for _ in 0..CLAIM_ATTEMPTS {
        let way = free_way(line, preferred as usize);
        let word = &line.0[way & (WAYS - 1)];
        let old = Tag(word.load());
        let tag = old.claimed(u64::from(signature));
        if way < WAYS && old.is_free() && word.change(old.0, tag.0) {
            return Claim::new(bucket * WAYS as u32 + way as u32, tag, false);
        }
    }
    Claim::NONE
}

/// The preferred place of a bucket if it is free, else the first that is; [`WAYS`] when there is none.
#[inline(always)]
fn free_way(line: &TagLine, preferred: usize) -> usize {
    let mut found = WAYS as u64;
    for way in (0..WAYS).rev() {
        let occupied = Tag(line.0[way].load()).occupied();
        found = branchless::choose(occupied, found, way as u64);
    }
    let preferred = preferred & (WAYS - 1);
    let occupied = Tag(line.0[preferred].load()).occupied();
    branchless::choose(occupied, found, preferred as u64) as usize
}

/// See [`FlowMemory::displace`].
#[inline(always)]
pub fn displace<M: FlowMemory>(
    memory: &M,
    buckets: [u32; 2],
    signature: u32,
    now: u32,
    timeouts: &Timeouts,
) -> Claim {
    // The one to go, with how willingly it is given up in the upper half.
    let mut chosen = 0;
    for n in 0..2 * WAYS as u32 {
        let bucket = if n < WAYS as u32 {
            buckets[0]
        } else {
            buckets[1]
        };
        let index = bucket * WAYS as u32 + n % WAYS as u32;
        let candidate = u64::from(memory.age(index, now, timeouts)) << 32 | u64::from(index);
        chosen = branchless::choose(branchless::less(chosen, candidate), candidate, chosen);
    }
    if chosen >> 32 == 0 {
        return Claim::NONE;
    }
    let index = chosen as u32;
    let Some(tag) = tag_of(memory, index) else {
        return Claim::NONE;
    };
    // Another flow may have come into the place since it was looked at.
    if memory.age(index, now, timeouts) == 0 {
        return Claim::NONE;
    }
    take_over(memory, index, tag, u64::from(signature))
}

/// How willingly a flow is given up: not at all when both ends have sent something, else by its age; one whose time
/// is up before all others.
///
/// See [`FlowMemory::age`].
#[inline(always)]
pub fn age<M: FlowMemory>(memory: &M, index: u32, now: u32, timeouts: &Timeouts) -> u32 {
    let Some(slot) = memory.flow(index) else {
        return 0;
    };
    if slot.is_expired(timeouts, now) {
        u32::MAX
    } else if slot.is_mutual() {
        0
    } else {
        slot.idle(now)
    }
}

/// The tag of a slot.
#[inline(always)]
pub fn tag_of<M: FlowMemory>(memory: &M, index: u32) -> Option<Tag> {
    let line = memory.tags(index / WAYS as u32)?;
    Some(Tag(line.0[index as usize & (WAYS - 1)].load()))
}

/// Claims the slot of a live flow, which had this tag.
#[inline(always)]
fn take_over<M: FlowMemory>(memory: &M, index: u32, old: Tag, signature: u64) -> Claim {
    let Some(line) = memory.tags(index / WAYS as u32) else {
        return Claim::NONE;
    };
    let word = &line.0[index as usize & (WAYS - 1)];
    let tag = old.claimed(signature);
    if old.is_live() && word.change(old.0, tag.0) {
        Claim::new(index, tag, true)
    } else {
        Claim::NONE
    }
}

/// Claims a live flow's slot, which had this tag, in order to end the flow: the caller releases what it
/// holds, and calls [`abandon`].
#[inline(always)]
pub fn evict<M: FlowMemory>(memory: &M, index: u32, tag: Tag) -> Claim {
    // Without the signature nobody finds the flow any more.
    take_over(memory, index, tag, 0)
}

/// Makes a claimed and filled slot a live flow.
#[inline(always)]
pub fn settle<M: FlowMemory>(memory: &M, claim: Claim, signature: u64) {
    publish(memory, claim, Tag::live(claim.0, signature));
}

/// Gives a claimed slot back without a flow in it.
#[inline(always)]
pub fn abandon<M: FlowMemory>(memory: &M, claim: Claim) {
    publish(memory, claim, Tag::freed(claim.0));
}

#[inline(always)]
fn publish<M: FlowMemory>(memory: &M, claim: Claim, tag: Tag) {
    if let Some(line) = memory.tags(claim.index() / WAYS as u32) {
        line.0[claim.index() as usize & (WAYS - 1)].publish(tag.0);
    }
}
