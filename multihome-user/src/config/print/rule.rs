//! Prints rules.

use serde::Serialize;

use super::{
    super::{PortRange, RuleAction, RuleConfig},
    forward::{PrintedPorts, printed_ports},
};

/// A table `[[rule]]`.
#[derive(Serialize)]
pub struct PrintedRule<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'c str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    source: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    destination: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    protocol: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    source_port: Vec<PrintedPorts>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    port: Vec<PrintedPorts>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dscp: Vec<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    lan: &'c [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vlan: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    domain: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drop: Option<bool>,
}

impl<'c> PrintedRule<'c> {
    /// The table as it would be written.
    pub fn new(rule: &'c RuleConfig) -> Self {
        let (group, drop) = match &rule.action {
            RuleAction::Group(group) => (Some(group.as_str()), None),
            RuleAction::Drop => (None, Some(true)),
        };
        Self {
            name: rule.name.as_deref(),
            source: texts(&rule.source),
            destination: texts(&rule.destination),
            protocol: texts(&rule.protocol),
            source_port: ports(&rule.source_port),
            port: ports(&rule.port),
            dscp: texts(&rule.dscp),
            lan: &rule.lan,
            vlan: texts(&rule.vlan),
            domain: texts(&rule.domain),
            group,
            drop,
        }
    }
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(T::to_string).collect()
}

fn ports(ranges: &[PortRange]) -> Vec<PrintedPorts> {
    ranges.iter().copied().map(printed_ports).collect()
}
