//! Checks groups: each alone, against the uplinks, and against the others.

use multihome_common::limits::MAX_GROUPS;

use super::super::{
    NamedGroup, UplinkConfig,
    error::{ConfigError, GroupError, QualityError},
    group::DEFAULT_GROUP,
    layer::{AskedLayer, NamedGroupLayer},
    origin::{Located, Origin},
    suggest,
    value::UplinkName,
};
use super::quality;

/// The groups, the default one first. It is made up of all uplinks when none bears its name.
pub fn check(
    groups: Vec<NamedGroupLayer>,
    default: AskedLayer,
    uplinks: &[UplinkConfig],
) -> Result<Vec<NamedGroup>, ConfigError> {
    let all = || uplinks.iter().map(|uplink| uplink.name.clone()).collect();
    let mut checked = vec![NamedGroup {
        name: DEFAULT_GROUP.into(),
        members: all(),
        sla: default.sla.map(quality::sla).transpose()?,
        obey_quota: default.obey_quota.unwrap_or(true),
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
        let sla = group.asked.sla.map(quality::sla).transpose()?;
        if name == DEFAULT_GROUP {
            checked[0].members = members;
            let twice = |key| QualityError::Twice {
                origin: origin.clone(),
                key,
            };
            if let Some(sla) = sla
                && checked[0].sla.replace(sla).is_some()
            {
                return Err(twice("sla").into());
            }
            if let Some(obey) = group.asked.obey_quota {
                if default.obey_quota.is_some() {
                    return Err(twice("obey_quota").into());
                }
                checked[0].obey_quota = obey;
            }
            continue;
        }
        if checked.len() == MAX_GROUPS {
            return Err(GroupError::TooMany { origin }.into());
        }
        checked.push(NamedGroup {
            name,
            members,
            sla,
            obey_quota: group.asked.obey_quota.unwrap_or(true),
        });
    }
    Ok(checked)
}

/// Names of uplinks, each once.
fn check_members(
    names: Vec<Located<UplinkName>>,
    uplinks: &[UplinkConfig],
) -> Result<Vec<String>, GroupError> {
    let mut checked = Vec::new();
    for Located {
        value: UplinkName(name),
        origin,
    } in names
    {
        let mut known = uplinks.iter().map(|uplink| uplink.name.as_str());
        if !known.clone().any(|known| known == name) {
            return Err(GroupError::UnknownUplink {
                origin,
                suggestion: suggest::closest(&name, &mut known),
                name: name.into(),
            });
        }
        if checked.contains(&name) {
            return Err(GroupError::SameUplink {
                origin,
                name: name.into(),
            });
        }
        checked.push(name);
    }
    Ok(checked)
}
