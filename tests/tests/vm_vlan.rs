//! VLAN devices of the kernel as LAN ports and uplinks, several on one trunk. They are in Debian's full kernel;
//! `cargo xtask vm --test vm_vlan` runs this.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        cut::Cut,
        tagged::TAGS_IN_FRAMES,
        topology::{GatewayLab, Plan, UplinkPlan},
    },
    traffic::{
        flows::Family,
        http::{self, Download, Size},
        ping,
    },
};

/// A lab in which `wan0` is a trunk with the first uplink, behind two tags, and the second host's LAN, and
/// `lan0` one with the first host's LAN.
fn lab_with_vlan_devices() -> Result<(GatewayLab, Settings)> {
    let fiber = UplinkPlan {
        mtu: 1504,
        ..UplinkPlan::new("fiber", 1)
    };
    let mut lab = GatewayLab::new(&Plan {
        hosts: 2,
        uplinks: vec![fiber, UplinkPlan::new("cable", 1)],
        private: false,
    })?;
    let [first, second] = [0, 1].map(|host| lab.hosts[host].namespace.clone());
    let isp = lab.uplinks[0].isp.clone();
    for (namespace, device) in [(&lab.gateway, "lan0"), (&lab.gateway, "wan0"), (&isp, "gw")] {
        namespace.offloads(device, &TAGS_IN_FRAMES)?;
    }
    first.offloads("eth0", &TAGS_IN_FRAMES)?;

    // The ISP's end: its device becomes the trunk, and what stands on it gets the device's name.
    isp.batch(
        "addr flush dev gw\nlink set gw down\nlink set gw name trunk\nlink set trunk up\n\
         link add link trunk name outer type vlan protocol 802.1ad id 200\nlink set outer up\n\
         link add link outer name gw mtu 1500 type vlan id 100\n\
         link add link trunk name lan type vlan id 30\n",
    )?;
    lab.configure_isp(0)?;
    // The second host is on the same trunk.
    isp.batch(&format!("link set lan netns {}\n", second.full_name()))?;
    second.batch("link del eth0\nlink set lan name eth0\n")?;
    let [one, two] = [0, 1].map(|host| lab.hosts[host].addresses);
    second.batch(&format!(
        "addr add {}/24 dev eth0\naddr add {}/64 dev eth0\nlink set eth0 up\n\
         route add default via {}\nroute add default via {}\n",
        two.host4, two.host6, two.gateway4, two.gateway6
    ))?;
    first.batch(&format!(
        "link set eth0 name trunk\naddr flush dev trunk\n\
         link add link trunk name eth0 type vlan id 20\n\
         addr add {}/24 dev eth0\naddr add {}/64 dev eth0\nlink set trunk up\nlink set eth0 up\n\
         route replace default via {}\nroute replace default via {}\n",
        one.host4, one.host6, one.gateway4, one.gateway6
    ))?;

    // IPv6 routes stay until a device goes down.
    lab.gateway.batch(&format!(
        "addr flush dev wan0\naddr flush dev lan0\n\
         link set wan0 down\nlink set lan0 down\nlink set wan0 up\nlink set lan0 up\n\
         link add link wan0 name outer type vlan protocol 802.1ad id 200\nlink set outer up\n\
         link add link outer name fiber mtu 1500 type vlan id 100\n\
         link add link wan0 name wan0.30 mtu 1500 type vlan id 30\n\
         link add link lan0 name lan0.20 type vlan id 20\n\
         addr add {}/24 dev lan0.20\naddr add {}/64 dev lan0.20\nlink set lan0.20 up\n\
         addr add {}/24 dev wan0.30\naddr add {}/64 dev wan0.30\nlink set wan0.30 up\n",
        one.gateway4, one.gateway6, two.gateway4, two.gateway6
    ))?;
    lab.uplinks[0].device = "fiber".into();
    let script = lab.gateway_script(0);
    lab.gateway.batch(&script)?;
    lab.hosts[0].port = "lan0.20".into();
    lab.hosts[1].port = "wan0.30".into();

    let mut settings = Settings::from_environment()?;
    // An emulated machine may keep an answer waiting for long.
    settings.options = ["--probe-interval", "500ms", "--fix-offloads"]
        .map(String::from)
        .to_vec();
    Ok((lab, settings))
}

#[test]
fn vlan_devices_on_trunks_are_lan_ports_and_uplinks() -> Result<()> {
    let (lab, settings) = lab_with_vlan_devices()?;
    let gateway = Gateway::start(&lab, settings)?;
    ping::reach(&lab)?;
    ping::ping(&lab, 0, lab.hosts[1].addresses.host4.into(), &[])?;
    // The programs stand on the devices below, and on none of the VLAN devices.
    for (device, has_program) in [
        ("wan0", true),
        ("lan0", true),
        ("fiber", false),
        ("wan0.30", false),
    ] {
        let shown = lab.gateway.output(&["ip", "link", "show", "dev", device])?;
        ensure!(shown.contains("prog/xdp") == has_program, "{shown}");
    }

    let _server = http::Server::start(&lab)?;
    for host in 0..2 {
        for port in 6000..6004 {
            let download = Download::start(&lab, host, Family::V4, port, Size::Bytes(200_000))?;
            download.finish(Duration::from_secs(60))?;
        }
    }
    let status = gateway.status()?;
    for uplink in &status.uplinks {
        ensure!(uplink.packets > 50, "{}: {}", uplink.name, uplink.packets);
    }

    lab.cut(0, Cut::Blackhole)?;
    gateway.wait_for_state(0, "down")?;
    ping::ping(&lab, 0, Family::V4.server(), &[])?;
    ping::ping(&lab, 1, Family::V6.server(), &[])?;
    lab.restore(0, Cut::Blackhole)?;
    gateway.wait_until_all_up()?;

    // A VLAN device that goes and comes back is followed like any other.
    lab.gateway.batch("link del fiber\n")?;
    gateway.wait_for_state(0, "down")?;
    ping::ping(&lab, 1, Family::V4.server(), &[])?;
    lab.gateway
        .batch("link add link outer name fiber mtu 1500 type vlan id 100\n")?;
    lab.gateway.batch(&lab.gateway_script(0))?;
    gateway.wait_until_all_up()?;
    let detached = gateway.run("detach", &[])?;
    ensure!(detached.status.success(), "{detached:?}");
    let shown = lab.gateway.output(&["ip", "link", "show"])?;
    ensure!(!shown.contains("prog/xdp"), "{shown}");
    shown.find("fiber").context("the devices stay")?;
    Ok(())
}
