//! The configuration file: TOML into a layer, with the place of everything that may be wrong.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Spanned;

use super::{
    Failback, Filtering, HashPolicy, MssClamp, OnUplinkLoss, OuterTag, Protocol, QuotaConfig,
    Unasked, XdpMode,
    error::ConfigError,
    layer::{
        BfdLayer, CapacityLayer, CarryLayer, DampingLayer, ForwardLayer, GroupLayer, HookLayer,
        Layer, NamedGroupLayer, NatLayer, NatTimeoutLayer, ProbeLayer, QualityLayer, SlaWord,
        UplinkLayer,
    },
    origin::{Located, Origin, Source},
    suggest,
    value::{
        Burst, Device, FailbackAfter, FlowCount, Forget, GroupName, Hold, HookName, HookTimeout,
        HookUrl, Inside, Interval, Ipv6Prefix, Listen, MaxHold, MonthDay, PortRange, ProbeCount,
        ProbeRate, Quorum, Ratio, SeedValue, Suspicion, Tier, Timeout, UplinkName, UplinkPrefix,
        Vlan, Weight,
    },
};

mod bfd;
mod lan;
mod list;
mod members;
mod rule;
mod targets;

use bfd::FileBfd;
use lan::{FileLans, locate_lans};
use list::{OneOrMany, Table, Tables, locate, locate_all};
use members::{Members, locate_members};
use rule::{FileRule, locate_rule};
use targets::{Targets, locate_targets};

