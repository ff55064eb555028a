//! How the groups stand, for the status document.

use multihome_common::state::{IPV4, IPV6};

use super::Names;
use crate::{
    controller::{Controller, group::Group},
    status::{GroupFamilyStatus, GroupStatus},
};

/// All groups, in the order of the configuration.
pub fn groups(controller: &Controller, names: &Names) -> Vec<GroupStatus> {
    let status = |group: &Group| GroupStatus {
        name: group.name.clone(),
        members: named(names, group.members()),
        ipv4: family_status(controller, names, group, IPV4),
        ipv6: family_status(controller, names, group, IPV6),
    };
    controller.groups().iter().map(status).collect()
}

fn family_status(
    controller: &Controller,
    names: &Names,
    group: &Group,
    family: usize,
) -> GroupFamilyStatus {
    let up = controller
        .uplinks()
        .iter()
        .filter(|uplink| uplink.paths[family].is_up())
        .fold(0, |word, uplink| word | 1u64 << uplink.id);
    let eligible = group.eligible(family);
    let against = group.against(family, controller.common(family));
    let members = names
        .uplinks
        .iter()
        .filter(|(id, _)| group.members() >> id & 1 == 1);
    let impediments = members.filter_map(|(id, name)| {
        let all: Vec<String> = against.of(*id).map(|it| it.name().to_owned()).collect();
        (!all.is_empty()).then(|| (name.clone(), all))
    });
    GroupFamilyStatus {
        eligible: named(names, eligible),
        alive: named(names, up & group.members()),
        last_good: if eligible == 0 {
            named(names, group.last_good(family))
        } else {
            Vec::new()
        },
        impediments: impediments.collect(),
    }
}

/// The names of the uplinks in a word.
fn named(names: &Names, word: u64) -> Vec<String> {
    let of = names.uplinks.iter().filter(|(id, _)| word >> id & 1 == 1);
    of.map(|(_, name)| name.clone()).collect()
}
