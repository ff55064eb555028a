//! How a group stands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a group stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its name; all traffic belongs to the one named `default`.
    pub name: String,
    /// The names of its uplinks.
    pub members: Vec<String>,
    /// How it stands in IPv4.
    pub ipv4: GroupFamilyStatus,
    /// How it stands in IPv6.
    pub ipv6: GroupFamilyStatus,
}

/// How a group stands in one family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFamilyStatus {
    /// Uplinks that take new flows.
    pub eligible: Vec<String>,
    /// Uplinks that are up: flows that are on them stay there.
    pub alive: Vec<String>,
    /// Uplinks that serve because none is eligible: the last that were good.
    pub last_good: Vec<String>,
    /// What speaks against giving an uplink new flows, the least bad first: `full`, `sick`, `spent`,
    /// `held`, `draining`. Uplinks against which nothing speaks are left out.
    pub impediments: BTreeMap<String, Vec<String>>,
}
