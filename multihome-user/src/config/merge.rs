//! Lays the flags over the file and checks the whole: what no single value can be blamed for.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{self, PathBuf},
};

use multihome_common::limits;

use super::{
    Config, DEFAULT_METRICS_LISTEN, DEFAULT_RUN_DIR, MAX_PROBES, MAX_RUN_DIR, ProbeConfig,
    UplinkConfig,
    error::{ConfigError, RunDirProblem},
    layer::{Layer, ProbeLayer, UplinkLayer},
    origin::{Located, Origin},
    value::{Device, Listen},
};

/// Lays `above` over `below` and checks the result.
pub fn merge(below: Layer, above: Layer) -> Result<Config, ConfigError> {
    let lan = if above.lan.is_empty() {
        below.lan
    } else {
        above.lan
    };
    let uplinks = merge_uplinks(below.uplinks, above.uplinks)?;
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

    let mut users = DeviceUsers::default();
    let lan = check_lan(lan, &mut users)?;
    let uplinks = check_uplinks(uplinks, &mut users)?;
    Ok(Config {
        lan,
        uplinks,
        probe: merge_probe(below.probe, above.probe),
        metrics_listen: metrics_listen.0,
        run_dir: check_run_dir(above.run_dir.or(below.run_dir))?,
        xdp_mode: above.xdp_mode.or(below.xdp_mode).unwrap_or_default(),
        seed: above.seed.or(below.seed).map(|seed| seed.0),
        detach_on_exit: above
            .detach_on_exit
            .or(below.detach_on_exit)
            .unwrap_or_default(),
        origins: users
            .0
            .into_iter()
            .map(|(device, (_, origin))| (device, origin))
            .collect(),
    })
}

/// An uplink above with the name of one below replaces the keys it gives; a new name is added.
fn merge_uplinks(
    below: Vec<UplinkLayer>,
    above: Vec<UplinkLayer>,
) -> Result<Vec<UplinkLayer>, ConfigError> {
    distinct_names(&below)?;
    distinct_names(&above)?;
    let mut merged = below;
    for uplink in above {
        match merged
            .iter_mut()
            .find(|known| known.name.value == uplink.name.value)
        {
            Some(known) => {
                known.device = uplink.device.or(known.device.take());
                known.weight = uplink.weight.or(known.weight);
                known.tier = uplink.tier.or(known.tier);
                known.mode = uplink.mode.or(known.mode);
                if !uplink.gateways.is_empty() {
                    known.gateways = uplink.gateways;
                }
                if !uplink.probes.is_empty() {
                    known.probes = uplink.probes;
                }
            }
            None => merged.push(uplink),
        }
    }
    Ok(merged)
}

/// Fails when one layer has two uplinks of one name.
fn distinct_names(uplinks: &[UplinkLayer]) -> Result<(), ConfigError> {
    let mut seen = BTreeMap::new();
    for uplink in uplinks {
        if let Some(first) = seen.insert(&uplink.name.value, &uplink.name.origin) {
            return Err(ConfigError::SameName {
                origin: uplink.name.origin.clone(),
                name: uplink.name.value.0.clone(),
                first: first.clone(),
            });
        }
    }
    Ok(())
}

fn merge_probe(below: ProbeLayer, above: ProbeLayer) -> ProbeConfig {
    let default = ProbeConfig::default();
    ProbeConfig {
        interval: above
            .interval
            .or(below.interval)
            .map_or(default.interval, |value| value.0),
        timeout: above.timeout.or(below.timeout).map(|value| value.0),
        fall: above
            .fall
            .or(below.fall)
            .map_or(default.fall, |value| value.0),
        rise: above
            .rise
            .or(below.rise)
            .map_or(default.rise, |value| value.0),
    }
}

/// Who uses each device, and where that was written.
#[derive(Default)]
struct DeviceUsers(BTreeMap<String, (String, Origin)>);

