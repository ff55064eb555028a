//! The network around the gateway changes while it runs, and it follows.

use std::{net::Ipv4Addr, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        link::Mac,
        topology::{GatewayLab, Plan},
    },
    traffic::{
        flows::{self, Family, Flow},
        ping,
        stream::{ECHO_PORT, Stream},
    },
};

struct Network {
    flows: Vec<Flow>,
    before: Vec<Option<usize>>,
}

impl Network {
    fn look(lab: &GatewayLab) -> Result<Self> {
        let flows: Vec<Flow> = flows::many(300, 2, Family::V4)
            .into_iter()
            .chain(flows::many(300, 2, Family::V6))
            .collect();
        let before = flows::uplinks_of(lab, &flows)?;
        ensure!(
            before.iter().all(Option::is_some),
            "packets were lost at the start"
        );
        Ok(Self { flows, before })
    }

    /// Fails unless all flows take the uplinks that they took at the start, and get replies.
    fn ensure_as_before(&self, lab: &GatewayLab) -> Result<()> {
        let now = flows::uplinks_of(lab, &self.flows)?;
        let lost = now.iter().filter(|taken| taken.is_none()).count();
        ensure!(
            now == self.before,
            "not as before; {lost} packets were lost"
        );
        for family in [Family::V4, Family::V6] {
            for host in 0..lab.hosts.len() {
                ping::ping(lab, host, family.server(), &[])?;
            }
        }
        Ok(())
    }
}

/// An uplink's device is taken down and up again by the administrator, who then sets its routes
/// again, as network managers do.
#[test]
fn a_device_taken_down_and_up_is_used_again() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let network = Network::look(&lab)?;
    for _ in 0..2 {
        lab.gateway.batch("link set wan0 down")?;
        gateway.wait_for_state(0, "down")?;
        let during = flows::uplinks_of(&lab, &network.flows)?;
        ensure!(
            during
                .iter()
                .all(|taken| taken.is_some_and(|uplink| uplink != 0)),
            "flows are lost"
        );
        // IPv4 addresses have stayed; IPv6 ones and all routes have gone with the link.
        lab.gateway
            .batch(&lab.gateway_script(0).replace("addr add", "addr replace"))?;
        gateway.wait_until_all_up()?;
        network.ensure_as_before(&lab)?;
    }
    Ok(())
}

/// With a configured next hop, an uplink comes back after a flap of its link although its routes
/// are gone (vyos/vyos-1x 4818).
#[test]
fn a_configured_next_hop_outlives_the_route() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let isp = lab.uplinks[0].addresses.isp4;
    let mut settings = Settings::from_environment()?;
    settings.options.extend([
        "--uplink".to_owned(),
        format!("fixed=wan0,mode=routed,gateway={isp}"),
    ]);
    settings.probe = vec![Family::V4.server().to_string()];
    settings.leave_out = vec!["fiber"];
    let mut gateway = Gateway::start(&lab, settings)?;
    let flows = flows::many(300, 2, Family::V4);
    let before = flows::uplinks_of(&lab, &flows)?;
    lab.gateway.batch("link set wan0 down")?;
    let at = gateway
        .status()?
        .uplinks
        .iter()
        .position(|uplink| uplink.name == "fixed");
    let at = at.context("the uplink is configured")?;
    gateway.wait_for_state(at, "down")?;
    lab.gateway.batch("link set wan0 up")?;
    gateway.wait_for("fixed up by IPv4", Duration::from_secs(15), |status| {
        status.uplinks[at].family_is_up("ipv4")
    })?;
    let routes = lab
        .gateway
        .output(&["ip", "-4", "route", "show", "default", "dev", "wan0"])?;
    ensure!(routes.trim().is_empty(), "the route is not gone: {routes}");
    ensure!(
        flows::uplinks_of(&lab, &flows)? == before,
        "flows are not as before; {}",
        gateway.process()?.said()
    );
    Ok(())
}

