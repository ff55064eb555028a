//! Prints groups.

use serde::Serialize;

use super::super::{Config, NamedGroup, group::DEFAULT_GROUP};

/// A table `[[group]]`.
#[derive(Serialize)]
pub struct PrintedGroup<'c> {
    name: &'c str,
    members: &'c [String],
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
        .map(|NamedGroup { name, members }| PrintedGroup { name, members })
        .collect()
}
