//! Connections by an uplink with a small MTU, where no ICMP message comes through: clamping the MSS is
//! what makes them work.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        Namespace,
        controller::Gateway,
        topology::{GatewayLab, Plan, UplinkPlan},
        translated::Translated,
    },
    traffic::{
        capture::{Capture, Point, Seen},
        flows::Family,
        http::{self, Download, Size},
    },
};

const BOTH: [Family; 2] = [Family::V4, Family::V6];
/// The longest time that anything may take that does not hang.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a download that hangs is given.
const STALLED: Duration = Duration::from_secs(3);
/// The MTU of the uplinks.
const NARROW: u32 = 1400;

/// One uplink with a small MTU, and nobody who is told that a packet is too big.
fn narrow(mss_clamp: &str) -> Result<Translated> {
    let mut plan = Plan::private();
    plan.uplinks = vec![UplinkPlan {
        mtu: NARROW,
        ..UplinkPlan::new("fiber", 1)
    }];
    let mut translated = Translated::new(&plan, "")?;
    translated.settings.more += &format!(",mss_clamp={mss_clamp}");
    let lab = &translated.lab;
    for namespace in [&lab.server, &lab.hosts[0].namespace] {
        namespace.nft(
            "table inet deaf {\n\
             chain input {\n\
             type filter hook input priority 0\n\
             icmp type destination-unreachable drop\n\
             icmpv6 type packet-too-big drop\n\
             }\n}\n",
        )?;
    }
    Ok(translated)
}

/// A SYN or SYN-ACK that arrived: its family, whether it is the answer, and the MSS that it states.
fn opening(packet: &[u8]) -> Option<(bool, bool, u16)> {
    let (v6, tcp) = match packet.first()? >> 4 {
        4 => (false, packet.get(usize::from(packet[0] & 15) * 4..)?),
        _ => (true, packet.get(40..)?),
    };
    let flags = *tcp.get(13)?;
    // Linux states it first.
    let [2, 4, high, low] = *tcp.get(20..24)? else {
        return None;
    };
    (flags & 2 != 0).then_some((v6, flags & 16 != 0, u16::from_be_bytes([high, low])))
}

/// What both ends of a connection are told: the server's end, and the host's.
fn told(lab: &GatewayLab, family: Family, port: u16) -> Result<[u16; 2]> {
    let points = [&lab.server, &lab.hosts[0].namespace].map(|namespace| Point {
        namespace,
        device: "eth0",
    });
    let capture = Capture::start(&points, &[6], opening)?;
    let download = Download::start(lab, 0, family, port, Size::Bytes(1000))?;
    download.finish(PATIENCE)?;
    let seen = capture.stop()?;
    let at = |point: usize, answer: bool| {
        let of = |it: &&Seen<(bool, bool, u16)>| {
            it.point == point && it.what.1 == answer && it.what.0 == (family == Family::V6)
        };
        seen.iter().find(of).map(|it| it.what.2)
    };
    let server = at(0, false).context("no SYN arrived")?;
    let host = at(1, true).context("no SYN-ACK arrived")?;
    Ok([server, host])
}

/// The MSS in use at an end of the connection from this port, as `ss` shows it.
fn in_use(namespace: &Namespace, port: u16) -> Result<u16> {
    let start = Instant::now();
    loop {
        let filter = format!("( sport = :{port} or dport = :{port} )");
        let words = ["ss", "-tinH", "state", "established", &filter];
        let output = namespace.output(&words)?;
        let word = output
            .split_whitespace()
            .find_map(|word| word.strip_prefix("mss:"));
        if let Some(mss) = word {
            return mss.parse().with_context(|| output.clone());
        }
        ensure!(start.elapsed() < PATIENCE, "no connection: {output}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn without_it_a_download_by_a_narrow_uplink_hangs_and_with_it_it_does_not() -> Result<()> {
    for mss_clamp in ["off", "auto"] {
        let Translated { lab, settings } = narrow(mss_clamp)?;
        let gateway = Gateway::start(&lab, settings)?;
        let _server = http::Server::start(&lab)?;
        for (port, family) in (5000..).zip(BOTH) {
            let size = Size::Bytes(1_000_000);
            let download = Download::start(&lab, 0, family, port, size)?;
            if mss_clamp == "off" {
                let hung = download.finish(STALLED);
                ensure!(
                    hung.is_err(),
                    "{family:?}: it came through without clamping"
                );
            } else {
                download
                    .finish(PATIENCE)
                    .with_context(|| format!("{family:?}, clamped"))?;
            }
        }
        drop(gateway);
    }
    Ok(())
}

#[test]
fn both_ends_are_told_what_fits_and_keep_to_it() -> Result<()> {
    let Translated { lab, settings } = narrow("auto")?;
    let _gateway = Gateway::start(&lab, settings)?;
    let server = http::Server::start(&lab)?;
    for (port, family) in (5100..).zip(BOTH) {
        let fits = NARROW as u16 - if family == Family::V4 { 40 } else { 60 };
        let told = told(&lab, family, port)?;
        ensure!(told == [fits; 2], "{family:?}: {told:?} instead of {fits}");
    }
    for (port, family) in (5200..).zip(BOTH) {
        let fits = NARROW as u16 - if family == Family::V4 { 40 } else { 60 };
        let mut download = Download::start(&lab, 0, family, port, Size::Steady(200_000))?;
        for namespace in [&lab.server, &lab.hosts[0].namespace] {
            // Less the 12 bytes of the timestamps, which are options of each segment.
            let mss = in_use(namespace, port)?;
            ensure!(
                mss == fits - 12,
                "{family:?}: {mss} instead of {}",
                fits - 12
            );
        }
        download.check()?;
    }
    server.complete();
    Ok(())
}

#[test]
fn a_number_is_kept_to_and_auto_follows_the_mtu() -> Result<()> {
    let Translated { lab, settings } = narrow("1200")?;
    let gateway = Gateway::start(&lab, settings.clone())?;
    let _server = http::Server::start(&lab)?;
    // In IPv6 no less than every path takes.
    for (port, family, fits) in [(5300, Family::V4, 1200), (5301, Family::V6, 1220)] {
        let told = told(&lab, family, port)?;
        ensure!(told == [fits; 2], "{family:?}: {told:?} instead of {fits}");
    }
    drop(gateway);
    let mut settings = settings;
    settings.more = settings.more.replace("mss_clamp=1200", "mss_clamp=auto");
    let _gateway = Gateway::start(&lab, settings)?;
    let narrower = 1300;
    lab.uplinks[0]
        .isp
        .batch(&format!("link set gw mtu {narrower}\n"))?;
    lab.gateway
        .batch(&format!("link set wan0 mtu {narrower}\n"))?;
    let start = Instant::now();
    for port in 5400.. {
        let told = told(&lab, Family::V4, port)?;
        if told == [narrower - 40; 2] {
            break;
        }
        ensure!(
            start.elapsed() < PATIENCE,
            "{told:?} for an MTU of {narrower}"
        );
    }
    Ok(())
}
