//! Weighted rendezvous hashing: the rank rows of a group.
//!
//! Each member draws a number for each bucket from the seed, its own *name* and the bucket alone,
//! so adding or losing a member never changes how two others compare: only flows of that member
//! move. With `u` uniform in (0, 1), the member with the smallest `-ln(u) / weight` comes first
//! with a probability proportional to its weight (the exponential distribution's minimum).

use std::{collections::BTreeMap, num::NonZero, ops::Range, thread};

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

/// What the members of any group have drawn for each bucket: drawn and sorted once, for all groups.
pub struct Draws {
    names: Vec<String>,
    /// `-ln(u)` of each bucket and, within it, of each name; the smallest first.
    drawn: Vec<f64>,
    /// Whose each of them is: places in `names`.
    whose: Vec<u8>,
}

impl Draws {
    /// Draws for these names.
    ///
    /// The logarithm is libm's own, the same on every machine: two gateways with the same members and
    /// seed rank alike.
    ///
    /// # Panics
    /// When there are more than 256 names, four times as many as there may be uplinks.
    pub fn new(names: Vec<String>, seed: Seed) -> Self {
        let hashes: Vec<u64> = names.iter().map(|name| name_hash(name)).collect();
        let column = |n: usize| u8::try_from(n).expect("names of uplinks");
        let draw = |bucket, hash| -libm::log(uniform(FlowHash::new(seed, [hash, bucket])));
        let part = |buckets: Range<usize>| {
            let (mut drawn, mut whose) = (Vec::new(), Vec::new());
            let mut row: Vec<(f64, u8)> = Vec::new();
            for bucket in buckets {
                row.clear();
                row.extend(
                    (hashes.iter().enumerate())
                        .map(|(n, &hash)| (draw(bucket as u64, hash), column(n))),
                );
                row.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                drawn.extend(row.iter().map(|&(draw, _)| draw));
                whose.extend(row.iter().map(|&(_, column)| column));
            }
            (drawn, whose)
        };
        let (drawn, whose): (Vec<_>, Vec<_>) = in_parts(names.len(), part).into_iter().unzip();
        Self {
            names,
            drawn: drawn.concat(),
            whose: whose.concat(),
        }
    }

    /// The rank row of every bucket, for a group of these members.
    ///
    /// # Panics
    /// When nothing was drawn for a member's name.
    pub fn rows(&self, members: &[Member]) -> Vec<RankRow> {
        let columns = self.names.len();
        let mut tiers: BTreeMap<u8, Tier> = BTreeMap::new();
        for member in members {
            let column = self.names.iter().position(|name| *name == member.name);
            let rate = 1.0 / f64::from(member.weight.max(1));
            let tier = tiers
                .entry(member.tier)
                .or_insert_with(|| Tier::new(columns));
            tier.members[column.expect("it has drawn")] = (rate, member.id);
            tier.least = tier.least.min(rate);
        }
        let row = |bucket: usize| {
            let row = bucket * columns..(bucket + 1) * columns;
            let (drawn, whose) = (&self.drawn[row.clone()], &self.whose[row]);
            (tiers.values()).fold(RankRow::EMPTY, |row, tier| {
                row.followed_by(tier.nearest(drawn, whose))
            })
        };
        let part = |buckets: Range<usize>| buckets.map(row).collect::<Vec<_>>();
        in_parts(columns, part).concat()
    }
}

/// Does some work for all buckets: where there is much of it, because there are many `columns`, on several
/// cores at once. The parts' results, in the buckets' order.
fn in_parts<T: Send>(columns: usize, work: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
    /// Fewer columns are not worth a thread.
    const MANY: usize = 16;
    const MAX_THREADS: usize = 4;
    if columns < MANY {
        return vec![work(0..BUCKETS)];
    }
    let threads = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(MAX_THREADS);
    let part = |n: usize| BUCKETS * n / threads..BUCKETS * (n + 1) / threads;
    let work = &work;
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|n| scope.spawn(move || work(part(n))))
            .collect();
        let mut done = vec![work(part(0))];
        for other in others {
            done.push(
                other
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        done
    })
}

/// The members of a tier.
struct Tier {
    /// What the draws of each name are multiplied with, one over its weight, and its id; infinity for
    /// names that are no members.
    members: Vec<(f64, u8)>,
    /// The smallest of these.
    least: f64,
}

impl Tier {
    fn new(columns: usize) -> Self {
        Self {
            members: vec![(f64::INFINITY, NO_UPLINK); columns],
            least: f64::INFINITY,
        }
    }

    /// The nearest members, at most [`RANKED`].
    ///
    /// Draws come in order, so one that would be too far even for the greatest weight ends the search;
    /// of two members that are equally near the one that drew less is the first.
    fn nearest(&self, drawn: &[f64], whose: &[u8]) -> RankRow {
        let mut nearest = Nearest {
            distances: [f64::INFINITY; RANKED],
            row: RankRow::EMPTY,
        };
        for (draw, &column) in drawn.iter().zip(whose) {
            if draw * self.least >= nearest.distances[RANKED - 1] {
                break;
            }
            let (rate, id) = self.members[usize::from(column)];
            nearest.offer(draw * rate, id);
        }
        nearest.row
    }
}

/// The nearest of those that were offered, in order.
struct Nearest {
    distances: [f64; RANKED],
    row: RankRow,
}

impl Nearest {
    #[inline]
    fn offer(&mut self, distance: f64, id: u8) {
        // Nor is one that has no weight nearer than anything.
        let is_near = distance < self.distances[RANKED - 1];
        if !is_near {
            return;
        }
        // Where it comes to stand is any place alike, so branches would be guessed wrong most of the time.
        let place = self
            .distances
            .iter()
            .map(|&it| usize::from(it <= distance))
            .sum();
        self.row = self.row.with(place, id);
        // None of them is NaN, which is what makes `f64::min` slower than this.
        let min = |a: f64, b: f64| if a < b { a } else { b };
        let max = |a: f64, b: f64| if a > b { a } else { b };
        let before = self.distances;
        for (place, it) in self.distances.iter_mut().enumerate().skip(1) {
            *it = min(before[place], max(before[place - 1], distance));
        }
        self.distances[0] = min(before[0], distance);
    }
}

/// The rank row of every bucket, for a single group.
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
