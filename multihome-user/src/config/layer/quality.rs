//! What a file says of quality, capacity and quotas, in the form in which it stands there. There are no
//! flags for it.

use serde::Deserialize;

use super::{
    super::value::{JudgeAfter, Latency, MonthDay, QualityWindow, Rate, Ratio},
    Located,
};
use crate::config::QuotaConfig;

/// `[quality]`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityLayer {
    pub window: Option<QualityWindow>,
}

/// `sla = { ... }`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table, such as { loss = \"2%\", latency = \"150ms\" }"
)]
pub struct SlaLayer {
    pub loss: Option<Ratio>,
    pub loss_leave: Option<Ratio>,
    pub latency: Option<Latency>,
    pub latency_leave: Option<Latency>,
    pub jitter: Option<Latency>,
    pub jitter_leave: Option<Latency>,
    pub sick_after: Option<JudgeAfter>,
    pub well_after: Option<JudgeAfter>,
}

/// What a group asks for.
#[derive(Clone, Debug, Default)]
pub struct AskedLayer {
    pub sla: Option<Located<SlaLayer>>,
    pub obey_quota: Option<bool>,
}

/// `capacity = { ... }`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table, such as { up = \"100mbit\", down = \"500mbit\" }"
)]
pub struct CapacityLayer {
    pub up: Option<Rate>,
    pub down: Option<Rate>,
}

/// What an uplink may carry.
#[derive(Clone, Debug, Default)]
pub struct CarryLayer {
    pub capacity: Option<Located<CapacityLayer>>,
    pub spill_at: Option<Located<Ratio>>,
    pub spill_until: Option<Located<Ratio>>,
    pub quota: Option<Located<QuotaConfig>>,
    pub quota_from: Option<Located<MonthDay>>,
}

impl CarryLayer {
    /// Lays another one over it.
    pub fn under(self, above: Self) -> Self {
        Self {
            capacity: above.capacity.or(self.capacity),
            spill_at: above.spill_at.or(self.spill_at),
            spill_until: above.spill_until.or(self.spill_until),
            quota: above.quota.or(self.quota),
            quota_from: above.quota_from.or(self.quota_from),
        }
    }
}
