//! From a sign that something may be wrong to a burst of probes, and what the burst says.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    Action, Controller, FAMILIES, Uplink,
    path::{Doubt, Path},
};
use crate::{
    events::{Kind, Occurrence},
    probe::{BurstPlan, Outcome, ProbeEvent},
    suspicion::{Allowance, Sample, Sampling, Sign, Silence, SuspicionSettings},
};

/// What has passed by uplinks so far: id, and one sample for each family.
pub type Samples = Vec<(u8, [Sample; 2])>;

/// How long a suspicion lasts at most. A burst decides much sooner, unless its probes cannot be sent.
const LONGEST: Duration = Duration::from_secs(5);
/// The most probes to one target in a burst: who wants more losses before a target counts as dead
/// wants no haste.
const MOST_PROBES: u32 = 10;

/// What is known of all paths' traffic, and of the bursts that there were.
#[derive(Debug)]
pub(super) struct Suspicions {
    settings: SuspicionSettings,
    sampling: Option<Sampling>,
    /// By uplink and family.
    silences: BTreeMap<(u8, usize), Silence>,
    allowances: BTreeMap<u8, Allowance>,
}

impl Suspicions {
    pub fn new(settings: SuspicionSettings, now: Instant) -> Self {
        let silence = settings.silence.filter(|_| settings.step.is_some());
        Self {
            settings,
            sampling: silence.map(|silence| Sampling::new(silence, now)),
            silences: BTreeMap::new(),
            allowances: BTreeMap::new(),
        }
    }
}

impl Controller {
    /// When [`super::Event::Sampled`] is expected, if at all.
    pub fn next_sample(&self) -> Option<Instant> {
        self.suspicions.sampling.as_ref().map(Sampling::next)
    }

    /// Looks at the traffic.
    pub(super) fn sampled(&mut self, samples: &Samples, now: Instant) -> Vec<Action> {
        let Suspicions {
            settings,
            sampling: Some(sampling),
            silences,
            ..
        } = &mut self.suspicions
        else {
            return Vec::new();
        };
        let Some(needed) = settings.silence else {
            return Vec::new();
        };
        let late = sampling.is_late(now);
        let mut busy = false;
        let mut silent = Vec::new();
        for (id, families) in samples {
            let Some(uplink) = self.uplinks.of(*id) else {
                continue;
            };
            for family in FAMILIES {
                let (path, sample) = (&uplink.paths[family], families[family]);
                let silence = silences
                    .entry((*id, family))
                    .or_insert_with(|| Silence::new(needed, now));
                busy |= silence.has_left(sample);
                if !path.is_up() || path.is_suspected() {
                    silence.pause();
                } else if late {
                    silence.begin_anew(sample);
                } else if let Some(since) = silence.sample(sample, path.answers_within(), now) {
                    silent.push((*id, family, since));
                }
            }
        }
        sampling.looked(busy, now);
        silent
            .into_iter()
            .flat_map(|(id, family, since)| self.suspect(id, family, Sign::Silence, since, now))
            .collect()
    }

    /// Considers what a probe's outcome, which is counted already, means for suspicions: it may
    /// raise one or settle one.
    pub(super) fn weigh(&mut self, event: ProbeEvent, now: Instant) -> Vec<Action> {
        let id = event.id.uplink;
        let mut actions = self.settle_doubts(id, now);
        let Some(uplink) = self.uplinks.of(id) else {
            return actions;
        };
        // An answer that is not the expected one is no sign of a path that swallows packets.
        let faltered = FAMILIES.into_iter().find(|&family| {
            event.outcome == Outcome::Lost && uplink.paths[family].has_faltered(event.id)
        });
        if let Some(family) = faltered {
            actions.extend(self.suspect(id, family, Sign::Loss, now, now));
        }
        actions
    }

    /// Settles what no outcome settles: of paths that went down otherwise, and where nobody could
    /// be asked.
    pub(super) fn settle_old_doubts(&mut self, now: Instant) -> Vec<Action> {
        let ids: Vec<u8> = self.uplinks.iter().map(|uplink| uplink.id).collect();
        ids.into_iter()
            .flat_map(|id| self.settle_doubts(id, now))
            .collect()
    }

