//! Which events somebody wants to see.

use std::borrow::Borrow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Kind, Record};

/// Which events somebody wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventQuery {
    /// Also those to come, until the controller ends.
    pub follow: bool,
    /// At most so many of those that are kept: the last ones that fit the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<usize>,
    /// Only those of this uplink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink: Option<String>,
    /// Only those told at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Only those of these kinds; none are all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Kind>,
}

impl EventQuery {
    /// Whether an event is asked for, whatever its place among the last ones is.
    pub fn fits(&self, record: &Record) -> bool {
        let uplink = self.uplink.as_deref();
        uplink.is_none_or(|uplink| record.uplink.as_deref() == Some(uplink))
            && self.since.is_none_or(|since| record.time >= since)
            && (self.kinds.is_empty() || self.kinds.contains(&record.kind))
    }

    /// The last ones that are asked for, oldest first.
    pub fn of_kept<R: Borrow<Record>>(&self, kept: impl DoubleEndedIterator<Item = R>) -> Vec<R> {
        let fitting = kept.rev().filter(|record| self.fits(record.borrow()));
        let mut records: Vec<R> = fitting.take(self.last.unwrap_or(usize::MAX)).collect();
        records.reverse();
        records
    }
}
