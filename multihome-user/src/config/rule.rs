//! Rules: which group packets belong to, or that they are dropped.

use super::value::{DomainPattern, Dscp, IpPrefix, PortRange, RuleProtocol, Vlan};

/// A rule. A packet from the LAN matches when it has one of each list that is not empty; the first rule that
/// matches decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleConfig {
    /// Its name in status, metrics and logs; that of no other rule.
    pub name: Option<String>,
    /// Where packets come from.
    pub source: Vec<IpPrefix>,
    /// Where they are bound for.
    pub destination: Vec<IpPrefix>,
    /// Their protocol.
    pub protocol: Vec<RuleProtocol>,
    /// Their source port; only TCP and UDP have any.
    pub source_port: Vec<PortRange>,
    /// Their destination port, likewise.
    pub port: Vec<PortRange>,
    /// Their DSCP.
    pub dscp: Vec<Dscp>,
    /// The LAN ports that they come in on, by name.
    pub lan: Vec<String>,
    /// The tags of the LAN port that they come in on.
    pub vlan: Vec<Vlan>,
    /// The domains that their destination belongs to.
    pub domain: Vec<DomainPattern>,
    /// What becomes of them.
    pub action: RuleAction,
}

/// What becomes of the packets of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// They belong to the group of this name.
    Group(String),
    /// They are dropped.
    Drop,
}

impl RuleConfig {
    /// What the rule is called: its name, else its number from 1.
    pub fn label(&self, at: usize) -> String {
        self.name.clone().unwrap_or_else(|| (at + 1).to_string())
    }
}
