//! Prints groups.

use serde::Serialize;

use super::{
    super::{Config, NamedGroup, group::DEFAULT_GROUP},
    quality::PrintedSla,
};

/// A table `[[group]]`.
#[derive(Serialize)]
pub struct PrintedGroup<'c> {
    name: &'c str,
    members: &'c [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    obey_quota: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sla: Option<PrintedSla>,
}

/// The tables as they would be written; the default group only where it is not made up of all uplinks.
pub fn printed(config: &Config) -> Vec<PrintedGroup<'_>> {
    let all = |group: &NamedGroup| {
        let uplinks = config.uplinks.iter().map(|uplink| &uplink.name);
        group.members.iter().eq(uplinks)
    };
    config
        .groups
        .iter()
        .filter(|group| group.name != DEFAULT_GROUP || !all(group))
        .map(|group| {
            // What the default group asks for stands at the top.
            let here = group.name != DEFAULT_GROUP;
            PrintedGroup {
                name: &group.name,
                members: &group.members,
                obey_quota: here.then_some(group.obey_quota),
                sla: group.sla.as_ref().filter(|_| here).map(PrintedSla::new),
            }
        })
        .collect()
}
