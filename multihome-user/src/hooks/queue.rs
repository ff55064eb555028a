//! The events that wait for one hook: bounded, in their order; the oldest give way, since the newest say
//! how things stand.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::events::Record;

/// Events that may wait for a hook.
pub const MAX_WAITING: usize = 64;

/// The events that wait for one hook.
#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Arc<Record>>,
    /// Given way since the last was taken.
    dropped: u64,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event; whether another gave way.
    pub fn push(&self, record: Arc<Record>) -> bool {
        let mut inner = self.lock();
        let full = inner.waiting.len() == MAX_WAITING;
        if full {
            inner.waiting.pop_front();
            inner.dropped += 1;
        }
        inner.waiting.push_back(record);
        drop(inner);
        self.changed.notify_one();
        full
    }

    /// The next event, with how many gave way before it; waits for one until the queue is closed. For
    /// one caller at a time.
    pub async fn next(&self) -> Option<(Arc<Record>, u64)> {
        loop {
            {
                let mut inner = self.lock();
                if let Some(record) = inner.waiting.pop_front() {
                    return Some((record, std::mem::take(&mut inner.dropped)));
                }
                if inner.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// No more events come.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Removes all that wait, and tells how many those were.
    pub fn clear(&self) -> u64 {
        let mut inner = self.lock();
        let left = inner.waiting.len() as u64;
        inner.waiting.clear();
        left
    }
}
