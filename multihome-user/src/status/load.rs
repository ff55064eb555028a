//! What an uplink carries, next to what it can and may.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What an uplink with a capacity carries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadStatus {
    /// Towards the internet, if it has a capacity for that.
    pub up: Option<DirectionStatus>,
    /// From the internet, if it has a capacity for that.
    pub down: Option<DirectionStatus>,
    /// New flows go to other uplinks, if there are any.
    pub full: bool,
}

/// One direction of an uplink, in bit/s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DirectionStatus {
    /// What it can carry.
    pub capacity: u64,
    /// What it carries; `None` before that is known.
    pub rate: Option<u64>,
}

/// What an uplink with a quota has used of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuotaStatus {
    /// As it is configured.
    pub quota: String,
    /// Bytes that it may carry in a period, both ways.
    pub limit_bytes: u64,
    /// Bytes that it has carried in the present one.
    pub used_bytes: u64,
    /// The share that is used, 0 to 1 and more.
    pub used: f64,
    /// When it begins anew.
    pub renews: Timestamp,
    /// It is used up.
    pub spent: bool,
}
