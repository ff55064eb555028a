//! Lays the flags over the file and checks the whole: what no single value can be blamed for.

use std::{
    collections::BTreeMap,
    path::{self, PathBuf},
};

use super::{
    Config, DEFAULT_METRICS_LISTEN, DEFAULT_RUN_DIR, DEFAULT_STATE_DIR, MAX_RUN_DIR, ProbeConfig,
    error::{ConfigError, RunDirProblem},
    layer::{Layer, ProbeLayer},
    origin::{Located, Origin, Origins},
    value::{Device, Listen},
};

mod bfd;
mod damping;
mod forward;
mod group;
mod hook;
mod lan;
mod nat;
mod quality;
mod rule;
mod uplink;

/// Lays `above` over `below` and checks the result.
pub fn merge(below: Layer, above: Layer) -> Result<Config, ConfigError> {
    let lan = if above.lan.is_empty() {
        below.lan
    } else {
        above.lan
    };
    let uplinks = uplink::merge(below.uplinks, above.uplinks)?;
    let metrics_listen = above
        .metrics_listen
        .or(below.metrics_listen)
        .unwrap_or_else(|| {
            Listen(Some(
                DEFAULT_METRICS_LISTEN
                    .parse()
                    .expect("the default is an address"),
            ))
        });

    let prefixes = uplink::prefix_origins(&uplinks);
    let mut users = DeviceUsers::default();
    let lan = lan::check(lan, &mut users)?;
    let inside_prefix = above.inside_prefix.or(below.inside_prefix);
    let quorum = above.probe.quorum.as_ref().or(below.probe.quorum.as_ref());
    let uplinks = uplink::check(uplinks, inside_prefix, quorum, &mut users)?;
    let (nat, nat_ports) = nat::check(below.nat)?;
    let (forwards, forward_origins) = forward::check(below.forwards, &uplinks)?;
    let (hooks, hook_origins) = hook::check(below.hooks)?;
    let group = group::common(below.group.under(above.group))?;
    let group_origins = group::origins(&below.groups);
    let groups = group::check(below.groups, &group, &uplinks)?;
    let (rules, rule_origins) = rule::check(below.rules, &groups, &lan)?;
    Ok(Config {
        lan,
        uplinks,
        probe: merge_probe(below.probe, above.probe),
        damping: damping::merge(below.damping, above.damping)?,
        metrics_listen: metrics_listen.0,
        run_dir: check_run_dir(above.run_dir.or(below.run_dir))?,
        state_dir: check_state_dir(above.state_dir.or(below.state_dir))?,
        quality: quality::window(below.quality),
        xdp_mode: above.xdp_mode.or(below.xdp_mode).unwrap_or_default(),
        seed: above.seed.or(below.seed).map(|seed| seed.0),
        group,
        groups,
        rules,
        inside_prefix,
        nat,
        forwards,
        hooks,
        detach_on_exit: above
            .detach_on_exit
            .or(below.detach_on_exit)
            .unwrap_or_default(),
        fix_offloads: above
            .fix_offloads
            .or(below.fix_offloads)
            .unwrap_or_default(),
        manage_routes: above.manage_routes.or(below.manage_routes).unwrap_or(true),
        origins: Origins {
            devices: users
                .0
                .into_iter()
                .map(|(device, (_, origin))| (device, origin))
                .collect(),
            nat_ports,
            forwards: forward_origins,
            groups: group_origins,
            rules: rule_origins,
            hooks: hook_origins,
            prefixes,
        },
    })
}

fn merge_probe(below: ProbeLayer, above: ProbeLayer) -> ProbeConfig {
    let default = ProbeConfig::default();
    let interval = above.interval.or(below.interval);
    let rate = above.rate.or(below.rate);
    ProbeConfig {
        interval: interval.map_or(default.interval, |value| value.0),
        timeout: above.timeout.or(below.timeout).map(|value| value.0),
        fall: above
            .fall
            .or(below.fall)
            .map_or(default.fall, |value| value.0),
        rise: above
            .rise
            .or(below.rise)
            .map_or(default.rise, |value| value.0),
        suspicion: above
            .suspicion
            .or(below.suspicion)
            .map_or(default.suspicion, |value| value.0),
        burst: above
            .burst
            .or(below.burst)
            .map_or(default.burst, |value| value.0),
        quorum: above
            .quorum
            .or(below.quorum)
            .map_or(default.quorum, |quorum| quorum.value.0),
        // Whoever gives an interval means it, and is not slowed down without being asked.
        rate: match (rate, interval) {
            (Some(rate), _) => rate.0,
            (None, Some(_)) => None,
            (None, None) => default.rate,
        },
    }
}

/// Who uses each device, and where that was written.
#[derive(Default)]
struct DeviceUsers(BTreeMap<String, (String, Origin)>);

impl DeviceUsers {
    /// Gives a device to `user`, unless somebody has it.
    fn take(&mut self, device: &Device, origin: &Origin, user: String) -> Result<(), ConfigError> {
        let name = &device.0;
        if let Some((user, first)) = self.0.get(name) {
            return Err(ConfigError::SameDevice {
                origin: origin.clone(),
                device: name.as_str().into(),
                user: user.as_str().into(),
                first: first.clone(),
            });
        }
        self.0.insert(name.clone(), (user, origin.clone()));
        Ok(())
    }
}

/// Makes the state directory's path absolute.
fn check_state_dir(given: Option<Located<PathBuf>>) -> Result<PathBuf, ConfigError> {
    let Some(Located { value, origin }) = given else {
        return Ok(DEFAULT_STATE_DIR.into());
    };
    absolute(&value).map_err(|reason| ConfigError::StateDir {
        origin,
        path: value,
        reason,
    })
}

/// The path from the root, if it can be printed.
fn absolute(given: &path::Path) -> Result<PathBuf, RunDirProblem> {
    match path::absolute(given) {
        Err(_) => Err(RunDirProblem::Empty),
        Ok(path) if path.to_str().is_none() => Err(RunDirProblem::NotUtf8),
        Ok(path) => Ok(path),
    }
}

/// Makes the run directory's path absolute, so that it means the same wherever it is used.
fn check_run_dir(given: Option<Located<PathBuf>>) -> Result<PathBuf, ConfigError> {
    let Some(Located {
        value: given,
        origin,
    }) = given
    else {
        return Ok(DEFAULT_RUN_DIR.into());
    };
    let checked = match absolute(&given) {
        Ok(path) if path.as_os_str().len() > MAX_RUN_DIR => Err(RunDirProblem::TooLong),
        checked => checked,
    };
    checked.map_err(|reason| ConfigError::RunDir {
        origin,
        path: given,
        reason,
    })
}
