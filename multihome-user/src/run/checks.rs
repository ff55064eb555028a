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
    for (device, tags) in ports_of(config) {
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
    check_frames(config, net)?;
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

/// Fails when two ports have the same frames, or a port's tags are those of a VLAN device that is not named: what
/// comes in could only be one's.
fn check_frames(config: &Config, net: &NetState) -> Result<(), RunError> {
    let ports: Vec<(&String, Ground)> = ports_of(config)
        .filter_map(|(device, tags)| Some((device, Ground::find(net, device, tags)?)))
        .collect();
    let devices = net.links.values().filter(|link| link.vlan_of.is_some());
    let devices: Vec<(&String, Ground)> = devices
        .filter_map(|link| {
            let ground = Ground::find(net, &link.name, Framing::PLAIN)?;
            Some((&link.name, ground))
        })
        .collect();
    for (at, (device, ground)) in ports.iter().enumerate() {
        let has_same = |other: &&(&String, Ground)| {
            other.1.ifindex == ground.ifindex && other.1.tags == ground.tags
        };
        let named = ports[..at].iter().find(has_same);
        let unnamed = devices.iter().filter(|other| other.0 != *device);
        let mut unnamed = unnamed.filter(|_| !ground.vlan_device);
        if let Some((other, _)) = named.or_else(|| unnamed.find(has_same)) {
            return Err(RunError::SameFrames {
                origin: config.device_origin(device),
                device: (*device).clone(),
                tags: ground.tags,
                other: (*other).clone(),
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

/// The device of each port, and the tags that are configured for it.
fn ports_of(config: &Config) -> impl Iterator<Item = (&String, Framing)> {
    let lan = config.lan.iter().map(|port| (&port.device, port.vlan));
    let uplinks = config.uplinks.iter();
    lan.chain(uplinks.map(|uplink| (&uplink.device, uplink.vlan)))
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        exit,
        netlink::{ETHERNET, Link, NetEvent, VlanOf},
    };

    /// `eth0` with a VLAN device of this tag, and `eth1`.
    fn net(name: &str, kind: u16, id: u16) -> NetState {
        let link = |ifindex, name: &str, vlan_of| Link {
            ifindex,
            name: name.to_owned(),
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            admin_up: true,
            carrier: true,
            vlan_of,
            hardware: ETHERNET,
        };
        let parent = 1;
        let mut net = NetState::default();
        for link in [
            link(parent, "eth0", None),
            link(2, "eth1", None),
            link(3, name, Some(VlanOf { parent, id, kind })),
        ] {
            net.apply(&NetEvent::Link(link));
        }
        net
    }

    fn checked(lan: &str, uplink: &str, net: &NetState) -> Result<(), String> {
        let text = format!("lan = [{lan}]\n[[uplink]]\nname = \"a\"\n{uplink}\n");
        let config = Config::from_toml(Path::new("gw.toml"), &text).expect("it is right");
        check_frames(&config, net).map_err(|error| exit::message(&error))
    }

    #[test]
    fn frames_that_two_devices_would_have_are_refused() {
        let guest = net("guest", 0x8100, 20);
        let lan = "{ device = \"eth0\", vlan = 20 }";
        let said = checked(lan, "device = \"eth1\"", &guest).expect_err("guest has them");
        for words in [
            "gw.toml:1:",
            "frames of VLAN 20 that come in for eth0 are those of guest",
            "name the VLAN device alone",
        ] {
            assert!(said.contains(words), "{words:?} is not in: {said}");
        }
        let said = checked("\"guest\"", "device = \"eth0\"\nvlan = 20", &guest);
        assert!(said.expect_err("twice").contains("are those of guest"));
        // Another id, another kind of tag, and the VLAN device itself are in nobody's way.
        for (lan, uplink, net) in [
            (lan, "device = \"eth1\"", net("guest", 0x8100, 21)),
            (lan, "device = \"eth1\"", net("guest", 0x88a8, 20)),
            ("\"guest\"", "device = \"eth0\"", guest),
        ] {
            assert_eq!(checked(lan, uplink, &net), Ok(()), "{lan} {uplink}");
        }
    }
}
