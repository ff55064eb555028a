//! What speaks against uplinks, from what a controller says of itself.

use std::collections::BTreeMap;

use multihome_common::limits::{MAX_GROUPS, MAX_UPLINKS};

use crate::{
    controller::eligible::{Against, Common, Impediment, Impediments},
    dataplane::Snapshot,
    status::Status,
};

/// What speaks against uplinks in the groups, by their ids, and in each family; `None` for groups that the
/// status does not know.
pub fn table(status: &Status, snapshot: &Snapshot) -> Vec<[Option<Against>; 2]> {
    let id_of = |name: &str| {
        let mut ids = 0..MAX_UPLINKS as u8;
        ids.find(|&id| snapshot.name(id) == Some(name))
    };
    let of = |id: usize| {
        let name = snapshot.group_name(id);
        let group = status.groups.iter().find(|it| Some(&*it.name) == name);
        [group.map(|it| &it.ipv4), group.map(|it| &it.ipv6)]
            .map(|family| family.map(|family| from(&family.impediments, id_of)))
    };
    (0..MAX_GROUPS).map(of).collect()
}

fn from(
    impediments: &BTreeMap<String, Vec<String>>,
    id_of: impl Fn(&str) -> Option<u8>,
) -> Against {
    let word = |impediment: Impediment| {
        let has = |all: &Vec<String>| all.iter().any(|it| it == impediment.name());
        let names = impediments.iter().filter(|(_, all)| has(all));
        let ids = names.filter_map(|(name, _)| id_of(name));
        ids.fold(0, |word, id| word | 1u64 << (id & 63))
    };
    Against {
        here: Impediments {
            full: word(Impediment::Full),
            sick: word(Impediment::Sick),
            spent: word(Impediment::Spent),
        },
        common: Common {
            held: word(Impediment::Held),
            draining: word(Impediment::Draining),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_bits() {
        let impediments = [
            (
                "fiber".to_owned(),
                vec!["full".to_owned(), "held".to_owned()],
            ),
            ("lte".to_owned(), vec!["draining".to_owned()]),
            ("gone".to_owned(), vec!["sick".to_owned()]),
        ]
        .into();
        let ids = |name: &str| ["fiber", "lte"].iter().position(|it| *it == name);
        let against = from(&impediments, |name| ids(name).map(|id| id as u8));
        assert_eq!(against.here.full, 0b01);
        assert_eq!((against.here.sick, against.here.spent), (0, 0));
        assert_eq!((against.common.held, against.common.draining), (0b01, 0b10));
    }
}
