//! Prints groups.

use serde::Serialize;

use super::{
    super::{
        Config, HashPolicy, MemberConfig, NamedGroup, duration::TextDuration, group::DEFAULT_GROUP,
    },
    quality::PrintedSla,
};

/// A table `[[group]]`.
#[derive(Serialize)]
pub struct PrintedGroup<'c> {
    name: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<&'static str>,
    on_uplink_loss: &'static str,
    failback: &'static str,
    failback_after: String,
    obey_quota: bool,
    members: Vec<PrintedMember<'c>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sla: Option<SlaOrOff>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum PrintedMember<'c> {
    Name(&'c str),
    Table {
        uplink: &'c str,
        weight: u32,
        tier: u8,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum SlaOrOff {
    Off(&'static str),
    Table(PrintedSla),
}

/// The tables as they would be written; the default group only where it is not made up of all uplinks, or
/// has something of its own.
pub fn printed(config: &Config) -> Vec<PrintedGroup<'_>> {
    let is_plain = |group: &NamedGroup| {
        group.name == DEFAULT_GROUP
            && group.config == config.group
            && group
                .members
                .iter()
                .cloned()
                .eq(config.uplinks.iter().map(MemberConfig::of))
    };
    let groups = config.groups.iter().filter(|group| !is_plain(group));
    groups.map(|group| printed_group(group, config)).collect()
}

fn printed_group<'c>(group: &'c NamedGroup, config: &'c Config) -> PrintedGroup<'c> {
    let member = |member: &'c MemberConfig| {
        let plain = config.uplinks.iter().map(MemberConfig::of);
        if plain.into_iter().any(|plain| plain == *member) {
            return PrintedMember::Name(&member.uplink);
        }
        PrintedMember::Table {
            uplink: &member.uplink,
            weight: member.weight,
            tier: member.tier,
        }
    };
    PrintedGroup {
        name: &group.name,
        hash: group.config.hash.map(HashPolicy::name),
        on_uplink_loss: group.config.on_uplink_loss.name(),
        failback: group.config.failback.name(),
        failback_after: TextDuration(group.config.failback_after).to_string(),
        obey_quota: group.config.obey_quota,
        members: group.members.iter().map(member).collect(),
        sla: match (&group.config.sla, &config.group.sla) {
            (Some(sla), _) => Some(SlaOrOff::Table(PrintedSla::new(sla))),
            (None, Some(_)) => Some(SlaOrOff::Off("off")),
            (None, None) => None,
        },
    }
}