/// The largest file that is read, in bytes: 64 uplinks and their comments fit many times over.
const MAX_FILE: u64 = 1024 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileConfig {
    lan: Option<Spanned<FileLans>>,
    #[serde(default)]
    uplink: Tables<FileUplink>,
    #[serde(default)]
    probe: FileProbe,
    #[serde(default)]
    damping: FileDamping,
    #[serde(default)]
    nat: FileNat,
    #[serde(default)]
    forward: Tables<FileForward>,
    #[serde(default)]
    group: Tables<FileGroup>,
    #[serde(default)]
    rule: Tables<Spanned<FileRule>>,
    #[serde(default)]
    hook: Tables<FileHook>,
    metrics_listen: Option<Listen>,
    run_dir: Option<Spanned<PathBuf>>,
    state_dir: Option<Spanned<PathBuf>>,
    xdp_mode: Option<XdpMode>,
    seed: Option<SeedValue>,
    hash: Option<HashPolicy>,
    on_uplink_loss: Option<OnUplinkLoss>,
    failback: Option<Failback>,
    failback_after: Option<FailbackAfter>,
    inside_prefix: Option<Ipv6Prefix>,
    #[serde(default)]
    quality: QualityLayer,
    sla: Option<Spanned<SlaWord>>,
    obey_quota: Option<bool>,
    detach_on_exit: Option<bool>,
    fix_offloads: Option<bool>,
    manage_routes: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileUplink {
    name: Spanned<UplinkName>,
    device: Option<Spanned<Device>>,
    vlan: Option<Vlan>,
    outer_tag: Option<Spanned<OuterTag>>,
    pppoe: Option<Spanned<Device>>,
    weight: Option<Weight>,
    tier: Option<Tier>,
    mode: Option<Spanned<OneOrMany>>,
    outside: Option<Spanned<OneOrMany>>,
    prefix: Option<Spanned<UplinkPrefix>>,
    mss_clamp: Option<MssClamp>,
    gateway: Option<Spanned<OneOrMany>>,
    quorum: Option<Spanned<Quorum>>,
    probe: Option<Spanned<Targets>>,
    capacity: Option<Spanned<CapacityLayer>>,
    spill_at: Option<Spanned<Ratio>>,
    spill_until: Option<Spanned<Ratio>>,
    quota: Option<Spanned<QuotaConfig>>,
    quota_from: Option<Spanned<MonthDay>>,
    bfd: Option<Spanned<FileBfd>>,
}

impl Table for FileUplink {
    const NAME: &'static str = "uplink";
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileProbe {
    interval: Option<Interval>,
    timeout: Option<Timeout>,
    fall: Option<ProbeCount>,
    rise: Option<ProbeCount>,
    suspicion: Option<Suspicion>,
    burst: Option<Burst>,
    quorum: Option<Spanned<Quorum>>,
    rate: Option<ProbeRate>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileDamping {
    hold: Option<Hold>,
    max_hold: Option<Spanned<MaxHold>>,
    forget: Option<Forget>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileNat {
    flows: Option<FlowCount>,
    filtering: Option<Filtering>,
    unasked: Option<Unasked>,
    ports: Option<Spanned<OneOrMany>>,
    #[serde(default)]
    timeout: NatTimeoutLayer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForward {
    protocol: Protocol,
    outside: Spanned<PortRange>,
    inside: Spanned<Inside>,
    uplinks: Option<Spanned<OneOrMany>>,
}

impl Table for FileForward {
    const NAME: &'static str = "forward";
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileGroup {
    name: Spanned<GroupName>,
    members: Option<Spanned<Members>>,
    hash: Option<HashPolicy>,
    on_uplink_loss: Option<OnUplinkLoss>,
    failback: Option<Failback>,
    failback_after: Option<FailbackAfter>,
    sla: Option<Spanned<SlaWord>>,
    obey_quota: Option<bool>,
}

impl Table for FileGroup {
    const NAME: &'static str = "group";
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileHook {
    name: Spanned<HookName>,
    command: Option<Spanned<OneOrMany>>,
    url: Option<HookUrl>,
    events: Option<Spanned<OneOrMany>>,
    timeout: Option<HookTimeout>,
}

impl Table for FileHook {
    const NAME: &'static str = "hook";
}

/// Reads a file into a layer.
pub fn read(path: &Path) -> Result<Layer, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.into(),
        source,
    };
    let mut text = String::new();
    // One byte more than is allowed tells a file that is too large, also where the size is not
    // known beforehand, as with a pipe.
    let read = File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text))
        .map_err(failed)?;
    if read as u64 > MAX_FILE {
        return Err(ConfigError::TooLarge {
            path: path.into(),
            limit: MAX_FILE,
        });
    }
    parse(path, &text)
}

/// Reads the text of a file into a layer.
pub fn parse(path: &Path, text: &str) -> Result<Layer, ConfigError> {
    let source = Source::new(path, text);
    let file: FileConfig = toml::from_str(text).map_err(|error| explain(&source, &error))?;
    Ok(Layer {
        lan: locate_lans(&source, file.lan)?,
        uplinks: file
            .uplink
            .0
            .into_iter()
            .map(|uplink| locate_uplink(&source, uplink))
            .collect::<Result<_, _>>()?,
        probe: ProbeLayer {
            interval: file.probe.interval,
            timeout: file.probe.timeout,
            fall: file.probe.fall,
            rise: file.probe.rise,
            suspicion: file.probe.suspicion,
            burst: file.probe.burst,
            quorum: file.probe.quorum.map(|quorum| locate(&source, quorum)),
            rate: file.probe.rate,
        },
        damping: DampingLayer {
            hold: file.damping.hold,
            max_hold: file.damping.max_hold.map(|value| locate(&source, value)),
            forget: file.damping.forget,
        },
        metrics_listen: file.metrics_listen,
        run_dir: file.run_dir.map(|run_dir| locate(&source, run_dir)),
        state_dir: file.state_dir.map(|dir| locate(&source, dir)),
        xdp_mode: file.xdp_mode,
        seed: file.seed,
        group: GroupLayer {
            hash: file.hash,
            on_uplink_loss: file.on_uplink_loss,
            failback: file.failback,
            failback_after: file.failback_after,
            sla: file.sla.map(|sla| locate(&source, sla)),
            obey_quota: file.obey_quota,
        },
        inside_prefix: file.inside_prefix,
        quality: file.quality,
        nat: NatLayer {
            flows: file.nat.flows,
            filtering: file.nat.filtering,
            unasked: file.nat.unasked,
            ports: locate_all(&source, file.nat.ports)?,
            timeout: file.nat.timeout,
        },
        forwards: file
            .forward
            .0
            .into_iter()
            .map(|forward| locate_forward(&source, forward))
            .collect::<Result<_, _>>()?,
        groups: file
            .group
            .0
            .into_iter()
            .map(|group| locate_group(&source, group))
            .collect::<Result<_, _>>()?,
        rules: file
            .rule
            .0
            .into_iter()
            .map(|rule| locate_rule(&source, rule))
            .collect::<Result<_, _>>()?,
        hooks: file
            .hook
            .0
            .into_iter()
            .map(|hook| locate_hook(&source, hook))
            .collect::<Result<_, _>>()?,
        detach_on_exit: file.detach_on_exit,
        fix_offloads: file.fix_offloads,
        manage_routes: file.manage_routes,
    })
}

fn locate_uplink(source: &Source<'_>, uplink: FileUplink) -> Result<UplinkLayer, ConfigError> {
    Ok(UplinkLayer {
        name: locate(source, uplink.name),
        device: uplink.device.map(|device| locate(source, device)),
        vlan: uplink.vlan,
        outer_tag: uplink.outer_tag.map(|kind| locate(source, kind)),
        pppoe: uplink.pppoe.map(|device| locate(source, device)),
        weight: uplink.weight,
        tier: uplink.tier,
        modes: locate_all(source, uplink.mode)?,
        outsides: locate_all(source, uplink.outside)?,
        prefix: uplink.prefix.map(|prefix| locate(source, prefix)),
        mss_clamp: uplink.mss_clamp,
        gateways: locate_all(source, uplink.gateway)?,
        quorum: uplink.quorum.map(|quorum| locate(source, quorum)),
        probes: locate_targets(source, uplink.probe)?,
        carry: CarryLayer {
            capacity: uplink.capacity.map(|value| locate(source, value)),
            spill_at: uplink.spill_at.map(|value| locate(source, value)),
            spill_until: uplink.spill_until.map(|value| locate(source, value)),
            quota: uplink.quota.map(|value| locate(source, value)),
            quota_from: uplink.quota_from.map(|value| locate(source, value)),
        },
        bfd: uplink.bfd.map(|bfd| locate_bfd(source, bfd)).transpose()?,
    })
}

fn locate_bfd(
    source: &Source<'_>,
    bfd: Spanned<FileBfd>,
) -> Result<Located<BfdLayer>, ConfigError> {
    let Located { value, origin } = locate(source, bfd);
    let value = bfd::layer(source, value)?;
    Ok(Located { value, origin })
}

fn locate_forward(source: &Source<'_>, forward: FileForward) -> Result<ForwardLayer, ConfigError> {
    Ok(ForwardLayer {
        protocol: forward.protocol,
        outside: locate(source, forward.outside),
        inside: locate(source, forward.inside),
        uplinks: locate_all(source, forward.uplinks)?,
    })
}

fn locate_group(source: &Source<'_>, group: FileGroup) -> Result<NamedGroupLayer, ConfigError> {
    let members = group.members.map(|members| locate_members(source, members));
    Ok(NamedGroupLayer {
        name: locate(source, group.name),
        members: members.transpose()?,
        group: GroupLayer {
            hash: group.hash,
            on_uplink_loss: group.on_uplink_loss,
            failback: group.failback,
            failback_after: group.failback_after,
            sla: group.sla.map(|sla| locate(source, sla)),
            obey_quota: group.obey_quota,
        },
    })
}

fn locate_hook(source: &Source<'_>, hook: FileHook) -> Result<HookLayer, ConfigError> {
    Ok(HookLayer {
        name: locate(source, hook.name),
        command: locate_all(source, hook.command)?,
        url: hook.url,
        events: locate_all(source, hook.events)?,
        timeout: hook.timeout,
    })
}

/// Says in the project's words what the TOML reader found.
fn explain(source: &Source<'_>, error: &toml::de::Error) -> ConfigError {
    let span = error.span().unwrap_or(0..0);
    // The file's own spelling, if the span is of the key.
    let key = source.slice(span.clone());
    let key = key.map(|text| text.trim_matches(['"', '\'']));
    explain_at(source.origin(span), key, error.message())
}

/// The same of a message of which it is known where it belongs; `key` is the file's spelling of an unknown
/// key.
fn explain_at(origin: Origin, key: Option<&str>, message: &str) -> ConfigError {
    match unknown_field(message) {
        Some((unknown, known)) => {
            let key = key.unwrap_or(unknown);
            ConfigError::UnknownKey {
                origin,
                key: key.into(),
                suggestion: suggest::closest(key, known.iter().copied()),
                known: known.into_iter().map(str::to_owned).collect(),
            }
        }
        None => ConfigError::File {
            origin,
            message: plain(message),
        },
    }
}

/// A message of the TOML reader in the words that a file's writer knows.
fn plain(message: &str) -> String {
    match message
        .strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'))
    {
        Some(key) => format!("the key {key:?} is missing in this table"),
        None => message.trim_end().into(),
    }
}

/// Takes serde's message about an unknown field apart: the field, and the fields that are known.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let (key, expected) = message
        .strip_prefix("unknown field `")?
        .split_once("`, expected ")?;
    // "one of `a`, `b`" has every second piece between backticks.
    Some((key, expected.split('`').skip(1).step_by(2).collect()))
}