/// The ISP replaces its router: the next hop's hardware address changes, at first unannounced.
#[test]
fn a_new_hardware_address_of_the_next_hop_is_followed() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let network = Network::look(&lab)?;
    for (n, announced) in [(1, "1"), (2, "0")] {
        lab.uplinks[0].isp.sysctl(&[
            &format!("net.ipv4.conf.gw.arp_notify={announced}"),
            &format!("net.ipv6.conf.gw.ndisc_notify={announced}"),
        ])?;
        lab.uplinks[0]
            .isp
            .batch(&format!("link set gw address {}", Mac::local(0x77, n)))?;
        // Unannounced, the uplink may be found dead before the new address is found.
        thread::sleep(Duration::from_secs(1));
        gateway.wait_until_all_up()?;
        network
            .ensure_as_before(&lab)
            .with_context(|| format!("announced: {announced}"))?;
    }
    Ok(())
}

/// The gateway's address on an uplink and the next hop change, as after a new lease.
#[test]
fn a_new_address_and_next_hop_are_followed() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let network = Network::look(&lab)?;
    let addresses = lab.uplinks[0].addresses;
    let (isp, own) = (Ipv4Addr::new(192, 0, 2, 101), Ipv4Addr::new(192, 0, 2, 102));
    lab.uplinks[0].isp.batch(&format!(
        "addr add {isp}/30 dev gw\nroute replace 10.1.0.0/16 via {own}\n\
         addr del {}/30 dev gw\n",
        addresses.isp4
    ))?;
    lab.internet
        .batch(&format!("route add {own}/32 via {}", addresses.transit4))?;
    lab.gateway.batch(&format!(
        "addr del {}/30 dev wan0\naddr add {own}/30 dev wan0\n\
         route replace default via {isp} dev wan0 metric 100\n",
        addresses.gateway4
    ))?;
    gateway.wait_for("by the new next hop", Duration::from_secs(10), |status| {
        status.uplinks[0].next_hop == Some(isp.to_string())
    })?;
    gateway.wait_until_all_up()?;
    network.ensure_as_before(&lab)
}

/// An uplink's device vanishes and comes back with another index, as a USB modem does; the others
/// are not disturbed.
#[test]
fn a_device_that_vanishes_and_comes_back_is_used_again() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let network = Network::look(&lab)?;
    let flows = flows::find(&lab, 2, ECHO_PORT)?;
    let stream = Stream::start(&lab, &flows, Duration::from_millis(1))?;
    thread::sleep(Duration::from_millis(300));
    lab.replug(0, || {
        gateway.wait_for_state(0, "down")?;
        let during = flows::uplinks_of(&lab, &network.flows)?;
        ensure!(
            during
                .iter()
                .all(|taken| taken.is_some_and(|uplink| uplink != 0)),
            "flows are lost"
        );
        Ok(())
    })?;
    gateway.wait_until_all_up()?;
    network.ensure_as_before(&lab)?;
    for flow in stream.stop()?.not_started_on(0) {
        flow.ensure_undisturbed()?;
    }
    Ok(())
}

/// A LAN host gets a new hardware address: replies find it.
#[test]
fn a_new_hardware_address_of_a_host_is_followed() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let _gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let network = Network::look(&lab)?;
    lab.hosts[0]
        .namespace
        .batch(&format!("link set eth0 address {}", Mac::local(0x78, 1)))?;
    network.ensure_as_before(&lab)
}

/// A LAN port's link goes down and up; the hosts behind it are served again.
#[test]
fn a_lan_port_taken_down_and_up_serves_again() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let _gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let network = Network::look(&lab)?;
    lab.gateway.batch("link set lan0 down")?;
    thread::sleep(Duration::from_millis(300));
    lab.gateway.batch(&format!(
        "link set lan0 up\naddr replace {}/64 dev lan0\n",
        lab.hosts[0].addresses.gateway6
    ))?;
    thread::sleep(Duration::from_millis(300));
    network.ensure_as_before(&lab)
}
