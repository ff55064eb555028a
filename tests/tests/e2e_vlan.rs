//! A LAN behind a tag and an uplink behind two, beside plain ones, where the kernel has no VLAN devices.

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{CONFIG, Gateway, Settings},
        cut::Cut,
        tagged::{TAGS_IN_FRAMES, Tagged},
        topology::{GatewayLab, Plan, UplinkPlan},
    },
    traffic::{
        flows::{self, Family},
        http::{self, Download, Size},
        iperf, ping,
        stream::{ECHO_PORT, Stream},
    },
};
use serde_json::Value;

const BOTH: [Family; 2] = [Family::V4, Family::V6];
/// The tag of the first LAN.
const LAN: [(u16, u16); 1] = [(0x8100, 20)];
/// The tags of the first uplink.
const FIBER: [(u16, u16); 2] = [(0x88a8, 200), (0x8100, 100)];

/// The far ends of the links with tags, which are there as long as this lives.
struct Tags {
    _ends: [Tagged; 2],
}

/// A lab whose first LAN and first uplink have tags, and how its gateway is started.
fn lab_with_tags(private: bool) -> Result<(GatewayLab, Tags, Settings)> {
    // One tag goes beyond the MTU; the second one needs room.
    lab_of_mtu(private, 1504)
}

/// The same with this MTU of the first uplink's device.
fn lab_of_mtu(private: bool, mtu: u32) -> Result<(GatewayLab, Tags, Settings)> {
    let fiber = UplinkPlan {
        mtu,
        ..UplinkPlan::new("fiber", 1)
    };
    let plan = Plan {
        hosts: 2,
        uplinks: vec![fiber, UplinkPlan::new("cable", 1)],
        private,
    };
    let mut lab = GatewayLab::new(&plan)?;
    for device in ["lan0", "wan0"] {
        lab.gateway.offloads(device, &TAGS_IN_FRAMES)?;
    }
    let ends = [
        Tagged::new(&lab.hosts[0].namespace, "eth0", &LAN)?,
        Tagged::new(&lab.uplinks[0].isp, "gw", &FIBER)?,
    ];
    lab.hosts[0].port = "lan0:20".into();
    let mut settings = Settings::from_environment()?;
    if private {
        settings.mode = "auto";
        // Of each host's flows some by each uplink, also translated.
        settings.options.extend(["--hash".into(), "5-tuple".into()]);
    }
    settings.leave_out = vec!["fiber"];
    let probes: String = (settings.probe.iter())
        .map(|target| format!(",probe={target}"))
        .collect();
    let mode = settings.mode;
    let fiber = format!("fiber=wan0,vlan=200.100,mode={mode}{probes}");
    settings
        .options
        .extend(["--uplink".into(), fiber, "--fix-offloads".into()]);
    Ok((lab, Tags { _ends: ends }, settings))
}

/// The place of an uplink of the lab in the status: what an option of its own says comes last.
fn place(gateway: &Gateway<'_>, name: &str) -> Result<usize> {
    let status = gateway.status()?;
    let mut names = status.uplinks.iter().map(|uplink| uplink.name.as_str());
    names
        .position(|known| known == name)
        .context("no such uplink")
}

/// Hosts behind a tag and without one reach server, gateway and each other.
#[test]
fn tagged_and_plain_hosts_reach_server_gateway_and_each_other() -> Result<()> {
    let (lab, _tags, settings) = lab_with_tags(false)?;
    let _gateway = Gateway::start(&lab, settings)?;
    ping::reach(&lab)?;
    ping::ping(&lab, 0, lab.hosts[1].addresses.host4.into(), &[])?;
    ping::ping(&lab, 1, lab.hosts[0].addresses.host6.into(), &[])?;
    Ok(())
}

/// curl and iperf3 move data by both uplinks, with and without translation.
fn data_passes(private: bool, families: &[Family]) -> Result<()> {
    let (lab, _tags, settings) = lab_with_tags(private)?;
    let gateway = Gateway::start(&lab, settings)?;
    let _server = http::Server::start(&lab)?;
    let _iperf = iperf::Server::start(&lab)?;
    let packets = |name| -> Result<u64> {
        let place = place(&gateway, name)?;
        Ok(gateway.status()?.uplinks[place].packets)
    };
    let before = [packets("fiber")?, packets("cable")?];
    for host in 0..2 {
        for family in families {
            // Enough ports for both uplinks to have some; others for each family, since a port of one that
            // has just been left is not free for the other.
            let first = match family {
                Family::V4 => 6000,
                Family::V6 => 6100,
            };
            for port in first..first + 6 {
                let download = Download::start(&lab, host, *family, port, Size::Bytes(2_000_000))?;
                download.finish(Duration::from_secs(20))?;
            }
            for options in [&["-P", "8"][..], &["-R", "-P", "8"]] {
                let client =
                    iperf::Client::start(&lab, host, *family, Duration::from_secs(1), options)?;
                let throughput = client.finish()?;
                ensure!(
                    throughput.mbit_per_second > 20.0,
                    "{family:?} {options:?}: {throughput:?}"
                );
            }
        }
    }
    for (name, before) in ["fiber", "cable"].into_iter().zip(before) {
        let passed = packets(name)? - before;
        ensure!(passed > 1000, "{name} has carried {passed} packets");
    }
    Ok(())
}

