//! Which rules want each value of a dimension, as pieces in which they are the same.

use std::collections::BTreeMap;

use multihome_common::rules::RuleSet;

/// What one rule wants of a dimension: these ranges, both ends included, or anything.
pub type Wanted = Option<Vec<(u128, u128)>>;

/// The pieces of the values from 0 to `last`, each from its first value on, ascending, neighbours different.
pub fn pieces(wanted: impl IntoIterator<Item = Wanted>, last: u128) -> Vec<(u128, RuleSet)> {
    let mut set = RuleSet::NONE;
    // By where ranges begin and end: rule and whether it begins. A rule may want a value several times.
    let mut edges: BTreeMap<u128, Vec<(usize, bool)>> = BTreeMap::new();
    let mut depths = Vec::new();
    for (rule, wanted) in wanted.into_iter().enumerate() {
        depths.push(0_usize);
        match wanted {
            None => set.insert(rule),
            Some(ranges) => {
                for (first, end) in ranges {
                    edges.entry(first).or_default().push((rule, true));
                    if end < last {
                        edges.entry(end + 1).or_default().push((rule, false));
                    }
                }
            }
        }
    }
    let mut pieces = vec![(0, set)];
    for (at, edges) in edges {
        for (rule, begins) in edges {
            if begins {
                depths[rule] += 1;
                set.insert(rule);
            } else {
                depths[rule] -= 1;
                if depths[rule] == 0 {
                    set.remove(rule);
                }
            }
        }
        match pieces.last_mut() {
            Some((start, before)) if *start == at => *before = set,
            Some((_, before)) if *before == set => {}
            Some(_) | None => pieces.push((at, set)),
        }
    }
    pieces.dedup_by(|piece, before| piece.1 == before.1);
    pieces
}
