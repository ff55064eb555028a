//! Drains: uplinks that the operator wants free of flows, for planned work, and until when.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub mod command;
pub mod file;

/// Since when an uplink is drained, and until when.
///
/// Both are moments of the clock on the wall, not of one that only runs while the machine is awake: the
/// operator thinks of the hour when the work ends, and so does a controller that is started meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None` is until it is told to end.
    pub until: Option<Timestamp>,
}

impl Drain {
    /// Whether its time is up.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// Until when it goes on, in words.
impl fmt::Display for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until {
            Some(until) => write!(f, "until {until:.0}"),
            None => f.write_str("until it is told to end"),
        }
    }
}
