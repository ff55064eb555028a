//! What Debian's full kernel has and the kernel underneath may lack, shown in the virtual machine: VLAN devices,
//! and a PPPoE session between the real pppoe-server and pppd. `cargo xtask vm --test vm_kernel` runs it.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use multihome_tests::{
    lab::{
        Lab,
        controller::{Gateway, Settings},
        link,
        topology::{GatewayLab, Plan},
    },
    traffic::{flows::Family, ping},
};

/// The two ends of a cable.
fn cable(lab: &Lab) -> Result<[multihome_tests::lab::Namespace; 2]> {
    let ends = lab.namespaces(["near", "far"])?;
    let end = |at: usize, index| link::End {
        namespace: &ends[at],
        device: "eth0",
        index,
        mac: link::Mac::local(0, u8::try_from(index).unwrap_or(0)),
    };
    let script = link::pair(end(0, 11), end(1, 12), 1500);
    ends[0].batch(&script)?;
    for end in &ends {
        end.batch("link set eth0 up\n")?;
    }
    Ok(ends)
}

#[test]
fn a_vlan_device_carries_packets_between_namespaces() -> Result<()> {
    let lab = Lab::new()?;
    let [near, far] = cable(&lab)?;
    for (end, address) in [(&near, "192.0.2.1/24"), (&far, "192.0.2.2/24")] {
        end.batch(&format!(
            "link add link eth0 name eth0.20 type vlan id 20\n\
             link set eth0.20 up\n\
             address add {address} dev eth0.20\n"
        ))?;
    }
    near.output(&["ping", "-c", "3", "-i", "0.2", "-W", "5", "192.0.2.2"])?;
    lab.remove()
}

#[test]
fn a_pppoe_session_comes_up_between_namespaces() -> Result<()> {
    let lab = Lab::new()?;
    let [near, far] = cable(&lab)?;
    // pppd would read /etc/ppp, which is this machine's own in the guest's memory.
    fs::create_dir_all("/etc/ppp")?;
    let options = lab.dir().join("server-options");
    fs::write(
        &options,
        "noauth\nnoipdefault\nlcp-echo-interval 5\nnodetach\n",
    )?;
    let mut server = far.command("pppoe-server");
    server
        .args([
            "-F",
            "-I",
            "eth0",
            "-L",
            "10.64.0.1",
            "-R",
            "10.64.0.10",
            "-N",
            "8",
        ])
        .arg("-O")
        .arg(&options);
    let _server = lab.spawn("pppoe-server", server)?;
    let mut client = near.command("pppd");
    client.args([
        "plugin",
        "pppoe.so",
        "nic-eth0",
        "noauth",
        "nodetach",
        "noipdefault",
        "defaultroute",
        "mtu",
        "1492",
        "mru",
        "1492",
        "persist",
        "maxfail",
        "0",
        "holdoff",
        "1",
        "user",
        "x",
    ]);
    let mut client = lab.spawn("pppd", client)?;
    client.wait_until("connected", Duration::from_secs(60), |_| {
        near.output(&["ip", "-4", "-oneline", "address", "show", "dev", "ppp0"])
            .is_ok_and(|said| said.contains("10.64.0.1"))
    })?;
    let session = near.enter(|| fs::read_to_string("/proc/thread-self/net/pppoe"))?;
    let session = session.context("the list of PPPoE sessions")?;
    assert!(session.lines().count() >= 2, "no session in {session}");
    near.output(&["ping", "-c", "3", "-i", "0.2", "-W", "5", "10.64.0.1"])?;
    lab.remove()
}

/// The same gateway and network as on the machine itself, with the other kernel under it.
#[test]
fn the_gateway_forwards_in_a_lab_of_this_kernel() -> Result<()> {
    let lab = GatewayLab::new(&Plan {
        hosts: 1,
        ..Plan::default()
    })?;
    let mut settings = Settings::from_environment()?;
    // An emulated machine may keep an answer waiting for longer than the demo's three tenths of a second.
    settings.options = ["--probe-interval", "1s"].map(String::from).to_vec();
    let gateway = Gateway::start(&lab, settings)?;
    for family in [Family::V4, Family::V6] {
        ping::ping(&lab, 0, family.server(), &[])?;
    }
    let forwarded: u64 = gateway
        .status()?
        .uplinks
        .iter()
        .map(|uplink| uplink.packets)
        .sum();
    assert!(
        forwarded >= 12,
        "the programs have seen {forwarded} packets"
    );
    Ok(())
}
