//! IPv6 prefix translation (NPTv6, RFC 6296): one address for one, without state, and with
//! checksums left as they are.

use core::fmt;

use crate::{address::Address6, checksum};

#[cfg(test)]
mod tests;

/// The longest prefix in bits that can be translated: the rest of the first 64 bits is subnets, and
/// behind them is the interface identifier (RFC 6296 section 3.5).
pub const MAX_LENGTH: u32 = 64;

/// The subnet word of an address, bits 48..63; also the prefix bits that only a prefix longer than
/// /48 has.
const SUBNET: u64 = 0xffff;

/// The word that the arithmetic never leaves behind: zero's second form in ones' complement.
const MINUS_ZERO: u16 = 0xffff;

/// The prefix of one side, as it was configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The prefix's address; bits behind `length` are zero.
    pub address: Address6,
    /// The prefix's length in bits, 1..=[`MAX_LENGTH`].
    pub length: u32,
}

/// How the addresses of one inside and one outside prefix become each other; 32 bytes.
///
/// Prefixes are the first 64 bits of an address, in host order. All zeroes is a valid value: it has
/// no prefixes and translates no address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Translation {
    inside: u64,
    outside: u64,
    /// The prefixes' bits; zero when there are no prefixes.
    mask: u64,
    /// What outward translation adds to a word in ones' complement: the inside prefix's sum minus
    /// the outside prefix's (RFC 6296 section 3.1). 0..=0xffff.
    adjustment: u64,
}

const _: () = assert!(size_of::<Translation>() == 32);

// SAFETY: `repr(C)`, no padding (4 x 8 = 32), every field takes any bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Translation {}

/// Which of the two prefixes is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The LAN's prefix.
    Inside,
    /// The uplink's prefix.
    Outside,
}

/// Why two prefixes cannot be translated to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The prefix is longer than /64 or has no bits at all.
    Length {
        /// Whose prefix.
        side: Side,
        /// Its length in bits.
        length: u32,
    },
    /// The address has bits behind the prefix.
    HostBits {
        /// Whose prefix.
        side: Side,
    },
    /// The prefix has multicast or link-local addresses in it; neither are routed (RFC 4291
    /// sections 2.5.6 and 2.7).
    NotRouted {
        /// Whose prefix.
        side: Side,
    },
}

impl Translation {
    /// From an inside and an outside prefix.
    ///
    /// The shorter one is extended with zeroes to the other's length (RFC 6296 section 3.1), so of
    /// a shorter inside prefix only the first subnets are translated; [`Self::length`] says what
    /// came of it.
    ///
    /// # Errors
    ///
    /// When a prefix is not one that RFC 6296 can translate, see [`Error`].
    pub fn new(inside: Prefix, outside: Prefix) -> Result<Self, Error> {
        inside.check(Side::Inside)?;
        outside.check(Side::Outside)?;
        let (inside_sum, outside_sum) = (sum(inside.address.high), sum(outside.address.high));
        Ok(Self {
            inside: inside.address.high,
            outside: outside.address.high,
            mask: mask(inside.length.max(outside.length)),
            adjustment: u64::from(checksum::fold(
                u64::from(inside_sum) + u64::from(!outside_sum),
            )),
        })
    }

    /// The length in bits of both prefixes after the shorter one was extended, or 0 when there are
    /// none.
    pub const fn length(&self) -> u32 {
        self.mask.count_ones()
    }

    /// Whether the address is one of the inside prefix.
    #[inline(always)]
    pub const fn is_inside(&self, address: Address6) -> bool {
        self.mask != 0 && address.high & self.mask == self.inside
    }

    /// Whether the address is one of the outside prefix.
    #[inline(always)]
    pub const fn is_outside(&self, address: Address6) -> bool {
        self.mask != 0 && address.high & self.mask == self.outside
    }

    /// The outside address of an inside one (RFC 6296 section 3.2).
    ///
    /// `None` when the address is not in the inside prefix ([`Self::is_inside`]), or has no outside
    /// address: then its packet must be dropped.
    #[inline(always)]
    pub fn outward(&self, address: Address6) -> Option<Address6> {
        if !self.is_inside(address) {
            return None;
        }
        self.translate(address, self.outside, self.adjustment)
    }

