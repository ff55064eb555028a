//! An uplink is lost, and nobody notices: flows go on by another one, and the others are not
//! touched.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        cut::Cut,
        topology::{GatewayLab, Plan},
    },
    traffic::{
        flows::{self, Family, Flow},
        http::{self, Download, Size},
        iperf, ping,
        stream::{ECHO_PORT, Stream},
    },
};

/// The longest time that a fail-over may take here. How long it does take is measured elsewhere,
/// on an idle machine.
const SOON: Duration = Duration::from_secs(2);

fn start_stream(lab: &GatewayLab) -> Result<(Stream, Vec<Option<usize>>)> {
    let flows = flows::find(lab, 2, ECHO_PORT)?;
    let stream = Stream::start(lab, &flows, Duration::from_millis(1))?;
    thread::sleep(Duration::from_millis(300));
    let before = stream.uplinks_now();
    Ok((stream, before))
}

fn wait(stream: &Stream, what: &str, are: impl Fn(&[Option<usize>]) -> bool) -> Result<()> {
    let start = Instant::now();
    while !are(&stream.uplinks_now()) {
        if start.elapsed() > Duration::from_secs(15) {
            bail!(
                "the flows are not {what}; now on uplinks {:?}",
                stream.uplinks_now()
            );
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Cuts an uplink twice, while packets of each uplink pass every millisecond.
fn lose_an_uplink_twice(cut: Cut) -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    for time in ["first", "second"] {
        let (stream, before) = start_stream(&lab)?;
        let moment = lab.cut(0, cut)?;
        wait(&stream, "off the cut uplink", |now| {
            now.iter().all(|on| *on != Some(0))
        })?;
        gateway.wait_for_state(0, "down")?;
        lab.restore(0, cut)?;
        wait(&stream, "back", |now| *now == before)?;
        gateway.wait_until_all_up()?;
        for flow in stream.stop()?.flows {
            let on = flow.first_uplink().context("a flow was never seen")?;
            if on == 0 {
                let failover = flow.failover_ms(moment.before).context("it has moved")?;
                ensure!(
                    failover < SOON.as_secs_f64() * 1e3,
                    "the {time} fail-over took {failover} ms"
                );
                ensure!(
                    flow.moves().len() == 2,
                    "the {time} time: {:?}",
                    flow.moves()
                );
            } else {
                flow.ensure_undisturbed()?;
                ensure!(
                    flow.moves().is_empty(),
                    "the {time} time: {:?}",
                    flow.moves()
                );
            }
        }
    }
    Ok(())
}

/// A pulled cable moves its flows and no others, also the second time (opnsense/core 3688:
/// failover works once).
#[test]
fn a_loss_of_carrier_moves_its_own_flows_only_also_the_second_time() -> Result<()> {
    lose_an_uplink_twice(Cut::Carrier)
}

/// An ISP that silently stops forwarding is left by its flows and by no others, also the second
/// time (opnsense/core 3688).
#[test]
fn a_silent_loss_moves_its_own_flows_only_also_the_second_time() -> Result<()> {
    lose_an_uplink_twice(Cut::Blackhole)
}

/// TCP connections live through the loss of their uplink: downloads and an upload, by both
/// families, with each kind of cut.
#[test]
fn tcp_lives_through_the_loss_of_its_uplink() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let _iperf = iperf::Server::start(&lab)?;
    for (cut, first_port) in [(Cut::Carrier, 41_000), (Cut::Blackhole, 42_000)] {
        let server = http::Server::start(&lab)?;
        let opened = http::connections(&lab, http::PORT)?;
        let mut downloads = Vec::new();
        for (n, port) in (first_port..first_port + 16).enumerate() {
            let family = if n % 2 == 0 { Family::V4 } else { Family::V6 };
            downloads.push(Download::start(
                &lab,
                n / 8,
                family,
                port,
                Size::Steady(100_000),
            )?);
        }
        let upload = iperf::Client::start(
            &lab,
            0,
            Family::V4,
            Duration::from_secs(5),
            &["-P", "8", "-b", "2M"],
        )?;
        thread::sleep(Duration::from_secs(1));
        let on_lost = opened
            .stop()?
            .iter()
            .filter(|opened| opened.point == 0)
            .count();
        ensure!(on_lost > 0, "no download is on the uplink that will be cut");
        lab.cut(0, cut)?;
        gateway.wait_for_state(0, "down")?;
        // Long enough for TCP's own timer to try again.
        thread::sleep(Duration::from_secs(2));
        let during: Vec<u64> = downloads.iter().map(Download::received).collect();
        thread::sleep(Duration::from_secs(1));
        for (download, before) in downloads.iter().zip(during) {
            ensure!(
                download.received() > before,
                "{cut:?}: a download stands still"
            );
        }
        lab.restore(0, cut)?;
        gateway.wait_until_all_up()?;
        server.complete();
        for download in downloads {
            download
                .finish(Duration::from_secs(10))
                .with_context(|| format!("{cut:?}"))?;
        }
        upload.finish().with_context(|| format!("{cut:?}"))?;
    }
    Ok(())
}

/// When all uplinks are lost and come back, each flow is where it was (openwrt/packages 3885:
/// after all uplinks were down, nothing recovers).
#[test]
fn after_a_total_outage_all_is_as_before() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let flows: Vec<Flow> = flows::many(500, 2, Family::V4)
        .into_iter()
        .chain(flows::many(500, 2, Family::V6))
        .collect();
    let before = flows::uplinks_of(&lab, &flows)?;
    for cut in [Cut::Carrier, Cut::Blackhole] {
        for uplink in 0..3 {
            lab.cut(uplink, cut)?;
        }
        thread::sleep(Duration::from_secs(2));
        let during = flows::uplinks_of(&lab, &flows)?;
        if cut == Cut::Carrier {
            ensure!(
                during.iter().all(Option::is_none),
                "packets pass pulled cables"
            );
        }
        for uplink in 0..3 {
            lab.restore(uplink, cut)?;
        }
        gateway.wait_until_all_up()?;
        ensure!(
            flows::uplinks_of(&lab, &flows)? == before,
            "{cut:?}: not as before"
        );
        for family in [Family::V4, Family::V6] {
            ping::ping(&lab, 0, family.server(), &[])?;
        }
    }
    Ok(())
}

