//! Doubting a path that is up: whom to ask in a burst, and when the doubt is over.

use super::{PathHealth, Streak};
use crate::probe::{TargetId, TargetKind};

impl PathHealth {
    /// Begins to doubt the path, and returns whom to ask: the judging targets that are not dead.
    ///
    /// Their losses are counted from zero again, since those of a burst lie close together and say
    /// less than as many that are an interval apart: what has raised the doubt must not be one of
    /// those that confirm it.
    pub fn doubt(&mut self) -> Vec<TargetId> {
        let (fall, kind) = (self.settings.fall, self.judging_kind());
        let mut asked = Vec::new();
        for (id, target) in &mut self.targets {
            if id.kind != kind || target.streak.lost() >= fall {
                continue;
            }
            if let Streak::Lost(count) = &mut target.streak {
                *count = 0;
            }
            target.heard = false;
            asked.push(*id);
        }
        asked
    }

    /// Whether so many judging targets as are needed have answered since the path was last doubted.
    pub fn is_heard(&self) -> bool {
        let total = self.judges().count();
        let quorum = usize::try_from(self.settings.quorum).unwrap_or(usize::MAX);
        let heard = self.judges().filter(|(_, target)| target.heard).count();
        total > 0 && heard >= quorum.min(total)
    }

    /// Whether this judging target has just lost a probe after it had answered: the first sign that
    /// something may be wrong.
    pub fn has_faltered(&self, id: TargetId) -> bool {
        self.judges()
            .find(|(judge, _)| **judge == id)
            .is_some_and(|(_, target)| target.streak == Streak::Lost(1) && target.heard)
    }

    /// Whether the next hop judges the path, for want of remote targets.
    pub fn is_judged_by_next_hop(&self) -> bool {
        self.judging_kind() == TargetKind::NextHop
    }

    /// Probes that a target must lose in a row to count as dead.
    pub fn fall(&self) -> u32 {
        self.settings.fall
    }
}
