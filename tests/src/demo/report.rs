//! The results: what is printed as JSON, and which promises were kept.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{clients::Survival, shares::Sample, trial::Trial};
use crate::lab::{cut::Cut, topology::Plan};

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

/// Percentiles of the trials, each of which is a value that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of the trials took at most this.
    pub p50: f64,
    /// Of a hundred trials, ninety-nine took at most this.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// The number of trials.
    pub trials: usize,
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

impl Percentiles {
    /// By nearest rank: a percentile is one of the values. There must be at least one.
    fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).max(1);
            round(values[rank - 1], 2)
        };
        Self {
            p50: rank(50),
            p99: rank(99),
            max: rank(100),
            trials: values.len(),
        }
    }
}

fn round(value: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (value * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let values = |count: u32| (1..=count).rev().map(f64::from).collect();
        let few = Percentiles {
            p50: 3.0,
            p99: 5.0,
            max: 5.0,
            trials: 5,
        };
        assert_eq!(Percentiles::new(values(5)), few);
        let many = Percentiles {
            p50: 100.0,
            p99: 198.0,
            max: 200.0,
            trials: 200,
        };
        assert_eq!(Percentiles::new(values(200)), many);
        let one = Percentiles {
            p50: 1.0,
            p99: 1.0,
            max: 1.0,
            trials: 1,
        };
        assert_eq!(Percentiles::new(values(1)), one);
    }
}