/// While no probe at all is answered, the last known good uplinks stay in use: what then blocks
/// nothing but probes does not take the network down.
#[test]
fn when_all_probes_fail_traffic_flows_on() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let flows = flows::many(300, 2, Family::V4);
    let before = flows::uplinks_of(&lab, &flows)?;
    for uplink in &lab.uplinks {
        uplink.isp.nft(
            "table inet filtered {\n chain in {\n  type filter hook prerouting priority raw;\n  \
             icmp type echo-request drop\n  icmpv6 type echo-request drop\n }\n}\n",
        )?;
    }
    gateway.wait_for("all down", Duration::from_secs(10), |status| {
        status.is(&["down"; 3])
    })?;
    ensure!(
        flows::uplinks_of(&lab, &flows)? == before,
        "flows moved or were lost"
    );
    for uplink in &lab.uplinks {
        uplink.isp.nft("delete table inet filtered\n")?;
    }
    gateway.wait_until_all_up()?;
    ensure!(
        flows::uplinks_of(&lab, &flows)? == before,
        "flows moved afterwards"
    );
    Ok(())
}

/// Loss on one uplink does not disturb flows on another (opnsense/core 5017 and 6088).
#[test]
fn loss_on_one_uplink_does_not_disturb_another() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let _gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let (stream, _) = start_stream(&lab)?;
    lab.uplinks[0].isp.nft(
        "table inet loss {\n chain forward {\n  type filter hook forward priority 0;\n  \
         numgen random mod 100 < 60 drop\n }\n}\n",
    )?;
    thread::sleep(Duration::from_secs(3));
    lab.uplinks[0].isp.nft("delete table inet loss\n")?;
    let story = stream.stop()?;
    ensure!(
        story.started_on(0).any(|flow| flow.lost() > 0),
        "no loss was made"
    );
    for flow in story.not_started_on(0) {
        flow.ensure_undisturbed()?;
    }
    Ok(())
}

/// A link that goes up and down many times ends as it began, and disturbs no other uplink.
#[test]
fn a_flapping_link_ends_up_in_use() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let (stream, before) = start_stream(&lab)?;
    for n in 0..10 {
        lab.cut(0, Cut::Carrier)?;
        thread::sleep(Duration::from_millis(20 + 30 * n));
        lab.restore(0, Cut::Carrier)?;
        thread::sleep(Duration::from_millis(20 + 10 * n));
    }
    gateway.wait_until_all_up()?;
    wait(&stream, "back", |now| *now == before)?;
    for flow in stream.stop()?.not_started_on(0) {
        flow.ensure_undisturbed()?;
    }
    Ok(())
}
