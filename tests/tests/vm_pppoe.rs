//! A PPPoE session as an uplink, kept up by the real pppd and pppoe-server. PPP is in Debian's full kernel;
//! `cargo xtask vm --test vm_pppoe` runs this.

use std::{fs, net::Ipv4Addr, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        pppoe::{self, PATIENCE},
        topology::{GatewayLab, Plan},
    },
    traffic::{
        flows::Family,
        http::{self, Download, Size},
        iperf, ping,
    },
};
use nix::sys::signal::Signal;

/// The session ids in the kernel's list.
fn sessions(lab: &GatewayLab) -> Result<Vec<String>> {
    let list = lab
        .gateway
        .enter(|| fs::read_to_string("/proc/thread-self/net/pppoe"))??;
    let ids = list
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next());
    Ok(ids.map(str::to_owned).collect())
}

#[test]
fn a_session_carries_translated_traffic_beside_a_plain_uplink_and_its_reconnection_is_followed()
-> Result<()> {
    let lab = GatewayLab::new(&Plan::private())?;
    let (device, addresses) = (lab.uplinks[0].device.clone(), lab.uplinks[0].addresses);
    // The line below has no addresses at all.
    lab.gateway.batch(&format!("addr flush dev {device}\n"))?;
    lab.uplinks[0]
        .isp
        .batch("addr flush dev gw scope global\n")?;
    let mut concentrator = pppoe::server(&lab, "gw", addresses.gateway4)?;
    let mut dialer = pppoe::client(&lab, &device)?;
    pppoe::wait_for_address(&lab, &mut dialer, addresses.gateway4)?;
    let before = sessions(&lab)?;
    ensure!(before.len() == 1, "{before:?}");

    let mut settings = Settings::from_environment()?;
    settings.mode = "auto";
    settings.probe = vec![Family::V4.server().to_string()];
    settings.leave_out = vec!["fiber"];
    let probe = Family::V4.server();
    settings.options = [
        "--probe-interval".into(),
        "500ms".into(),
        "--uplink".into(),
        format!("fiber={device},pppoe=ppp0,mode=auto,probe={probe}"),
        // Of the one host's flows some by each uplink.
        "--hash".into(),
        "5-tuple".into(),
    ]
    .into();
    let mut gateway = Gateway::start_until(&lab, settings, "both up by IPv4", |status| {
        status.uplinks.len() == 2 && status.uplinks.iter().all(|it| it.family_is_up("ipv4"))
    })?;
    let place = |gateway: &Gateway<'_>| -> Result<usize> {
        let status = gateway.status()?;
        let mut names = status.uplinks.iter();
        names
            .position(|uplink| uplink.name == "fiber")
            .context("no such uplink")
    };
    let at = place(&gateway)?;
    let outside = |gateway: &Gateway<'_>| -> Result<Vec<String>> {
        let status = gateway.status()?;
        let family = status.uplinks[at].families.get("ipv4").cloned().flatten();
        Ok(family.context("no IPv4")?.outside)
    };
    ensure!(outside(&gateway)? == [addresses.gateway4.to_string()]);

    // Both uplinks carry downloads and iperf3.
    let server = http::Server::start(&lab)?;
    let _iperf = iperf::Server::start(&lab)?;
    for port in 6000..6008 {
        let download = Download::start(&lab, 0, Family::V4, port, Size::Bytes(200_000))?;
        download.finish(PATIENCE)?;
    }
    for options in [&["-P", "4"][..], &["-R", "-P", "4"]] {
        iperf::Client::start(&lab, 0, Family::V4, Duration::from_secs(1), options)?.finish()?;
    }
    for uplink in gateway.status()?.uplinks {
        ensure!(uplink.packets > 100, "{}: {}", uplink.name, uplink.packets);
    }

    // A controller that is started anew takes nothing out: a connection by the session goes on.
    ensure!(gateway.run("drain", &["cable"])?.status.success());
    let under_way = Download::start(&lab, 0, Family::V4, 6050, Size::Steady(100_000))?;
    thread::sleep(Duration::from_secs(1));
    gateway.process()?.signal(Signal::SIGTERM)?;
    gateway.process()?.wait(PATIENCE)?;
    gateway.launch()?;
    let before = under_way.received();
    thread::sleep(Duration::from_secs(3));
    server.complete();
    let received = under_way.finish(PATIENCE)?;
    ensure!(received > before + 100_000, "{before}, then {received}");
    ensure!(gateway.run("undrain", &["cable"])?.status.success());

    // By the session alone: its MTU is found.
    ensure!(gateway.run("drain", &["cable"])?.status.success());
    let server4 = Family::V4.server();
    ping::ping(&lab, 0, server4, &["-M", "do", "-s", "1464"])?;
    let output =
        lab.hosts[0]
            .namespace
            .output(&["tracepath", "-n", "-m", "8", &server4.to_string()])?;
    ensure!(output.contains("pmtu 1492"), "{output}");
    ensure!(gateway.run("undrain", &["cable"])?.status.success());

    // The provider ends the session, and gives another address in the next one.
    concentrator.signal(Signal::SIGTERM)?;
    concentrator.wait(PATIENCE)?;
    gateway.wait_for_state(at, "down")?;
    ping::ping(&lab, 0, server4, &[])?;
    let other = Ipv4Addr::from_bits(addresses.gateway4.to_bits() + 1);
    let _concentrator = pppoe::server(&lab, "gw", other)?;
    pppoe::wait_for_address(&lab, &mut dialer, other)?;
    gateway.wait_for("the new session", PATIENCE, |status| {
        status.uplinks[at].family_is_up("ipv4")
    })?;
    ensure!(outside(&gateway)? == [other.to_string()]);
    for port in 6100..6108 {
        let download = Download::start(&lab, 0, Family::V4, port, Size::Bytes(200_000))?;
        download.finish(PATIENCE)?;
    }
    Ok(())
}
