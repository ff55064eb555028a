//! What a file says of a rule.

use super::super::{
    origin::{Located, Origin},
    value::{
        Device, DomainPattern, Dscp, GroupName, IpPrefix, PortRange, RuleName, RuleProtocol, Vlan,
    },
};

/// A list with the place of each element; `None` is one that is not given.
pub type List<T> = Option<Vec<Located<T>>>;

/// What a file says of a rule.
#[derive(Clone, Debug)]
pub struct RuleLayer {
    /// Where the rule stands.
    pub origin: Origin,
    pub name: Option<Located<RuleName>>,
    pub source: List<IpPrefix>,
    pub destination: List<IpPrefix>,
    pub protocol: List<RuleProtocol>,
    pub source_port: List<PortRange>,
    pub port: List<PortRange>,
    pub dscp: List<Dscp>,
    pub lan: List<Device>,
    pub vlan: List<Vlan>,
    pub domain: List<DomainPattern>,
    pub group: Option<Located<GroupName>>,
    pub drop: Option<Located<bool>>,
}
