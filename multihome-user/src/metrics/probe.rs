//! What is counted of one target's probes.

use prometheus::{Histogram, IntCounter};

use super::Metrics;
use crate::probe::{Outcome, TargetId};

/// One target's series. To be kept: finding them by their labels takes as long as sending a probe.
#[derive(Clone, Debug)]
pub struct ProbeSeries {
    sent: IntCounter,
    lost: IntCounter,
    rtt: Histogram,
}

impl Metrics {
    /// The series of a target of an uplink; `None` when that is not configured.
    pub fn probes(&self, uplink: &str, target: TargetId) -> Option<ProbeSeries> {
        let label = self.target_label(uplink, target)?;
        let labels = [uplink, label.as_str()];
        Some(ProbeSeries {
            sent: self.families.probe_sent.with_label_values(&labels),
            lost: self.families.probe_lost.with_label_values(&labels),
            rtt: self.families.probe_rtt.with_label_values(&labels),
        })
    }
}

impl ProbeSeries {
    /// A probe was sent.
    pub fn sent(&self) {
        self.sent.inc();
    }

    /// A probe was answered, or given up.
    pub fn outcome(&self, outcome: Outcome) {
        match outcome {
            Outcome::Reply { rtt } => self.rtt.observe(rtt.as_secs_f64()),
            Outcome::Lost | Outcome::Failed(_) => self.lost.inc(),
        }
    }
}
