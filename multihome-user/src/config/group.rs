//! How a group spreads flows over its uplinks, and moves them when an uplink fails or returns.

use std::time::Duration;

use super::{SlaConfig, UplinkConfig};

/// How a group spreads flows over its uplinks, moves them between these, and what it asks of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// What of a packet chooses its uplink; `None` is, for each family, `SrcDst` when any uplink
    /// translates it, else `FiveTuple`.
    pub hash: Option<HashPolicy>,
    /// What becomes of translated flows whose uplink is lost.
    pub on_uplink_loss: OnUplinkLoss,
    /// Which flows go back to an uplink that returns.
    pub failback: Failback,
    /// How long an uplink must be up before flows go back to it: at most 1 hour.
    pub failback_after: Duration,
    /// What it asks of its members.
    pub sla: Option<SlaConfig>,
    /// Members whose quota is used up get no new flows of it, as long as there are others.
    pub obey_quota: bool,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            hash: None,
            on_uplink_loss: OnUplinkLoss::default(),
            failback: Failback::default(),
            failback_after: Duration::from_secs(10),
            sla: None,
            obey_quota: true,
        }
    }
}

/// What of a packet chooses its uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashPolicy {
    /// Addresses, protocol and ports: every connection for itself.
    FiveTuple,
    /// The addresses: all connections of two hosts go the same way.
    SrcDst,
    /// The source address: all connections of a LAN host go the same way.
    Src,
}

impl HashPolicy {
    /// The word for it in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FiveTuple => "5-tuple",
            Self::SrcDst => "src-dst",
            Self::Src => "src",
        }
    }
}

/// What becomes of translated flows whose uplink is lost. They cannot go on over another one,
/// because the other end knows them by the lost uplink's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUplinkLoss {
    /// They are ended, TCP with a reset to the host, so that it begins anew over another uplink.
    #[default]
    Reset,
    /// They are kept for the uplink's return.
    Hold,
}

impl OnUplinkLoss {
    /// The word for it in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Hold => "hold",
        }
    }
}

/// Which flows go back to an uplink that returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failback {
    /// New ones; those that are on another uplink stay there until they end.
    #[default]
    Sticky,
    /// All that were its own.
    Immediate,
}

impl Failback {
    /// The word for it in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sticky => "sticky",
            Self::Immediate => "immediate",
        }
    }
}

/// The group of all traffic that no rule leads elsewhere; there is always one of this name.
pub const DEFAULT_GROUP: &str = "default";

/// A group of uplinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedGroup {
    /// Its name in status, metrics and logs; that of no other group.
    pub name: String,
    /// Its uplinks: at least one, distinct.
    pub members: Vec<MemberConfig>,
    /// How it spreads and moves flows.
    pub config: GroupConfig,
}

/// An uplink in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberConfig {
    /// The uplink's name.
    pub uplink: String,
    /// Its share relative to the other members of its tier: 1 to 1 000 000.
    pub weight: u32,
    /// Failover priority in this group: 1 to 16, lower ones first.
    pub tier: u8,
}

impl MemberConfig {
    /// An uplink with the weight and the tier of its own.
    pub fn of(uplink: &UplinkConfig) -> Self {
        Self {
            uplink: uplink.name.clone(),
            weight: uplink.weight,
            tier: uplink.tier,
        }
    }
}
