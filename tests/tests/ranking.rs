//! What the ranking promises about flows, in the code that the controller fills the rows with and
//! the kernel reads them with: only flows of lost uplinks move, exactly those return, tiers come in
//! order, and shares follow the weights.

use multihome::ranking::{Member, rank_rows};
use multihome_common::{
    address::{Address4, Address6},
    family::{Family, V4, V6},
    hash::{FlowHash, Seed},
    limits::{BUCKETS, RANKED},
    parse::Network,
    rank::{self, RankRow},
    state::{GroupWords, IPV4, IPV6, Policy},
    way::steer::Ends,
};
use proptest::{collection, prelude::*, sample};

/// Members with distinct ids and names, of any weights and tiers.
fn members(count: impl Into<collection::SizeRange>) -> impl Strategy<Value = Vec<Member>> {
    let ids: Vec<u8> = (0..64).collect();
    let weight = prop_oneof![1u32..=10, 1u32..=1_000_000];
    let traits = collection::vec((weight, 1u8..=3), count);
    (traits, Just(ids).prop_shuffle(), "[a-z]{1,8}").prop_map(|(traits, ids, name)| {
        traits
            .into_iter()
            .zip(ids)
            .enumerate()
            .map(|(n, ((weight, tier), id))| Member {
                id,
                name: format!("{name}{n}"),
                weight,
                tier,
            })
            .collect()
    })
}

/// Some of the members: a word of them.
fn some_of(members: &[Member]) -> impl Strategy<Value = u64> + use<> {
    let ids: Vec<u8> = members.iter().map(|member| member.id).collect();
    sample::subsequence(ids.clone(), 0..=ids.len())
        .prop_map(|ids| ids.iter().fold(0, |word, id| word | 1 << id))
}

fn word_of(members: &[Member]) -> u64 {
    members.iter().fold(0, |word, member| word | 1 << member.id)
}

/// A group, which of its members are down at three times, and the hashes of some flows.
fn stories(
    count: impl Into<collection::SizeRange>,
) -> impl Strategy<Value = (Vec<Member>, Seed, [u64; 3], Vec<u64>)> {
    members(count).prop_flat_map(|members| {
        let down = [some_of(&members), some_of(&members), some_of(&members)];
        (
            Just(members),
            any::<Seed>(),
            down,
            collection::vec(any::<u64>(), 1000),
        )
    })
}

fn with(eligible: u64) -> GroupWords {
    GroupWords {
        eligible: [eligible; 2],
        ..GroupWords::ZERO
    }
}

/// What the kernel does with a flow's hash.
fn choose(rows: &[RankRow], words: &GroupWords, hash: u64) -> Option<u8> {
    let hash = FlowHash(hash);
    rank::choose(rows[hash.bucket() as usize], words, IPV4, hash)
}

fn is_in(word: u64, id: Option<u8>) -> bool {
    id.is_some_and(|id| word >> id & 1 == 1)
}

