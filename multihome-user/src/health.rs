//! Whether a path (one uplink in one family) works, judged from probe outcomes: no I/O, and the
//! clock is passed in.
//!
//! Targets have phases of their own, so there is no common round in which all of them are probed.
//! Evidence is therefore counted per target: outcomes in a row. Remote targets judge the path;
//! without any, the next hop does.
//!
//! - The path goes down when fewer than `quorum` judging targets are left that have not lost
//!   their last `fall` probes; with the quorum of one, when every one of them has. A target whose
//!   fate is not known yet counts as answering, so a new target can never take a path down before
//!   it was asked `fall` times.
//! - It comes up when at least `quorum` of them have answered their last `rise` probes.
//!
//! Since a target is probed at least once an interval, a path that falls silent goes down after at
//! most `fall` intervals and one timeout, however many targets it has.
//!
//! Many routers answer no pings. A next hop whose neighbour entry the kernel confirmed since its
//! last probe counts as having answered.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use crate::probe::{Failure, Outcome, ProbeEvent, SmoothedRtt, TargetId, TargetKind};

mod doubt;

/// When a path changes its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// Probes in a row that a target must lose to count as dead, at least 1.
    pub fall: u32,
    /// Probes in a row that a target must answer to bring a path back, at least 1.
    pub rise: u32,
    /// Judging targets that must answer, at least 1. Capped by the number of targets there are.
    pub quorum: u32,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            fall: 3,
            rise: 3,
            quorum: 1,
        }
    }
}

/// What a path's health is judged from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthEvent {
    /// The outcome of one probe. Those of targets that are not the path's own are ignored.
    Probe(ProbeEvent),
    /// The kernel confirmed the next hop's neighbour entry: it entered the state REACHABLE.
    NextHopConfirmed,
}

/// Whether a path can carry traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// It can.
    Up,
    /// It cannot.
    Down,
}

impl fmt::Display for PathState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// A change of a path's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The new state.
    pub to: PathState,
    /// Why.
    pub cause: Cause,
    /// When the evidence was complete.
    pub at: Instant,
    /// When the first piece of it was there: the first in a row of the last target to change.
    pub sign: Instant,
}

/// What made a path change its state, for people to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A target lost its last probes, and too few others are left that answer.
    ProbesLost {
        /// The target that was the last to fall silent.
        target: TargetId,
        /// How many of its probes were lost in a row.
        probes: u32,
        /// How the last one failed, if it was answered at all.
        failure: Option<Failure>,
        /// How many other targets count as dead too.
        others: usize,
        /// How many targets are left that do not.
        left: usize,
        /// How many must answer.
        quorum: usize,
    },
    /// A target answered its last probes.
    ProbesAnswered {
        /// The target.
        target: TargetId,
        /// How many it answered in a row.
        probes: u32,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: u32| if count == 1 { "" } else { "s" };
        match *self {
            Self::ProbesLost {
                target,
                probes,
                failure,
                others,
                left,
                quorum,
            } => {
                write!(f, "{probes} probe{} to {target}", plural(probes))?;
                match others {
                    0 => {}
                    1 => f.write_str(" and 1 other target")?,
                    _ => write!(f, " and {others} other targets")?,
                }
                match failure {
                    None => f.write_str(" lost")?,
                    Some(failure) => write!(f, " failed ({failure})")?,
                }
                match left {
                    0 => Ok(()),
                    1 => write!(f, "; 1 target is left, {quorum} must answer"),
                    _ => write!(f, "; {left} targets are left, {quorum} must answer"),
                }
            }
            Self::ProbesAnswered { target, probes } => {
                write!(f, "{probes} probe{} to {target} answered", plural(probes))
            }
        }
    }
}

/// Outcomes of one target in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streak {
    /// Nothing known yet.
    Unknown,
    Answered(u32),
    Lost(u32),
}

