//! What stands between a port's MAC addresses and its IP packets: 802.1Q and 802.1ad tags, and PPPoE's
//! session header.
//!
//! The packet path sees plain Ethernet. What a port has besides is taken off when a frame comes in and put
//! on when one is sent, at the edge of the programs: see [`edge`].

use crate::wire::{ethernet, pppoe};

pub mod edge;
#[cfg(test)]
mod tests;

/// The framing of a port: up to two tags, then a PPPoE session.
///
/// One word, so that it changes by one store while packets flow: the first tag's VLAN id in bits 0 to 11,
/// the second's in bits 12 to 23, the number of tags in bits 24 and 25, whether the first is an 802.1ad
/// service tag in bit 26, whether there is a session in bit 27, its id in bits 32 to 47.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Framing(pub u64);

const SECOND_SHIFT: u32 = 12;
const COUNT_SHIFT: u32 = 24;
const SERVICE: u64 = 1 << 26;
const SESSION: u64 = 1 << 27;
const SESSION_SHIFT: u32 = 32;
const ID_MASK: u64 = 0xfff;
/// The bits of [`Framing::tags`].
const TAGS: u64 = 0x07ff_ffff;

impl Framing {
    /// Nothing but Ethernet's own header.
    pub const PLAIN: Self = Self(0);

    /// The same with one more tag behind those that there are; `kind` is its EtherType. The id 0 is no
    /// VLAN (IEEE 802.1Q, table 9-2: the frame is only given a priority), and changes nothing. Of tags
    /// after the first the type does not count.
    #[inline(always)]
    #[must_use]
    pub const fn tagged(self, kind: u16, id: u16) -> Self {
        let id = id as u64 & ID_MASK;
        if id == 0 {
            return self;
        }
        if self.tag_count() == 0 {
            let service = if kind == ethernet::SERVICE_VLAN {
                SERVICE
            } else {
                0
            };
            Self(self.0 | id | service | 1 << COUNT_SHIFT)
        } else {
            let rest = self.0 & !(ID_MASK << SECOND_SHIFT | 3 << COUNT_SHIFT);
            Self(rest | id << SECOND_SHIFT | 2 << COUNT_SHIFT)
        }
    }

    /// The same with a PPPoE session.
    #[inline(always)]
    #[must_use]
    pub const fn in_session(self, id: u16) -> Self {
        Self(self.tags().0 | SESSION | (id as u64) << SESSION_SHIFT)
    }

    /// The same without the PPPoE session.
    #[inline(always)]
    #[must_use]
    pub const fn tags(self) -> Self {
        Self(self.0 & TAGS)
    }

    /// How many tags there are: 0 to 2.
    #[inline(always)]
    pub const fn tag_count(self) -> usize {
        (self.0 >> COUNT_SHIFT) as usize & 3
    }

    /// EtherType and VLAN id of the first tag, or of the second; meaningful only if there is one.
    #[inline(always)]
    pub const fn tag(self, place: usize) -> (u16, u16) {
        if place == 0 {
            let kind = if self.0 & SERVICE != 0 {
                ethernet::SERVICE_VLAN
            } else {
                ethernet::VLAN
            };
            (kind, (self.0 & ID_MASK) as u16)
        } else {
            let id = (self.0 >> SECOND_SHIFT & ID_MASK) as u16;
            (ethernet::VLAN, id)
        }
    }

    /// The PPPoE session, if there is one.
    #[inline(always)]
    pub const fn session(self) -> Option<u16> {
        if self.has_session() {
            Some((self.0 >> SESSION_SHIFT) as u16)
        } else {
            None
        }
    }

    /// Whether there is a PPPoE session.
    #[inline(always)]
    pub const fn has_session(self) -> bool {
        self.0 & SESSION != 0
    }

    /// Whether there is nothing but Ethernet's own header.
    #[inline(always)]
    pub const fn is_plain(self) -> bool {
        self.0 == 0
    }

    /// Length of the whole link header, MACs and type included: 14 to 30 bytes.
    #[inline(always)]
    pub const fn link_len(self) -> usize {
        let session = if self.has_session() { pppoe::LEN } else { 0 };
        ethernet::LEN + self.tag_count() * ethernet::TAG_LEN + session
    }

    /// What a port is found by in the port table, besides the session's id: all bits that are not its.
    #[inline(always)]
    pub const fn key(self) -> u32 {
        self.0 as u32
    }
}

/// As the operator writes it: `200.100`, outer tag first, then the session.
impl core::fmt::Display for Framing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.is_plain() {
            return f.write_str("untagged");
        }
        let mut between = "";
        if self.tag_count() > 0 {
            f.write_str("VLAN ")?;
        }
        for place in 0..self.tag_count() {
            let (kind, id) = self.tag(place);
            let service = if kind == ethernet::SERVICE_VLAN {
                " (802.1ad)"
            } else {
                ""
            };
            write!(f, "{between}{id}{service}")?;
            between = ", ";
        }
        if let Some(session) = self.session() {
            write!(f, "{between}PPPoE session {session}")?;
        }
        Ok(())
    }
}
