//! Flows are spread over the uplinks by weight, and move only when they must.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        cut::Cut,
        topology::{GatewayLab, Plan},
    },
    traffic::flows::{self, Family, Flow},
};

/// Flows of both families.
fn flows(lab: &GatewayLab, of_each: u16) -> Vec<Flow> {
    [Family::V4, Family::V6]
        .into_iter()
        .flat_map(|family| flows::many(of_each, lab.hosts.len(), family))
        .collect()
}

/// With weights 5:3:2, each uplink's share of ten thousand flows is within two percentage points,
/// by IPv4 and by IPv6.
#[test]
fn weights_are_kept_within_two_points_of_ten_thousand_flows() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let _gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    for family in [Family::V4, Family::V6] {
        let taken = flows::uplinks_of(&lab, &flows::many(10_000, 2, family))?;
        ensure!(taken.iter().all(Option::is_some), "packets were lost");
        let shares = flows::shares(&taken, 3);
        for (share, wanted) in shares.iter().zip([0.5, 0.3, 0.2]) {
            ensure!((share - wanted).abs() <= 0.02, "{family:?}: {shares:?}");
        }
    }
    Ok(())
}

/// Whichever uplinks are down, only their flows move, and when they return each flow is exactly
/// where it was (opnsense/core 3516: after fail-back related flows use different uplinks).
#[test]
fn only_flows_of_lost_uplinks_move_and_they_come_back() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let flows = flows(&lab, 1000);
    let before = flows::uplinks_of(&lab, &flows)?;
    ensure!(before.iter().all(Option::is_some), "packets were lost");
    for lost in [&[0][..], &[1], &[2], &[0, 1], &[1, 2], &[2, 0]] {
        for uplink in lost {
            lab.cut(*uplink, Cut::Carrier)?;
        }
        for uplink in lost {
            gateway.wait_for_state(*uplink, "down")?;
        }
        let during = flows::uplinks_of(&lab, &flows)?;
        for ((flow, before), during) in flows.iter().zip(&before).zip(&during) {
            let before = before.context("it was checked above")?;
            let during = during.with_context(|| format!("{flow:?} was lost without {lost:?}"))?;
            ensure!(
                !lost.contains(&during),
                "{flow:?} takes uplink {during} of {lost:?}"
            );
            ensure!(
                lost.contains(&before) || during == before,
                "{flow:?} moved from {before} to {during} without {lost:?}"
            );
        }
        for uplink in lost {
            lab.restore(*uplink, Cut::Carrier)?;
        }
        gateway.wait_until_all_up()?;
        ensure!(
            flows::uplinks_of(&lab, &flows)? == before,
            "not as before, after {lost:?}"
        );
    }
    Ok(())
}

/// What the lost uplink's flows had is spread over the others by their weights, not all given to
/// one.
#[test]
fn flows_of_a_lost_uplink_are_spread_by_weight() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    lab.cut(0, Cut::Carrier)?;
    gateway.wait_for_state(0, "down")?;
    let shares = flows::shares(&flows::uplinks_of(&lab, &flows(&lab, 5000))?, 3);
    for (share, wanted) in shares.iter().zip([0.0, 0.6, 0.4]) {
        ensure!((share - wanted).abs() <= 0.02, "{shares:?}");
    }
    Ok(())
}

/// A gateway with the same configuration and seed gives each flow the same uplink after it was
/// detached and started anew.
#[test]
fn the_same_seed_gives_the_same_uplinks() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut settings = Settings::from_environment()?;
    settings.options.extend(["--seed", "7"].map(String::from));
    let mut gateway = Gateway::start(&lab, settings)?;
    let flows = flows(&lab, 1000);
    let before = flows::uplinks_of(&lab, &flows)?;
    ensure!(
        gateway.run("detach", &[])?.status.success(),
        "detach failed"
    );
    gateway.process()?.wait(Duration::from_secs(5))?;
    gateway.launch()?;
    gateway.wait_until_all_up()?;
    ensure!(flows::uplinks_of(&lab, &flows)? == before, "flows moved");
    Ok(())
}
