//! Weighted rendezvous hashing: the rank rows of a group.
//!
//! Each member draws a number for each bucket from the seed, its own *name* and the bucket alone,
//! so adding or losing a member never changes how two others compare: only flows of that member
//! move. With `u` uniform in (0, 1), the member with the smallest `-ln(u) / weight` comes first
//! with a probability proportional to its weight (the exponential distribution's minimum).

use std::collections::BTreeMap;

use multihome_common::{
    hash::{FlowHash, Seed},
    limits::{BUCKETS, RANKED},
    rank::{NO_UPLINK, RankRow},
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

/// What the members of any group have drawn for each bucket: drawn once, for all groups.
pub struct Draws {
    names: Vec<String>,
    /// `-ln(u)` of each bucket and, within it, of each name.
    drawn: Vec<f64>,
}

impl Draws {
    /// Draws for these names.
    ///
    /// The logarithm is libm's own, the same on every machine: two gateways with the same members and
    /// seed rank alike.
    pub fn new(names: Vec<String>, seed: Seed) -> Self {
        let hashes: Vec<u64> = names.iter().map(|name| name_hash(name)).collect();
        let draw = |bucket, hash| -libm::log(uniform(FlowHash::new(seed, [hash, bucket])));
        let drawn = (0..BUCKETS as u64)
            .flat_map(|bucket| hashes.iter().map(move |&hash| draw(bucket, hash)))
            .collect();
        Self { names, drawn }
    }

    /// The rank row of every bucket, for a group of these members.
    ///
    /// # Panics
    /// When nothing was drawn for a member's name.
    pub fn rows(&self, members: &[Member]) -> Vec<RankRow> {
        let mut tiers: BTreeMap<u8, Tier> = BTreeMap::new();
        for member in members {
            let column = self.names.iter().position(|name| *name == member.name);
            let weight = f64::from(member.weight.max(1));
            let tier = tiers.entry(member.tier).or_default();
            tier.weight += weight;
            tier.members.push(Drawing {
                column: column.expect("it has drawn"),
                rate: 1.0 / weight,
                id: member.id,
            });
        }
        for tier in tiers.values_mut() {
            // Of two that are equally near the one with the lower id is offered first, and stays so.
            tier.members.sort_by_key(|member| member.id);
        }
        let columns = self.names.len();
        (0..BUCKETS)
            .map(|bucket| {
                let drawn = &self.drawn[bucket * columns..][..columns];
                let ids = tiers.values().flat_map(|tier| tier.nearest(drawn).ids());
                RankRow::new(ids.take(RANKED))
            })
            .collect()
    }
}

/// A member of a tier.
struct Drawing {
    column: usize,
    /// What its draws are multiplied with: one over its weight.
    rate: f64,
    id: u8,
}

/// The members of a tier, by id.
#[derive(Default)]
struct Tier {
    members: Vec<Drawing>,
    weight: f64,
}

impl Tier {
    /// How many members, on average, are nearer than where the search for the nearest begins.
    const LIKELY: f64 = 15.0;

    /// The nearest members, at most [`RANKED`].
    ///
    /// Nearly always they are among those within a distance that about twice as many are, which spares
    /// most members more than one comparison: distances add up to a Poisson process of the weights.
    fn nearest(&self, drawn: &[f64]) -> Nearest {
        let wanted = self.members.len().min(RANKED);
        let mut nearest = self.within(Self::LIKELY / self.weight, drawn);
        if nearest.ids[wanted.max(1) - 1] == NO_UPLINK {
            nearest = self.within(f64::INFINITY, drawn);
        }
        nearest
    }

    fn within(&self, distance: f64, drawn: &[f64]) -> Nearest {
        let mut nearest = Nearest {
            distances: [distance; RANKED],
            ids: [NO_UPLINK; RANKED],
        };
        for member in &self.members {
            nearest.offer(drawn[member.column] * member.rate, member.id);
        }
        nearest
    }
}

/// The nearest of those that were offered, in order.
struct Nearest {
    distances: [f64; RANKED],
    ids: [u8; RANKED],
}

impl Nearest {
    #[inline]
    fn offer(&mut self, distance: f64, id: u8) {
        if distance >= self.distances[RANKED - 1] {
            return;
        }
        let mut place = RANKED - 1;
        while place > 0 && distance < self.distances[place - 1] {
            self.distances[place] = self.distances[place - 1];
            self.ids[place] = self.ids[place - 1];
            place -= 1;
        }
        self.distances[place] = distance;
        self.ids[place] = id;
    }

    fn ids(self) -> impl Iterator<Item = u8> {
        self.ids.into_iter().take_while(|&id| id != NO_UPLINK)
    }
}

/// The rank row of every bucket, for the one group that there is.
pub fn rank_rows(members: &[Member], seed: Seed) -> Vec<RankRow> {
    let names = members.iter().map(|member| member.name.clone()).collect();
    Draws::new(names, seed).rows(members)
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

    /// The ranking as it is defined, by sorting all members.
    #[test]
    fn rows_are_the_first_of_all_members_in_order() {
        let members: Vec<Member> = (0..64)
            .map(|id| member(id, &format!("uplink{id}"), 1 + u32::from(id) % 7, id % 3))
            .collect();
        for count in [0, 1, 5, 8, 9, 64] {
            let members = &members[..count];
            let rows = rank_rows(members, [5, 6]);
            assert_eq!(rows.len(), BUCKETS);
            for (bucket, row) in (0..BUCKETS as u64).zip(rows) {
                let mut order: Vec<(u8, f64, u8)> = members
                    .iter()
                    .map(|member| {
                        let hash = FlowHash::new([5, 6], [name_hash(&member.name), bucket]);
                        let distance = -libm::log(uniform(hash)) * (1.0 / f64::from(member.weight));
                        (member.tier, distance, member.id)
                    })
                    .collect();
                order.sort_by(|a, b| a.partial_cmp(b).unwrap());
                let ids = order.iter().take(RANKED).map(|&(_, _, id)| id);
                assert_eq!(row, RankRow::new(ids), "bucket {bucket}");
            }
        }
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