proptest! {
    // Each case ranks all 16 384 buckets.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn only_flows_of_lost_uplinks_move_and_exactly_those_return(
        (members, seed, down, flows) in stories(1..=RANKED)
    ) {
        let rows = rank_rows(&members, seed);
        let all = word_of(&members);
        for hash in flows {
            let mut words = with(all);
            let before = choose(&rows, &words, hash);
            prop_assert!(is_in(all, before));
            // One failure on top of another, in any order, is judged as each on its own is.
            for down in [down[0], down[0] | down[1], down[1], down[1] | down[2], down[2]] {
                words.eligible = [all & !down; 2];
                let during = choose(&rows, &words, hash);
                if all & !down == 0 {
                    prop_assert_eq!(during, None);
                } else if is_in(down, before) {
                    prop_assert!(is_in(all & !down, during));
                } else {
                    prop_assert_eq!(during, before, "a flow of an uplink that is up moved");
                }
            }
            words.eligible = [all; 2];
            prop_assert_eq!(choose(&rows, &words, hash), before, "not back where it was");
        }
    }

    /// Between any two times, not only from and to "all up": who could stay, stays.
    #[test]
    fn a_flow_moves_only_when_its_uplink_went_or_a_better_one_came(
        (members, seed, down, flows) in stories(1..=RANKED)
    ) {
        let rows = rank_rows(&members, seed);
        let all = word_of(&members);
        for pair in [[down[0], down[1]], [down[1], down[2]]] {
            let [before, after] = pair.map(|down| all & !down);
            for &hash in &flows {
                let old = choose(&rows, &with(before), hash);
                let new = choose(&rows, &with(after), hash);
                if is_in(after, old) && is_in(before, new) {
                    prop_assert_eq!(old, new);
                }
            }
        }
    }

    /// A row has room for eight. As long as one of them is up, a larger group behaves like a small
    /// one; when none is, every flow still has an uplink, and returns to its own.
    #[test]
    fn more_members_than_a_row_has_room_for(
        (members, seed, down, flows) in stories(RANKED + 1..=40)
    ) {
        let rows = rank_rows(&members, seed);
        let all = word_of(&members);
        for hash in flows {
            let before = choose(&rows, &with(all), hash);
            for down in down {
                let up = all & !down;
                let during = choose(&rows, &with(up), hash);
                let ranked = rows[FlowHash(hash).bucket() as usize].first_in(up);
                prop_assert!(up == 0 || is_in(up, during));
                if up != 0 && is_in(up, before) {
                    prop_assert_eq!(during, before, "a flow of an uplink that is up moved");
                }
                if ranked.is_some() {
                    prop_assert_eq!(during, ranked);
                }
            }
            prop_assert_eq!(choose(&rows, &with(all), hash), before);
        }
    }

    #[test]
    fn the_best_tier_that_has_an_uplink_up_carries_all(
        (members, seed, down, flows) in stories(1..=RANKED)
    ) {
        let rows = rank_rows(&members, seed);
        let all = word_of(&members);
        for down in down {
            let up = all & !down;
            let tier = |id: u8| members.iter().find(|m| m.id == id).map(|m| m.tier);
            let best = members.iter().filter(|m| up >> m.id & 1 == 1).map(|m| m.tier).min();
            for &hash in &flows {
                prop_assert_eq!(choose(&rows, &with(up), hash).and_then(tier), best);
            }
        }
    }

    /// Another uplink in the configuration takes flows from the others, and moves none between
    /// them; taken out again, its flows alone move.
    #[test]
    fn a_new_member_moves_flows_to_itself_alone(
        (members, seed, _, flows) in stories(2..=20), which in any::<sample::Index>()
    ) {
        let with_it = rank_rows(&members, seed);
        let mut others = members.clone();
        let it = others.remove(which.index(members.len()));
        let without_it = rank_rows(&others, seed);
        let (all, rest) = (with(word_of(&members)), with(word_of(&others)));
        for hash in flows {
            let new = choose(&with_it, &all, hash);
            if new != Some(it.id) {
                prop_assert_eq!(new, choose(&without_it, &rest, hash));
            }
        }
    }

    /// When every probe fails at once, every flow stays where it was.
    #[test]
    fn with_nothing_eligible_the_last_known_good_keep_their_flows(
        (members, seed, down, flows) in stories(1..=RANKED)
    ) {
        let rows = rank_rows(&members, seed);
        let good = word_of(&members) & !down[0];
        let before = GroupWords { last_good: [down[1]; 2], ..with(good) };
        let during = GroupWords { last_good: [good; 2], ..with(0) };
        prop_assume!(good != 0);
        for hash in flows {
            prop_assert_eq!(choose(&rows, &during, hash), choose(&rows, &before, hash));
        }
    }
}

/// The hashes of many flows as a LAN has them: few hosts, ports one after the other, few servers.
fn flows(seed: Seed, count: u32) -> impl Iterator<Item = (FlowHash, FlowHash)> {
    (0..count).map(move |n| {
        let ports = (32_768 + n / 20) << 16 | 443;
        let (host, server) = (u64::from(n % 5), u64::from(n / 5 % 4));
        let v4 = Network {
            source: Address4(0x0a01_0002 + host as u32),
            destination: Address4(0xcb00_7109 + server as u32),
            protocol: 6,
            hop_limit: 64,
            fragment: false,
            later_fragment: false,
            len: 1500,
            transport_at: 34,
            end: 1500,
            ports,
        };
        let v6 = Network {
            source: Address6 {
                high: 0x2001_0db8_0001_0000,
                low: 2 + host,
            },
            destination: Address6 {
                high: 0x2001_0db8_ffff_0000,
                low: 9 + server,
            },
            protocol: v4.protocol,
            hop_limit: v4.hop_limit,
            fragment: v4.fragment,
            later_fragment: v4.later_fragment,
            len: v4.len,
            transport_at: 54,
            end: 1500,
            ports,
        };
        let policy = Policy::FiveTuple;
        (
            V4::hash(seed, policy, &Ends::outward(&v4)),
            V6::hash(seed, policy, &Ends::outward(&v6)),
        )
    })
}

