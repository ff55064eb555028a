//! What uplinks carry next to what they can and may, and what keeps them from new flows.

use super::Metrics;

/// The directions of an uplink, as labels.
const DIRECTIONS: [&str; 2] = ["up", "down"];

/// Who gets no new flows of whom, and why: group, uplink, family, impediment.
pub type Impeded = [String; 4];

impl Metrics {
    /// The share of its capacity that each direction of an uplink uses, up first; `None` for one that has
    /// none.
    pub fn capacity_used(&self, uplink: &str, used: [Option<f64>; 2]) {
        if !self.knows(uplink) {
            return;
        }
        for (direction, used) in DIRECTIONS.into_iter().zip(used) {
            if let Some(used) = used {
                self.families
                    .capacity_used
                    .with_label_values(&[uplink, direction])
                    .set(used);
            }
        }
    }

    /// What an uplink has used of its quota and may use, in bytes.
    pub fn quota(&self, uplink: &str, used: u64, limit: u64) {
        if self.knows(uplink) {
            let families = &self.families;
            let labels = [uplink];
            families
                .quota_used
                .with_label_values(&labels)
                .set(used as f64);
            families
                .quota_limit
                .with_label_values(&labels)
                .set(limit as f64);
        }
    }

    /// All that keeps uplinks from new flows of groups now.
    pub fn impeded(&self, now: std::collections::BTreeSet<Impeded>) {
        let mut shown = self
            .impeded
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let labels = |all: &Impeded| -> [String; 4] { all.clone() };
        for gone in shown.difference(&now) {
            // An error only says that it was not there.
            let _ = self.families.impeded.remove_label_values(&labels(gone));
        }
        for new in now.difference(&shown) {
            if self.knows(&new[1]) {
                self.families.impeded.with_label_values(&labels(new)).set(1);
            }
        }
        *shown = now;
    }
}
