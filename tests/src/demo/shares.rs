//! Which uplink each of many flows takes.

use anyhow::Result;

use crate::{
    lab::topology::GatewayLab,
    traffic::flows::{self, Family, Flow},
};

/// Flows of each family.
const FLOWS: u16 = 5000;

/// The uplinks of ten thousand flows, the same flows in each sample.
pub(super) struct Sample {
    uplinks: usize,
    taken: Vec<Option<usize>>,
}

impl Sample {
    /// Sends a packet of each flow.
    pub(super) fn take(lab: &GatewayLab) -> Result<Self> {
        let flows: Vec<Flow> = [Family::V4, Family::V6]
            .into_iter()
            .flat_map(|family| flows::many(FLOWS, lab.hosts.len(), family))
            .collect();
        Ok(Self {
            uplinks: lab.uplinks.len(),
            taken: flows::uplinks_of(lab, &flows)?,
        })
    }

    /// The number of flows.
    pub(super) fn len(&self) -> usize {
        self.taken.len()
    }

    /// The share of each uplink, 0 to 1.
    pub(super) fn shares(&self) -> Vec<f64> {
        flows::shares(&self.taken, self.uplinks)
    }

    /// The uplink with most flows.
    pub(super) fn busiest(&self) -> usize {
        let count = |uplink: &usize| self.taken.iter().filter(|t| **t == Some(*uplink)).count();
        (0..self.uplinks).max_by_key(count).unwrap_or(0)
    }

    /// The number of flows that take another uplink than in a sample before, or none at all,
    /// although they did not take the one that was cut.
    pub(super) fn moved_since(&self, before: &Self, cut: Option<usize>) -> usize {
        let pairs = before.taken.iter().zip(&self.taken);
        pairs
            .filter(|(before, now)| now.is_none() || (before != now && **before != cut))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flows_of_the_cut_uplink_may_move() {
        let sample = |taken: [Option<usize>; 4]| Sample {
            uplinks: 3,
            taken: taken.into(),
        };
        let before = sample([Some(0), Some(0), Some(1), Some(2)]);
        assert_eq!(before.busiest(), 0);
        assert_eq!(before.shares(), [0.5, 0.25, 0.25]);
        let during = sample([Some(1), Some(2), Some(1), Some(2)]);
        assert_eq!(during.moved_since(&before, Some(0)), 0);
        assert_eq!(during.moved_since(&before, None), 2);
        let lost = sample([None, Some(2), Some(2), Some(2)]);
        assert_eq!(lost.moved_since(&before, Some(0)), 2);
    }
}
