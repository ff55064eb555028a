//! Which slot each uplink and LAN port has: the one that it had under an earlier controller, else a
//! free one.

use multihome_common::limits::{MAX_SLOTS, MAX_UPLINKS};

use super::RunError;

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

fn places(before: &[Option<String>], room: usize, names: &[&str]) -> Result<Vec<usize>, RunError> {
    let kept: Vec<Option<usize>> = names
        .iter()
        .map(|name| before.iter().position(|old| old.as_deref() == Some(*name)))
        .collect();
    let mut free = (0..room).filter(|place| !kept.contains(&Some(*place)));
    names
        .iter()
        .zip(&kept)
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
