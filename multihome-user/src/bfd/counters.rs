//! What the sessions have sent, taken and discarded, counted where it happens and read by the metrics.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{Discard, SessionId};

/// The counters of one session and of those that its uplink and family had before.
#[derive(Debug, Default)]
pub struct SessionCounters {
    sent: AtomicU64,
    received: AtomicU64,
    discarded: [AtomicU64; Discard::ALL.len()],
    ups: AtomicU64,
    downs: AtomicU64,
}

impl SessionCounters {
    pub(super) fn count_sent(&self) {
        self.sent.fetch_add(1, Relaxed);
    }

    pub(super) fn count_received(&self) {
        self.received.fetch_add(1, Relaxed);
    }

    pub(super) fn count_discarded(&self, why: Discard) {
        self.discarded[why as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn count_transition(&self, up: bool) {
        let counter = if up { &self.ups } else { &self.downs };
        counter.fetch_add(1, Relaxed);
    }

    /// Packets sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Packets taken.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Packets discarded, for this reason.
    pub fn discarded(&self, why: Discard) -> u64 {
        self.discarded[why as usize].load(Relaxed)
    }

    /// How often a session came up.
    pub fn ups(&self) -> u64 {
        self.ups.load(Relaxed)
    }

    /// How often a session that was up went down.
    pub fn downs(&self) -> u64 {
        self.downs.load(Relaxed)
    }
}

/// The counters of all sessions; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct BfdCounters(Arc<Mutex<BTreeMap<SessionId, Arc<SessionCounters>>>>);

impl BfdCounters {
    /// The counters of a session, which begin at zero with the first that asks for them.
    pub fn of(&self, id: SessionId) -> Arc<SessionCounters> {
        // The map is never left half-changed.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(id).or_default())
    }
}
