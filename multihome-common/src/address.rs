//! Address classes: which addresses are the gateway's own, a LAN's, the kernel's, or the
//! internet's.
//!
//! The controller flattens prefixes and single addresses into a piecewise constant function over
//! the whole address space: sorted segment starts, each with a class. One binary search answers
//! for every kind of destination, in one table that is replaced as a whole.

use crate::{branchless, limits::MAX_SEGMENTS};

/// An IPv4 address as a number in host order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address4(pub u32);

/// An IPv6 address as two numbers in host order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address6 {
    /// The first eight bytes.
    pub high: u64,
    /// The last eight bytes.
    pub low: u64,
}

impl Address4 {
    /// From the bytes of a header.
    #[inline(always)]
    pub const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(bytes))
    }

    /// As the bytes of a header.
    #[inline(always)]
    pub const fn bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

impl Address4 {
    /// As the key of a map: the address's bytes, as one word.
    ///
    /// Keys are words because they stand on the programs' stack, where the verifier wants
    /// alignment.
    #[inline(always)]
    pub const fn key(self) -> u32 {
        self.0.to_be()
    }
}

impl Address6 {
    /// As the key of a map: the address's bytes, as two words.
    #[inline(always)]
    pub const fn key(self) -> [u64; 2] {
        [self.high.to_be(), self.low.to_be()]
    }

    /// From the bytes of a header.
    #[inline(always)]
    pub const fn from_bytes(b: [u8; 16]) -> Self {
        Self {
            high: u64::from_be_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            low: u64::from_be_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
        }
    }

    /// As the bytes of a header.
    #[inline(always)]
    pub const fn bytes(self) -> [u8; 16] {
        let h = self.high.to_be_bytes();
        let l = self.low.to_be_bytes();
        [
            h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], l[0], l[1], l[2], l[3], l[4], l[5],
            l[6], l[7],
        ]
    }
}

/// What an address means to this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Anywhere else: reached through an uplink.
    Internet = 0,
    /// An address of the gateway itself.
    Gateway = 1,
    /// In a prefix connected to an uplink, or that the kernel routes otherwise than by a default
    /// route.
    OnLink = 2,
    /// In a prefix reached through a LAN port.
    Lan = 3,
    /// Multicast, broadcast, link-local, loopback and the like: never steered.
    Special = 4,
    /// Under the IPv6 prefix that an uplink gives to LAN hosts.
    Outside = 5,
}

impl Class {
    /// The class of this number; what is not a class counts as never steered.
    #[inline(always)]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Internet,
            1 => Self::Gateway,
            2 => Self::OnLink,
            3 => Self::Lan,
            5 => Self::Outside,
            _ => Self::Special,
        }
    }
}

/// The class of every address of one family.
///
/// Segment `n` runs from `starts[n]` to just before `starts[n + 1]`; segment 0 starts at the
/// lowest address. A table of zeroes (`count` 0) calls every address [`Class::Internet`]: the
/// programs are attached only after it is filled.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AddressTable<A> {
    /// Segments in use, at most [`MAX_SEGMENTS`].
    pub count: u32,
    /// Where the search starts: the largest power of two below `count`, or 0.
    pub first_step: u32,
    /// The first address of each segment, ascending.
    pub starts: [A; MAX_SEGMENTS],
    /// The class of each segment, as a number.
    pub classes: [u8; MAX_SEGMENTS],
}

const _: () = assert!(size_of::<AddressTable<Address4>>() == 8 + 5 * MAX_SEGMENTS);
const _: () = assert!(size_of::<AddressTable<Address6>>() == 8 + 17 * MAX_SEGMENTS);

impl<A: Copy + Ord + Default> AddressTable<A> {
    /// A table from ascending segments, the first of which starts at the lowest address.
    ///
    /// `None` when there are more than [`MAX_SEGMENTS`].
    pub fn new(segments: &[(A, Class)]) -> Option<Self> {
        if segments.len() > MAX_SEGMENTS {
            return None;
        }
        let mut table = Self {
            count: segments.len() as u32,
            first_step: match segments.len() {
                0 | 1 => 0,
                n => 1 << (n - 1).ilog2(),
            },
            starts: [A::default(); MAX_SEGMENTS],
            classes: [0; MAX_SEGMENTS],
        };
        for (place, &(start, class)) in segments.iter().enumerate() {
            table.starts[place] = start;
            table.classes[place] = class as u8;
        }
        Some(table)
    }
}

/// An address as the search compares it.
pub trait Place: Copy {
    /// 1 if `self <= other`, else 0.
    fn at_most(self, other: Self) -> u64;
}

impl Place for Address4 {
    #[inline(always)]
    fn at_most(self, other: Self) -> u64 {
        1 ^ branchless::less(u64::from(other.0), u64::from(self.0))
    }
}

