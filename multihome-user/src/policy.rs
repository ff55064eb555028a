//! The policy: rules as the configuration has them, made into the tables that the programs ask. Pure; the
//! tables are written by [`crate::dataplane`].

use std::sync::Arc;

use multihome_common::{framing::Framing, limits::MAX_UPLINKS, rules::Target};

use crate::config::{DomainPattern, IpPrefix, PortRange, RuleAction, RuleConfig, Vlan};

mod compile;
mod cover;
mod sweep;
#[cfg(test)]
mod tests;

pub use compile::{Own, TooComplex, compile};
pub use cover::covered;

/// A rule whose names are the numbers that the programs know.
///
/// A packet matches when it has one of each list that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where packets come from.
    pub sources: Option<Vec<IpPrefix>>,
    /// Where they are bound for.
    pub destinations: Option<Vec<IpPrefix>>,
    /// The numbers of protocols.
    pub protocols: Option<Vec<u8>>,
    /// Source ports.
    pub source_ports: Option<Vec<PortRange>>,
    /// Destination ports.
    pub ports: Option<Vec<PortRange>>,
    /// DSCPs, 0 to 63.
    pub dscps: Option<Vec<u8>>,
    /// LAN ports, by their slots less [`MAX_UPLINKS`].
    pub lan: Option<Vec<u8>>,
    /// The tags of LAN ports.
    pub vlans: Option<Vec<Vlan>>,
    /// Domains that the destination belongs to.
    pub domains: Option<Vec<DomainPattern>>,
    /// What becomes of the packets.
    pub target: Target,
}

impl Rule {
    /// A rule that asks for nothing: all packets match.
    pub const fn any(target: Target) -> Self {
        Self {
            sources: None,
            destinations: None,
            protocols: None,
            source_ports: None,
            ports: None,
            dscps: None,
            lan: None,
            vlans: None,
            domains: None,
            target,
        }
    }
}

/// The rules with numbers for names: `groups` has the ids of groups, `lan` the slots of LAN ports less
/// [`MAX_UPLINKS`]. A name that is not there, which the configuration refuses, matches nothing or is the default
/// group.
pub fn resolve(rules: &[RuleConfig], groups: &[(&str, u8)], lan: &[(&str, u8)]) -> Vec<Rule> {
    let number_of = |list: &[(&str, u8)], wanted: &str| {
        let found = list.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, number)| *number)
    };
    rules
        .iter()
        .map(|rule| Rule {
            sources: there(&rule.source),
            destinations: there(&rule.destination),
            protocols: there(&rule.protocol).map(|protocols| {
                let has = |number: &u8| protocols.iter().any(|protocol| protocol.has(*number));
                (0..=u8::MAX).filter(has).collect()
            }),
            source_ports: there(&rule.source_port),
            ports: there(&rule.port),
            dscps: there(&rule.dscp).map(|dscps| dscps.iter().map(|dscp| dscp.0).collect()),
            lan: there(&rule.lan).map(|names| {
                let numbers = names.iter().filter_map(|name| number_of(lan, name));
                numbers.collect()
            }),
            vlans: there(&rule.vlan),
            domains: there(&rule.domain),
            target: match &rule.action {
                RuleAction::Drop => Target::DROP,
                RuleAction::Group(name) => {
                    Target::group_of(number_of(groups, name).unwrap_or_default())
                }
            },
        })
        .collect()
}

/// Whether any rule asks for the tags of LAN ports.
pub fn asks_vlans(rules: &[Rule]) -> bool {
    rules.iter().any(|rule| rule.vlans.is_some())
}

/// The rules with LAN ports for tags: `lan` has the tags of each port by the number that [`Rule::lan`] gives it.
pub fn place(rules: &Arc<[Rule]>, lan: &[(u8, Framing)]) -> Arc<[Rule]> {
    if !asks_vlans(rules) {
        return rules.clone();
    }
    let placed = |rule: &Rule| {
        let mut rule = rule.clone();
        if let Some(vlans) = rule.vlans.take() {
            let is_asked = |number: u8| rule.lan.as_ref().is_none_or(|lan| lan.contains(&number));
            let has_vlan = |tags: Framing| vlans.iter().any(|vlan| vlan.is_in(tags));
            let ports = lan.iter();
            let ports = ports.filter(|(number, tags)| is_asked(*number) && has_vlan(*tags));
            rule.lan = Some(ports.map(|(number, _)| *number).collect());
        }
        rule
    };
    rules.iter().map(placed).collect()
}

/// A list, if it says anything.
fn there<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

/// The number of a LAN port in [`Rule::lan`], of its slot.
pub const fn lan_number(slot: u32) -> u8 {
    slot as u8 - MAX_UPLINKS as u8
}
