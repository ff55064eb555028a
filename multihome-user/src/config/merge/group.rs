//! Checks groups: each alone, against the uplinks, and against the others.

use std::collections::BTreeMap;

use multihome_common::limits::MAX_GROUPS;

use super::{
    super::{
        GroupConfig, MemberConfig, NamedGroup, UplinkConfig,
        error::{ConfigError, GroupError, QualityError},
        group::DEFAULT_GROUP,
        layer::{GroupLayer, MemberLayer, NamedGroupLayer, SlaWord},
        origin::{Located, Origin},
        suggest,
        value::UplinkName,
    },
    quality,
};

/// What the groups do that say nothing of their own.
pub fn common(layer: GroupLayer) -> Result<GroupConfig, QualityError> {
    over(&GroupConfig::default(), layer)
}

/// What a group does that says this of its own, and of which `common` holds otherwise.
fn over(common: &GroupConfig, layer: GroupLayer) -> Result<GroupConfig, QualityError> {
    Ok(GroupConfig {
        hash: layer.hash.or(common.hash),
        on_uplink_loss: layer.on_uplink_loss.unwrap_or(common.on_uplink_loss),
        failback: layer.failback.unwrap_or(common.failback),
        failback_after: layer
            .failback_after
            .map_or(common.failback_after, |after| after.0),
        sla: match layer.sla {
            None => common.sla,
            Some(Located { value, origin }) => match value {
                SlaWord::Off => None,
                SlaWord::Table(value) => Some(quality::sla(Located { value, origin })?),
            },
        },
        obey_quota: layer.obey_quota.unwrap_or(common.obey_quota),
    })
}

/// Where the names of groups stand.
pub fn origins(groups: &[NamedGroupLayer]) -> BTreeMap<String, Origin> {
    let names = groups.iter().map(|group| &group.name);
    names
        .map(|name| (name.value.0.clone(), name.origin.clone()))
        .collect()
}

/// The groups, the default one first. It is made up of all uplinks when none bears its name.
pub fn check(
    groups: Vec<NamedGroupLayer>,
    common: &GroupConfig,
    uplinks: &[UplinkConfig],
) -> Result<Vec<NamedGroup>, ConfigError> {
    let all = || uplinks.iter().map(MemberConfig::of).collect();
    let mut checked = vec![NamedGroup {
        name: DEFAULT_GROUP.into(),
        members: all(),
        config: *common,
    }];
    let mut seen: Vec<(String, Origin)> = Vec::new();
    for group in groups {
        let Located {
            value: name,
            origin,
        } = group.name;
        let name = name.0;
        if let Some((_, first)) = seen.iter().find(|(seen, _)| *seen == name) {
            return Err(GroupError::SameName {
                origin,
                name: name.into(),
                first: first.clone(),
            }
            .into());
        }
        seen.push((name.clone(), origin.clone()));
        let members = match group.members {
            None => all(),
            Some(members) if members.is_empty() => {
                return Err(GroupError::Empty {
                    origin,
                    name: name.into(),
                }
                .into());
            }
            Some(members) => check_members(members, uplinks)?,
        };
        let group = NamedGroup {
            members,
            config: over(common, group.group)?,
            name,
        };
        if group.name == DEFAULT_GROUP {
            checked[0] = group;
        } else if checked.len() == MAX_GROUPS {
            return Err(GroupError::TooMany { origin }.into());
        } else {
            checked.push(group);
        }
    }
    Ok(checked)
}

/// Uplinks, each once.
fn check_members(
    members: Vec<Located<MemberLayer>>,
    uplinks: &[UplinkConfig],
) -> Result<Vec<MemberConfig>, GroupError> {
    let mut checked: Vec<MemberConfig> = Vec::new();
    for Located { value, origin } in members {
        let MemberLayer {
            uplink: UplinkName(name),
            weight,
            tier,
        } = value;
        let Some(uplink) = uplinks.iter().find(|uplink| uplink.name == name) else {
            let mut known = uplinks.iter().map(|uplink| uplink.name.as_str());
            return Err(GroupError::UnknownUplink {
                origin,
                suggestion: suggest::closest(&name, &mut known),
                name: name.into(),
            });
        };
        if checked.iter().any(|member| member.uplink == name) {
            return Err(GroupError::SameUplink {
                origin,
                name: name.into(),
            });
        }
        checked.push(MemberConfig {
            uplink: name,
            weight: weight.map_or(uplink.weight, |weight| weight.0),
            tier: tier.map_or(uplink.tier, |tier| tier.0),
        });
    }
    Ok(checked)
}
