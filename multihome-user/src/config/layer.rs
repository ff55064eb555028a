//! One layer of the configuration, before layers are merged: the file, or the flags.

use std::path::PathBuf;

use serde::Deserialize;

use super::{
    Failback, Filtering, HashPolicy, Mode, MssClamp, OnUplinkLoss, OuterTag, Protocol, Unasked,
    XdpMode,
    duration::TextDuration,
    origin::{Located, Origin},
    target::Target,
    uplink_arg::UplinkArg,
    value::{
        BfdInterval, BfdMultiplier, BfdNeighbour, BfdWord, Burst, CommandWord, Device, EventName,
        FailbackAfter, FamilyWord, FlowCount, Forget, Gateway, GroupName, Hold, HookName,
        HookTimeout, HookUrl, Inside, Interval, Ipv6Prefix, LanName, LanPort, Listen, MaxHold,
        NatTimeout, Outside, PortRange, ProbeCount, ProbeRate, Quorum, SeedValue, Suspicion,
        TcpEstablished, Tier, Timeout, UplinkName, UplinkPrefix, Vlan, Weight,
    },
};

mod quality;
mod rule;

pub use quality::{CapacityLayer, CarryLayer, QualityLayer, SlaLayer, SlaWord};
pub use rule::{List, RuleLayer};

/// What one source says; what it leaves out is `None` or empty.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    pub lan: Vec<Located<LanLayer>>,
    pub uplinks: Vec<UplinkLayer>,
    pub probe: ProbeLayer,
    pub damping: DampingLayer,
    pub metrics_listen: Option<Listen>,
    pub run_dir: Option<Located<PathBuf>>,
    pub state_dir: Option<Located<PathBuf>>,
    pub xdp_mode: Option<XdpMode>,
    pub seed: Option<SeedValue>,
    pub group: GroupLayer,
    pub inside_prefix: Option<Ipv6Prefix>,
    /// Only a file says it.
    pub quality: QualityLayer,
    /// Only a file says it.
    pub nat: NatLayer,
    /// Only a file says it.
    pub forwards: Vec<ForwardLayer>,
    /// Only a file says it.
    pub groups: Vec<NamedGroupLayer>,
    /// Only a file says it.
    pub rules: Vec<RuleLayer>,
    /// Only a file says it.
    pub hooks: Vec<HookLayer>,
    pub detach_on_exit: Option<bool>,
    pub fix_offloads: Option<bool>,
    pub manage_routes: Option<bool>,
}

/// What one source says of a LAN port.
#[derive(Clone, Debug)]
pub struct LanLayer {
    pub device: Device,
    pub vlan: Option<Vlan>,
    /// Only a file says it.
    pub outer_tag: Option<OuterTag>,
    /// Only a file says it.
    pub name: Option<LanName>,
}

impl From<LanPort> for LanLayer {
    fn from(port: LanPort) -> Self {
        Self {
            device: port.device,
            vlan: port.vlan,
            outer_tag: None,
            name: None,
        }
    }
}

/// What one source says of an uplink.
#[derive(Clone, Debug)]
pub struct UplinkLayer {
    pub name: Located<UplinkName>,
    pub device: Option<Located<Device>>,
    pub vlan: Option<Vlan>,
    pub outer_tag: Option<Located<OuterTag>>,
    pub pppoe: Option<Located<Device>>,
    pub weight: Option<Weight>,
    pub tier: Option<Tier>,
    pub modes: Vec<Located<Mode>>,
    pub outsides: Vec<Located<Outside>>,
    pub prefix: Option<Located<UplinkPrefix>>,
    pub mss_clamp: Option<MssClamp>,
    pub gateways: Vec<Located<Gateway>>,
    pub quorum: Option<Located<Quorum>>,
    pub probes: Vec<Located<Target>>,
    /// Only a file says it.
    pub carry: CarryLayer,
    pub bfd: Option<Located<BfdLayer>>,
}

/// What one source says of an uplink's BFD.
#[derive(Clone, Debug, Default)]
pub struct BfdLayer {
    pub on: bool,
    pub interval: Option<BfdInterval>,
    pub multiplier: Option<BfdMultiplier>,
    pub passive: Option<bool>,
    pub peers: Vec<Located<BfdNeighbour>>,
    pub families: Vec<Located<FamilyWord>>,
}

impl From<BfdWord> for BfdLayer {
    fn from(word: BfdWord) -> Self {
        match word {
            BfdWord::Off => Self::default(),
            BfdWord::On {
                interval,
                multiplier,
            } => Self {
                on: true,
                interval,
                multiplier,
                ..Self::default()
            },
        }
    }
}

