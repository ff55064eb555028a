//! A fault in an uplink's line, as the status shows it.

use std::time::Duration;

use multihome_common::fault::{Effect, Share};
use serde::{Deserialize, Serialize};

use crate::{dataplane::FaultInForce, fault::describe};

/// A fault in an uplink's line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultStatus {
    /// The share of packets that are lost in each direction, above 0 and up to 1.
    pub loss: f64,
    /// Whether only what is from and for beyond the next hop is lost.
    pub beyond_next_hop: bool,
    /// For how long it lasts from now, in milliseconds.
    pub left_ms: u64,
}

impl FaultStatus {
    /// How a fault stands `now`, a moment of CLOCK_MONOTONIC in nanoseconds.
    pub fn of(fault: &FaultInForce, now: u64) -> Self {
        let left = Duration::from_nanos(fault.until.saturating_sub(now));
        Self {
            loss: f64::from(fault.effect.loss.per_million()) / 1e6,
            beyond_next_hop: fault.effect.beyond_next_hop,
            left_ms: left.as_millis() as u64,
        }
    }

    /// What it does and for how long, in words.
    pub(super) fn line(&self) -> String {
        let parts = (self.loss * 1e6).round() as u32;
        let effect = Effect {
            loss: Share::of_million(parts).unwrap_or(Share::ALL),
            beyond_next_hop: self.beyond_next_hop,
        };
        let left = self.left_ms as f64 / 1000.0;
        format!("{} for another {left:.1} s", describe(effect))
    }
}
