//! How everything stands, as `multihome status` shows it: one document for programs, a table for
//! people.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::drain::Drain;

mod bfd;
mod fault;
mod group;
mod load;
mod rule;
mod table;

pub use bfd::BfdStatus;
pub use fault::FaultStatus;
pub use group::{GroupFamilyStatus, GroupStatus};
pub use load::{DirectionStatus, LoadStatus, QuotaStatus};
pub use rule::RuleStatus;
pub use table::render;

/// The version of [`Status`]: it changes when a field changes its meaning or goes away, not when
/// one is added.
pub const SCHEMA_VERSION: u32 = 1;

/// How everything stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA_VERSION`] of the controller.
    pub schema_version: u32,
    /// The controller's version.
    pub version: String,
    /// The controller's process id.
    pub pid: u32,
    /// When the controller began.
    pub since: Timestamp,
    /// The LAN's devices, in the order of the configuration.
    pub lan: Vec<LanStatus>,
    /// The uplinks, in the order of the configuration.
    pub uplinks: Vec<UplinkStatus>,
    /// The groups, in the order of the configuration.
    #[serde(default)]
    pub groups: Vec<GroupStatus>,
    /// The rules, in the order in which they are asked.
    #[serde(default)]
    pub rules: Vec<RuleStatus>,
    /// Packets dropped, by the name of the verdict; a verdict that never was may be left out.
    pub drops: BTreeMap<String, u64>,
    /// The gateway's own traffic.
    #[serde(default)]
    pub own_traffic: OwnStatus,
    /// Kernel settings that are wrong now.
    #[serde(default)]
    pub settings: Vec<SettingStatus>,
    /// How long ago the control loop last went round, in milliseconds.
    pub heartbeat_age_ms: u64,
}

/// How the gateway's own traffic is led.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnStatus {
    /// By routes and rules of ours; else by the kernel's alone.
    pub managed: bool,
    /// The uplink that IPv4 takes; `None` when the kernel's own routes decide.
    pub ipv4: Option<String>,
    /// The uplink that IPv6 takes; `None` when the kernel's own routes decide.
    pub ipv6: Option<String>,
    /// Routes and rules that were set again after they had vanished or been changed.
    pub restored: u64,
    /// What stands in the way.
    pub problems: Vec<String>,
}

/// A kernel setting that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingStatus {
    /// Its name, as sysctl has it.
    pub setting: String,
    /// What it says.
    pub value: String,
    /// What comes of that.
    pub harm: String,
    /// The command that sets it right.
    pub command: String,
}

/// How a LAN device stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LanStatus {
    /// The device's name.
    pub device: String,
    /// Its index; `None` while it does not exist.
    pub ifindex: Option<u32>,
    /// Packets that came in on it.
    pub packets: u64,
    /// Bytes of these, from the Ethernet header on.
    pub bytes: u64,
}

/// How an uplink stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UplinkStatus {
    /// Its name.
    pub name: String,
    /// Its device.
    pub device: String,
    /// What it is configured to do with addresses.
    pub mode: String,
    /// Its share relative to the others of its tier.
    pub weight: u32,
    /// Its failover priority.
    pub tier: u8,
    /// Up when one of its families is.
    pub state: State,
    /// When it last changed between up and down.
    pub since: Timestamp,
    /// What made it change.
    pub cause: String,
    /// Since when it is drained, and until when; `None` when it is not.
    #[serde(default)]
    pub draining: Option<Drain>,
    /// The smoothed round-trip time in milliseconds; `None` before the first answer.
    pub rtt_ms: Option<f64>,
    /// The share of the last probes that were lost, 0 to 1.
    pub loss: f64,
    /// Its share of the packets that LAN ports sent to uplinks in the last ten seconds, 0 to 1.
    pub share: f64,
    /// A fault that was put into its line, while it lasts.
    #[serde(default)]
    pub fault: Option<FaultStatus>,
    /// Packets sent out and received.
    pub packets: u64,
    /// Bytes of these, from the Ethernet header on.
    pub bytes: u64,
    /// Packets steered out of it.
    pub tx_packets: u64,
    /// Bytes of these.
    pub tx_bytes: u64,
    /// Packets that came in on it.
    pub rx_packets: u64,
    /// Bytes of these.
    pub rx_bytes: u64,
    /// The IPv4 next hop, else the IPv6 one, else `None`.
    pub next_hop: Option<IpAddr>,
    /// Its routing table, whose number is also the mark that chooses it; `None` where the kernel's routing
    /// is left alone.
    #[serde(default)]
    pub table: Option<u32>,
    /// What it carries, if it has a capacity.
    #[serde(default)]
    pub load: Option<LoadStatus>,
    /// What it has used of its quota, if it has one.
    #[serde(default)]
    pub quota: Option<QuotaStatus>,
    /// The families that it carries.
    pub families: Families,
}

/// The families of an uplink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Families {
    /// IPv4, if the uplink carries it.
    pub ipv4: Option<PathStatus>,
    /// IPv6, if the uplink carries it.
    pub ipv6: Option<PathStatus>,
}

/// How one family of an uplink stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathStatus {
    /// Whether it takes traffic.
    pub state: State,
    /// There is a sign that it may have failed, and its targets are being asked.
    #[serde(default)]
    pub suspected: bool,
    /// What it does with addresses: `routed`, `nat44` or `nptv6`.
    #[serde(default = "routed")]
    pub mode: String,
    /// The IPv4 addresses that inside ones are translated to.
    #[serde(default)]
    pub outside: Vec<Ipv4Addr>,
    /// The IPv6 prefix that the LAN's is translated to.
    #[serde(default)]
    pub prefix: Option<String>,
    /// The next hop, if there is one.
    pub next_hop: Option<IpAddr>,
    /// The next hop's MAC address, if it is known, as `02:00:00:00:00:01`.
    pub next_hop_mac: Option<String>,
    /// The smoothed round-trip time in milliseconds; `None` before the first answer.
    pub rtt_ms: Option<f64>,
    /// The share of the probes within the window of `[quality]` that the path lost, 0 to 1.
    pub loss: f64,
    /// Until when it is held back from new flows, because it failed lately; `None` when it is not.
    #[serde(default)]
    pub held_until: Option<Timestamp>,
    /// Its failures that are not forgotten: the more there are, the longer it is held after the next one.
    #[serde(default)]
    pub failures: u32,
    /// The median round-trip time within that window in milliseconds; `None` before there are enough.
    #[serde(default)]
    pub latency_ms: Option<f64>,
    /// The mean difference between successive round-trip times within it in milliseconds.
    #[serde(default)]
    pub jitter_ms: Option<f64>,
    /// Its BFD session, if it has one.
    #[serde(default)]
    pub bfd: Option<BfdStatus>,
}

/// What a controller does that does not say.
fn routed() -> String {
    "routed".to_owned()
}

/// Whether something takes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    Up,
    /// It does not.
    Down,
}

impl State {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl From<bool> for State {
    fn from(up: bool) -> Self {
        if up { Self::Up } else { Self::Down }
    }
}

/// A moment, cut to milliseconds: finer would only be noise to read.
pub fn timestamp(moment: std::time::SystemTime) -> Timestamp {
    let exact = Timestamp::try_from(moment).unwrap_or(Timestamp::UNIX_EPOCH);
    Timestamp::from_millisecond(exact.as_millisecond()).unwrap_or(exact)
}

#[cfg(test)]
mod tests;
