//! The configuration: one validated type, made from a file and the command line's flags.
//!
//! Both are read into the same layer, the flags' layer is laid over the file's, and the result is
//! checked as a whole. Every complaint names where the value was written.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use multihome_common::framing::Framing;

use crate::probe::schedule::BURST_STEP;

mod advice;
mod bfd;
mod damping;
mod duration;
mod error;
mod file;
mod forward;
mod framing;
mod group;
mod hook;
mod layer;
mod merge;
mod mode;
mod mss;
mod nat;
mod origin;
mod ports;
mod print;
mod quality;
mod rule;
pub(crate) mod suggest;
mod target;
#[cfg(test)]
mod tests;
mod uplink_arg;
mod value;

pub use bfd::{BfdConfig, BfdPeer};
pub use damping::DampingConfig;
pub use duration::TextDuration;
pub use error::{
    BfdMistake, ConfigError, ForwardError, FramingError, GroupError, HookError, QualityError,
    RuleError,
};
pub use forward::{ForwardConfig, Protocol};
pub use framing::{LanConfig, OuterTag};
pub use group::{
    DEFAULT_GROUP, Failback, GroupConfig, HashPolicy, MemberConfig, NamedGroup, OnUplinkLoss,
};
pub use hook::{DEFAULT_HOOK_TIMEOUT, HookConfig};
pub use layer::Flags;
pub use mode::{Mode, Mode4, Mode6};
pub use mss::MssClamp;
pub use nat::{Filtering, NatConfig, NatTimeouts, Unasked};
pub use origin::{Origin, Origins};
pub use ports::check_ports;
pub use quality::{CapacityConfig, Every, Limit, QualityConfig, QuotaConfig, SlaConfig};
pub use rule::{RuleAction, RuleConfig};
pub use target::Target;
pub use uplink_arg::{UplinkArg, UplinkArgError};
pub use value::{
    Burst, Device, DomainPattern, DrainTime, Dscp, EventName, FailbackAfter, GroupName, Hold,
    HookUrl, Interval, IpPrefix, Ipv6Prefix, LanPort, Listen, MaxHold, PortRange, ProbeCount,
    ProbeRate, Quorum, Rate, Ratio, RuleProtocol, SeedValue, Suspicion, Timeout, UplinkName,
    UplinkPrefix, ValueError, Vlan, Volume,
};

/// Where a gateway keeps its state unless told otherwise.
pub const DEFAULT_RUN_DIR: &str = "/run/multihome";
/// Where a gateway keeps what must outlive a reboot unless told otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/multihome";
/// Where metrics are served unless told otherwise.
pub const DEFAULT_METRICS_LISTEN: &str = "127.0.0.1:9750";
/// The longest path of a run directory, in bytes: with the socket's name it must fit into the
/// kernel's `sun_path`.
pub const MAX_RUN_DIR: usize = 90;
/// Remote targets of one uplink.
pub const MAX_PROBES: usize = 8;
/// IPv4 addresses that the flows of one uplink may be translated to.
pub const MAX_OUTSIDE: usize = 8;
/// Ranges of ports that translated flows may get.
pub const MAX_NAT_PORTS: usize = 2;
/// Hooks of one gateway.
pub const MAX_HOOKS: usize = 16;
/// Forwards of one gateway.
pub const MAX_FORWARDS: usize = 1024;

/// What the gateway shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The LAN ports: 1 to 64, with distinct names and devices.
    pub lan: Vec<LanConfig>,
    /// The uplinks: 1 to 64, with distinct names and devices, none of which is also in `lan`.
    pub uplinks: Vec<UplinkConfig>,
    /// How uplinks are probed.
    pub probe: ProbeConfig,
    /// How paths that have failed are held back.
    pub damping: DampingConfig,
    /// Where metrics are served; `None` serves none.
    pub metrics_listen: Option<SocketAddr>,
    /// The directory of the control socket and of what is pinned: absolute.
    pub run_dir: PathBuf,
    /// The directory of what must outlive a reboot: absolute. It is used only when an uplink has a quota.
    pub state_dir: PathBuf,
    /// How uplinks are measured.
    pub quality: QualityConfig,
    /// How the programs are attached.
    pub xdp_mode: XdpMode,
    /// The seed of the flow hash; `None` takes a random one, kept with the pinned state.
    pub seed: Option<u64>,
    /// How groups that say nothing of their own spread and move flows.
    pub group: GroupConfig,
    /// The groups: 1 to 64, the one named [`DEFAULT_GROUP`] first.
    pub groups: Vec<NamedGroup>,
    /// The rules, at most 1000, in the order in which they are asked.
    pub rules: Vec<RuleConfig>,
    /// The LAN's own IPv6 prefix; there when any uplink has a prefix to translate it to.
    pub inside_prefix: Option<Ipv6Prefix>,
    /// How translated flows are kept.
    pub nat: NatConfig,
    /// Ports of outside addresses that lead to hosts of the LAN: at most 1024, without a protocol,
    /// port and uplink in common.
    pub forwards: Vec<ForwardConfig>,
    /// Who is told of events: at most 16, with distinct names.
    pub hooks: Vec<HookConfig>,
    /// Whether a stop also takes the programs off the devices.
    pub detach_on_exit: bool,
    /// Whether offloads that hide VLAN tags from the programs are switched off.
    pub fix_offloads: bool,
    /// Whether the gateway's own traffic is led by routes and rules of ours.
    pub manage_routes: bool,
    /// Where it was written what only the machine can tell to be wrong.
    pub origins: Origins,
}

