//! What the words would be if uplinks were down: as the controller would make them.

use multihome_common::{abi::MemberTiers, state::SharedState};

use crate::controller::{
    FAMILIES,
    eligible::{Against, Common, Impediments, eligible},
};

/// What speaks against uplinks, by group and family, where that is known.
pub type Known<'a> = dyn Fn(usize, usize) -> Option<Against> + 'a;

/// Takes uplinks down: bit n of `down` = uplink n.
pub fn take_down(state: &mut SharedState, down: u64, tiers: &[MemberTiers], known: &Known<'_>) {
    for family in FAMILIES {
        let alive = state.alive[family];
        for (id, (group, tiers)) in state.groups.iter_mut().zip(tiers).enumerate() {
            let before = group.eligible[family];
            let tiers = by_tier(tiers);
            let against = known(id, family).unwrap_or_else(|| inferred(before, alive, &tiers));
            // What is eligible is up, whatever its path's bit says just now.
            let up = (alive | before) & !down;
            group.eligible[family] = eligible(up, &against, &tiers);
            let good = match before {
                0 => group.last_good[family],
                before => before,
            };
            group.last_good[family] = good & !down;
            group.settled[family] &= !down;
        }
        state.alive[family] &= !down;
    }
}

/// The members of each tier, best tier first.
fn by_tier(tiers: &MemberTiers) -> Vec<u64> {
    let mut all: Vec<u8> = tiers.iter().copied().filter(|&tier| tier != 0).collect();
    all.sort_unstable();
    all.dedup();
    let members = |tier: u8| {
        let ids = (0..).zip(tiers).filter(move |(_, of)| **of == tier);
        ids.fold(0, |word, (id, _): (u32, _)| word | 1u64 << id)
    };
    all.into_iter().map(members).collect()
}

/// What must speak against uplinks for the words to be what they are: something against those that are alive,
/// of no worse a tier than those that are eligible, and not among them. What speaks against worse tiers cannot
/// be told.
fn inferred(eligible: u64, alive: u64, tiers: &[u64]) -> Against {
    let best = tiers.iter().position(|tier| tier & eligible != 0);
    let no_worse = match best {
        Some(best) => tiers[..=best].iter().fold(0, |word, tier| word | tier),
        None => 0,
    };
    Against {
        here: Impediments::default(),
        common: Common {
            held: alive & no_worse & !eligible,
            draining: 0,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multihome_common::{limits::MAX_UPLINKS, sim::SimTables, state::IPV4};

    /// Uplinks 0 and 1 of tier 1, 2 of tier 2, 3 of tier 3.
    fn tiers() -> Vec<MemberTiers> {
        let mut tiers = [0; MAX_UPLINKS];
        tiers[..4].copy_from_slice(&[1, 1, 2, 3]);
        vec![tiers]
    }

    fn after(eligible: u64, alive: u64, down: u64) -> [u64; 3] {
        let mut state = *SimTables::default().state;
        state.alive = [alive; 2];
        state.groups[0].eligible = [eligible; 2];
        state.groups[0].settled = [eligible; 2];
        take_down(&mut state, down, &tiers(), &|_, _| None);
        let group = &state.groups[0];
        [group.eligible[IPV4], state.alive[IPV4], group.settled[IPV4]]
    }

    #[test]
    fn the_others_of_the_tier_serve_then_the_next_tier() {
        assert_eq!(after(0b0011, 0b1111, 0b0001), [0b0010, 0b1110, 0b0010]);
        assert_eq!(after(0b0011, 0b1111, 0b0011), [0b0100, 0b1100, 0]);
        assert_eq!(after(0b0011, 0b1011, 0b0011), [0b1000, 0b1000, 0]);
        assert_eq!(after(0b0011, 0b0011, 0b0011), [0, 0, 0]);
    }

    #[test]
    fn what_was_passed_over_is_passed_over_still_while_there_is_another() {
        // Uplink 1 is up and not eligible: something speaks against it, and worse than a worse tier.
        assert_eq!(after(0b0001, 0b0111, 0b0001), [0b0100, 0b0110, 0]);
        assert_eq!(after(0b0001, 0b0011, 0b0001), [0b0010, 0b0010, 0]);
    }

    #[test]
    fn what_is_known_to_speak_against_uplinks_counts() {
        let mut state = *SimTables::default().state;
        state.alive = [0b1111; 2];
        state.groups[0].eligible = [0b0011; 2];
        let draining = Against {
            common: Common {
                draining: 0b0100,
                ..Common::default()
            },
            ..Against::default()
        };
        take_down(&mut state, 0b0011, &tiers(), &|_, _| Some(draining));
        assert_eq!(state.groups[0].eligible, [0b1000; 2]);
    }

    #[test]
    fn with_nothing_left_the_last_that_was_good_and_is_not_down_serves() {
        let mut state = *SimTables::default().state;
        state.groups[0].last_good = [0b0011; 2];
        take_down(&mut state, 0b0001, &tiers(), &|_, _| None);
        assert_eq!(state.groups[0].last_good, [0b0010; 2]);
    }
}
