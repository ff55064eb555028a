//! What one uplink has carried in the present period of its quota: arithmetic over readings of a counter,
//! no I/O and no clock of its own.
//!
//! - A counter that went back was made anew, and began at zero.
//! - What was carried while nobody looked, and a period ended meanwhile, is divided by time.
//! - A clock that is set back does not give anything back: the count goes on in the period that it was in;
//!   and when it was set back to the period before, because it had been set forward by mistake, the
//!   counts of both are one again.
//! - A period ends when it was to end as it began, also when the time zone changes under way.

use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};

use super::period::Period;
use crate::config::{Every, QuotaConfig};

/// The share of a quota, in hundredths, from which it is worth a warning.
pub const WARN_AT: u64 = 80;

/// What was carried in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// When the period began.
    pub begin: Timestamp,
    /// When it ends.
    pub end: Timestamp,
    /// Bytes, both ways.
    pub bytes: u64,
}

/// The account of one uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    quota: QuotaConfig,
    now: Used,
    before: Option<Used>,
    seen: Timestamp,
    counter: Option<u64>,
    spent: bool,
    warned: bool,
}

/// What is kept of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The present period.
    pub now: Used,
    /// The one before.
    pub before: Option<Used>,
    /// When the counter was last read.
    pub seen: Timestamp,
    /// What it showed.
    pub counter: Option<u64>,
}

/// What a reading has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Most of the quota is used up.
    Low,
    /// The quota is used up.
    Spent,
    /// The quota begins anew; it was used up.
    Renewed,
}

impl Account {
    /// An account that begins now.
    pub fn new(quota: QuotaConfig, now: &Zoned) -> Self {
        let period = Period::of(quota.every, now);
        Self {
            quota,
            now: Used {
                begin: period.begin,
                end: period.end,
                bytes: 0,
            },
            before: None,
            seen: now.timestamp(),
            counter: None,
            spent: false,
            warned: false,
        }
    }

    /// Goes on with what was kept; `same` tells whether the counter is the one that was read then. Periods
    /// of another kind are not gone on with.
    pub fn resume(quota: QuotaConfig, kept: Kept, same: bool, now: &Zoned) -> Self {
        let fresh = Self::new(quota, now);
        if !is_of(quota.every, &kept.now) || kept.now.end <= kept.now.begin {
            return fresh;
        }
        Self {
            now: kept.now,
            before: kept.before,
            seen: kept.seen,
            counter: kept.counter.filter(|_| same),
            ..fresh
        }
    }

    /// Says that the counter began at zero when nothing had been carried that is not counted.
    pub fn from_zero(&mut self) {
        self.counter.get_or_insert(0);
    }

    /// What is to be kept.
    pub fn kept(&self) -> Kept {
        Kept {
            now: self.now,
            before: self.before,
            seen: self.seen,
            counter: self.counter,
        }
    }

    /// Bytes carried in the present period.
    pub fn used(&self) -> u64 {
        self.now.bytes
    }

    /// The quota.
    pub fn quota(&self) -> QuotaConfig {
        self.quota
    }

    /// When the present period ends.
    pub fn renews(&self) -> Timestamp {
        self.now.end
    }

    /// Whether the quota is used up.
    pub fn is_spent(&self) -> bool {
        self.spent
    }

    /// Takes a reading of the counter of bytes.
    pub fn read(&mut self, counter: u64, now: &Zoned) -> Option<Change> {
        let bytes = match self.counter.replace(counter) {
            Some(before) if counter >= before => counter - before,
            Some(_) => counter,
            None => 0,
        };
        self.carry(bytes, now);
        self.seen = now.timestamp();
        self.judge()
    }

    fn carry(&mut self, bytes: u64, now: &Zoned) {
        let at = now.timestamp();
        if at >= self.now.end {
            let period = Period::of(self.quota.every, now);
            // As long as it is not over that the time zone was another one.
            let begin = period.begin.max(self.now.end);
            let new = part(bytes, self.seen, begin, at);
            self.now.bytes = self.now.bytes.saturating_add(bytes - new);
            self.before = Some(self.now);
            self.now = Used {
                begin,
                end: period.end,
                bytes: new,
            };
            return;
        }
        if let Some(before) = self.before
            && at < self.now.begin
            && at >= before.begin
        {
            let both = before.bytes.saturating_add(self.now.bytes);
            self.now = Used {
                bytes: both,
                ..before
            };
            self.before = None;
        }
        self.now.bytes = self.now.bytes.saturating_add(bytes);
    }

    fn judge(&mut self) -> Option<Change> {
        let limit = self.quota.limit.0;
        let spent = self.now.bytes >= limit;
        let low = self.now.bytes >= limit / 100 * WARN_AT;
        let was = (self.spent, self.warned);
        (self.spent, self.warned) = (spent, low);
        match (was, (spent, low)) {
            ((false, _), (true, _)) => Some(Change::Spent),
            ((true, _), (false, _)) => Some(Change::Renewed),
            ((false, false), (false, true)) => Some(Change::Low),
            ((false, _), (false, _)) | ((true, _), (true, _)) => None,
        }
    }
}

/// The part of these bytes that is of the time after `border`, carried evenly from `from` to `to`.
fn part(bytes: u64, from: Timestamp, border: Timestamp, to: Timestamp) -> u64 {
    let (all, after) = (
        to.as_millisecond() - from.as_millisecond(),
        to.as_millisecond() - border.as_millisecond(),
    );
    if from >= border || all <= 0 {
        return bytes;
    }
    let after = after.clamp(0, all);
    // The product of 64 bits each fits, and the quotient is at most `bytes`.
    (u128::from(bytes) * after as u128 / all as u128) as u64
}

/// Whether a period can be of this kind: by its length, give or take a change of the clocks.
fn is_of(every: Every, used: &Used) -> bool {
    let hours = used.end.duration_since(used.begin).as_secs() / 3600;
    let (least, most) = match every {
        Every::Day => (20, 28),
        Every::Week => (164, 172),
        Every::Month(_) => (24 * 28 - 4, 24 * 31 + 4),
    };
    (least..=most).contains(&hours)
}

#[cfg(test)]
mod tests;