#[test]
fn data_passes_by_tagged_and_plain_uplinks() -> Result<()> {
    data_passes(false, &BOTH)
}

#[test]
fn translated_data_passes_by_tagged_and_plain_uplinks() -> Result<()> {
    data_passes(true, &[Family::V4])
}

/// tracepath finds the gateway, by answers that come back tagged, and the whole MTU.
#[test]
fn tracepath_passes_the_tags() -> Result<()> {
    let (lab, _tags, settings) = lab_with_tags(false)?;
    let _gateway = Gateway::start(&lab, settings)?;
    for host in &lab.hosts {
        for (family, gateway) in [
            (Family::V4, host.addresses.gateway4.to_string()),
            (Family::V6, host.addresses.gateway6.to_string()),
        ] {
            let server = family.server().to_string();
            let output = host
                .namespace
                .output(&["tracepath", "-n", "-m", "8", &server])?;
            ensure!(
                output.contains("Resume: pmtu 1500 hops 4 back 4") && output.contains(&gateway),
                "{family:?}:\n{output}"
            );
        }
    }
    Ok(())
}

/// A guest VLAN gets the cheap line and no other, and of the other LAN all lines have some; what a rule asks of a
/// VLAN that no LAN port has is a clear error.
#[test]
fn a_guest_vlan_gets_the_cheap_line() -> Result<()> {
    let (lab, _tags, mut settings) = lab_with_tags(false)?;
    let policy = |vlan: u16| {
        format!(
            "[[group]]\nname = \"cheap\"\nmembers = [\"cable\"]\n\n\
             [[rule]]\nname = \"guests\"\nvlan = {vlan}\ngroup = \"cheap\"\n"
        )
    };
    settings.add_file(&lab, &policy(20))?;
    let mut gateway = Gateway::start(&lab, settings)?;
    let cable = 1;
    for (host, lines) in [(0, &[cable][..]), (1, &[0, cable])] {
        let mut flows = Vec::new();
        for family in BOTH {
            flows.extend(flows::many(100, 1, family));
        }
        for flow in &mut flows {
            flow.host = host;
        }
        let taken = flows::uplinks_of(&lab, &flows)?;
        let mut of_lines: Vec<usize> = taken.iter().copied().flatten().collect();
        ensure!(
            of_lines.len() == flows.len(),
            "packets were lost: {taken:?}"
        );
        of_lines.sort_unstable();
        of_lines.dedup();
        ensure!(of_lines == lines, "host {host} takes {of_lines:?}");
    }
    let [source, server] = [
        lab.hosts[0].addresses.host4.to_string(),
        Family::V4.server().to_string() + ":80",
    ];
    let question = [source.as_str(), &server, "tcp", "--vlan", "20"];
    let answer: Value = gateway.json("explain", &question)?;
    ensure!(answer["rule"]["name"] == "guests", "{answer}");
    ensure!(answer["uplink"] == "cable", "{answer}");

    gateway.process()?.kill()?;
    fs::write(lab.lab.dir().join(CONFIG), policy(21))?;
    let refused = gateway.launch().err().context("the VLAN is not refused")?;
    let said = format!("{refused:#}");
    let expected = "gw.toml:5:1: no LAN port has the VLAN 21";
    ensure!(said.contains(expected), "{said}");
    Ok(())
}

/// A device that takes tags off before the programs see them is refused, with the command that sets it right;
/// nothing is attached, and nothing about the device is changed without leave.
#[test]
fn a_device_that_hides_tags_is_refused_without_leave() -> Result<()> {
    let (lab, _tags, mut settings) = lab_with_tags(false)?;
    settings.options.retain(|option| option != "--fix-offloads");
    let hides = || lab.gateway.output(&["ethtool", "-k", "wan0"]);
    let before = hides()?;
    let refused = Gateway::start(&lab, settings).err();
    let said = format!("{:#}", refused.context("it is not refused")?);
    for words in [
        "takes VLAN tags off frames",
        "ethtool -K wan0 rx-vlan-hw-parse off rx-vlan-stag-hw-parse off",
        "--fix-offloads",
    ] {
        ensure!(said.contains(words), "{words:?} is not in: {said}");
    }
    ensure!(hides()? == before, "offloads were changed");
    let shown = lab.gateway.output(&["ip", "link", "show"])?;
    ensure!(!shown.contains("prog/xdp"), "{shown}");
    Ok(())
}

