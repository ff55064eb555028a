//! Lines of three kinds in one gateway, each with the real far end: a PPPoE session in a VLAN, one behind two tags,
//! and a plain one. VLANs and PPP are in Debian's full kernel; `cargo xtask vm --test vm_lines` runs this.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use multihome_tests::{
    lab::{
        Process,
        controller::{Gateway, Settings},
        cut::Cut,
        pppoe::{self, PATIENCE},
        tagged::TAGS_IN_FRAMES,
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
/// The uplinks, and the largest packets that pass them.
const LINES: [(&str, u32); 3] = [("fiber", 1492), ("cable", 1500), ("mobile", 1500)];

/// The two ends of the session, which is there as long as they run.
struct Ends {
    _server: Process,
    _client: Process,
}

/// Puts the first uplink into a session in VLAN 7, as many providers have it; both ends have VLAN devices.
fn dial(lab: &mut GatewayLab) -> Result<Ends> {
    let (isp, addresses) = (lab.uplinks[0].isp.clone(), lab.uplinks[0].addresses);
    isp.offloads("gw", &TAGS_IN_FRAMES)?;
    lab.gateway.offloads("wan0", &TAGS_IN_FRAMES)?;
    // The line below has no addresses at all.
    isp.batch(
        "addr flush dev gw\nlink set gw down\nlink set gw name line\nlink set line up\n\
         link add link line name line.7 type vlan id 7\nlink set line.7 up\n",
    )?;
    lab.gateway.batch(
        "addr flush dev wan0\nlink set wan0 down\nlink set wan0 up\n\
         link add link wan0 name wan0.7 type vlan id 7\nlink set wan0.7 up\n",
    )?;
    let server = pppoe::server(lab, "line.7", addresses.gateway4)?;
    let mut client = pppoe::client(lab, "wan0.7")?;
    pppoe::wait_for_address(lab, &mut client, addresses.gateway4)?;
    let (gateway4, gateway6) = (addresses.gateway4, addresses.gateway6);
    let (isp4, isp6) = (addresses.isp4, addresses.isp6);
    // The provider routes by the session, under the name that its routes and faults go by.
    isp.batch(&format!(
        "link set ppp0 name gw\naddr add {isp6}/64 dev gw\n\
         route replace 10.1.0.0/16 via {gateway4}\nroute replace 2001:db8:1::/48 via {gateway6} dev gw\n"
    ))?;
    lab.gateway.batch(&format!(
        "addr add {gateway6}/64 dev ppp0\n\
         route add default via {isp4} dev ppp0 metric 100\n\
         route add default via {isp6} dev ppp0 metric 100\n"
    ))?;
    Ok(Ends {
        _server: server,
        _client: client,
    })
}

/// Puts the second uplink behind two tags, for which the provider has VLAN devices and the gateway none.
fn tag(lab: &GatewayLab) -> Result<()> {
    let isp = &lab.uplinks[1].isp;
    isp.offloads("gw", &TAGS_IN_FRAMES)?;
    lab.gateway.offloads("wan1", &TAGS_IN_FRAMES)?;
    isp.batch(
        "addr flush dev gw\nlink set gw down\nlink set gw name trunk\nlink set trunk up\n\
         link add link trunk name outer type vlan protocol 802.1ad id 200\nlink set outer up\n\
         link add link outer name gw mtu 1500 type vlan id 100\n",
    )?;
    lab.configure_isp(1)
}

fn settings() -> Result<Settings> {
    let mut settings = Settings::from_environment()?;
    settings.leave_out = vec!["fiber", "cable"];
    let probes: String = (settings.probe.iter())
        .map(|target| format!(",probe={target}"))
        .collect();
    // An emulated machine may keep an answer waiting for long.
    settings.options = [
        "--probe-interval",
        "500ms",
        "--failback",
        "immediate",
        "--failback-after",
        "0s",
        "--damping-hold",
        "0s",
        "--fix-offloads",
        "--uplink",
        &format!("fiber=wan0.7,pppoe=ppp0,mode=routed{probes}"),
        "--uplink",
        &format!("cable=wan1,vlan=200.100,mode=routed{probes}"),
    ]
    .map(String::from)
    .to_vec();
    Ok(settings)
}

/// The place of an uplink in the status.
fn place(gateway: &Gateway<'_>, name: &str) -> Result<usize> {
    let status = gateway.status()?;
    let found = status.uplinks.iter().position(|uplink| uplink.name == name);
    Ok(found.unwrap_or(usize::MAX))
}

/// Each line alone: its whole MTU is found and passes, in both families, and TCP is told of it.
fn each_alone(lab: &GatewayLab, gateway: &Gateway<'_>) -> Result<()> {
    // The narrow one last: a host remembers for minutes what it was told.
    for (name, mtu) in LINES.into_iter().rev() {
        for (other, _) in LINES.iter().filter(|(other, _)| *other != name) {
            ensure!(gateway.run("drain", &[other])?.status.success());
        }
        for family in BOTH {
            let server = family.server();
            let headers = match family {
                Family::V4 => 20,
                Family::V6 => 40,
            };
            let size = (mtu - headers - 8).to_string();
            ping::ping(lab, 0, server, &["-M", "do", "-s", &size])?;
            let server = server.to_string();
            let path = ["tracepath", "-n", "-m", "8", &server];
            let output = lab.hosts[0].namespace.output(&path)?;
            let found = format!("Resume: pmtu {mtu} ");
            ensure!(output.contains(&found), "{name} {family:?}: {output}");
            let host = match family {
                Family::V4 => lab.hosts[0].addresses.host4.to_string(),
                Family::V6 => lab.hosts[0].addresses.host6.to_string(),
            };
            let answer: Value = gateway.json("explain", &[&host, &server, "tcp"])?;
            ensure!(answer["uplink"] == name, "{name}: {answer}");
            let mss = (mtu < 1500).then(|| mtu - headers - 20);
            ensure!(answer["mss"].as_u64() == mss.map(u64::from), "{answer}");
        }
        for (other, _) in LINES.iter().filter(|(other, _)| *other != name) {
            ensure!(gateway.run("undrain", &[other])?.status.success());
        }
    }
    Ok(())
}

/// curl and iperf3 move data by all lines at once.
fn data_passes(lab: &GatewayLab, gateway: &Gateway<'_>) -> Result<()> {
    let _server = http::Server::start(lab)?;
    let _iperf = iperf::Server::start(lab)?;
    let before = gateway.status()?;
    for (family, first) in BOTH.into_iter().zip([6000, 6100]) {
        for port in first..first + 12 {
            let download = Download::start(lab, 0, family, port, Size::Bytes(200_000))?;
            download.finish(PATIENCE)?;
        }
        for options in [&["-P", "6"][..], &["-R", "-P", "6"]] {
            iperf::Client::start(lab, 0, family, Duration::from_secs(1), options)?.finish()?;
        }
    }
    for (before, after) in before.uplinks.iter().zip(gateway.status()?.uplinks) {
        let carried = after.packets - before.packets;
        ensure!(carried > 200, "{} has carried {carried}", after.name);
    }
    Ok(())
}

#[test]
fn lines_of_three_kinds_carry_traffic_and_stand_in_for_each_other() -> Result<()> {
    let cable = UplinkPlan {
        // The kernel sends frames of one tag beyond the MTU.
        mtu: 1504,
        ..UplinkPlan::new("cable", 1)
    };
    let mut lab = GatewayLab::new(&Plan {
        hosts: 1,
        uplinks: vec![
            UplinkPlan::new("fiber", 1),
            cable,
            UplinkPlan::new("mobile", 1),
        ],
        private: false,
    })?;
    let _ends = dial(&mut lab)?;
    tag(&lab)?;
    let gateway = Gateway::start(&lab, settings()?)?;
    each_alone(&lab, &gateway)?;
    data_passes(&lab, &gateway)?;

    for (uplink, (name, _)) in LINES.into_iter().enumerate() {
        let flows = flows::find(&lab, 2, ECHO_PORT)?;
        let stream = Stream::start(&lab, &flows, Duration::from_millis(10))?;
        thread::sleep(Duration::from_millis(500));
        let before = stream.uplinks_now();
        lab.cut(uplink, Cut::Blackhole)?;
        gateway.wait_for_state(place(&gateway, name)?, "down")?;
        // Those of the cut line are spread over the others, which keep theirs.
        let moved = |stream: &Stream| {
            let now = stream.uplinks_now();
            let mut flows = before.iter().zip(&now);
            flows.all(|(before, now)| match *before == Some(uplink) {
                true => now.is_some() && *now != *before,
                false => now == before,
            })
        };
        wait(|| moved(&stream), &format!("off {name}"))?;
        lab.restore(uplink, Cut::Blackhole)?;
        gateway.wait_until_all_up()?;
        wait(
            || stream.uplinks_now() == before,
            &format!("back on {name}"),
        )?;
        stream.stop()?;
    }
    Ok(())
}

fn wait(is_so: impl Fn() -> bool, what: &str) -> Result<()> {
    let start = std::time::Instant::now();
    while !is_so() {
        ensure!(start.elapsed() < PATIENCE, "the flows are not {what}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
