//! Checks groups: each alone, against the uplinks, and against the others.

use multihome_common::limits::MAX_GROUPS;

use super::super::{
    NamedGroup, UplinkConfig,
    error::GroupError,
    group::DEFAULT_GROUP,
    layer::NamedGroupLayer,
    origin::{Located, Origin},
    suggest,
    value::UplinkName,
};

/// The groups, the default one first. It is made up of all uplinks when none bears its name.
pub fn check(
    groups: Vec<NamedGroupLayer>,
    uplinks: &[UplinkConfig],
) -> Result<Vec<NamedGroup>, GroupError> {
    let all = || uplinks.iter().map(|uplink| uplink.name.clone()).collect();
    let mut checked = vec![NamedGroup {
        name: DEFAULT_GROUP.into(),
        members: all(),
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
            });
        }
        seen.push((name.clone(), origin.clone()));
        let members = match group.members {
            None => all(),
            Some(members) if members.is_empty() => {
                return Err(GroupError::Empty {
                    origin,
                    name: name.into(),
                });
            }
            Some(members) => check_members(members, uplinks)?,
        };
        if name == DEFAULT_GROUP {
            checked[0].members = members;
            continue;
        }
        if checked.len() == MAX_GROUPS {
            return Err(GroupError::TooMany { origin });
        }
        checked.push(NamedGroup { name, members });
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