impl Streak {
    fn add(&mut self, answered: bool) {
        *self = match (*self, answered) {
            (Self::Answered(count), true) => Self::Answered(count.saturating_add(1)),
            (Self::Unknown | Self::Lost(_), true) => Self::Answered(1),
            (Self::Lost(count), false) => Self::Lost(count.saturating_add(1)),
            (Self::Unknown | Self::Answered(_), false) => Self::Lost(1),
        };
    }

    /// Whether such an outcome begins another streak.
    fn is_broken_by(self, answered: bool) -> bool {
        match self {
            Self::Unknown => true,
            Self::Answered(_) => !answered,
            Self::Lost(_) => answered,
        }
    }

    fn lost(self) -> u32 {
        match self {
            Self::Lost(count) => count,
            Self::Unknown | Self::Answered(_) => 0,
        }
    }

    fn answered(self) -> u32 {
        match self {
            Self::Answered(count) => count,
            Self::Unknown | Self::Lost(_) => 0,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct TargetHealth {
    streak: Streak,
    /// When the first sign of the streak was there: the sending of its first probe that was lost, or
    /// the answer to its first that was not.
    began: Option<Instant>,
    rtt: Option<SmoothedRtt>,
    /// It has answered since the path was last doubted.
    heard: bool,
}

const UNKNOWN: TargetHealth = TargetHealth {
    streak: Streak::Unknown,
    began: None,
    rtt: None,
    heard: false,
};

/// The health of one path.
#[derive(Clone, Debug)]
pub struct PathHealth {
    settings: HealthSettings,
    state: PathState,
    since: Instant,
    targets: BTreeMap<TargetId, TargetHealth>,
    /// The next hop was confirmed since the outcome of its last probe.
    next_hop_confirmed: bool,
}

impl PathHealth {
    /// A path without targets, which keeps its state until it has some.
    pub fn new(settings: HealthSettings, initially_up: bool, now: Instant) -> Self {
        Self {
            settings: HealthSettings {
                fall: settings.fall.max(1),
                rise: settings.rise.max(1),
                quorum: settings.quorum.max(1),
            },
            state: if initially_up {
                PathState::Up
            } else {
                PathState::Down
            },
            since: now,
            targets: BTreeMap::new(),
            next_hop_confirmed: false,
        }
    }

    /// Makes these the path's targets: next hop, remote targets, or both. What is known of those
    /// that were there before is kept.
    pub fn set_targets(&mut self, targets: impl IntoIterator<Item = TargetId>) {
        self.targets = targets
            .into_iter()
            .map(|id| (id, self.targets.get(&id).copied().unwrap_or(UNKNOWN)))
            .collect();
    }

    /// Takes one piece of evidence. The state changes only by outcomes of judging targets.
    pub fn handle(&mut self, event: HealthEvent, now: Instant) -> Option<Transition> {
        let ProbeEvent { id, outcome, sent } = match event {
            HealthEvent::Probe(event) => event,
            HealthEvent::NextHopConfirmed => {
                self.next_hop_confirmed = true;
                return None;
            }
        };
        let judging = self.judging_kind();
        let target = self.targets.get_mut(&id)?;
        let answered = match outcome {
            Outcome::Reply { rtt } => {
                SmoothedRtt::update(&mut target.rtt, rtt);
                true
            }
            Outcome::Lost | Outcome::Failed(_) => {
                id.kind == TargetKind::NextHop && self.next_hop_confirmed
            }
        };
        let failure = match outcome {
            Outcome::Failed(failure) => Some(failure),
            Outcome::Reply { .. } | Outcome::Lost => None,
        };
        if id.kind == TargetKind::NextHop {
            self.next_hop_confirmed = false;
        }
        if target.streak.is_broken_by(answered) {
            // What was lost was lost from its sending on, or on its way back.
            target.began = Some(match outcome {
                Outcome::Reply { rtt } => sent + rtt,
                Outcome::Lost | Outcome::Failed(_) => sent,
            });
        }
        target.streak.add(answered);
        target.heard |= answered;
        if id.kind != judging {
            return None;
        }
        self.judge(id, failure, now)
    }

    /// Starts anew, as when the link returns: what was known of the targets, losses and
    /// round-trip times is forgotten, and the state is what is given.
    pub fn reset(&mut self, now: Instant, up: bool) {
        let state = if up { PathState::Up } else { PathState::Down };
        if state != self.state {
            self.since = now;
        }
        self.state = state;
        self.targets
            .values_mut()
            .for_each(|target| *target = UNKNOWN);
        self.next_hop_confirmed = false;
    }

    /// The present state.
    pub fn state(&self) -> PathState {
        self.state
    }

    /// Whether the path is up.
    pub fn is_up(&self) -> bool {
        self.state == PathState::Up
    }

    /// When it took its present state.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// The smoothed round-trip time to the nearest judging target that answers: the mean over
    /// targets at different distances would move whenever one of them is lost.
    pub fn rtt(&self) -> Option<Duration> {
        self.nearest().map(|rtt| rtt.smoothed())
    }

    /// The variation of the round-trip time that [`Self::rtt`] gives.
    pub fn rtt_variation(&self) -> Option<Duration> {
        self.nearest().map(|rtt| rtt.variation())
    }

    /// The path's targets.
    pub fn targets(&self) -> impl Iterator<Item = TargetId> {
        self.targets.keys().copied()
    }

    fn nearest(&self) -> Option<SmoothedRtt> {
        self.judges()
            .filter(|(_, target)| target.streak.answered() > 0)
            .filter_map(|(_, target)| target.rtt)
            .min_by_key(SmoothedRtt::smoothed)
    }

    /// Whether this is one of the targets that judge the path.
    pub fn is_judged_by(&self, id: TargetId) -> bool {
        self.targets.contains_key(&id) && id.kind == self.judging_kind()
    }

    /// Remote targets judge if there are any.
    fn judging_kind(&self) -> TargetKind {
        let remote = self.targets.keys().any(|id| id.kind == TargetKind::Remote);
        if remote {
            TargetKind::Remote
        } else {
            TargetKind::NextHop
        }
    }

    fn judges(&self) -> impl Iterator<Item = (&TargetId, &TargetHealth)> {
        let kind = self.judging_kind();
        self.targets.iter().filter(move |(id, _)| id.kind == kind)
    }

    /// Whether the outcome of `last`, which is counted already, changes the state.
    fn judge(
        &mut self,
        last: TargetId,
        failure: Option<Failure>,
        now: Instant,
    ) -> Option<Transition> {
        let HealthSettings { fall, rise, quorum } = self.settings;
        let total = self.judges().count();
        let quorum = usize::try_from(quorum).unwrap_or(usize::MAX).min(total);
        let streak = self.targets.get(&last)?.streak;
        let count = |holds: fn(Streak, u32) -> bool, limit: u32| {
            self.judges()
                .filter(|(_, target)| holds(target.streak, limit))
                .count()
        };
        let (to, cause) = match self.state {
            PathState::Up => {
                let dead = count(|streak, fall| streak.lost() >= fall, fall);
                // Only a loss can take a path down, not the leaving of a target that answered.
                if total - dead >= quorum || streak.lost() < fall {
                    return None;
                }
                (
                    PathState::Down,
                    Cause::ProbesLost {
                        target: last,
                        probes: streak.lost(),
                        failure,
                        others: dead - 1,
                        left: total - dead,
                        quorum,
                    },
                )
            }
            PathState::Down => {
                let alive = count(|streak, rise| streak.answered() >= rise, rise);
                if alive < quorum || streak.answered() < rise {
                    return None;
                }
                let (target, probes) = (last, streak.answered());
                (PathState::Up, Cause::ProbesAnswered { target, probes })
            }
        };
        self.state = to;
        self.since = now;
        // Before the last of the deciding targets changed, the others alone decided nothing.
        let deciding = self.judges().filter(|(_, target)| match to {
            PathState::Down => target.streak.lost() >= fall,
            PathState::Up => target.streak.answered() >= rise,
        });
        let sign = deciding.filter_map(|(_, target)| target.began).max();
        Some(Transition {
            to,
            cause,
            at: now,
            sign: sign.unwrap_or(now),
        })
    }
}

#[cfg(test)]
mod tests;