    /// Puts a path under suspicion and has its targets asked, if that can tell anything, and not
    /// too much was asked lately.
    fn suspect(
        &mut self,
        id: u8,
        family: usize,
        sign: Sign,
        began: Instant,
        now: Instant,
    ) -> Vec<Action> {
        let Some(step) = self.suspicions.settings.step else {
            return Vec::new();
        };
        let Some(uplink) = self.uplinks.of_mut(id) else {
            return Vec::new();
        };
        // A path without remote targets of its own follows those of the other family.
        let asks_other = !uplink.paths[family].has_remote();
        let asked = |of: usize| of == family || asks_other;
        let probes = uplink.paths[family].health().fall();
        let can = FAMILIES
            .into_iter()
            .any(|of| asked(of) && uplink.paths[of].can_be_doubted());
        let path = &uplink.paths[family];
        if !can || !path.is_up() || path.is_suspected() || probes > MOST_PROBES {
            return Vec::new();
        }
        let allowance = self
            .suspicions
            .allowances
            .entry(id)
            .or_insert_with(|| Allowance::new(now));
        if !allowance.take(now) {
            return Vec::new();
        }
        let targets = FAMILIES
            .into_iter()
            .filter(|&of| asked(of))
            .flat_map(|of| uplink.paths[of].ask())
            .collect();
        uplink.paths[family].suspect(Doubt {
            sign,
            began,
            since: now,
            asks_other,
        });
        let mut actions = vec![Action::Burst {
            sign,
            plan: BurstPlan {
                targets,
                probes,
                step,
                whole: false,
            },
        }];
        match sign {
            Sign::Silence => {
                let silent = now.saturating_duration_since(began).as_millis();
                let cause = format!("packets went out, and none came back for {silent} ms");
                let occurrence = Occurrence::new(Kind::Suspected, cause).uplink(id);
                actions.push(Action::Event(occurrence.family(family).sign(began)));
            }
            // A probe is lost now and then on many a line: that is counted, and nothing to tell.
            Sign::Loss => {}
        }
        actions
    }

    /// Ends the suspicions of an uplink that are settled.
    fn settle_doubts(&mut self, id: u8, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(uplink) = self.uplinks.of_mut(id) else {
            return actions;
        };
        for family in FAMILIES {
            let Some(cause) = settled(uplink, family, now) else {
                continue;
            };
            let Some(doubt) = uplink.paths[family].settle_doubt() else {
                continue;
            };
            let silence = self.suspicions.silences.get_mut(&(id, family));
            match (cause, doubt.sign) {
                (None, Sign::Silence | Sign::Loss) => {
                    if let Some(silence) = silence {
                        silence.was_right(now);
                    }
                    if let Some(allowance) = self.suspicions.allowances.get_mut(&id) {
                        allowance.give_back();
                    }
                }
                (Some(cause), Sign::Silence) => {
                    if let Some(silence) = silence {
                        silence.was_wrong(now);
                    }
                    let occurrence = Occurrence::new(Kind::Cleared, cause).uplink(id);
                    actions.push(Action::Event(occurrence.family(family).sign(doubt.began)));
                }
                (Some(_), Sign::Loss) => {}
            }
        }
        actions
    }
}

/// Whether the suspicion of a path is settled; with the cause when the path was wrongly suspected.
fn settled(uplink: &Uplink, family: usize, now: Instant) -> Option<Option<&'static str>> {
    let path = &uplink.paths[family];
    let doubt = path.doubted()?;
    let heard = |path: &Path| !path.can_be_doubted() || path.health().is_heard();
    let other = &uplink.paths[1 - family];
    if !path.is_up() {
        Some(None)
    } else if heard(path) && (!doubt.asks_other || heard(other)) {
        Some(Some("its probes are answered"))
    } else if now.saturating_duration_since(doubt.since) >= LONGEST {
        Some(Some("its targets could not be asked in time"))
    } else {
        None
    }
}
