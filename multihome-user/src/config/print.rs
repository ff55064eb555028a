//! Prints a configuration as a file that reads back to the same.

use std::net::IpAddr;

use serde::Serialize;

use super::{Config, UplinkConfig, duration::TextDuration};

#[derive(Serialize)]
struct Printed<'c> {
    lan: &'c [String],
    metrics_listen: String,
    run_dir: &'c std::path::Path,
    xdp_mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    detach_on_exit: bool,
    probe: PrintedProbe,
    uplink: Vec<PrintedUplink<'c>>,
}

#[derive(Serialize)]
struct PrintedProbe {
    interval: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    fall: u32,
    rise: u32,
}

#[derive(Serialize)]
struct PrintedUplink<'c> {
    name: &'c str,
    device: &'c str,
    weight: u32,
    tier: u8,
    mode: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gateway: Vec<IpAddr>,
    #[serde(skip_serializing_if = "<[IpAddr]>::is_empty")]
    probe: &'c [IpAddr],
}

/// The configuration as TOML, defaults spelled out; what is found by itself is left out.
pub fn to_toml(config: &Config) -> String {
    let printed = Printed {
        lan: &config.lan,
        metrics_listen: config
            .metrics_listen
            .map_or("off".into(), |address| address.to_string()),
        run_dir: &config.run_dir,
        xdp_mode: config.xdp_mode.name(),
        seed: config.seed,
        detach_on_exit: config.detach_on_exit,
        probe: PrintedProbe {
            interval: TextDuration(config.probe.interval).to_string(),
            timeout: config
                .probe
                .timeout
                .map(|timeout| TextDuration(timeout).to_string()),
            fall: config.probe.fall,
            rise: config.probe.rise,
        },
        uplink: config.uplinks.iter().map(printed_uplink).collect(),
    };
    toml::to_string(&printed).expect("strings, numbers and lists of them are always TOML")
}

fn printed_uplink(uplink: &UplinkConfig) -> PrintedUplink<'_> {
    PrintedUplink {
        name: &uplink.name,
        device: &uplink.device,
        weight: uplink.weight,
        tier: uplink.tier,
        mode: uplink.mode.name(),
        gateway: uplink
            .gateway4
            .map(IpAddr::from)
            .into_iter()
            .chain(uplink.gateway6.map(IpAddr::from))
            .collect(),
        probe: &uplink.probe,
    }
}
