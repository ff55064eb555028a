//! What a file says of quality, capacity and quotas, in the form in which it stands there. There are no
//! flags for it.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer},
};

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

/// What an SLA says.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// `sla = { ... }`, or `sla = "off"`.
#[derive(Clone, Copy, Debug)]
pub enum SlaWord {
    /// Nothing is asked for, whatever is at the top.
    Off,
    Table(SlaLayer),
}

impl<'de> Deserialize<'de> for SlaWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SlaVisitor)
    }
}

struct SlaVisitor;

impl<'de> de::Visitor<'de> for SlaVisitor {
    type Value = SlaWord;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table, such as { loss = \"2%\", latency = \"150ms\" }, or \"off\"")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<SlaWord, E> {
        match word {
            "off" => Ok(SlaWord::Off),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<SlaWord, A::Error> {
        SlaLayer::deserialize(MapAccessDeserializer::new(map)).map(SlaWord::Table)
    }
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
