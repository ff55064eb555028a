//! Which uplinks of a group may take new flows: one pure function of which paths are up and of what
//! speaks against some of them.
//!
//! An uplink whose path is up may still be a bad choice for new flows: it is [full](Impediment::Full),
//! [sick](Impediment::Sick), [spent](Impediment::Spent), [held](Impediment::Held) or
//! [draining](Impediment::Draining). Such an *impediment* takes it out of the eligible word as long as a
//! better uplink is up, and never touches the alive word: flows that are on it stay there.
//!
//! # How to make an impediment known
//!
//! What concerns one group (full, sick, spent) is set with [`Group::impede`], for each family, as often as
//! it changes; what concerns all groups (held, draining) stands in the controller's [`Common`] of that
//! family. Either way `Controller::refresh_words` makes the words from it and tells only what changed:
//!
//! ```text
//! self.groups[n].impede(family, Impediments { sick: word, ..old });
//! actions.extend(self.refresh_words(now));
//! ```
//!
//! A bit that stands for an uplink that is no member, or whose path is down, does no harm.
//!
//! [`Group::impede`]: super::group::Group::impede

use std::fmt;

/// What speaks against giving an uplink new flows, from the least bad to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Impediment {
    /// It carries as much as it should.
    Full,
    /// It loses too much, or is too slow, for the group.
    Sick,
    /// What it may carry in this period is used up.
    Spent,
    /// It has come back lately, and has to show that it stays.
    Held,
    /// The operator wants it free of flows.
    Draining,
}

impl Impediment {
    /// All of them, the least bad first.
    pub const ALL: [Self; 5] = [
        Self::Full,
        Self::Sick,
        Self::Spent,
        Self::Held,
        Self::Draining,
    ];

    /// The word for it in status and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Sick => "sick",
            Self::Spent => "spent",
            Self::Held => "held",
            Self::Draining => "draining",
        }
    }
}

impl fmt::Display for Impediment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What speaks against uplinks in one group and family; bit n = uplink n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impediments {
    /// See [`Impediment::Full`].
    pub full: u64,
    /// See [`Impediment::Sick`].
    pub sick: u64,
    /// See [`Impediment::Spent`].
    pub spent: u64,
}

/// What speaks against uplinks in all groups, in one family; bit n = uplink n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Common {
    /// See [`Impediment::Held`].
    pub held: u64,
    /// See [`Impediment::Draining`].
    pub draining: u64,
}

/// All that speaks against uplinks in one group and family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Against {
    /// In this group.
    pub here: Impediments,
    /// In all groups.
    pub common: Common,
}

impl Against {
    /// The uplinks that have an impediment.
    pub const fn word(&self, impediment: Impediment) -> u64 {
        match impediment {
            Impediment::Full => self.here.full,
            Impediment::Sick => self.here.sick,
            Impediment::Spent => self.here.spent,
            Impediment::Held => self.common.held,
            Impediment::Draining => self.common.draining,
        }
    }

    /// The uplinks that have any.
    pub const fn any(&self) -> u64 {
        let Impediments { full, sick, spent } = self.here;
        let Common { held, draining } = self.common;
        full | sick | spent | held | draining
    }

    /// What speaks against one uplink, the least bad first.
    pub fn of(&self, id: u8) -> impl Iterator<Item = Impediment> {
        Impediment::ALL
            .into_iter()
            .filter(move |&impediment| self.word(impediment) >> id & 1 == 1)
    }

    /// Those of the uplinks in `word` that have the least against them: without any impediment; if there
    /// are none, at most with the least bad one; and so on. Only zero when `word` is.
    pub fn least(&self, word: u64) -> u64 {
        let mut barred = self.any();
        // Most often nothing speaks against anything.
        let mut left = word & !barred;
        for impediment in Impediment::ALL {
            if left != 0 {
                break;
            }
            // An uplink that is also worse stays barred.
            barred = self.worse_than(impediment);
            left = word & !barred;
        }
        left
    }

    /// The uplinks that have an impediment worse than this one.
    const fn worse_than(&self, impediment: Impediment) -> u64 {
        let Impediments { sick, spent, .. } = self.here;
        let Common { held, draining } = self.common;
        match impediment {
            Impediment::Full => sick | spent | held | draining,
            Impediment::Sick => spent | held | draining,
            Impediment::Spent => held | draining,
            Impediment::Held => draining,
            Impediment::Draining => 0,
        }
    }
}

