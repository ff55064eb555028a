//! What only the machine can tell of a configuration: devices that are not there, ports that are the
//! kernel's own, tables that were made for another one.

use std::ops::RangeInclusive;

use super::{RunError, pools};
use crate::{
    config::{Config, check_ports},
    dataplane::{Dataplane, Sizes},
    kernel_ports,
    netlink::{Misfit, NetState, hardware_of},
    probe::exchange::authorities,
};

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
    let devices = config
        .lan
        .iter()
        .chain(config.uplinks.iter().map(|uplink| &uplink.device));
    for device in devices {
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
    for device in config.lan.iter().chain(uplinks) {
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
