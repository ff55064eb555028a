//! The results: what is printed as JSON, and which promises were kept.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{clients::Survival, shares::Sample, trial::Trial};
use crate::{
    lab::{cut::Cut, topology::Plan},
    percentiles::{Percentiles, round},
};

/// How far a share may be from what the weights say.
const SHARE_TOLERANCE: f64 = 0.02;

/// The longest fail-over after a loss of carrier, 99th percentile, in milliseconds.
const CARRIER_MS: f64 = 10.0;

/// The longest fail-over after a silent loss, 99th percentile, in milliseconds, with probes each
/// 100 ms of which three must be lost.
const BLACKHOLE_MS: f64 = 450.0;

/// The results of the demo.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The share of each uplink while all were up, 0 to 1.
    pub shares: BTreeMap<String, f64>,
    /// From the loss of carrier to the first packet on another uplink.
    pub carrier_failover_ms: Percentiles,
    /// From the moment when the ISP stops forwarding to the first packet on another uplink.
    pub blackhole_failover_ms: Percentiles,
    /// Packets lost on flows that had another uplink than the one that was cut.
    pub lost_on_other_uplinks: usize,
    /// True when all TCP connections, some of them on the uplink that was cut, lived on.
    pub tcp_survived: bool,
    /// True when all promises were kept.
    pub ok: bool,
    /// The promises that were not kept, in words.
    #[serde(skip)]
    pub broken: Vec<String>,
}

impl Report {
    pub(super) fn new(plan: &Plan, before: &Sample, trials: &[Trial], survival: &Survival) -> Self {
        let times = |cut: Cut| {
            let own = trials.iter().filter(|trial| trial.cut == cut);
            Percentiles::new(own.map(|trial| trial.failover_ms).collect())
        };
        let names = plan.uplinks.iter().map(|uplink| uplink.name.to_owned());
        let mut report = Self {
            shares: names
                .zip(before.shares().into_iter().map(|share| round(share, 4)))
                .collect(),
            carrier_failover_ms: times(Cut::Carrier),
            blackhole_failover_ms: times(Cut::Blackhole),
            lost_on_other_uplinks: trials.iter().map(|trial| trial.lost_on_others).sum(),
            tcp_survived: survival.all(),
            ok: false,
            broken: Vec::new(),
        };
        report.broken = report.check(plan, before, trials, survival);
        report.ok = report.broken.is_empty();
        report
    }

    fn check(
        &self,
        plan: &Plan,
        before: &Sample,
        trials: &[Trial],
        survival: &Survival,
    ) -> Vec<String> {
        let mut broken = Vec::new();
        let mut check = |kept: bool, otherwise: String| {
            if !kept {
                broken.push(otherwise);
            }
        };
        let all: u32 = plan.uplinks.iter().map(|uplink| uplink.weight).sum();
        for (uplink, share) in plan.uplinks.iter().zip(before.shares()) {
            let wanted = f64::from(uplink.weight) / f64::from(all);
            check(
                (share - wanted).abs() <= SHARE_TOLERANCE,
                format!(
                    "{} has {share:.3} of the flows instead of {wanted:.3}",
                    uplink.name
                ),
            );
        }
        for (times, limit, what) in [
            (self.carrier_failover_ms, CARRIER_MS, "a loss of carrier"),
            (self.blackhole_failover_ms, BLACKHOLE_MS, "a silent loss"),
        ] {
            check(
                times.p99 <= limit,
                format!(
                    "fail-over after {what} took {} ms (p99), more than {limit}",
                    times.p99
                ),
            );
        }
        check(
            self.lost_on_other_uplinks == 0,
            format!(
                "{} packets were lost on other uplinks",
                self.lost_on_other_uplinks
            ),
        );
        let moved: usize = trials.iter().map(|trial| trial.moved).sum();
        check(
            moved == 0,
            format!("{moved} flows moved that need not, or did not come back"),
        );
        check(
            survival.on_cut_uplink > 0,
            String::from("no download was on the uplink that was cut"),
        );
        for failure in &survival.failures {
            check(false, format!("a download did not survive: {failure}"));
        }
        broken
    }
}
