//! Which uplink the gateway's own traffic takes: one for each family, kept until it fails.

use std::cmp::Reverse;

/// An uplink that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: u8,
    /// Its failover priority.
    pub tier: u8,
    /// Its share relative to the others.
    pub weight: u32,
    /// It has a next hop on a device that is there.
    pub routable: bool,
}

/// The uplink to take: `current` as long as it serves, else the best one that does, by tier, weight and
/// the order of `candidates`. `serving` is the word that is in force for packets of the LAN.
///
/// With none that serves, it stays where it is: nothing else is better.
pub fn choose(current: Option<u8>, serving: u64, candidates: &[Candidate]) -> Option<u8> {
    let routable = |id: u8| candidates.iter().any(|it| it.id == id && it.routable);
    let serves = |id: u8| serving >> id & 1 == 1 && routable(id);
    if let Some(current) = current.filter(|&id| serves(id)) {
        return Some(current);
    }
    let best = candidates
        .iter()
        .filter(|candidate| serves(candidate.id))
        .min_by_key(|candidate| (candidate.tier, Reverse(candidate.weight)));
    best.map(|candidate| candidate.id)
        .or(current.filter(|&id| routable(id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(id: u8, tier: u8, weight: u32) -> Candidate {
        Candidate {
            id,
            tier,
            weight,
            routable: true,
        }
    }

    #[test]
    fn the_best_one_is_taken_and_kept_until_it_fails() {
        let three = [candidate(4, 1, 3), candidate(1, 1, 5), candidate(2, 2, 9)];
        assert_eq!(choose(None, 0b1_0110, &three), Some(1));
        assert_eq!(choose(Some(1), 0b1_0100, &three), Some(4));
        // The first one is back; who is connected from the other's address need not move.
        assert_eq!(choose(Some(4), 0b1_0110, &three), Some(4));
        assert_eq!(choose(Some(4), 0b0_0100, &three), Some(2));
        // A better tier has taken over: the word names the worse one no more.
        assert_eq!(choose(Some(2), 0b1_0010, &three), Some(1));
    }

    #[test]
    fn equals_are_taken_in_their_order() {
        let two = [candidate(7, 1, 1), candidate(3, 1, 1)];
        assert_eq!(choose(None, u64::MAX, &two), Some(7));
    }

    #[test]
    fn when_none_serves_it_stays() {
        let mut two = [candidate(0, 1, 1), candidate(1, 1, 1)];
        assert_eq!(choose(Some(1), 0, &two), Some(1));
        assert_eq!(choose(None, 0, &two), None);
        two[1].routable = false;
        assert_eq!(choose(Some(1), 0, &two), None);
        assert_eq!(choose(Some(1), 0b10, &two), None);
    }

    proptest! {
        /// Whatever happens, one that serves is taken if there is one, and it changes only when the
        /// one before serves no more.
        #[test]
        fn it_serves_and_does_not_change_for_nothing(
            drawn in proptest::collection::vec((1..4_u8, 1..4_u32, any::<bool>()), 1..6),
            words in proptest::collection::vec(0..64_u64, 1..30),
        ) {
            let candidates: Vec<Candidate> = (0..)
                .zip(&drawn)
                .map(|(id, &(tier, weight, routable))| Candidate { id, tier, weight, routable })
                .collect();
            let can = candidates.iter().filter(|it| it.routable).fold(0, |word, it| word | 1_u64 << it.id);
            let mut current = None;
            for word in words {
                let next = choose(current, word, &candidates);
                let serves = |id: u8| (word & can) >> id & 1 == 1;
                if word & can != 0 {
                    prop_assert!(next.is_some_and(serves));
                }
                if let Some(before) = current && serves(before) {
                    prop_assert_eq!(next, current);
                }
                prop_assert!(next.is_none_or(|id| can >> id & 1 == 1));
                current = next;
            }
        }
    }
}
