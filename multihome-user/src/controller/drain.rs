//! Uplinks that the operator drains, and what is told of those that are held back.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Action, Controller, FAMILIES, damping::Changes};
use crate::{
    events::{Kind, Occurrence},
    human,
};

/// What is told at the start of uplinks that were being drained already.
pub(super) fn found(draining: BTreeMap<u8, String>) -> Vec<Occurrence> {
    let occurrence = |(id, cause)| Occurrence::new(Kind::Draining, cause).uplink(id);
    draining.into_iter().map(occurrence).collect()
}

impl Controller {
    /// Takes it that an uplink is to be drained from now on, or no longer. Both families are: whoever works
    /// on a line works on all of it.
    pub(super) fn drain(
        &mut self,
        id: u8,
        draining: bool,
        cause: String,
        now: Instant,
    ) -> Vec<Action> {
        if !self.uplinks.iter().any(|uplink| uplink.id == id) {
            return Vec::new();
        }
        for common in &mut self.common {
            if draining {
                common.draining |= 1 << id;
            } else {
                common.draining &= !(1 << id);
            }
        }
        let actions = self.refresh_words(now);
        let kind = if draining {
            Kind::Draining
        } else {
            Kind::Undrained
        };
        self.occurred.push(Occurrence::new(kind, cause).uplink(id));
        actions
    }

    /// Where an uplink takes new flows: the group's name, and the family.
    pub fn takes_new_flows(&self, id: u8) -> Vec<(&str, usize)> {
        let places = self
            .groups
            .iter()
            .flat_map(|group| FAMILIES.map(|family| (group, family)));
        places
            .filter(|(group, family)| group.eligible(*family) >> id & 1 == 1)
            .map(|(group, family)| (group.name.as_str(), family))
            .collect()
    }

    /// Notes what is to be told of paths that are held back, or no longer.
    pub(super) fn note_damping(&mut self, family: usize, changes: Changes, now: Instant) {
        for uplink in &self.uplinks {
            let (id, bit) = (uplink.id, 1 << uplink.id);
            let damping = &self.damping[family];
            let (kind, cause) = if changes.held & bit != 0 {
                let until = damping.held_until(id).unwrap_or(now);
                (
                    Kind::Held,
                    held_because(until - now, damping.failures(id, now)),
                )
            } else if changes.released & bit != 0 {
                (
                    Kind::Released,
                    "it has stayed up for long enough".to_owned(),
                )
            } else {
                continue;
            };
            let occurrence = Occurrence::new(kind, cause).uplink(id).family(family);
            self.occurred.push(occurrence);
        }
    }
}

fn held_because(hold: Duration, failures: u32) -> String {
    let hold = human::seconds(hold.as_secs_f64().ceil() as u64);
    match failures {
        0 | 1 => format!("it must stay up for {hold} before it takes new flows"),
        _ => format!(
            "after {failures} failures it must stay up for {hold} before it takes new flows"
        ),
    }
}
