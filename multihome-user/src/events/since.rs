//! From when on events are wanted: a time, or so long ago.

use std::{str::FromStr, time::SystemTime};

use jiff::Timestamp;
use thiserror::Error;

use crate::config::TextDuration;

/// A text that says no time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is neither a time, such as \"2026-01-31T08:00:00Z\", nor so long ago, such as \"30m\" or \"2d\""
)]
pub struct SinceError(String);

/// From when on events are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// From this time on.
    Time(Timestamp),
    /// From so long ago on.
    Ago(TextDuration),
}

impl Since {
    /// The time that it means now.
    pub fn at(self, now: SystemTime) -> Timestamp {
        match self {
            Self::Time(time) => time,
            Self::Ago(TextDuration(ago)) => now
                .checked_sub(ago)
                .and_then(|then| Timestamp::try_from(then).ok())
                .unwrap_or(Timestamp::MIN),
        }
    }
}

impl FromStr for Since {
    type Err = SinceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ago = text.parse().map(Self::Ago).ok();
        ago.or_else(|| text.parse().map(Self::Time).ok())
            .ok_or_else(|| SinceError(text.into()))
    }
}
