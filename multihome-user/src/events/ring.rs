//! The last events, in memory: bounded, in the order of their numbers.

use std::{collections::VecDeque, sync::Arc};

use super::Record;

/// Events that are kept.
pub const KEPT: usize = 1024;

/// The last [`KEPT`] events.
#[derive(Debug, Default)]
pub struct Ring {
    records: VecDeque<Arc<Record>>,
}

/// What is new to somebody who has read up to some number.
#[derive(Debug, Default, PartialEq)]
pub struct News {
    /// Events that he has missed, since they are no longer kept.
    pub skipped: u64,
    /// The others, oldest first.
    pub records: Vec<Arc<Record>>,
}

impl Ring {
    /// A ring with what was kept of earlier events, oldest first.
    pub fn new(records: impl IntoIterator<Item = Record>) -> Self {
        let mut ring = Self::default();
        for record in records {
            ring.push(Arc::new(record));
        }
        ring
    }

    /// Adds an event; the oldest goes when there are too many. One whose number is not above all
    /// others' is not taken: numbers must say which is newer.
    pub fn push(&mut self, record: Arc<Record>) {
        if record.seq < self.next() {
            return;
        }
        if self.records.len() == KEPT {
            self.records.pop_front();
        }
        self.records.push_back(record);
    }

    /// The number that the next event has at least.
    pub fn next(&self) -> u64 {
        self.records.back().map_or(1, |last| last.seq + 1)
    }

    /// All that is kept, oldest first.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Arc<Record>> {
        self.records.iter()
    }

    /// The events from number `from` on, at most `limit`.
    pub fn since(&self, from: u64, limit: usize) -> News {
        let at = self.records.partition_point(|record| record.seq < from);
        let records: Vec<Arc<Record>> = self.records.range(at..).take(limit).cloned().collect();
        let skipped = records.first().map_or(0, |first| first.seq - from);
        News { skipped, records }
    }
}
