//! Checks rules: each alone, against groups and LAN ports, and against the others.

use multihome_common::limits::MAX_RULES;

use super::super::{
    LanConfig, NamedGroup, RuleAction, RuleConfig,
    error::RuleError,
    layer::{List, RuleLayer},
    origin::{Located, Origin},
    suggest,
    value::{Device, IpPrefix, RuleProtocol},
};
use crate::policy;

/// The rules, and where each stands.
pub fn check(
    rules: Vec<RuleLayer>,
    groups: &[NamedGroup],
    lan: &[LanConfig],
) -> Result<(Vec<RuleConfig>, Vec<Origin>), RuleError> {
    if let Some(extra) = rules.get(MAX_RULES) {
        return Err(RuleError::TooMany {
            origin: extra.origin.clone(),
        });
    }
    let mut names: Vec<Located<String>> = Vec::new();
    let (mut checked, mut origins) = (Vec::new(), Vec::new());
    for rule in rules {
        if let Some(Located { value, origin }) = &rule.name {
            let name = &value.0;
            if let Some(first) = names.iter().find(|first| first.value == *name) {
                return Err(RuleError::SameName {
                    origin: origin.clone(),
                    name: name.as_str().into(),
                    first: first.origin.clone(),
                });
            }
            names.push(Located {
                value: name.clone(),
                origin: origin.clone(),
            });
        }
        origins.push(rule.origin.clone());
        checked.push(check_one(rule, groups, lan)?);
    }
    // The numbers that groups and LAN ports will have do not matter here.
    let named: Vec<(&str, u8)> = groups
        .iter()
        .map(|group| (group.name.as_str(), 0))
        .collect();
    let ports: Vec<(&str, u8)> = lan.iter().map(|port| (port.name.as_str(), 0)).collect();
    let resolved = policy::resolve(&checked, &named, &ports);
    policy::compile(&resolved, &[]).map_err(|reason| RuleError::TooComplex {
        origin: origins.first().cloned().unwrap_or(Origin::Default),
        reason,
    })?;
    Ok((checked, origins))
}

fn check_one(
    rule: RuleLayer,
    groups: &[NamedGroup],
    lan: &[LanConfig],
) -> Result<RuleConfig, RuleError> {
    let at = rule.origin;
    check_families(rule.source.as_deref(), rule.destination.as_deref())?;
    if rule.port.is_some() || rule.source_port.is_some() {
        check_ports(rule.protocol.as_deref())?;
    }
    let action = match (rule.group, rule.drop) {
        (None, None) => return Err(RuleError::NoTarget { origin: at }),
        (_, Some(drop)) if !drop.value => {
            return Err(RuleError::NotDropped {
                origin: drop.origin,
            });
        }
        (Some(_), Some(drop)) => {
            return Err(RuleError::TwoTargets {
                origin: drop.origin,
            });
        }
        (None, Some(_)) => RuleAction::Drop,
        (Some(Located { value, origin }), None) => {
            let known = || groups.iter().map(|group| group.name.as_str());
            if !known().any(|known| known == value.0) {
                return Err(RuleError::UnknownGroup {
                    origin,
                    suggestion: suggest::closest(&value.0, known()),
                    name: value.0.into(),
                });
            }
            RuleAction::Group(value.0)
        }
    };
    Ok(RuleConfig {
        name: rule.name.map(|name| name.value.0),
        source: all(rule.source, &at, "source")?,
        destination: all(rule.destination, &at, "destination")?,
        protocol: all(rule.protocol, &at, "protocol")?,
        source_port: all(rule.source_port, &at, "source_port")?,
        port: all(rule.port, &at, "port")?,
        dscp: all(rule.dscp, &at, "dscp")?,
        lan: check_lan(rule.lan, lan, &at)?,
        vlan: all(rule.vlan, &at, "vlan")?,
        domain: all(rule.domain, &at, "domain")?,
        action,
    })
}

/// What a list names, which must not be nothing.
fn all<T>(list: List<T>, at: &Origin, key: &'static str) -> Result<Vec<T>, RuleError> {
    match list {
        None => Ok(Vec::new()),
        Some(list) if list.is_empty() => Err(RuleError::Empty {
            origin: at.clone(),
            key,
        }),
        Some(list) => Ok(list.into_iter().map(|located| located.value).collect()),
    }
}

fn check_families(
    source: Option<&[Located<IpPrefix>]>,
    destination: Option<&[Located<IpPrefix>]>,
) -> Result<(), RuleError> {
    let (Some(source), Some(destination)) = (source, destination) else {
        return Ok(());
    };
    let (Some(from), Some(to)) = (source.first(), destination.first()) else {
        return Ok(());
    };
    let is_apart = |other: &Located<IpPrefix>| other.value.is_ipv4() != to.value.is_ipv4();
    let alike = |other: &Located<IpPrefix>| other.value.is_ipv4() == to.value.is_ipv4();
    if source.iter().all(is_apart) && destination.iter().all(alike) {
        let family = |prefix: &IpPrefix| if prefix.is_ipv4() { "IPv4" } else { "IPv6" };
        return Err(RuleError::FamiliesApart {
            origin: to.origin.clone(),
            from: family(&from.value),
            to: family(&to.value),
        });
    }
    Ok(())
}

/// Who asks for ports can only mean protocols that have them.
fn check_ports(protocols: Option<&[Located<RuleProtocol>]>) -> Result<(), RuleError> {
    let mut protocols = protocols.unwrap_or_default().iter();
    match protocols.find(|protocol| !protocol.value.has_ports()) {
        Some(protocol) => Err(RuleError::NoPorts {
            origin: protocol.origin.clone(),
            protocol: protocol.value.to_string(),
        }),
        None => Ok(()),
    }
}

fn check_lan(list: List<Device>, lan: &[LanConfig], at: &Origin) -> Result<Vec<String>, RuleError> {
    let known = || lan.iter().map(|port| port.name.as_str());
    for Located { value, origin } in list.iter().flatten() {
        if !known().any(|known| known == value.0) {
            return Err(RuleError::UnknownLan {
                origin: origin.clone(),
                suggestion: suggest::closest(&value.0, known()),
                name: value.0.as_str().into(),
            });
        }
    }
    Ok(all(list, at, "lan")?
        .into_iter()
        .map(|device| device.0)
        .collect())
}
