//! How a group stands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a group stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// The names of its uplinks.
    pub members: Vec<String>,
    /// Their shares relative to the other members of their tier.
    #[serde(default)]
    pub weights: BTreeMap<String, u32>,
    /// Their failover priorities, lower ones first.
    #[serde(default)]
    pub tiers: BTreeMap<String, u8>,
    /// What becomes of translated flows whose uplink is lost: `reset` or `hold`.
    #[serde(default)]
    pub on_uplink_loss: String,
    /// Which flows go back to an uplink that returns: `sticky` or `immediate`.
    #[serde(default)]
    pub failback: String,
    /// How long an uplink must be up before flows go back to it, in seconds.
    #[serde(default)]
    pub failback_after_seconds: f64,
    /// Whether members whose quota is used up get no new flows of it.
    #[serde(default)]
    pub obey_quota: bool,
    /// How it stands in IPv4.
    pub ipv4: GroupFamilyStatus,
    /// How it stands in IPv6.
    pub ipv6: GroupFamilyStatus,
}

/// How a group stands in one family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFamilyStatus {
    /// What of a packet chooses its uplink: `5-tuple`, `src-dst` or `src`.
    #[serde(default)]
    pub hash: String,
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
