//! How the groups stand, for the status document.

use std::collections::BTreeMap;

use multihome_common::state::{IPV4, IPV6};

use super::Names;
use crate::{
    controller::{Controller, group::Group},
    ranking::Member,
    status::{GroupFamilyStatus, GroupStatus},
};

/// All groups, in the order of the configuration.
pub fn groups(controller: &Controller, names: &Names) -> Vec<GroupStatus> {
    let status = |group: &Group| GroupStatus {
        name: group.name.clone(),
        members: named(names, group.members()),
        weights: each(group, |member| member.weight),
        tiers: each(group, |member| member.tier),
        on_uplink_loss: group.config().on_uplink_loss.name().to_owned(),
        failback: group.config().failback.name().to_owned(),
        failback_after_seconds: group.config().failback_after.as_secs_f64(),
        obey_quota: group.obeys_quota(),
        ipv4: family_status(controller, names, group, IPV4),
        ipv6: family_status(controller, names, group, IPV6),
    };
    controller.groups().iter().map(status).collect()
}

/// Something of each member, by its name.
fn each<T>(group: &Group, of: impl Fn(&Member) -> T) -> BTreeMap<String, T> {
    let members = group.ranked().iter();
    members.map(|it| (it.name.clone(), of(it))).collect()
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
        hash: controller.hash_of(group, family).name().to_owned(),
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
