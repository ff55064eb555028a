//! The rulebook: rules as tables, a whole policy in one value of a map.

use crate::{
    address::{Address4, Address6, Place},
    branchless,
    limits::{MAX_GROUPS, MAX_LAN_PORTS, MAX_PIECES, RULE_WORDS},
    word::{Word, Words},
};

/// Different sets of rules that a rulebook can have.
pub const MAX_RULEBOOK_SETS: usize = 1 << 14;

/// Rules, one bit for each: rule n is bit n % 64 of word n / 64.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct RuleSet(pub [u64; RULE_WORDS]);

impl RuleSet {
    /// No rule.
    pub const NONE: Self = Self([0; RULE_WORDS]);
    /// Every rule that there can be.
    pub const ALL: Self = Self([u64::MAX; RULE_WORDS]);

    /// Adds a rule.
    ///
    /// # Panics
    /// When there is no room for a rule of this number.
    pub fn insert(&mut self, rule: usize) {
        self.0[rule / 64] |= 1 << (rule % 64);
    }

    /// Takes a rule out.
    ///
    /// # Panics
    /// As for [`RuleSet::insert`].
    pub fn remove(&mut self, rule: usize) {
        self.0[rule / 64] &= !(1 << (rule % 64));
    }

    /// The rules of both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(core::array::from_fn(|n| self.0[n] | other.0[n]))
    }

    /// A word of the set.
    #[inline(always)]
    pub fn word(&self, n: usize) -> u64 {
        self.0[n & (RULE_WORDS - 1)]
    }
}

/// An address as the table of domains knows it: IPv4 addresses in their IPv6 form (RFC 4291 section 2.5.5.2), in
/// host order. Keys are words, see [`Address4::key`].
pub type DomainKey = [u64; 2];

// SAFETY: words alone.
#[cfg(feature = "user")]
unsafe impl aya::Pod for RuleSet {}

/// What becomes of the packets of a rule: a group's id, or [`Target::DROP`].
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Target(u16);

impl Target {
    /// They are dropped.
    pub const DROP: Self = Self(1 << 8);

    /// They belong to the group of this id.
    pub const fn group_of(id: u8) -> Self {
        Self(id as u16 & (MAX_GROUPS as u16 - 1))
    }

    /// Whether they are dropped.
    #[inline(always)]
    pub const fn is_drop(self) -> bool {
        self.0 & Self::DROP.0 != 0
    }

    /// The group's id; 0 when they are dropped.
    #[inline(always)]
    pub const fn group(self) -> u8 {
        self.0 as u8 & (MAX_GROUPS as u8 - 1)
    }
}

/// A value for every address of one family, constant over pieces of the address space.
///
/// Piece `n` runs from `starts[n]` to just before `starts[n + 1]`; piece 0 starts at the lowest address.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Pieces<A> {
    /// Pieces in use: 1 to [`MAX_PIECES`].
    pub count: u32,
    /// Where the search starts: the largest power of two below `count`, or 0.
    pub first_step: u32,
    /// The first address of each piece, ascending.
    pub starts: [A; MAX_PIECES],
    /// The value of each piece: the number of a set in bits 0 to 15; in those of IPv6 sources from bit 16
    /// on the id + 1 of the uplink whose own prefix this is, or 0.
    pub values: [u32; MAX_PIECES],
}

impl<A: Copy> Pieces<A> {
    /// Fills the table in place, as a whole it is large; `false` when there are too many pieces, or none.
    pub fn fill(&mut self, pieces: &[(A, u32)]) -> bool {
        if pieces.is_empty() || pieces.len() > MAX_PIECES {
            return false;
        }
        self.count = pieces.len() as u32;
        self.first_step = match pieces.len() {
            1 => 0,
            n => 1 << (n - 1).ilog2(),
        };
        for (place, &(start, value)) in pieces.iter().enumerate() {
            self.starts[place] = start;
            self.values[place] = value;
        }
        true
    }
}

impl<A: Place> Pieces<A> {
    /// The value of one address.
    #[inline(always)]
    pub fn value(&self, address: A) -> u32 {
        let count = u64::from(self.count);
        let mut step = u64::from(self.first_step);
        let mut at = 0;
        // MAX_PIECES is 2^12, so twelve halvings reach every piece.
        for _ in 0..MAX_PIECES.ilog2() {
            let next = at + step;
            // Past the end the index wraps around, and what stands there does not count.
            let start = self.starts[next as usize & (MAX_PIECES - 1)];
            let further = branchless::less(next, count) & start.at_most(address);
            at = branchless::choose(further, next, at);
            step >>= 1;
        }
        self.values[at as usize & (MAX_PIECES - 1)]
    }
}

/// All rules of one policy.
///
/// A number of a set is an index into `sets`; every number in here is one that `sets` has.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct Rulebook {
    /// The sets.
    pub sets: [RuleSet; MAX_RULEBOOK_SETS],
    /// Sets by IPv4 source.
    pub sources4: Pieces<Address4>,
    /// Sets by IPv4 destination.
    pub destinations4: Pieces<Address4>,
    /// Sets by IPv6 source, and whose own prefix that is under.
    pub sources6: Pieces<Address6>,
    /// Sets by IPv6 destination.
    pub destinations6: Pieces<Address6>,
    /// Sets by source port; 0 = the packet has none, or is a fragment.
    pub source_ports: [u16; 1 << 16],
    /// Sets by destination port, likewise.
    pub ports: [u16; 1 << 16],
    /// Sets by protocol.
    pub protocols: [u16; 1 << 8],
    /// Sets by DSCP (RFC 2474).
    pub dscps: [u16; 1 << 6],
    /// Sets by LAN port, by its slot less [`MAX_UPLINKS`](crate::limits::MAX_UPLINKS).
    pub lan: [u16; MAX_LAN_PORTS],
    /// What becomes of the packets of each rule.
    pub targets: [Target; 64 * RULE_WORDS],
    /// Other than zero when rules ask for domains.
    pub asks_domains: u64,
}

impl Rulebook {
    /// A set by its number.
    #[inline(always)]
    pub fn set(&self, number: u32) -> &RuleSet {
        &self.sets[number as usize & (MAX_RULEBOOK_SETS - 1)]
    }

    /// A rulebook of zeroes, in which nothing can be looked up before it is filled.
    #[cfg(any(test, feature = "user"))]
    pub fn empty() -> std::boxed::Box<Self> {
        let mut book = std::boxed::Box::<Self>::new_uninit();
        // SAFETY: the memory is that of one rulebook, and zeroes are one: it has numbers alone.
        unsafe {
            book.as_mut_ptr().write_bytes(0, 1);
            book.assume_init()
        }
    }
}

// SAFETY: `repr(C)` of numbers; what padding there may be is written as zeroes by `Rulebook::empty`, the only
// way to make one.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Rulebook {}

/// How many packets each rule has matched on the full way, as one CPU has counted it. The place behind the
/// last rule counts those that none has matched.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct RuleCounts([Word; 64 * RULE_WORDS]);

// SAFETY: `repr(C)`, words only.
unsafe impl Words for RuleCounts {}

impl RuleCounts {
    /// The place of packets that no rule has matched.
    pub const NO_RULE: u32 = (64 * RULE_WORDS) as u32 - 1;

    /// The place of a rule.
    #[inline(always)]
    pub fn place(&self, rule: u32) -> &Word {
        &self.0[rule as usize & (64 * RULE_WORDS - 1)]
    }

    /// Counts in which nothing was counted.
    #[cfg(any(test, feature = "user"))]
    pub fn empty() -> Self {
        Self(core::array::from_fn(|_| Word::default()))
    }
}