/// One uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkConfig {
    /// Its name in status, metrics and logs, and its identity in the ranking.
    pub name: String,
    /// The network device: the one that the kernel knows the uplink's addresses by, or that its PPPoE
    /// session runs over.
    pub device: String,
    /// The tags that the programs put on and take off; of a VLAN device, the kernel says them.
    pub vlan: Framing,
    /// The device of the PPPoE session, if it is one: the kernel knows the uplink's addresses by that.
    pub pppoe: Option<String>,
    /// Its share relative to the other uplinks of its tier: 1 to 1 000 000.
    pub weight: u32,
    /// Failover priority, 1 (first) to 16.
    pub tier: u8,
    /// The IPv4 next hop; `None` takes it from the routing table.
    pub gateway4: Option<Ipv4Addr>,
    /// The IPv6 next hop; `None` takes it from the routing table.
    pub gateway6: Option<Ipv6Addr>,
    /// What is done with the addresses of its packets.
    pub mode: Mode,
    /// What inside IPv4 addresses are translated to: at most 8, of no other uplink; none takes the
    /// device's own.
    pub outside: Vec<Ipv4Addr>,
    /// What the LAN's IPv6 prefix is translated to.
    pub prefix: Option<UplinkPrefix>,
    /// What its connections may open with.
    pub mss_clamp: MssClamp,
    /// Targets of a family that must answer for its path to be up, at most as many as it has of one;
    /// `None` is that of all uplinks.
    pub quorum: Option<u32>,
    /// Remote probe targets, of either family: at most 8, distinct.
    pub probe: Vec<Target>,
    /// What it can carry; `None` is not watched.
    pub capacity: Option<CapacityConfig>,
    /// What it may carry in a period; `None` is as much as it can.
    pub quota: Option<QuotaConfig>,
    /// BFD with a neighbour on its link; `None` for none.
    pub bfd: Option<BfdConfig>,
}

impl UplinkConfig {
    /// The device that has the uplink's addresses and routes.
    pub fn layer3(&self) -> &str {
        self.pppoe.as_deref().unwrap_or(&self.device)
    }
}

/// How uplinks are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    /// The time from one probe of a target to the next: 10 ms to 60 s.
    pub interval: Duration,
    /// How long an answer is waited for, 10 ms to 60 s; `None` follows the measured RTT.
    pub timeout: Option<Duration>,
    /// Probes lost in a row after which a target is dead: 1 to 100.
    pub fall: u32,
    /// Probes answered in a row after which it is alive again: 1 to 100.
    pub rise: u32,
    /// For how long packets of the traffic must go unanswered to raise a suspicion, 50 ms to 10 s;
    /// `None` does not watch the traffic.
    pub suspicion: Option<Duration>,
    /// The time from one probe of a target to the next in a burst, 10 ms to 1 s; `None` makes no
    /// bursts.
    pub burst: Option<Duration>,
    /// Targets of a path that must answer for it to be up: 1 to 8. A path with fewer needs all of
    /// its own.
    pub quorum: u32,
    /// Packets a second to the remote targets of one uplink, at most, when all is well: 1 to 10000;
    /// `None` does not bound them.
    pub rate: Option<u32>,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(500),
            timeout: None,
            fall: 3,
            rise: 3,
            suspicion: Some(Duration::from_millis(200)),
            burst: Some(BURST_STEP),
            quorum: 1,
            rate: Some(5),
        }
    }
}

/// How XDP programs are attached to a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver, before the kernel has allocated anything for the packet.
    #[default]
    Native,
    /// In the kernel's generic receive path: slow, and works with every driver.
    Generic,
}

impl XdpMode {
    /// The word for it in configuration, status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

impl Config {
    /// Reads `file`, if there is one, lays the flags over it and checks the whole.
    pub fn load(file: Option<&Path>, flags: Flags) -> Result<Self, ConfigError> {
        let below = match file {
            Some(path) => file::read(path)?,
            None => layer::Layer::default(),
        };
        merge::merge(below, flags.into())
    }

    /// Reads the text of a configuration file; `path` only names it in errors.
    pub fn from_toml(path: &Path, text: &str) -> Result<Self, ConfigError> {
        merge::merge(file::parse(path, text)?, layer::Layer::default())
    }

    /// The configuration as a file that reads back to the same, defaults spelled out.
    pub fn to_toml(&self) -> String {
        print::to_toml(self)
    }

    /// What is allowed and had better be otherwise, a sentence each.
    pub fn advice(&self) -> Vec<String> {
        advice::advice(self)
    }

    /// Where a rule stands, by its place.
    pub fn rule_origin(&self, at: usize) -> &Origin {
        self.origins.rules.get(at).unwrap_or(&Origin::Default)
    }

    /// Where a device was named, as the beginning of an error about it.
    pub fn device_origin(&self, device: &str) -> Origin {
        self.origins
            .devices
            .get(device)
            .cloned()
            .unwrap_or(Origin::Default)
    }
}
