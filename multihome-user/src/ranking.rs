//! Weighted rendezvous hashing: the rank rows of a group.
//!
//! Each member draws a number for each bucket from the seed, its own *name* and the bucket alone,
//! so adding or losing a member never changes how two others compare: only flows of that member
//! move. With `u` uniform in (0, 1), the member with the smallest `-ln(u) / weight` comes first
//! with a probability proportional to its weight (the exponential distribution's minimum).

use multihome_common::{
    hash::{FlowHash, Seed},
    limits::{BUCKETS, RANKED},
    rank::RankRow,
};

/// One uplink in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The uplink's id: its bit in the words.
    pub id: u8,
    /// The uplink's name, its identity in the ranking.
    pub name: String,
    /// Its share relative to the other members of its tier, at least 1.
    pub weight: u32,
    /// Failover priority: lower tiers rank first.
    pub tier: u8,
}

/// The rank row of every bucket.
///
/// The logarithm is libm's own, the same on every machine: two gateways with the same members and
/// seed rank alike.
pub fn rank_rows(members: &[Member], seed: Seed) -> Vec<RankRow> {
    let names: Vec<u64> = members
        .iter()
        .map(|member| name_hash(&member.name))
        .collect();
    let mut order: Vec<(u8, f64, u8)> = Vec::with_capacity(members.len());
    (0..BUCKETS as u64)
        .map(|bucket| {
            order.clear();
            for (member, name) in members.iter().zip(&names) {
                let draw = uniform(FlowHash::new(seed, [*name, bucket]));
                let distance = -libm::log(draw) / f64::from(member.weight.max(1));
                order.push((member.tier, distance, member.id));
            }
            order.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
            RankRow::new(order.iter().take(RANKED).map(|&(_, _, id)| id))
        })
        .collect()
}

/// A number in (0, 1): 53 bits of the hash, and never zero.
fn uniform(hash: FlowHash) -> f64 {
    ((hash.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// The name as a number (FNV-1a, 64 bits).
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u8, name: &str, weight: u32, tier: u8) -> Member {
        Member {
            id,
            name: name.to_owned(),
            weight,
            tier,
        }
    }

    #[test]
    fn the_ids_do_not_decide_only_the_names_do() {
        let a = rank_rows(
            &[member(0, "fiber", 5, 1), member(1, "cable", 3, 1)],
            [7, 9],
        );
        let b = rank_rows(
            &[member(1, "fiber", 5, 1), member(0, "cable", 3, 1)],
            [7, 9],
        );
        let swap = |row: RankRow| match row.first_in(3) {
            Some(id) => 1 - id,
            None => unreachable!("both are in the word"),
        };
        assert!(
            a.iter()
                .zip(&b)
                .all(|(a, b)| a.first_in(3) == Some(swap(*b)))
        );
    }

    #[test]
    fn a_lower_tier_ranks_behind_all_of_a_higher_one() {
        let rows = rank_rows(
            &[member(0, "lte", 1_000_000, 2), member(1, "dsl", 1, 1)],
            [1, 2],
        );
        assert!(
            rows.iter()
                .all(|row| row.first_in(3) == Some(1) && row.first_in(1) == Some(0))
        );
    }

    #[test]
    fn shares_follow_weights() {
        let members = [
            member(0, "a", 5, 1),
            member(1, "b", 3, 1),
            member(2, "c", 2, 1),
        ];
        for seed in 0..20 {
            let rows = rank_rows(&members, [seed, 3]);
            let share = |id| {
                rows.iter()
                    .filter(|row| row.first_in(7) == Some(id))
                    .count() as f64
                    / rows.len() as f64
            };
            for (id, weight) in [(0, 0.5), (1, 0.3), (2, 0.2)] {
                assert!(
                    (share(id) - weight).abs() < 0.016,
                    "seed {seed}: {} for {weight}",
                    share(id)
                );
            }
        }
    }
}
