//! Prints SLAs, capacities and quotas.

use std::time::Duration;

use serde::Serialize;

use super::super::{
    CapacityConfig, Every, Limit, QualityConfig, QuotaConfig, SlaConfig, duration::TextDuration,
};

/// A table `[quality]`.
#[derive(Serialize)]
pub struct PrintedQuality {
    window: String,
}

impl PrintedQuality {
    /// As it would be written.
    pub fn new(quality: &QualityConfig) -> Self {
        Self {
            window: TextDuration(quality.window).to_string(),
        }
    }
}

/// A table `sla`.
#[derive(Serialize)]
pub struct PrintedSla {
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss_leave: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_leave: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter_leave: Option<String>,
    sick_after: String,
    well_after: String,
}

impl PrintedSla {
    /// As it would be written.
    pub fn new(sla: &SlaConfig) -> Self {
        let text = |time| TextDuration(time).to_string();
        let times = |limit: Option<Limit<Duration>>| {
            let limit = limit.map(|limit| (text(limit.enter), text(limit.leave)));
            limit.unzip()
        };
        let (latency, latency_leave) = times(sla.latency);
        let (jitter, jitter_leave) = times(sla.jitter);
        Self {
            loss: sla.loss.map(|limit| limit.enter.to_string()),
            loss_leave: sla.loss.map(|limit| limit.leave.to_string()),
            latency,
            latency_leave,
            jitter,
            jitter_leave,
            sick_after: text(sla.sick_after),
            well_after: text(sla.well_after),
        }
    }
}

/// A table `capacity`.
#[derive(Serialize)]
pub struct PrintedCapacity {
    #[serde(skip_serializing_if = "Option::is_none")]
    up: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    down: Option<String>,
}

impl PrintedCapacity {
    /// As it would be written.
    pub fn new(capacity: &CapacityConfig) -> Self {
        Self {
            up: capacity.up.map(|rate| rate.to_string()),
            down: capacity.down.map(|rate| rate.to_string()),
        }
    }
}

/// The day of `quota_from`, where there is one.
pub fn quota_from(quota: Option<QuotaConfig>) -> Option<u8> {
    match quota?.every {
        Every::Day | Every::Week => None,
        Every::Month(day) => Some(day),
    }
}