const FLOWS: u32 = 10_000;

/// How many of [`FLOWS`] each uplink of a group carries, for IPv4 and for IPv6.
fn counts(rows: &[RankRow], seed: Seed, words: &GroupWords) -> [[u32; 64]; 2] {
    let mut counts = [[0; 64]; 2];
    for (v4, v6) in flows(seed, FLOWS) {
        for (family, hash) in [(IPV4, v4), (IPV6, v6)] {
            let row = rows[hash.bucket() as usize];
            let id = rank::choose(row, words, family, hash).expect("one is up");
            counts[family][usize::from(id)] += 1;
        }
    }
    counts
}

/// Shares of 5:3:2 in 10 000 flows are within two percentage points of the weights, and with one
/// uplink down the two others share in the proportion of theirs.
#[test]
fn shares_follow_the_weights() {
    let weights = [5, 3, 2];
    let members: Vec<Member> = weights
        .iter()
        .zip(["fibre", "cable", "lte"])
        .enumerate()
        .map(|(id, (&weight, name))| Member {
            id: id as u8,
            name: name.to_owned(),
            weight,
            tier: 1,
        })
        .collect();
    let mut squares = Vec::new();
    for seed in 1..=40 {
        let seed = [seed, 0x5eed];
        let rows = rank_rows(&members, seed);
        for up in [0b111u64, 0b110, 0b101, 0b011] {
            let whole: u32 = (0..3)
                .filter(|id| up >> id & 1 == 1)
                .map(|id| weights[id])
                .sum();
            for counts in counts(&rows, seed, &with(up)) {
                for id in 0..3 {
                    if up >> id & 1 == 0 {
                        assert_eq!(counts[id], 0, "{id} is down");
                        continue;
                    }
                    let right = f64::from(weights[id]) / f64::from(whole);
                    let off = f64::from(counts[id]) / f64::from(FLOWS) - right;
                    assert!(
                        up != 0b111 || off.abs() <= 0.02,
                        "{seed:?}: {id} is off by {off}"
                    );
                    // What chance makes of it: which buckets an uplink drew, and which flows fell
                    // into them.
                    let draws = 1.0 / f64::from(FLOWS) + 1.0 / BUCKETS as f64;
                    let deviation = off / (right * (1.0 - right) * draws).sqrt();
                    assert!(
                        deviation.abs() < 4.5,
                        "{seed:?}, {up:b}: {id} is off by {off}"
                    );
                    squares.push(deviation * deviation);
                }
            }
        }
    }
    // A hash that does not mix would be further off than chance, or too even.
    let mean = squares.iter().sum::<f64>() / squares.len() as f64;
    assert!(
        (0.6..1.6).contains(&mean),
        "the mean square deviation is {mean}, not 1"
    );
}

/// A hostile outsider who knows everything but the seed cannot tell which uplink a flow takes:
/// under two seeds the choices have no more in common than chance gives them.
#[test]
fn another_seed_is_another_assignment() {
    let members: Vec<Member> = (0..4)
        .map(|id| Member {
            id,
            name: format!("isp{id}"),
            weight: 1,
            tier: 1,
        })
        .collect();
    let choices = |seed: Seed| -> Vec<Option<u8>> {
        let rows = rank_rows(&members, seed);
        flows(seed, 10_000)
            .map(|(v4, _)| choose(&rows, &with(0b1111), v4.0))
            .collect()
    };
    let (a, b) = (choices([1, 2]), choices([1, 3]));
    let same = a.iter().zip(&b).filter(|(a, b)| a == b).count();
    assert!(
        (2200..2800).contains(&same),
        "{same} of 10 000 flows take the same uplink"
    );
}
