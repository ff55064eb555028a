//! A path under suspicion: whom to ask, and what came of it.

use std::time::{Duration, Instant};

use super::Path;
use crate::{probe::TargetId, suspicion::Sign};

/// A suspicion that is being settled.
#[derive(Clone, Copy, Debug)]
pub(in crate::controller) struct Doubt {
    /// What raised it.
    pub sign: Sign,
    /// When the first sign of it was there.
    pub began: Instant,
    /// When it was raised.
    pub since: Instant,
    /// The other family's targets are asked too.
    pub asks_other: bool,
}

impl Path {
    /// Whether a burst can tell anything of the path. A next hop that answers no pings is asked by ARP
    /// or neighbour discovery along with each of them, which is no matter of milliseconds.
    pub(in crate::controller) fn can_be_doubted(&self) -> bool {
        self.health.is_up() && !(self.health.is_judged_by_next_hop() && self.is_silent())
    }

    /// Whom to ask in a burst that begins now, if that can tell anything.
    pub(in crate::controller) fn ask(&mut self) -> Vec<TargetId> {
        if self.can_be_doubted() {
            self.health.doubt()
        } else {
            Vec::new()
        }
    }

    /// Puts it under suspicion.
    pub(in crate::controller) fn suspect(&mut self, doubt: Doubt) {
        self.doubt = Some(doubt);
    }

    /// The suspicion that it is under.
    pub(in crate::controller) fn doubted(&self) -> Option<&Doubt> {
        self.doubt.as_ref()
    }

    /// Ends a suspicion.
    pub(in crate::controller) fn settle_doubt(&mut self) -> Option<Doubt> {
        self.doubt.take()
    }

    /// Whether it is under suspicion.
    pub fn is_suspected(&self) -> bool {
        self.doubt.is_some()
    }

    /// Whether a probe to this target was the first that was lost since it answered.
    pub(in crate::controller) fn has_faltered(&self, id: TargetId) -> bool {
        self.health.has_faltered(id)
    }

    /// How long an answer by this path may take: the round-trip time and four times its variation.
    pub(in crate::controller) fn answers_within(&self) -> Duration {
        let rtt = self.health.rtt().unwrap_or_default();
        let variation = self.health.rtt_variation().unwrap_or_default();
        rtt + variation * 4
    }
}
