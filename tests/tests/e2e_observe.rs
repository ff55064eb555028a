//! What the gateway says of itself: metrics, health, status.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        cut::Cut,
        topology::{GatewayLab, Plan},
    },
    traffic::{
        flows::{self, Family},
        ping,
    },
};

/// The value of the one sample of a metric that has these labels, in any order.
fn value(metrics: &str, name: &str, labels: &[&str]) -> Result<f64> {
    let mut found = metrics.lines().filter(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    let line = found
        .next()
        .with_context(|| format!("no {name} {labels:?} in:\n{metrics}"))?;
    ensure!(found.next().is_none(), "more than one {name} {labels:?}");
    let (_, value) = line.rsplit_once(' ').context("a sample has a value")?;
    value.parse().with_context(|| line.to_owned())
}

/// The metrics pass promtool's checks, before and after something has happened.
#[test]
fn metrics_pass_promtool() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    for cut in [false, true] {
        if cut {
            lab.cut(0, Cut::Carrier)?;
            gateway.wait_for_state(0, "down")?;
        }
        let (code, metrics) = gateway.fetch("/metrics")?;
        ensure!(code == 200, "HTTP {code}");
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting promtool (package prometheus; `cargo xtask setup` gets it)")?;
        promtool
            .stdin
            .take()
            .context("a pipe")?
            .write_all(metrics.as_bytes())?;
        let output = promtool.wait_with_output()?;
        ensure!(
            output.status.success() && output.stderr.is_empty() && output.stdout.is_empty(),
            "promtool: {}{}\nof:\n{metrics}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// The metrics tell what was done: packets of each uplink, a fail-over and its duration, probes.
#[test]
fn metrics_tell_what_happened() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let metrics = || gateway.fetch("/metrics").map(|(_, metrics)| metrics);
    let names = ["fiber", "cable", "mobile"];
    let label = |name: &str| format!("uplink=\"{name}\"");

    let before = metrics()?;
    let sent = |metrics: &str, name: &str| {
        value(
            metrics,
            "multihome_uplink_transmit_packets_total",
            &[&label(name)],
        )
    };
    let delivered = |metrics: &str| -> Result<f64> {
        let of = |name: &str| {
            let labels = [&*label(name), "verdict=\"forwarded\""];
            value(metrics, "multihome_xdp_packets_total", &labels)
        };
        Ok(of("fiber")? + of("cable")? + of("mobile")?)
    };
    for name in names {
        ensure!(
            value(&before, "multihome_uplink_up", &[&label(name)])? == 1.0,
            "{name} is not up"
        );
    }
    let weights = names.map(|name| value(&before, "multihome_uplink_weight", &[&label(name)]));
    for (weight, wanted) in weights.into_iter().zip([5.0, 3.0, 2.0]) {
        ensure!(weight? == wanted, "a weight is not {wanted}");
    }
    let taken = flows::uplinks_of(&lab, &flows::many(1000, 2, Family::V4))?;
    let after = metrics()?;
    for (uplink, name) in names.iter().enumerate() {
        let own = taken.iter().filter(|taken| **taken == Some(uplink)).count() as f64;
        let counted = sent(&after, name)? - sent(&before, name)?;
        ensure!(counted == own, "{name}: {counted} counted, {own} sent");
    }
    ping::ping(&lab, 0, Family::V6.server(), &[])?;
    let counted = delivered(&metrics()?)? - delivered(&after)?;
    ensure!(counted == 3.0, "{counted} counted, 3 replies delivered");

    lab.cut(0, Cut::Blackhole)?;
    gateway.wait_for_state(0, "down")?;
    let after = metrics()?;
    let fiber = label("fiber");
    ensure!(
        value(&after, "multihome_uplink_up", &[&fiber])? == 0.0,
        "fiber is up"
    );
    let transitions = "multihome_uplink_transitions_total";
    ensure!(
        value(&after, transitions, &[&fiber, "to=\"down\""])? == 1.0,
        "not one transition"
    );
    ensure!(
        value(&after, transitions, &[&label("cable"), "to=\"down\""])? == 0.0,
        "cable"
    );
    ensure!(
        value(
            &after,
            "multihome_failover_duration_seconds_count",
            &[&fiber]
        )? == 1.0,
        "count"
    );
    let took = value(&after, "multihome_failover_duration_seconds_sum", &[&fiber])?;
    ensure!(
        took < 0.5,
        "from the event to the decision in force: {took} s"
    );
    let server = format!("target=\"{}\"", Family::V4.server());
    for (metric, least) in [
        ("multihome_probe_sent_total", 6.0),
        ("multihome_probe_lost_total", 3.0),
    ] {
        let count = value(&after, metric, &[&fiber, &server])?;
        ensure!(count >= least, "{metric} is {count}");
    }
    let rtts = value(
        &after,
        "multihome_probe_rtt_seconds_count",
        &[&label("cable"), &server],
    )?;
    ensure!(rtts > 0.0, "no round-trip time was counted");
    for name in [
        "multihome_build_info",
        "multihome_heartbeat_timestamp_seconds",
    ] {
        ensure!(value(&after, name, &[])? > 0.0, "{name} is 0");
    }
    Ok(())
}

/// /healthz says that the controller is alive; other paths do not exist.
#[test]
fn healthz_answers() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let (code, body) = gateway.fetch("/healthz")?;
    ensure!((code, body.trim()) == (200, "ok"), "{code} {body}");
    ensure!(
        gateway.fetch("/nothing")?.0 == 404,
        "an unknown path is not 404"
    );
    Ok(())
}

/// `multihome status` tells each uplink's state, in a table and as JSON.
#[test]
fn status_tells_each_uplinks_state() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    lab.cut(1, Cut::Blackhole)?;
    gateway.wait_for_state(1, "down")?;
    flows::uplinks_of(&lab, &flows::many(1000, 2, Family::V4))?;
    let status = gateway.status()?;
    ensure!(status.schema_version == 1, "{status:?}");
    ensure!(status.is(&["up", "down", "up"]), "{status:?}");
    for (n, uplink) in status.uplinks.iter().enumerate() {
        ensure!(uplink.name == lab.uplinks[n].plan.name, "{uplink:?}");
        ensure!(uplink.device == lab.uplinks[n].device, "{uplink:?}");
        let since: jiff::Timestamp = uplink.since.parse().context("RFC 3339")?;
        let age = jiff::Timestamp::now().duration_since(since);
        ensure!(
            age.unsigned_abs() < Duration::from_secs(60),
            "since {}",
            uplink.since
        );
        ensure!(
            uplink.next_hop == Some(lab.uplinks[n].addresses.isp4.to_string()),
            "{uplink:?}"
        );
        ensure!(
            uplink.packets > 0 && uplink.bytes > uplink.packets,
            "{uplink:?}"
        );
        ensure!((uplink.loss > 0.0) == (n == 1), "{uplink:?}");
        ensure!(
            n == 1 || uplink.rtt_ms.is_some_and(|rtt| rtt > 0.0 && rtt < 100.0),
            "{uplink:?}"
        );
    }
    let table = gateway.run("status", &[])?;
    let table = String::from_utf8(table.stdout)?;
    for uplink in &status.uplinks {
        let line = table.lines().find(|line| line.contains(&uplink.name));
        ensure!(
            line.is_some_and(|line| line.contains(&uplink.state)),
            "{table}"
        );
    }
    Ok(())
}
