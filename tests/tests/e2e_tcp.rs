//! What the metrics say of real TCP over an ISP that loses packets at random.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        topology::{GatewayLab, Plan, SERVER4},
    },
    traffic::{flows::Family, iperf},
};

/// Has all ISPs drop so many of a hundred of the packets that match, and count them.
fn lose(lab: &GatewayLab, percent: u32, which: &str) -> Result<()> {
    for uplink in &lab.uplinks {
        uplink.isp.nft(&format!(
            "table inet loss {{ chain f {{ type filter hook forward priority 0; policy accept;\n\
             iifname gw {which} numgen random mod 100 < {percent} counter drop\n }}\n}}\n"
        ))?;
    }
    Ok(())
}

/// How many packets the ISPs have dropped so.
fn dropped(lab: &GatewayLab) -> Result<u64> {
    let mut sum = 0;
    for uplink in &lab.uplinks {
        let text = uplink
            .isp
            .output(&["nft", "list", "table", "inet", "loss"])?;
        let (_, after) = text.split_once("counter packets ").context("no counter")?;
        let number = after.split(' ').next().context("no number")?;
        sum += number.parse::<u64>()?;
    }
    Ok(sum)
}

/// The sums over uplinks of the metrics that begin so, by what follows the uplink's label.
fn sums(gateway: &Gateway<'_>, name: &str) -> Result<BTreeMap<String, f64>> {
    let (_, text) = gateway.fetch("/metrics")?;
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with(name)) {
        let (labels, value) = line.rsplit_once(' ').context("no value")?;
        let kept: Vec<&str> = labels
            .split(['{', ',', '}'])
            .filter(|part| !part.starts_with("uplink="))
            .collect();
        *sums.entry(kept.join(" ").trim().to_owned()).or_default() += value.parse::<f64>()?;
    }
    Ok(sums)
}

fn of(sums: &BTreeMap<String, f64>, key: &str) -> Result<f64> {
    sums.get(key)
        .copied()
        .with_context(|| format!("{key} is not in {sums:?}"))
}

/// Each SYN that is lost is sent again, and only handshakes without a loss are timed.
#[test]
fn syns_that_are_lost_are_counted_and_the_other_handshakes_timed() -> Result<()> {
    // Fewer than the listener has room for: it would lose SYNs of others.
    const CONNECTIONS: usize = 100;
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let listener: TcpListener = lab.server.enter(|| TcpListener::bind((SERVER4, 8080)))??;
    // They wait in the listener's queue; nobody needs to take them.
    lose(&lab, 20, "tcp dport 8080 tcp flags & (syn | ack) == syn")?;
    let opened = lab.hosts[0].namespace.enter(|| {
        thread::scope(|scope| {
            let attempts: Vec<_> = (0..CONNECTIONS)
                .map(|_| {
                    scope.spawn(|| {
                        let to = SocketAddr::from((SERVER4, 8080));
                        TcpStream::connect_timeout(&to, Duration::from_secs(20))
                    })
                })
                .collect();
            // Kept until all are there: no port is used twice.
            let opened = attempts
                .into_iter()
                .filter_map(|thread| thread.join().ok()?.ok());
            opened.collect::<Vec<_>>().len()
        })
    })?;
    drop(listener);
    ensure!(opened > CONNECTIONS / 2, "{opened} connections");
    let again = sums(&gateway, "multihome_tcp_retransmissions_total")?;
    let again = of(&again, "multihome_tcp_retransmissions_total kind=\"syn\"")?;
    let lost = dropped(&lab)? as f64;
    // 25 are, on average; the bound is four standard deviations away.
    ensure!(lost >= 5.0, "only {lost} were lost");
    // SYNs may also be sent again because the machine was slow.
    ensure!(
        again >= lost * 0.9 && again <= lost * 1.5 + 20.0,
        "{lost} SYNs were lost, {again} sent again"
    );
    let times = sums(&gateway, "multihome_tcp_handshake_seconds")?;
    let timed = of(
        &times,
        "multihome_tcp_handshake_seconds_count family=\"ipv4\"",
    )?;
    ensure!(
        timed >= CONNECTIONS as f64 * 0.5 && timed <= CONNECTIONS as f64,
        "{timed} were timed"
    );
    // A SYN is sent again after a second: none of those is among them.
    let quick = "multihome_tcp_handshake_seconds_bucket family=\"ipv4\" le=\"0.5\"";
    ensure!(of(&times, quick)? >= timed * 0.95, "{times:?}");
    Ok(())
}

/// Many connections, so that some are in the sample.
#[test]
fn data_that_is_sent_again_is_about_what_was_lost() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let server = iperf::Server::start(&lab)?;
    lose(&lab, 3, "ip protocol tcp meta length > 200")?;
    let options = ["--parallel", "96", "--bitrate", "500K", "--length", "4K"];
    let time = Duration::from_secs(8);
    let client = iperf::Client::start(&lab, 0, Family::V4, time, &options)?;
    let sent = client.finish()?;
    drop(server);
    let again = sums(&gateway, "multihome_tcp_retransmissions_total")?;
    let again = of(&again, "multihome_tcp_retransmissions_total kind=\"data\"")?;
    let looked = sums(&gateway, "multihome_tcp_sampled_segments_total")?;
    let looked = of(&looked, "multihome_tcp_sampled_segments_total")?;
    ensure!(sent.retransmits > 50, "{sent:?}");
    ensure!(looked > 200.0, "{looked} segments");
    let share = again / looked;
    ensure!(
        (0.005..0.12).contains(&share),
        "3 % were lost, {again} of {looked} sent again ({sent:?})"
    );
    println!("{again} of {looked}: {:.1} %; {sent:?}", share * 100.0);
    Ok(())
}
