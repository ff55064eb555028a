//! What a line must be good for and how much it may carry: the SLA of a group, an uplink's capacity
//! and quota.

use std::{fmt, str::FromStr, time::Duration};

use super::value::{Rate, Ratio, ValueError, Volume};

/// How uplinks are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QualityConfig {
    /// How far back loss, latency and jitter look: 1 s to 5 min.
    pub window: Duration,
}

impl Default for QualityConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
        }
    }
}

/// Where an uplink leaves a group, and where it comes back: `leave` is at most `enter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit<T> {
    /// What is above makes the uplink sick.
    pub enter: T,
    /// What is not above lets it be well again.
    pub leave: T,
}

/// What a group asks of its uplinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlaConfig {
    /// Packets that may be lost.
    pub loss: Option<Limit<Ratio>>,
    /// The round-trip time.
    pub latency: Option<Limit<Duration>>,
    /// The variation of the round-trip time.
    pub jitter: Option<Limit<Duration>>,
    /// How long an uplink must be worse before it is sick: at most 1 hour.
    pub sick_after: Duration,
    /// How long it must be good enough before it is well again: at most 1 hour.
    pub well_after: Duration,
}

impl SlaConfig {
    /// What lies below the limit by so much is well again, where nothing else is said.
    pub const LEAVE: Ratio = Ratio::percent(50);
    /// The same for times.
    pub const LEAVE_TIME: Ratio = Ratio::percent(80);
    /// Unless something else is said, what is bad beyond doubt acts at once.
    pub const SICK_AFTER: Duration = Duration::ZERO;
    /// Unless something else is said.
    pub const WELL_AFTER: Duration = Duration::from_secs(10);
}

/// What an uplink can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapacityConfig {
    /// Towards the internet; `None` is not watched.
    pub up: Option<Rate>,
    /// From the internet; `None` is not watched.
    pub down: Option<Rate>,
    /// The share of either above which new flows go to other uplinks: 1 to 100 %.
    pub spill_at: Ratio,
    /// The share of both down to which they do so: less than `spill_at`.
    pub spill_until: Ratio,
}

impl CapacityConfig {
    /// Where new flows begin to go elsewhere, where nothing else is said.
    pub const SPILL_AT: Ratio = Ratio::percent(90);
    /// What `spill_until` is of `spill_at`, where nothing else is said.
    pub const SPILL_UNTIL: Ratio = Ratio(833_333);
}

/// How often a quota begins anew, in local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// At midnight.
    Day,
    /// At midnight before Monday.
    Week,
    /// At midnight before the day of this number, 1 to 28.
    Month(u8),
}

impl Every {
    /// The word for it in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month(_) => "month",
        }
    }
}

/// What an uplink may carry in a period, both ways together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaConfig {
    /// Bytes.
    pub limit: Volume,
    /// The period.
    pub every: Every,
}

impl FromStr for QuotaConfig {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (volume, period) = text
            .split_once('/')
            .ok_or_else(|| ValueError::Quota(text.into()))?;
        let every = match period {
            "day" => Every::Day,
            "week" => Every::Week,
            "month" => Every::Month(1),
            _ => return Err(ValueError::Quota(text.into())),
        };
        Ok(Self {
            limit: volume.parse()?,
            every,
        })
    }
}

impl fmt::Display for QuotaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.limit, self.every.name())
    }
}