/// Where the device has no room for a second tag, larger packets are not lost but answered.
#[test]
fn packets_that_two_tags_make_too_large_are_answered() -> Result<()> {
    let (lab, _tags, settings) = lab_of_mtu(false, 1500)?;
    let gateway = Gateway::start(&lab, settings)?;
    ensure!(gateway.run("drain", &["cable"])?.status.success());
    for family in BOTH {
        let server = family.server().to_string();
        let output = lab.hosts[1]
            .namespace
            .output(&["tracepath", "-n", "-m", "8", &server])?;
        ensure!(output.contains("pmtu 1496"), "{family:?}:\n{output}");
    }
    Ok(())
}

/// Flows leave the tagged uplink for the plain one when it dies, by the loss of its carrier and silently, and
/// come back; the gateway's own probes see it.
#[test]
fn flows_move_between_a_tagged_uplink_and_a_plain_one() -> Result<()> {
    let (lab, _tags, settings) = lab_with_tags(false)?;
    let gateway = Gateway::start(&lab, settings)?;
    for cut in [Cut::Carrier, Cut::Blackhole] {
        for (uplink, name) in [(0, "fiber"), (1, "cable")] {
            let place = place(&gateway, name)?;
            let flows = flows::find(&lab, 2, ECHO_PORT)?;
            let stream = Stream::start(&lab, &flows, Duration::from_millis(2))?;
            thread::sleep(Duration::from_millis(300));
            let before = stream.uplinks_now();
            ensure!(before.contains(&Some(uplink)), "{before:?}");
            lab.cut(uplink, cut)?;
            gateway.wait_for_state(place, "down")?;
            let moved = |stream: &Stream| {
                stream
                    .uplinks_now()
                    .iter()
                    .all(|on| *on == Some(1 - uplink))
            };
            wait(|| moved(&stream), "off the cut uplink")?;
            lab.restore(uplink, cut)?;
            gateway.wait_until_all_up()?;
            wait(|| stream.uplinks_now() == before, "back")?;
            stream.stop()?;
        }
    }
    Ok(())
}

fn wait(is_so: impl Fn() -> bool, what: &str) -> Result<()> {
    let start = std::time::Instant::now();
    while !is_so() {
        ensure!(
            start.elapsed() < Duration::from_secs(15),
            "the flows are not {what}"
        );
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The filters on what the kernel sends by a device.
fn filters(lab: &GatewayLab, device: &str) -> Result<String> {
    lab.gateway
        .output(&["tc", "filter", "show", "dev", device, "egress"])
}

/// What the gateway itself sends is tagged also while no controller runs, and no longer when all is taken off.
#[test]
fn the_kernels_own_frames_are_tagged_until_all_is_detached() -> Result<()> {
    let (lab, _tags, settings) = lab_with_tags(false)?;
    let mut gateway = Gateway::start(&lab, settings)?;
    let isp = lab.uplinks[0].addresses.isp4.to_string();
    let ask = || -> Result<()> {
        // Anew by ARP, whose frames are the kernel's own. An entry that is not there is as good.
        let _ = lab
            .gateway
            .output(&["ip", "neigh", "del", &isp, "dev", "wan0"]);
        lab.gateway
            .output(&["ping", "-n", "-c", "2", "-W", "3", &isp])?;
        Ok(())
    };
    ask()?;
    for device in ["lan0", "wan0"] {
        ensure!(
            filters(&lab, device)?.contains("multihome_egress"),
            "{device}"
        );
    }
    ensure!(filters(&lab, "wan1")?.is_empty(), "wan1 has no tags");
    gateway.process()?.kill()?;
    ask()?;
    ping::ping(&lab, 0, Family::V4.server(), &[])?;
    gateway.launch()?;
    gateway.wait_until_all_up()?;
    ask()?;
    let shown = filters(&lab, "wan0")?;
    ensure!(shown.matches("multihome_egress").count() == 1, "{shown}");
    let detached = gateway.run("detach", &[])?;
    ensure!(detached.status.success(), "{detached:?}");
    for device in ["lan0", "wan0"] {
        ensure!(filters(&lab, device)?.is_empty(), "{device}");
    }
    Ok(())
}
