//! What the rules say of a packet.

use super::Target;
use crate::limits::{MAX_GROUPS, MAX_UPLINKS};

/// What the rules say of a packet, as one word.
///
/// The group in bits 0 to 5, in bit 8 whether the packet is dropped, in bits 16 to 31 the rule that matched,
/// counted from 1, and in bits 32 to 39 the uplink whose own prefix the source is under, likewise. Zero is
/// what holds without any rule: the default group's.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged(u64);

impl Judged {
    const DROP: u64 = 1 << 8;
    const RULE_SHIFT: u32 = 16;
    const OWN_SHIFT: u32 = 32;

    /// Of a packet that no rule matches.
    pub const DEFAULT: Self = Self(0);

    /// Of a packet that the rule of this number, from 0, matches, and which has this target.
    #[inline(always)]
    pub const fn by(rule: u32, target: Target) -> Self {
        let drop = if target.is_drop() { Self::DROP } else { 0 };
        Self(target.group() as u64 | drop | (rule as u64 + 1) << Self::RULE_SHIFT)
    }

    /// The same, for a source under the own prefix of an uplink, given as its id + 1; 0 = of none.
    #[inline(always)]
    #[must_use]
    pub const fn of_own(self, owner: u32) -> Self {
        Self(self.0 | (owner as u64 & 0xff) << Self::OWN_SHIFT)
    }

    /// The group whose words decide: its id.
    #[inline(always)]
    pub const fn group(self) -> u8 {
        self.0 as u8 & (MAX_GROUPS as u8 - 1)
    }

    /// Whether the packet is dropped.
    #[inline(always)]
    pub const fn is_drop(self) -> bool {
        self.0 & Self::DROP != 0
    }

    /// The number of the rule that matched, from 0.
    #[inline(always)]
    pub const fn rule(self) -> Option<u32> {
        ((self.0 >> Self::RULE_SHIFT) as u16 as u32).checked_sub(1)
    }

    /// The uplink whose own prefix the source is under: the one that it must leave by.
    #[inline(always)]
    pub const fn own(self) -> Option<u8> {
        match ((self.0 >> Self::OWN_SHIFT) as u8).checked_sub(1) {
            Some(id) => Some(id & (MAX_UPLINKS as u8 - 1)),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_read_back() {
        let default = Judged::DEFAULT;
        assert_eq!((default.group(), default.is_drop()), (0, false));
        assert_eq!((default.rule(), default.own()), (None, None));
        for (rule, group, own) in [(0, 0, 0), (999, 63, 63), (1, 5, 9)] {
            let judged = Judged::by(rule, Target::group_of(group)).of_own(u32::from(own) + 1);
            assert_eq!((judged.rule(), judged.group()), (Some(rule), group));
            assert_eq!((judged.own(), judged.is_drop()), (Some(own), false));
        }
        assert!(Judged::by(3, Target::DROP).is_drop());
    }
}
