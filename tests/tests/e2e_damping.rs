//! An uplink that comes back must show that it stays before it takes new flows, longer the more often it
//! fails; after a total outage all come back at once.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        cut::Cut,
        topology::{GatewayLab, Plan},
    },
    traffic::{
        flows::{self, Family, Flow},
        ping,
    },
};

/// The longest time that something may take that needs no hold to end.
const SOON: Duration = Duration::from_secs(15);

/// The lab's usual settings with another hold.
fn held(hold: &str) -> Result<Settings> {
    let mut settings = Settings::from_environment()?;
    let at = settings
        .options
        .iter()
        .position(|it| it == "--damping-hold");
    let value = at.and_then(|at| settings.options.get_mut(at + 1));
    hold.clone_into(value.context("the lab sets --damping-hold")?);
    Ok(settings)
}

fn names(lab: &GatewayLab) -> Vec<&'static str> {
    lab.uplinks.iter().map(|uplink| uplink.plan.name).collect()
}

/// Flows that were not there before: each call has others.
fn fresh(round: u16) -> Vec<Flow> {
    let mut flows = flows::many(200, 2, Family::V4);
    flows
        .iter_mut()
        .for_each(|flow| flow.port += 1000 * (round + 1));
    flows
}

/// The times of the uplink's events of a kind, as `multihome events --json` tells them, and their causes.
fn told(gateway: &Gateway<'_>, kind: &str, uplink: &str) -> Result<Vec<(jiff::Timestamp, String)>> {
    let output = gateway.run("events", &["--json"])?;
    let mut found = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let event: serde_json::Value = serde_json::from_str(line)?;
        let of_ipv4 = event["family"] == "ipv4" && event["uplink"] == uplink;
        if event["kind"] == kind && of_ipv4 {
            let time = event["time"].as_str().context("an event has a time")?;
            let cause = event["cause"].as_str().unwrap_or_default();
            found.push((time.parse()?, cause.to_owned()));
        }
    }
    Ok(found)
}

/// opnsense/core 5786: no minimum stable time before fail-back. Each failure doubles the time; meanwhile new
/// flows take the others, whose flows are not disturbed (opnsense/core 3688: failover works once, and not the
/// second time).
#[test]
fn an_uplink_that_flaps_is_held_back_longer_and_longer() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, held("1s")?)?;
    let names = names(&lab);
    ensure!(
        gateway.status()?.has_eligible(&names),
        "the first start is not held"
    );
    for (round, cut) in [Cut::Carrier, Cut::Blackhole, Cut::Carrier]
        .into_iter()
        .enumerate()
    {
        let failures = round as u32 + 1;
        lab.cut(0, cut)?;
        gateway.wait_for_state(0, "down")?;
        lab.restore(0, cut)?;
        gateway.wait_for("held", SOON, |status| {
            status.uplinks[0].families.values().flatten().all(|family| {
                family.state == "up" && family.held_until.is_some() && family.failures == failures
            })
        })?;
        if failures == 3 {
            // The last hold is long enough to look at it.
            let status = gateway.status()?;
            ensure!(status.has_eligible(&names[1..]), "{status:?}");
            let on = flows::uplinks_of(&lab, &fresh(0))?;
            ensure!(!on.contains(&Some(0)) && !on.contains(&None), "{on:?}");
            let table = String::from_utf8(gateway.run("status", &[])?.stdout)?;
            ensure!(
                table.contains("after 3 failures") && table.contains("  held "),
                "{table}"
            );
            let metric = format!(
                "multihome_uplink_recent_failures{{family=\"ipv4\",uplink=\"{}\"}} 3",
                names[0]
            );
            // Metrics follow with the next tick.
            let start = Instant::now();
            while !gateway.fetch("/metrics")?.1.contains(&metric) {
                ensure!(start.elapsed() < SOON, "no {metric}");
                thread::sleep(Duration::from_millis(50));
            }
        }
        gateway.wait_for("released", Duration::from_secs(20), |status| {
            status.has_eligible(&names)
        })?;
    }
    let on = flows::uplinks_of(&lab, &fresh(1))?;
    ensure!(on.contains(&Some(0)), "no new flow takes it");
    let (held, released) = (
        told(&gateway, "held", names[0])?,
        told(&gateway, "released", names[0])?,
    );
    ensure!(
        held.len() == 3 && released.len() == 3,
        "{held:?} {released:?}"
    );
    for (n, ((held, cause), (released, _))) in held.iter().zip(&released).enumerate() {
        let hold = released.duration_since(*held).as_millis();
        let least = 1000 * (1 << n);
        ensure!(hold + 5 >= least, "hold {n} was {hold} ms: {cause}");
    }
    ensure!(
        held[2].1 == "after 3 failures it must stay up for 4s before it takes new flows",
        "{held:?}"
    );
    Ok(())
}

/// A held uplink carries what nothing else can, at once.
#[test]
fn a_held_uplink_serves_when_all_others_are_lost() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, held("1h")?)?;
    let names = names(&lab);
    lab.cut(0, Cut::Carrier)?;
    gateway.wait_for_state(0, "down")?;
    lab.restore(0, Cut::Carrier)?;
    gateway.wait_for("held", SOON, |status| {
        status.uplinks[0].is_up() && status.has_eligible(&names[1..])
    })?;
    for uplink in [1, 2] {
        lab.cut(uplink, Cut::Carrier)?;
    }
    gateway.wait_for("the held one serves", SOON, |status| {
        status.has_eligible(&names[..1])
    })?;
    for family in [Family::V4, Family::V6] {
        ping::ping(&lab, 0, family.server(), &[])?;
    }
    // One that comes back has failed less often, and no less lately.
    lab.restore(1, Cut::Carrier)?;
    gateway.wait_for("both serve", SOON, |status| {
        status.uplinks[1].is_up() && status.has_eligible(&names[..2])
    })?;
    Ok(())
}

/// openwrt/packages 3885: after all uplinks were down, nothing recovers. All come back, at once and unheld,
/// however long the hold is.
#[test]
fn after_a_total_outage_nothing_is_held() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, held("1h")?)?;
    let names = names(&lab);
    for cut in [Cut::Carrier, Cut::Blackhole] {
        for uplink in 0..3 {
            lab.cut(uplink, cut)?;
        }
        gateway.wait_for("all down", SOON, |status| status.is(&["down"; 3]))?;
        for uplink in 0..3 {
            lab.restore(uplink, cut)?;
        }
        gateway.wait_until_all_up()?;
        let status = gateway.status()?;
        ensure!(status.has_eligible(&names), "{cut:?}: {status:?}");
        let held = |family: &multihome_tests::lab::controller::FamilyStatus| {
            family.held_until.is_some() || family.failures > 0
        };
        let mut families = status
            .uplinks
            .iter()
            .flat_map(|uplink| uplink.families.values().flatten());
        ensure!(!families.any(held), "{cut:?}: {status:?}");
    }
    for family in [Family::V4, Family::V6] {
        ping::ping(&lab, 0, family.server(), &[])?;
    }
    Ok(())
}
