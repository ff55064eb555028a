//! Which slot each uplink and LAN port has, and which id each group: the one that it had under an earlier
//! controller, else a free one.

use multihome_common::limits::{MAX_GROUPS, MAX_SLOTS, MAX_UPLINKS};

use super::RunError;
use crate::config::DEFAULT_GROUP;

/// The slots of the uplinks and of the LAN ports, in the order of their names.
#[derive(Debug, PartialEq, Eq)]
pub struct Slots {
    /// Uplink ids.
    pub uplinks: Vec<u8>,
    /// LAN ports' slots.
    pub lan: Vec<u32>,
}

/// Gives each name a slot; `before` is what an earlier controller left.
///
/// # Errors
/// When there are more names than slots.
pub fn assign(
    before: &[Option<String>],
    uplinks: &[&str],
    lan: &[&str],
) -> Result<Slots, RunError> {
    let (first, second) = before.split_at(MAX_UPLINKS.min(before.len()));
    let uplinks = places(first, MAX_UPLINKS, uplinks)?;
    let lan = places(second, MAX_SLOTS - MAX_UPLINKS, lan)?;
    Ok(Slots {
        uplinks: uplinks.into_iter().map(|place| place as u8).collect(),
        lan: lan
            .into_iter()
            .map(|place| (MAX_UPLINKS + place) as u32)
            .collect(),
    })
}

/// The ids of uplinks that had their slot before; bit n = uplink n.
pub fn known(before: &[Option<String>], uplinks: &[&str], slots: &Slots) -> u64 {
    uplinks
        .iter()
        .zip(&slots.uplinks)
        .filter(|(name, id)| {
            let old = before.get(usize::from(**id)).and_then(Option::as_deref);
            old == Some(**name)
        })
        .fold(0, |word, (_, id)| word | 1 << id)
}

/// Gives each group an id; `before` is what an earlier controller left. The default group's is always 0,
/// so that a group keeps its words, and what refers to it, wherever it stands in the configuration. A new group
/// gets one that no group had, as long as there is any: rules that are still in force may name those that are
/// gone.
///
/// # Errors
/// When there are more names than ids.
pub fn groups(before: &[Option<String>], names: &[&str]) -> Result<Vec<u8>, RunError> {
    let others: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| *name != DEFAULT_GROUP)
        .collect();
    let before = before.get(1..).unwrap_or_default();
    let kept = kept(before, &others);
    let free = (0..MAX_GROUPS - 1).filter(|place| !kept.contains(&Some(*place)));
    let is_left = |place: &usize| before.get(*place).is_some_and(Option::is_some);
    let (left, never): (Vec<usize>, Vec<usize>) = free.partition(is_left);
    let mut ids = fill(&others, &kept, never.into_iter().chain(left))?.into_iter();
    Ok(names
        .iter()
        .map(|name| {
            if *name == DEFAULT_GROUP {
                0
            } else {
                ids.next().map_or(0, |place| place as u8 + 1)
            }
        })
        .collect())
}

/// The place that each name had, else a free one, the first ones first.
fn places(before: &[Option<String>], room: usize, names: &[&str]) -> Result<Vec<usize>, RunError> {
    let kept = kept(before, names);
    let free: Vec<usize> = (0..room)
        .filter(|place| !kept.contains(&Some(*place)))
        .collect();
    fill(names, &kept, free)
}

/// The place that each name had.
fn kept(before: &[Option<String>], names: &[&str]) -> Vec<Option<usize>> {
    let place = |name: &&str| before.iter().position(|old| old.as_deref() == Some(*name));
    names.iter().map(place).collect()
}

/// Gives names that had no place those that are free, in their order.
fn fill(
    names: &[&str],
    kept: &[Option<usize>],
    free: impl IntoIterator<Item = usize>,
) -> Result<Vec<usize>, RunError> {
    let mut free = free.into_iter();
    names
        .iter()
        .zip(kept)
        .map(|(name, kept)| {
            kept.or_else(|| free.next())
                .ok_or_else(|| RunError::NoSlot {
                    name: (*name).to_owned(),
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_keeps_its_id_in_whichever_order_and_the_default_one_has_the_first() {
        let mut before = vec![None; MAX_GROUPS];
        assert_eq!(
            groups(&before, &["default", "voice", "bulk"]).unwrap(),
            [0, 1, 2]
        );
        for (id, name) in ["default", "voice", "bulk"].into_iter().enumerate() {
            before[id] = Some(name.to_owned());
        }
        let ids = groups(&before, &["default", "guest", "bulk", "voice"]).unwrap();
        assert_eq!(ids, [0, 3, 2, 1]);
        let ids = groups(&before, &["default", "guest", "bulk"]).unwrap();
        assert_eq!(ids, [0, 3, 2], "rules in force may still name the first");
        let names: Vec<String> = (1..MAX_GROUPS).map(|n| format!("g{n}")).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.push("default");
        let mut ids = groups(&before, &names).unwrap();
        assert_eq!(ids.pop(), Some(0));
        ids.sort_unstable();
        assert_eq!(ids, (1..MAX_GROUPS as u8).collect::<Vec<_>>());
    }

    #[test]
    fn a_name_keeps_its_slot_and_a_new_one_takes_a_free_one() {
        let mut before = vec![None; MAX_SLOTS];
        before[0] = Some("fiber".to_owned());
        before[1] = Some("gone".to_owned());
        before[2] = Some("lte".to_owned());
        before[MAX_UPLINKS + 3] = Some("lan0".to_owned());
        let slots = assign(
            &before,
            &["lte", "cable", "fiber", "dsl"],
            &["lan1", "lan0"],
        )
        .unwrap();
        assert_eq!(slots.uplinks, [2, 1, 0, 3]);
        assert_eq!(slots.lan, [64, 67]);
        let known = known(&before, &["lte", "cable", "fiber", "dsl"], &slots);
        assert_eq!(known, 0b101, "fiber and lte");
    }
}