/// What one source says of spreading and moving flows: of all groups, or of one.
#[derive(Clone, Debug, Default)]
pub struct GroupLayer {
    pub hash: Option<HashPolicy>,
    pub on_uplink_loss: Option<OnUplinkLoss>,
    pub failback: Option<Failback>,
    pub failback_after: Option<FailbackAfter>,
    /// Only a file says it.
    pub sla: Option<Located<SlaWord>>,
    /// Only a file says it.
    pub obey_quota: Option<bool>,
}

impl GroupLayer {
    /// Lays another one over it.
    pub fn under(self, above: Self) -> Self {
        Self {
            hash: above.hash.or(self.hash),
            on_uplink_loss: above.on_uplink_loss.or(self.on_uplink_loss),
            failback: above.failback.or(self.failback),
            failback_after: above.failback_after.or(self.failback_after),
            sla: above.sla.or(self.sla),
            obey_quota: above.obey_quota.or(self.obey_quota),
        }
    }
}

/// What one source says of probing.
#[derive(Clone, Debug, Default)]
pub struct ProbeLayer {
    pub interval: Option<Interval>,
    pub timeout: Option<Timeout>,
    pub fall: Option<ProbeCount>,
    pub rise: Option<ProbeCount>,
    pub suspicion: Option<Suspicion>,
    pub burst: Option<Burst>,
    pub quorum: Option<Located<Quorum>>,
    pub rate: Option<ProbeRate>,
}

/// What one source says of damping.
#[derive(Clone, Debug, Default)]
pub struct DampingLayer {
    pub hold: Option<Hold>,
    pub max_hold: Option<Located<MaxHold>>,
    /// Only a file says it.
    pub forget: Option<Forget>,
}

/// What a file says of translated flows.
#[derive(Clone, Debug, Default)]
pub struct NatLayer {
    pub flows: Option<FlowCount>,
    pub filtering: Option<Filtering>,
    pub unasked: Option<Unasked>,
    pub ports: Vec<Located<PortRange>>,
    pub timeout: NatTimeoutLayer,
}

/// What a file says of how long they are kept, in the form in which it stands there.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatTimeoutLayer {
    pub tcp_established: Option<TcpEstablished>,
    pub tcp_transitory: Option<NatTimeout>,
    pub tcp_unanswered: Option<NatTimeout>,
    pub udp: Option<NatTimeout>,
    pub udp_unanswered: Option<NatTimeout>,
    pub icmp: Option<NatTimeout>,
    pub other: Option<NatTimeout>,
}

/// What a file says of a forward.
#[derive(Clone, Debug)]
pub struct ForwardLayer {
    pub protocol: Protocol,
    pub outside: Located<PortRange>,
    pub inside: Located<Inside>,
    pub uplinks: Vec<Located<UplinkName>>,
}

/// What a file says of a group.
#[derive(Clone, Debug)]
pub struct NamedGroupLayer {
    pub name: Located<GroupName>,
    /// `None` is all uplinks.
    pub members: Option<Vec<Located<MemberLayer>>>,
    pub group: GroupLayer,
}

/// What a file says of a member; what it leaves out is the uplink's own.
#[derive(Clone, Debug)]
pub struct MemberLayer {
    pub uplink: UplinkName,
    pub weight: Option<Weight>,
    pub tier: Option<Tier>,
}

/// What a file says of a hook.
#[derive(Clone, Debug)]
pub struct HookLayer {
    pub name: Located<HookName>,
    pub command: Vec<Located<CommandWord>>,
    pub url: Option<HookUrl>,
    pub events: Vec<Located<EventName>>,
    pub timeout: Option<HookTimeout>,
}

