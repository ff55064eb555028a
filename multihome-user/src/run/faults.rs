//! Faults that somebody has put into the uplinks' lines: noticed, told as events, and taken away when
//! they are over.

use std::collections::BTreeMap;

use crate::{
    dataplane::{FaultInForce, Faults},
    events::{Kind, Occurrence},
    fault::describe,
};

/// The faults that are known of.
#[derive(Debug, Default)]
pub struct FaultWatch {
    known: BTreeMap<u8, FaultInForce>,
}

impl FaultWatch {
    /// Looks for faults at this moment of CLOCK_MONOTONIC, in nanoseconds; what has happened since the
    /// last look.
    pub fn look(&mut self, faults: &Faults, now: u64) -> Vec<Occurrence> {
        let found = faults.in_force(now);
        faults.tidy_all(now);
        self.compare(found, now)
    }

    /// How much the line of an uplink loses in each direction, 0 to 1.
    pub fn loss(&self, id: u8) -> f64 {
        self.known.get(&id).map_or(0.0, |fault| {
            f64::from(fault.effect.loss.per_million()) / 1e6
        })
    }

    fn compare(&mut self, found: Vec<FaultInForce>, now: u64) -> Vec<Occurrence> {
        let found: BTreeMap<u8, FaultInForce> =
            found.into_iter().map(|fault| (fault.id, fault)).collect();
        let mut told = Vec::new();
        for (id, old) in &self.known {
            if !found.contains_key(id) {
                let cause = if old.until <= now {
                    "its time is up"
                } else {
                    "it was ended"
                };
                told.push(Occurrence::new(Kind::FaultEnded, cause).uplink(*id));
            }
        }
        for (id, fault) in &found {
            if self.known.get(id) != Some(fault) {
                let left = fault.until.saturating_sub(now) as f64 / 1e9;
                let cause = format!("{} for {left:.1} s", describe(fault.effect));
                told.push(Occurrence::new(Kind::FaultSet, cause).uplink(*id));
            }
        }
        self.known = found;
        told
    }
}

#[cfg(test)]
mod tests {
    use multihome_common::fault::{Effect, Share};

    use super::*;

    #[test]
    fn each_fault_is_told_when_it_is_set_changed_and_over() {
        let fault = |loss, until| FaultInForce {
            id: 3,
            effect: Effect {
                loss: Share::of_million(loss).expect("a share"),
                beyond_next_hop: loss == 1_000_000,
            },
            until,
        };
        let mut watch = FaultWatch::default();
        let mut look = |found: &[FaultInForce], seconds: u64| {
            let told = watch.compare(found.to_vec(), seconds * 1_000_000_000);
            let told: Vec<_> = told
                .iter()
                .map(|event| (event.kind, event.uplink, event.cause.clone()))
                .collect();
            (told, watch.loss(3))
        };
        let told = |kind, cause: &str, loss| (vec![(kind, Some(3), cause.to_owned())], loss);
        assert_eq!(look(&[], 1), (Vec::new(), 0.0));
        let (half, all) = (
            fault(500_000, 11_000_000_000),
            fault(1_000_000, 12_000_000_000),
        );
        let lost = "50 % of the packets are lost in each direction for 9.0 s";
        assert_eq!(look(&[half], 2), told(Kind::FaultSet, lost, 0.5));
        assert_eq!(look(&[half], 3), (Vec::new(), 0.5));
        let lost = "everything is lost beyond the next hop for 8.0 s";
        assert_eq!(look(&[all], 4), told(Kind::FaultSet, lost, 1.0));
        assert_eq!(look(&[], 5), told(Kind::FaultEnded, "it was ended", 0.0));
        look(&[half], 6);
        assert_eq!(look(&[], 11), told(Kind::FaultEnded, "its time is up", 0.0));
    }
}