impl DeviceUsers {
    /// Gives a device to `user`, unless somebody has it.
    fn take(&mut self, device: &Located<Device>, user: String) -> Result<(), ConfigError> {
        let name = &device.value.0;
        if let Some((user, first)) = self.0.get(name) {
            return Err(ConfigError::SameDevice {
                origin: device.origin.clone(),
                device: name.as_str().into(),
                user: user.as_str().into(),
                first: first.clone(),
            });
        }
        self.0.insert(name.clone(), (user, device.origin.clone()));
        Ok(())
    }
}

fn check_lan(
    lan: Vec<Located<Device>>,
    users: &mut DeviceUsers,
) -> Result<Vec<String>, ConfigError> {
    if lan.is_empty() {
        return Err(ConfigError::NoLan);
    }
    if let Some(extra) = lan.get(limits::MAX_LAN_PORTS) {
        return Err(ConfigError::TooManyLan {
            origin: extra.origin.clone(),
        });
    }
    lan.into_iter()
        .map(|device| {
            users.take(&device, "a LAN device".into())?;
            Ok(device.value.0)
        })
        .collect()
}

fn check_uplinks(
    uplinks: Vec<UplinkLayer>,
    users: &mut DeviceUsers,
) -> Result<Vec<UplinkConfig>, ConfigError> {
    if uplinks.is_empty() {
        return Err(ConfigError::NoUplink);
    }
    if let Some(extra) = uplinks.get(limits::MAX_UPLINKS) {
        return Err(ConfigError::TooManyUplinks {
            origin: extra.name.origin.clone(),
        });
    }
    uplinks
        .into_iter()
        .map(|uplink| check_uplink(uplink, users))
        .collect()
}

fn check_uplink(uplink: UplinkLayer, users: &mut DeviceUsers) -> Result<UplinkConfig, ConfigError> {
    let Located {
        value: name,
        origin,
    } = uplink.name;
    let name = name.0;
    let Some(device) = uplink.device else {
        return Err(ConfigError::NoDevice { origin, name });
    };
    users.take(&device, format!("uplink {name:?}"))?;

    let (mut gateway4, mut gateway6) = (None, None);
    for Located {
        value: gateway,
        origin,
    } in uplink.gateways
    {
        let (family, first) = match gateway.0 {
            IpAddr::V4(v4) => ("IPv4", gateway4.replace(v4).map(IpAddr::from)),
            IpAddr::V6(v6) => ("IPv6", gateway6.replace(v6).map(IpAddr::from)),
        };
        if let Some(first) = first {
            return Err(ConfigError::TwoGateways {
                origin,
                name,
                family,
                first,
                second: gateway.0,
            });
        }
    }

    let mut probe = Vec::new();
    let mut seen = BTreeSet::new();
    for Located {
        value: target,
        origin,
    } in uplink.probes
    {
        if !seen.insert(target.0) {
            return Err(ConfigError::SameTarget {
                origin,
                name,
                target: target.0,
            });
        }
        if probe.len() == MAX_PROBES {
            return Err(ConfigError::TooManyTargets { origin, name });
        }
        probe.push(target.0);
    }

    Ok(UplinkConfig {
        name,
        device: device.value.0,
        weight: uplink.weight.map_or(1, |weight| weight.0),
        tier: uplink.tier.map_or(1, |tier| tier.0),
        gateway4,
        gateway6,
        mode: uplink.mode.unwrap_or_default(),
        probe,
    })
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
    let checked = match path::absolute(&given) {
        Err(_) => Err(RunDirProblem::Empty),
        Ok(path) if path.to_str().is_none() => Err(RunDirProblem::NotUtf8),
        Ok(path) if path.as_os_str().len() > MAX_RUN_DIR => Err(RunDirProblem::TooLong),
        Ok(path) => Ok(path),
    };
    checked.map_err(|reason| ConfigError::RunDir {
        origin,
        path: given,
        reason,
    })
}