/// What the command line says; what it leaves out is `None`, empty or false.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--lan`.
    pub lan: Vec<LanPort>,
    /// `--uplink`.
    pub uplinks: Vec<UplinkArg>,
    /// `--probe-interval`.
    pub probe_interval: Option<Interval>,
    /// `--probe-timeout`.
    pub probe_timeout: Option<Timeout>,
    /// `--fall`.
    pub fall: Option<ProbeCount>,
    /// `--rise`.
    pub rise: Option<ProbeCount>,
    /// `--probe-quorum`.
    pub probe_quorum: Option<Quorum>,
    /// `--probe-rate`.
    pub probe_rate: Option<ProbeRate>,
    /// `--damping-hold`.
    pub damping_hold: Option<Hold>,
    /// `--damping-max-hold`.
    pub damping_max_hold: Option<MaxHold>,
    /// `--suspicion`.
    pub suspicion: Option<Suspicion>,
    /// `--burst`.
    pub burst: Option<Burst>,
    /// `--metrics-listen`.
    pub metrics_listen: Option<Listen>,
    /// `--run-dir`.
    pub run_dir: Option<PathBuf>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--xdp-mode`.
    pub xdp_mode: Option<XdpMode>,
    /// `--seed`.
    pub seed: Option<SeedValue>,
    /// `--hash`.
    pub hash: Option<HashPolicy>,
    /// `--on-uplink-loss`.
    pub on_uplink_loss: Option<OnUplinkLoss>,
    /// `--failback`.
    pub failback: Option<Failback>,
    /// `--failback-after`.
    pub failback_after: Option<FailbackAfter>,
    /// `--inside-prefix`.
    pub inside_prefix: Option<Ipv6Prefix>,
    /// `--detach-on-exit`.
    pub detach_on_exit: bool,
    /// `--fix-offloads`.
    pub fix_offloads: bool,
    /// `--manage-routes`.
    pub manage_routes: Option<bool>,
}

impl From<Flags> for Layer {
    fn from(flags: Flags) -> Self {
        Self {
            lan: flags
                .lan
                .into_iter()
                .map(|value| {
                    let origin = Origin::Flag {
                        flag: "--lan",
                        value: value.to_string().into(),
                    };
                    Located {
                        value: value.into(),
                        origin,
                    }
                })
                .collect(),
            uplinks: flags.uplinks.into_iter().map(UplinkLayer::from).collect(),
            probe: ProbeLayer {
                interval: flags.probe_interval,
                timeout: flags.probe_timeout,
                fall: flags.fall,
                rise: flags.rise,
                suspicion: flags.suspicion,
                burst: flags.burst,
                quorum: flags.probe_quorum.map(|value| {
                    let origin = Origin::Flag {
                        flag: "--probe-quorum",
                        value: value.0.to_string().into(),
                    };
                    Located { value, origin }
                }),
                rate: flags.probe_rate,
            },
            damping: DampingLayer {
                hold: flags.damping_hold,
                max_hold: flags.damping_max_hold.map(|value| Located {
                    value,
                    origin: Origin::Flag {
                        flag: "--damping-max-hold",
                        value: TextDuration(value.0).to_string().into(),
                    },
                }),
                forget: None,
            },
            metrics_listen: flags.metrics_listen,
            run_dir: flags.run_dir.map(|dir| dir_at(dir, "--run-dir")),
            state_dir: flags.state_dir.map(|dir| dir_at(dir, "--state-dir")),
            xdp_mode: flags.xdp_mode,
            seed: flags.seed,
            group: GroupLayer {
                hash: flags.hash,
                on_uplink_loss: flags.on_uplink_loss,
                failback: flags.failback,
                failback_after: flags.failback_after,
                sla: None,
                obey_quota: None,
            },
            inside_prefix: flags.inside_prefix,
            quality: QualityLayer::default(),
            nat: NatLayer::default(),
            forwards: Vec::new(),
            groups: Vec::new(),
            rules: Vec::new(),
            hooks: Vec::new(),
            detach_on_exit: flags.detach_on_exit.then_some(true),
            fix_offloads: flags.fix_offloads.then_some(true),
            manage_routes: flags.manage_routes,
        }
    }
}

impl From<UplinkArg> for UplinkLayer {
    fn from(arg: UplinkArg) -> Self {
        let origin = Origin::Flag {
            flag: "--uplink",
            value: arg.text.into(),
        };
        Self {
            device: arg.device.map(|device| at(device, &origin)),
            vlan: arg.vlan,
            outer_tag: arg.outer_tag.map(|kind| at(kind, &origin)),
            pppoe: arg.pppoe.map(|device| at(device, &origin)),
            weight: arg.weight,
            tier: arg.tier,
            modes: all_at(arg.modes, &origin),
            outsides: all_at(arg.outsides, &origin),
            prefix: arg.prefix.map(|prefix| at(prefix, &origin)),
            mss_clamp: arg.mss_clamp,
            gateways: all_at(arg.gateways, &origin),
            quorum: arg.quorum.map(|quorum| at(quorum, &origin)),
            probes: all_at(arg.probes, &origin),
            carry: CarryLayer::default(),
            bfd: arg.bfd.map(|word| at(word.into(), &origin)),
            name: Located {
                value: arg.name,
                origin,
            },
        }
    }
}

/// A directory of a flag.
fn dir_at(value: PathBuf, flag: &'static str) -> Located<PathBuf> {
    let origin = Origin::Flag {
        flag,
        value: value.to_string_lossy().into(),
    };
    Located { value, origin }
}

/// A value of a flag.
fn at<T>(value: T, origin: &Origin) -> Located<T> {
    Located {
        value,
        origin: origin.clone(),
    }
}

/// Values of one flag.
fn all_at<T>(values: Vec<T>, origin: &Origin) -> Vec<Located<T>> {
    values.into_iter().map(|value| at(value, origin)).collect()
}
