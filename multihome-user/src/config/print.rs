//! Prints a configuration as a file that reads back to the same.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use serde::Serialize;

use super::{Config, HashPolicy, Mode, MssClamp, UplinkConfig, duration::TextDuration};

mod bfd;
mod forward;
mod group;
mod hook;
mod lan;
mod nat;
mod quality;
mod rule;

use bfd::PrintedBfd;
use forward::PrintedForward;
use group::PrintedGroup;
use hook::PrintedHook;
use lan::{PrintedLan, PrintedVlan};
use nat::PrintedNat;
use quality::{PrintedCapacity, PrintedQuality, PrintedSla};
use rule::PrintedRule;

#[derive(Serialize)]
struct Printed<'c> {
    lan: Vec<PrintedLan<'c>>,
    metrics_listen: String,
    run_dir: &'c std::path::Path,
    state_dir: &'c std::path::Path,
    xdp_mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<&'static str>,
    on_uplink_loss: &'static str,
    failback: &'static str,
    failback_after: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    inside_prefix: Option<String>,
    detach_on_exit: bool,
    fix_offloads: bool,
    manage_routes: bool,
    obey_quota: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sla: Option<PrintedSla>,
    quality: PrintedQuality,
    probe: PrintedProbe,
    damping: PrintedDamping,
    nat: PrintedNat,
    uplink: Vec<PrintedUplink<'c>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    forward: Vec<PrintedForward<'c>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    group: Vec<PrintedGroup<'c>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rule: Vec<PrintedRule<'c>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hook: Vec<PrintedHook<'c>>,
}

#[derive(Serialize)]
struct PrintedProbe {
    interval: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    fall: u32,
    rise: u32,
    suspicion: String,
    burst: String,
    quorum: u32,
    rate: PrintedRate,
}

#[derive(Serialize)]
#[serde(untagged)]
enum PrintedRate {
    Packets(u32),
    Off(&'static str),
}

#[derive(Serialize)]
struct PrintedDamping {
    hold: String,
    max_hold: String,
    forget: String,
}

#[derive(Serialize)]
struct PrintedUplink<'c> {
    name: &'c str,
    device: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan: Option<PrintedVlan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outer_tag: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pppoe: Option<&'c str>,
    weight: u32,
    tier: u8,
    mode: PrintedMode,
    #[serde(skip_serializing_if = "<[Ipv4Addr]>::is_empty")]
    outside: &'c [Ipv4Addr],
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    mss_clamp: PrintedMss,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gateway: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quorum: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    probe: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota_from: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spill_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spill_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<PrintedCapacity>,
    bfd: PrintedBfd,
}

#[derive(Serialize)]
#[serde(untagged)]
enum PrintedMss {
    Word(&'static str),
    Bytes(u16),
}

#[derive(Serialize)]
#[serde(untagged)]
enum PrintedMode {
    One(&'static str),
    Both([&'static str; 2]),
}

/// The configuration as TOML, defaults spelled out; what is found by itself is left out.
pub fn to_toml(config: &Config) -> String {
    let printed = Printed {
        lan: config.lan.iter().map(PrintedLan::new).collect(),
        metrics_listen: config
            .metrics_listen
            .map_or("off".into(), |address| address.to_string()),
        run_dir: &config.run_dir,
        state_dir: &config.state_dir,
        xdp_mode: config.xdp_mode.name(),
        seed: config.seed,
        hash: config.group.hash.map(HashPolicy::name),
        on_uplink_loss: config.group.on_uplink_loss.name(),
        failback: config.group.failback.name(),
        failback_after: TextDuration(config.group.failback_after).to_string(),
        inside_prefix: config.inside_prefix.map(|prefix| prefix.to_string()),
        detach_on_exit: config.detach_on_exit,
        fix_offloads: config.fix_offloads,
        manage_routes: config.manage_routes,
        obey_quota: config.group.obey_quota,
        sla: config.group.sla.as_ref().map(PrintedSla::new),
        quality: PrintedQuality::new(&config.quality),
        probe: PrintedProbe {
            interval: TextDuration(config.probe.interval).to_string(),
            timeout: config
                .probe
                .timeout
                .map(|timeout| TextDuration(timeout).to_string()),
            fall: config.probe.fall,
            rise: config.probe.rise,
            suspicion: or_off(config.probe.suspicion),
            burst: or_off(config.probe.burst),
            quorum: config.probe.quorum,
            rate: config
                .probe
                .rate
                .map_or(PrintedRate::Off("off"), PrintedRate::Packets),
        },
        damping: PrintedDamping {
            hold: TextDuration(config.damping.hold).to_string(),
            max_hold: TextDuration(config.damping.max_hold).to_string(),
            forget: TextDuration(config.damping.forget).to_string(),
        },
        nat: PrintedNat::new(&config.nat),
        uplink: config.uplinks.iter().map(printed_uplink).collect(),
        forward: config.forwards.iter().map(PrintedForward::new).collect(),
        group: group::printed(config),
        rule: config.rules.iter().map(PrintedRule::new).collect(),
        hook: config.hooks.iter().map(PrintedHook::new).collect(),
    };
    toml::to_string(&printed).expect("strings, numbers and lists of them are always TOML")
}

fn or_off(duration: Option<Duration>) -> String {
    duration.map_or("off".into(), |duration| TextDuration(duration).to_string())
}

fn printed_uplink(uplink: &UplinkConfig) -> PrintedUplink<'_> {
    let (vlan, outer_tag) = lan::tags(uplink.vlan);
    PrintedUplink {
        name: &uplink.name,
        device: &uplink.device,
        vlan,
        outer_tag,
        pppoe: uplink.pppoe.as_deref(),
        weight: uplink.weight,
        tier: uplink.tier,
        mode: match uplink.mode {
            Mode::Auto | Mode::Routed | Mode::Nat44 | Mode::Nptv6 => {
                PrintedMode::One(uplink.mode.name())
            }
            Mode::Nat44Nptv6 => PrintedMode::Both([Mode::Nat44.name(), Mode::Nptv6.name()]),
        },
        outside: &uplink.outside,
        prefix: uplink.prefix.map(|prefix| prefix.to_string()),
        mss_clamp: match uplink.mss_clamp {
            MssClamp::Auto => PrintedMss::Word("auto"),
            MssClamp::At(mss) => PrintedMss::Bytes(mss),
            MssClamp::Off => PrintedMss::Word("off"),
        },
        gateway: uplink
            .gateway4
            .map(IpAddr::from)
            .into_iter()
            .chain(uplink.gateway6.map(IpAddr::from))
            .collect(),
        quorum: uplink.quorum,
        probe: uplink.probe.iter().map(ToString::to_string).collect(),
        quota: uplink.quota.map(|quota| quota.to_string()),
        quota_from: quality::quota_from(uplink.quota),
        spill_at: uplink
            .capacity
            .map(|capacity| capacity.spill_at.to_string()),
        spill_until: uplink
            .capacity
            .map(|capacity| capacity.spill_until.to_string()),
        capacity: uplink.capacity.as_ref().map(PrintedCapacity::new),
        bfd: PrintedBfd::new(uplink.bfd.as_ref()),
    }
}