impl Place for Address6 {
    #[inline(always)]
    fn at_most(self, other: Self) -> u64 {
        let above = branchless::less(other.high, self.high);
        let beside = branchless::equal(other.high, self.high);
        1 ^ (above | beside & branchless::less(other.low, self.low))
    }
}

impl<A: Place> AddressTable<A> {
    /// The class of one address.
    #[inline(always)]
    pub fn class(&self, address: A) -> Class {
        let count = u64::from(self.count);
        let mut step = u64::from(self.first_step);
        let mut at = 0;
        // MAX_SEGMENTS is 2^10, so ten halvings reach every segment.
        for _ in 0..MAX_SEGMENTS.ilog2() {
            let next = at + step;
            // Past the end the index wraps around, and what stands there does not count.
            let start = self.starts[next as usize & (MAX_SEGMENTS - 1)];
            let further = branchless::less(next, count) & start.at_most(address);
            at = branchless::choose(further, next, at);
            step >>= 1;
        }
        Class::from_number(self.classes[at as usize & (MAX_SEGMENTS - 1)])
    }
}

// SAFETY: `repr(C)` without padding (asserted above by the sizes), and every field takes any bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for AddressTable<Address4> {}
// SAFETY: as for IPv4.
#[cfg(feature = "user")]
unsafe impl aya::Pod for AddressTable<Address6> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeMap, vec::Vec};

    #[test]
    fn a_class_holds_from_its_start_to_the_next() {
        let table = AddressTable::new(&[
            (Address4(0), Class::Internet),
            (Address4(10), Class::Lan),
            (Address4(12), Class::Gateway),
            (Address4(13), Class::Lan),
            (Address4(20), Class::Internet),
        ])
        .unwrap();
        let classes: Vec<Class> = [0, 9, 10, 12, 13, 19, 20, u32::MAX]
            .map(|a| table.class(Address4(a)))
            .to_vec();
        let (i, l, g) = (Class::Internet, Class::Lan, Class::Gateway);
        assert_eq!(classes, [i, i, l, g, l, l, i, i]);
    }

    /// The table's largest size, and a table with one segment.
    #[test]
    fn tables_at_their_limits() {
        let segments: Vec<(Address4, Class)> = (0..MAX_SEGMENTS as u32)
            .map(|n| (Address4(n << 20), Class::from_number((n % 5) as u8)))
            .collect();
        let table = AddressTable::new(&segments).unwrap();
        for &(start, class) in &segments {
            assert_eq!(table.class(start), class);
            assert_eq!(table.class(Address4(start.0 + 0xf_ffff)), class);
        }
        let more = [segments, Vec::from([(Address4(u32::MAX), Class::Lan)])].concat();
        assert!(AddressTable::new(&more).is_none());
        let one = AddressTable::new(&[(Address4(0), Class::Special)]).unwrap();
        assert_eq!(one.class(Address4(u32::MAX)), Class::Special);
    }

    proptest! {
        /// IPv6 addresses are compared by both halves, the first one first.
        #[test]
        fn the_search_equals_a_walk_for_ipv6(starts in proptest::collection::btree_map(any::<[u8; 16]>(), 0u8..5, 1..40), probe in any::<[u8; 16]>(), low in any::<u64>()) {
            let mut starts: BTreeMap<[u8; 16], u8> = starts;
            starts.insert([0; 16], 0);
            let list: Vec<(Address6, Class)> = starts.iter().map(|(&a, &c)| (Address6::from_bytes(a), Class::from_number(c))).collect();
            let table = AddressTable::new(&list).unwrap();
            let near = list.iter().map(|(start, _)| Address6 { high: start.high, low }.bytes());
            for probe in near.chain([probe, [0xff; 16]]) {
                let expected = *starts.range(..=probe).next_back().unwrap().1;
                prop_assert_eq!(table.class(Address6::from_bytes(probe)), Class::from_number(expected));
            }
        }

        #[test]
        fn the_search_equals_a_walk(segments in proptest::collection::btree_map(any::<u32>(), 0u8..5, 0..MAX_SEGMENTS - 1), probes in proptest::collection::vec(any::<u32>(), 50)) {
            let mut segments: BTreeMap<u32, u8> = segments;
            segments.entry(0).or_insert(0);
            let list: Vec<(Address4, Class)> = segments.iter().map(|(&a, &c)| (Address4(a), Class::from_number(c))).collect();
            let table = AddressTable::new(&list).unwrap();
            let edges = segments.keys().flat_map(|&a| [a, a.wrapping_sub(1)]);
            for probe in probes.into_iter().chain(edges) {
                let expected = *segments.range(..=probe).next_back().unwrap().1;
                prop_assert_eq!(table.class(Address4(probe)), Class::from_number(expected));
            }
        }
    }
}