    /// The inside address of an outside one (RFC 6296 section 3.3).
    ///
    /// `None` when the address is not in the outside prefix ([`Self::is_outside`]), or has no
    /// inside address: then its packet must be dropped.
    #[inline(always)]
    pub fn inward(&self, address: Address6) -> Option<Address6> {
        if !self.is_outside(address) {
            return None;
        }
        // Subtracting in ones' complement is adding the complement.
        self.translate(address, self.inside, self.adjustment ^ 0xffff)
    }

    /// Puts the prefix `to` in place of the address's own and makes up for it in one word.
    #[inline(always)]
    fn translate(&self, address: Address6, to: u64, adjustment: u64) -> Option<Address6> {
        let high = address.high & !self.mask | to;
        if self.mask & SUBNET == 0 {
            // Section 3.4: a /48 or shorter leaves the interface identifier alone. Section 3.2 and
            // appendix B: 0xffff has no mapping, as it would take that of subnet 0.
            let subnet = word(address.high, 0);
            if subnet == MINUS_ZERO {
                return None;
            }
            return Some(Address6 {
                high: high & !SUBNET | adjust(subnet, adjustment),
                low: address.low,
            });
        }
        let low = adjust_identifier(address.low, adjustment)?;
        Some(Address6 { high, low })
    }
}

/// The identifier with the adjustment added to its first word that is not 0xffff (RFC 6296 section
/// 3.5).
///
/// That word never becomes 0xffff, so the way back finds the same one. `None` when there is no such
/// word, and when the identifier is zero before or after: section 3.7 has such packets dropped. An
/// identifier that would become zero could go out, but no answer could come back to it.
#[inline(always)]
fn adjust_identifier(low: u64, adjustment: u64) -> Option<u64> {
    if low == 0 {
        return None;
    }
    for shift in [48, 32, 16, 0] {
        let old = word(low, shift);
        if old != MINUS_ZERO {
            let new = low & !(SUBNET << shift) | adjust(old, adjustment) << shift;
            return (new != 0).then_some(new);
        }
    }
    None
}

/// The word plus the adjustment in ones' complement, zero always as 0x0000 (RFC 6296 sections 3.2
/// and 3.3).
#[inline(always)]
const fn adjust(word: u16, adjustment: u64) -> u64 {
    let sum = checksum::fold(word as u64 + adjustment);
    if sum == MINUS_ZERO { 0 } else { sum as u64 }
}

/// The 16 bits of `half` that are `shift` bits above its end.
#[inline(always)]
const fn word(half: u64, shift: u32) -> u16 {
    (half >> shift) as u16
}

/// The ones' complement sum of the four words of a prefix that is extended to /64.
const fn sum(prefix: u64) -> u16 {
    checksum::fold(checksum::sum_u32((prefix >> 32) as u32) + checksum::sum_u32(prefix as u32))
}

/// The first `length` bits of 64; `length` is 1..=64.
const fn mask(length: u32) -> u64 {
    u64::MAX << (u64::BITS - length)
}

impl Prefix {
    fn check(self, side: Side) -> Result<(), Error> {
        let Self { address, length } = self;
        if !(1..=MAX_LENGTH).contains(&length) {
            return Err(Error::Length { side, length });
        }
        if address.high & !mask(length) != 0 || address.low != 0 {
            return Err(Error::HostBits { side });
        }
        let multicast = Self::of(0xff00 << 48, 8);
        let link_local = Self::of(0xfe80 << 48, 10);
        if self.overlaps(multicast) || self.overlaps(link_local) {
            return Err(Error::NotRouted { side });
        }
        Ok(())
    }

    const fn of(high: u64, length: u32) -> Self {
        Self {
            address: Address6 { high, low: 0 },
            length,
        }
    }

    /// Whether an address is in both prefixes; both have 1..=64 bits.
    fn overlaps(self, other: Self) -> bool {
        let common = mask(self.length.min(other.length));
        (self.address.high ^ other.address.high) & common == 0
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { side, length } => write!(
                f,
                "the {side} prefix is a /{length}; give one of /1 to /{MAX_LENGTH}"
            ),
            Self::HostBits { side } => write!(
                f,
                "the {side} prefix has bits set behind its length; clear them or give a longer one"
            ),
            Self::NotRouted { side } => write!(
                f,
                "the {side} prefix has multicast or link-local addresses, which are never routed; \
                 give a unicast prefix"
            ),
        }
    }
}

impl core::error::Error for Error {}
