//! What only the machine can tell of a configuration: devices that are not there, ports that are the
//! kernel's own, tables that were made for another one.

use std::ops::RangeInclusive;

use multihome_common::framing::Framing;

use super::{RunError, pools};
use crate::{
    config::{Config, ConfigError, RuleError, Vlan, check_ports},
    controller::Ground,
    dataplane::{Dataplane, Sizes},
    kernel_ports,
    netlink::{Misfit, NetState, hardware_of},
    probe::exchange::authorities,
};

/// The MTU of Ethernet.
const USUAL_MTU: u32 = 1500;

/// The ports that translated flows may get.
///
/// # Errors
/// When ports are configured that the kernel gives to its own sockets, or it leaves none.
pub fn ports_for_flows(config: &Config) -> Result<Vec<RangeInclusive<u16>>, RunError> {
    let kernel = kernel_ports::read()?;
    check_ports(config, kernel.clone())?;
    let ports = kernel_ports::for_flows(&config.nat.ports, &kernel);
    if ports.is_empty() && pools::all(config) > 0 {
        return Err(RunError::NoPorts);
    }
    Ok(ports)
}

/// Says so when tables that were adopted are not as large as configured.
pub fn tell_of_other_sizes(wanted: Sizes, dataplane: &Dataplane) {
    let tables = &dataplane.flows;
    let flows = wanted.pools > 0 && wanted.buckets() != tables.buckets();
    if flows || wanted.pin_lines() != tables.pin_lines() {
        tracing::warn!(
            "the flow table keeps the {} places that it was made with; another number of flows takes \
             effect after `multihome detach`, which ends all flows",
            tables.capacity()
        );
    }
}

/// Fails when a device is not there or is none of Ethernet; warns of uplinks that are hardly watched.
///
/// # Errors
/// The first such device.
pub fn check_devices(config: &Config, net: &NetState) -> Result<(), RunError> {
    let lan = config.lan.iter().map(|port| (&port.device, port.vlan));
    let uplinks = config.uplinks.iter();
    let uplinks = uplinks.map(|uplink| (&uplink.device, uplink.vlan));
    for (device, tags) in lan.chain(uplinks) {
        let origin = || config.device_origin(device);
        let Some(link) = net.link_by_name(device) else {
            return Err(RunError::UnknownDevice {
                origin: origin(),
                device: device.clone(),
            });
        };
        if let Some(misfit) = link.misfit() {
            return Err(RunError::NotEthernet {
                origin: origin(),
                device: device.clone(),
                misfit,
            });
        }
        // The program would put its tags before those that the kernel knows of.
        if link.vlan_of.is_some() && !tags.is_plain() {
            return Err(RunError::VlanOnVlan {
                origin: origin(),
                device: device.clone(),
            });
        }
    }
    check_vlans(config, net)?;
    for sentence in narrowed(config, net) {
        tracing::warn!("{sentence}");
    }
    for sentence in config.advice() {
        tracing::warn!("{sentence}");
    }
    check_authorities(config)
}

/// Fails when a device that is there is none of Ethernet, by what anybody may ask the kernel: for a configuration
/// that is only checked. Those that are not there may be another machine's.
///
/// # Errors
/// The first such device.
pub fn check_kinds(config: &Config) -> Result<(), RunError> {
    let uplinks = config.uplinks.iter().map(|uplink| &uplink.device);
    let lan = config.lan.iter().map(|port| &port.device);
    for device in lan.chain(uplinks) {
        // Where the kernel cannot be asked, the start will tell.
        let hardware = hardware_of(device).ok().flatten();
        if let Some(misfit) = hardware.and_then(Misfit::of) {
            return Err(RunError::NotEthernet {
                origin: config.device_origin(device),
                device: device.clone(),
                misfit,
            });
        }
    }
    Ok(())
}

/// Fails when a rule asks for a VLAN that no LAN port has, by what the kernel says of its VLAN devices.
fn check_vlans(config: &Config, net: &NetState) -> Result<(), ConfigError> {
    let found: Vec<(&str, Framing)> = config
        .lan
        .iter()
        .filter_map(|port| {
            let ground = Ground::find(net, &port.device, port.vlan)?;
            Some((port.name.as_str(), ground.tags))
        })
        .collect();
    for (at, rule) in config.rules.iter().enumerate() {
        let is_had = |vlan: &&Vlan| found.iter().any(|(_, tags)| vlan.is_in(*tags));
        let Some(vlan) = rule.vlan.iter().find(|vlan| !is_had(vlan)) else {
            continue;
        };
        let ports = found.iter();
        return Err(ConfigError::Rule(RuleError::UnknownVlan {
            origin: config.rule_origin(at).clone(),
            vlan: *vlan,
            known: ports
                .map(|(name, tags)| format!("{name} ({tags})"))
                .collect(),
        }));
    }
    Ok(())
}

/// Ports that cannot have packets as large as their devices say, because two tags come on top.
fn narrowed(config: &Config, net: &NetState) -> Vec<String> {
    let lan = config.lan.iter().map(|port| (&port.device, port.vlan));
    let uplinks = config
        .uplinks
        .iter()
        .filter(|uplink| uplink.pppoe.is_none());
    let uplinks = uplinks.map(|uplink| (&uplink.device, uplink.vlan));
    let narrowed = lan.chain(uplinks).filter_map(|(device, tags)| {
        let (link, ground) = (net.link_by_name(device)?, Ground::find(net, device, tags)?);
        let mtu = ground.mtu(ground.tags, link.mtu);
        let missing = link.mtu.min(USUAL_MTU).checked_sub(mtu).filter(|it| *it > 0)?;
        Some(format!(
            "{device}: with its tags, packets of {mtu} bytes at most can be sent; for larger ones: ip link set {} \
             mtu {}",
            ground.device,
            ground.mtu + missing
        ))
    });
    narrowed.collect()
}

/// Fails when certificates are to be verified and there is nobody whose word counts: all such targets
/// would look dead.
fn check_authorities(config: &Config) -> Result<(), RunError> {
    let targets = config.uplinks.iter().flat_map(|uplink| &uplink.probe);
    let Some(target) = targets.into_iter().find(|target| target.verifies()) else {
        return Ok(());
    };
    match authorities() {
        Ok(_) => Ok(()),
        Err(source) => Err(RunError::NoAuthorities {
            target: target.label(),
            source,
        }),
    }
}
