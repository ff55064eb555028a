//! Uplinks that are up and yet not to take new flows: drained, or held back.

use std::time::SystemTime;

use super::{Metrics, family_label};
use crate::probe::Family;

/// How one family of an uplink is damped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DampingMeasure {
    /// Until when it is held back; `None` when it is not.
    pub held_until: Option<SystemTime>,
    /// Its failures that are not forgotten.
    pub failures: u32,
}

impl Metrics {
    /// An uplink is being drained now, or is not.
    pub fn draining(&self, uplink: &str, draining: bool) {
        if self.knows(uplink) {
            self.families
                .draining
                .with_label_values(&[uplink])
                .set(draining.into());
        }
    }

    /// How one family of an uplink is damped; `None` when the uplink does not carry it.
    pub fn damping(&self, uplink: &str, family: Family, damping: Option<DampingMeasure>) {
        if !self.knows(uplink) {
            return;
        }
        let labels = [uplink, family_label(family)];
        let (held_until, failures) = (&self.families.held_until, &self.families.failures);
        // Where nothing is to be shown, an error only says that nothing was.
        match damping {
            Some(damping) => failures
                .with_label_values(&labels)
                .set(damping.failures.into()),
            None => {
                let _ = failures.remove_label_values(&labels);
            }
        }
        let until = damping.and_then(|damping| damping.held_until);
        let unix = until.and_then(|until| until.duration_since(SystemTime::UNIX_EPOCH).ok());
        match unix {
            Some(unix) => held_until
                .with_label_values(&labels)
                .set(unix.as_secs_f64()),
            None => {
                let _ = held_until.remove_label_values(&labels);
            }
        }
    }
}