/// The eligible word: of the paths in `up` that have the least against them, those of the best tier that
/// has any.
///
/// `tiers` gives the members of each tier, best tier first; who stands in none is no member. The word is
/// zero only when no member's path is up. So a tier-2 uplink without impediment serves before one of tier 1
/// that is sick, and one that is draining serves when nothing else is left.
pub fn eligible(up: u64, against: &Against, tiers: &[u64]) -> u64 {
    let members = tiers.iter().fold(0, |members, tier| members | tier);
    best_tier(against.least(up & members), tiers)
}

/// Of the uplinks in `word`, those of the best tier that has any; zero when none has.
pub fn best_tier(word: u64, tiers: &[u64]) -> u64 {
    tiers
        .iter()
        .map(|tier| tier & word)
        .find(|&word| word != 0)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two uplinks of tier 1, then one of tier 2; uplink 3 is no member.
    const TIERS: [u64; 2] = [0b0011, 0b0100];

    fn against(here: Impediments, held: u64, draining: u64) -> Against {
        Against {
            here,
            common: Common { held, draining },
        }
    }

    #[test]
    fn what_nothing_speaks_against_serves_by_tier() {
        let none = Against::default();
        assert_eq!(eligible(0b1111, &none, &TIERS), 0b0011);
        assert_eq!(eligible(0b1100, &none, &TIERS), 0b0100);
        assert_eq!(eligible(0b1000, &none, &TIERS), 0, "it is no member");
        assert_eq!(eligible(0, &none, &TIERS), 0);
    }

    #[test]
    fn an_impediment_counts_before_the_tier() {
        let sick = Impediments {
            sick: 0b0011,
            ..Impediments::default()
        };
        assert_eq!(eligible(0b0111, &against(sick, 0, 0), &TIERS), 0b0100);
        assert_eq!(eligible(0b0011, &against(sick, 0, 0), &TIERS), 0b0011);
    }

    #[test]
    fn the_least_bad_serves_when_all_have_something_against_them() {
        let tiers = [0b11111];
        let mut word = 0b11111;
        let all = Against {
            here: Impediments {
                full: 1,
                sick: 2,
                spent: 4,
            },
            common: Common {
                held: 8,
                draining: 16,
            },
        };
        for (n, impediment) in Impediment::ALL.into_iter().enumerate() {
            let serves = eligible(word, &all, &tiers);
            assert_eq!(serves, 1 << n, "{impediment}");
            assert_eq!(all.of(n as u8).collect::<Vec<_>>(), [impediment]);
            word &= !serves;
        }
        assert_eq!(word, 0);
    }

    #[test]
    fn the_worst_of_several_impediments_counts() {
        // 0 is full and draining, 1 is held.
        let here = Impediments {
            full: 0b01,
            ..Impediments::default()
        };
        let both = against(here, 0b10, 0b01);
        assert_eq!(eligible(0b11, &both, &[0b11]), 0b10);
    }

    prop_compose! {
        fn any_against()(words in any::<[u64; 5]>(), masks in any::<[u64; 5]>()) -> Against {
            // About a quarter of the bits, so that there are uplinks of all kinds.
            let [full, sick, spent, held, draining] =
                std::array::from_fn(|n| words[n] & masks[n]);
            Against {
                here: Impediments { full, sick, spent },
                common: Common { held, draining },
            }
        }
    }

    proptest! {
        #[test]
        fn the_word_names_members_that_are_up_and_none_only_if_there_are_none(
            up in any::<u64>(),
            against in any_against(),
            tiers in proptest::collection::vec(any::<u64>(), 0..5),
        ) {
            let members = tiers.iter().fold(0, |all, tier| all | tier);
            let word = eligible(up, &against, &tiers);
            prop_assert_eq!(word & !(up & members), 0);
            prop_assert_eq!(word == 0, up & members == 0);
        }

        /// Who is named is nowhere worse than who is not: the worst impediment of each that is named is at
        /// most that of any other member that is up.
        #[test]
        fn nobody_serves_while_a_better_one_is_up(
            up in any::<u64>(),
            against in any_against(),
            tier in 1u64..,
        ) {
            let word = eligible(up, &against, &[tier, !tier]);
            let worst = |id: u8| against.of(id).last();
            let (mut named, mut least) = (None, None);
            for id in 0..64 {
                if word >> id & 1 == 1 {
                    named = named.max(Some(worst(id)));
                }
                if up >> id & 1 == 1 {
                    least = Some(least.map_or(worst(id), |least: Option<Impediment>| least.min(worst(id))));
                }
            }
            // `None` orders before all: nothing speaks against it.
            prop_assert_eq!(named, least);
        }
    }
}
