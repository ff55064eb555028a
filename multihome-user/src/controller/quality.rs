//! What takes new flows off an uplink that is up: a path worse than a group's SLA, an uplink that is full,
//! a quota that is used up.
//!
//! A path is judged for each group with an SLA by what its probes measure ([`crate::quality`]), but only while
//! it is up: an outage is no cure, and what was measured during one says nothing about the time after it. A
//! family without remote targets of its own is as sick as the other one.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::{Timestamp, Zoned};

use super::{
    Action, Controller, FAMILIES, GroupSettings, Settings, Uplink, eligible::Impediments,
    path::Path,
};
use crate::{
    events::{Kind, Occurrence},
    human,
    probe::{BurstPlan, Outcome, ProbeEvent, TargetId, TargetKind},
    quality::{
        Judge, Measure, Meter, Window,
        meter::Carried,
        quota::{Account, Change, Ledger},
        sla::Verdict,
    },
};

/// Probes of one target in a row while a path may be losing too much: half a second's.
const PROBES: u32 = 20;
/// As long as nothing is clear by then, such bursts follow each other for this long.
const DOUBT: Duration = Duration::from_secs(2);
/// And then not again for so many times as long as they took, so that a line that always loses a little is
/// not asked all the time.
const REST: u32 = 5;
/// Of probes that are lost in a row in such a burst, each of this number counts as one for the path's health:
/// three losses in a row are a sign of death at the usual pace, and nothing strange among forty a second.
const THINNED: u32 = 4;

/// What the dataplane has counted for some uplinks, by their ids, and when, in local time.
#[derive(Clone, Debug)]
pub struct Readings {
    /// Since the counters were made.
    pub carried: Vec<(u8, Carried)>,
    /// By the clock on the wall.
    pub at: Zoned,
}

/// What is known of the quality of paths, and of what uplinks carry.
#[derive(Debug)]
pub struct Quality {
    /// By uplink and family.
    windows: BTreeMap<(u8, usize), Window<TargetId>>,
    /// By group, uplink and family.
    judges: BTreeMap<(u8, u8, usize), Judge>,
    /// The paths that were up when they were last looked at.
    up: [u64; 2],
    /// The time between two probes of a burst; `None` when there are to be none.
    step: Option<Duration>,
    /// When each uplink was last asked in bursts.
    asked: BTreeMap<u8, Asked>,
    /// Probes of bursts that each target has lost in a row.
    lost: BTreeMap<TargetId, u32>,
    meters: BTreeMap<u8, Meter>,
    ledger: Ledger,
}

/// Bursts of probes that were asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// When the first burst since there was doubt began.
    began: Instant,
    /// When the first of those that follow each other without a gap began.
    at: Instant,
    /// When the last of them ends.
    until: Instant,
}

impl Quality {
    /// Nothing is measured yet; what an earlier controller left out of a group that has an SLA is taken for
    /// sick until it shows that it is not.
    pub(super) fn new(settings: &Settings) -> Self {
        let ids = || settings.uplinks.iter().map(|(id, _)| *id);
        let paths = || ids().flat_map(|id| FAMILIES.map(|family| (id, family)));
        let judges = settings.groups.iter().flat_map(|group| {
            let members = group.members.iter().map(|member| member.id);
            let paths = members.flat_map(|id| FAMILIES.map(|family| (id, family)));
            paths.filter_map(|(id, family)| {
                let sick = settings
                    .adopted
                    .is_some_and(|left| left_out(group, left.alive[family], id, family));
                Some(((group.id, id, family), Judge::new(group.config.sla?, sick)))
            })
        });
        let meters = settings
            .uplinks
            .iter()
            .filter_map(|(id, uplink)| Some((*id, Meter::new(uplink.capacity?, false))));
        Self {
            windows: paths()
                .map(|path| (path, Window::new(settings.window)))
                .collect(),
            judges: judges.collect(),
            up: [0; 2],
            step: settings.suspicion.step,
            asked: BTreeMap::new(),
            lost: BTreeMap::new(),
            meters: meters.collect(),
            ledger: settings.ledger.clone(),
        }
    }

    /// What was measured of a path lately.
    pub fn measure(&self, id: u8, family: usize, now: Instant) -> Measure {
        self.windows
            .get(&(id, family))
            .map(|window| window.measure(now))
            .unwrap_or_default()
    }

    /// How much an uplink with a capacity carries.
    pub fn meter(&self, id: u8) -> Option<&Meter> {
        self.meters.get(&id)
    }

    /// What an uplink with a quota has used of it.
    pub fn account(&self, id: u8) -> Option<&Account> {
        self.ledger.account(id)
    }

    /// The accounts of all uplinks.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether an uplink has a capacity, so that its counters must be read often.
    pub fn has_meters(&self) -> bool {
        !self.meters.is_empty()
    }

    /// The uplinks whose counters are to be read.
    pub fn counted(&self) -> impl Iterator<Item = u8> + '_ {
        self.windows
            .keys()
            .filter(|(_, family)| *family == FAMILIES[0])
            .map(|(id, _)| *id)
            .filter(|id| self.meters.contains_key(id) || self.ledger.account(*id).is_some())
    }

    /// Whether the path's health is to hear of an outcome. Of a burst that asks how much is lost, not each loss
    /// is.
    pub(super) fn tells_of_health(&mut self, event: ProbeEvent) -> bool {
        let asked = self.asked.get(&event.id.uplink);
        let of_burst = asked.is_some_and(|asked| (asked.at..asked.until).contains(&event.sent));
        if event.outcome != Outcome::Lost || !of_burst {
            self.lost.remove(&event.id);
            return true;
        }
        let lost = self.lost.entry(event.id).or_default();
        *lost += 1;
        lost.is_multiple_of(THINNED)
    }

    fn is_sick(&self, group: u8, id: u8, family: usize) -> bool {
        self.judges
            .get(&(group, id, family))
            .is_some_and(Judge::is_sick)
    }

    /// Forgets the evidence on paths that went down or came up.
    fn follow(&mut self, uplink: &Uplink) {
        for family in FAMILIES {
            let bit = 1 << uplink.id;
            let (was, is) = (self.up[family] & bit != 0, uplink.paths[family].is_up());
            if was == is {
                continue;
            }
            self.up[family] ^= bit;
            if is && let Some(window) = self.windows.get_mut(&(uplink.id, family)) {
                window.clear();
            }
            let of_path = |key: &(u8, u8, usize)| (key.1, key.2) == (uplink.id, family);
            for (_, judge) in self.judges.iter_mut().filter(|(key, _)| of_path(key)) {
                judge.pause();
            }
        }
    }

    /// Asks all targets of an uplink in a burst, unless that was done lately.
    fn ask(&mut self, uplink: &Uplink, now: Instant) -> Option<Action> {
        let step = self.asks(uplink.id, now)?;
        let targets = FAMILIES
            .into_iter()
            .flat_map(|family| judging(&uplink.paths[family]))
            .collect();
        Some(Action::Ask(BurstPlan {
            targets,
            probes: PROBES,
            step,
            whole: true,
        }))
    }

    /// With what time between two probes to ask an uplink's targets again, to clear up what its probes leave
    /// open; `None` when they are not to be asked.
    fn asks(&mut self, id: u8, now: Instant) -> Option<Duration> {
        let step = self.step?;
        let length = step * PROBES;
        let asked = self.asked.entry(id).or_insert(Asked {
            began: now,
            at: now,
            until: now,
        });
        if asked.until > now + length / 2 {
            return None;
        }
        let took = asked.until.saturating_duration_since(asked.began);
        if asked.until + took * REST <= now {
            asked.began = now;
        } else if now.saturating_duration_since(asked.began) >= DOUBT {
            return None;
        }
        if asked.until <= now {
            asked.at = now;
        }
        asked.until = now + length;
        Some(step)
    }
}

/// Whether an earlier controller left this path out of the group's word although it was alive, and no
/// better tier served.
fn left_out(group: &GroupSettings, alive: u64, id: u8, family: usize) -> bool {
    let eligible = group.left.eligible[family];
    let tier_of = |wanted: u8| group.members.iter().find(|it| it.id == wanted);
    let serving = (group.members.iter()).filter(|it| eligible >> it.id & 1 == 1);
    let best = serving.map(|it| it.tier).min();
    (alive & !eligible & group.left.had) >> id & 1 == 1
        && best.is_some_and(|best| tier_of(id).is_some_and(|it| it.tier <= best))
}

impl Controller {
    /// What is known of the quality of paths, and of what uplinks carry.
    pub fn quality(&self) -> &Quality {
        &self.quality
    }

    /// Judges a path by one more outcome, which its health has taken already.
    pub(super) fn judge_probe(&mut self, event: ProbeEvent, now: Instant) -> Vec<Action> {
        let id = event.id;
        let Self {
            uplinks,
            quality,
            groups,
            ..
        } = self;
        let Some(uplink) = uplinks.of(id.uplink) else {
            return Vec::new();
        };
        quality.follow(uplink);
        let family = family_of(id);
        let path = &uplink.paths[family];
        // A next hop that never answers pings is asked otherwise, and loses all of these.
        let mute = id.kind == TargetKind::NextHop && path.is_silent();
        let Some(window) = quality.windows.get_mut(&(id.uplink, family)) else {
            return Vec::new();
        };
        if !path.health().is_judged_by(id) || mute {
            return Vec::new();
        }
        let place = match event.outcome {
            Outcome::Reply { rtt } => window.add(id, Some(rtt), now),
            Outcome::Lost => window.add(id, None, now),
            // Who gives a wrong answer has lost nothing.
            Outcome::Failed(_) => window.add_untimed(id, now),
        };
        let (Some(place), true) = (place, path.is_up()) else {
            return Vec::new();
        };
        let lost = event.outcome == Outcome::Lost;
        let judged = |key: &(u8, u8, usize)| (key.1, key.2) == (id.uplink, family);
        let mut judges = quality
            .judges
            .iter_mut()
            .filter(|(key, _)| judged(key))
            .peekable();
        if judges.peek().is_none() {
            return Vec::new();
        }
        let tells = window.tallies(now).telling() >> place & 1 == 1;
        let mut verdicts = Vec::new();
        let mut open = false;
        for ((group, ..), judge) in judges {
            let verdict = judge.probed(window, lost, tells, now);
            verdicts.extend(verdict.map(|verdict| (*group, family, verdict)));
            open |= lost && judge.wants_probes();
        }
        let mut actions = Vec::new();
        if open {
            actions.extend(quality.ask(uplink, now));
        }
        let events = tell(uplink.id, verdicts, groups);
        if !events.is_empty() {
            actions.extend(self.impede(now));
            actions.extend(events);
        }
        actions
    }

    /// Asks more of a path with a limit to its losses when one of its targets has not answered by when it
    /// should have: until the probe is given up, many more would be lost.
    pub(super) fn wonder(&mut self, id: TargetId, now: Instant) -> Vec<Action> {
        let Self {
            uplinks, quality, ..
        } = self;
        let Some(uplink) = uplinks.of(id.uplink) else {
            return Vec::new();
        };
        let family = family_of(id);
        let path = &uplink.paths[family];
        let asks = |key: &(u8, u8, usize)| (key.1, key.2) == (id.uplink, family);
        let limited = quality
            .judges
            .iter()
            .any(|(key, judge)| asks(key) && judge.limits_loss());
        if !limited || !path.is_up() || !path.health().is_judged_by(id) {
            return Vec::new();
        }
        quality.ask(uplink, now).into_iter().collect()
    }

    /// Judges all paths anew, as time passes.
    pub(super) fn judge_paths(&mut self, now: Instant) -> Vec<Action> {
        let Self {
            uplinks,
            quality,
            groups,
            ..
        } = self;
        let mut events = Vec::new();
        for uplink in &*uplinks {
            quality.follow(uplink);
            let mut verdicts = Vec::new();
            let of_uplink = |key: &(u8, u8, usize)| key.1 == uplink.id;
            for ((group, id, family), judge) in
                quality.judges.iter_mut().filter(|(key, _)| of_uplink(key))
            {
                if uplink.paths[*family].is_up()
                    && let Some(window) = quality.windows.get(&(*id, *family))
                    && let Some(verdict) = judge.look(window, now)
                {
                    verdicts.push((*group, *family, verdict));
                }
            }
            events.extend(tell(uplink.id, verdicts, groups));
        }
        let mut actions = self.impede(now);
        actions.extend(events);
        actions
    }

    /// Takes what the dataplane has counted.
    pub(super) fn carried(&mut self, readings: &Readings, now: Instant) -> Vec<Action> {
        let Quality { meters, ledger, .. } = &mut self.quality;
        let mut events = Vec::new();
        for &(id, carried) in &readings.carried {
            if let Some(filling) = meters
                .get_mut(&id)
                .and_then(|meter| meter.read(carried, now))
            {
                let kind = if filling.full {
                    Kind::Full
                } else {
                    Kind::Spare
                };
                events.push(Occurrence::new(kind, filling.cause).uplink(id));
            }
            if let Some(change) = ledger.read(id, carried, &readings.at)
                && let Some(account) = ledger.account(id)
            {
                let kind = match change {
                    Change::Low => Kind::QuotaLow,
                    Change::Spent => Kind::QuotaSpent,
                    Change::Renewed => Kind::QuotaRenewed,
                };
                let cause = standing(account, &readings.at);
                events.push(Occurrence::new(kind, cause).uplink(id));
            }
        }
        if events.is_empty() {
            return Vec::new();
        }
        let mut actions = self.impede(now);
        actions.extend(events.into_iter().map(Action::Event));
        actions
    }

    /// Makes the groups' words of what speaks against their members.
    pub(super) fn impede(&mut self, now: Instant) -> Vec<Action> {
        let quality = &self.quality;
        let full = (quality.meters.iter())
            .filter(|(_, meter)| meter.is_full())
            .fold(0, |word, (id, _)| word | 1u64 << id);
        let spent = quality.ledger.spent();
        let mut changed = false;
        for group in &mut self.groups {
            for family in FAMILIES {
                let sick = self.uplinks.iter().filter(|uplink| {
                    let follows = !uplink.paths[family].has_remote();
                    quality.is_sick(group.id, uplink.id, family)
                        || follows && quality.is_sick(group.id, uplink.id, 1 - family)
                });
                let here = Impediments {
                    full,
                    sick: sick.fold(0, |word, uplink| word | 1 << uplink.id),
                    spent: if group.obeys_quota() { spent } else { 0 },
                };
                changed |= here != group.impediments(family);
                group.impede(family, here);
            }
        }
        if changed {
            self.refresh_words(now)
        } else {
            Vec::new()
        }
    }
}

/// The targets that judge a path and can be asked.
fn judging(path: &Path) -> impl Iterator<Item = TargetId> {
    path.probes()
        .into_iter()
        .map(|probe| probe.id)
        .filter(|id| path.health().is_judged_by(*id))
}

fn family_of(id: TargetId) -> usize {
    FAMILIES[usize::from(id.target.is_ipv6())]
}

/// The verdicts as events.
fn tell(
    id: u8,
    verdicts: Vec<(u8, usize, Verdict)>,
    groups: &[super::group::Group],
) -> Vec<Action> {
    let events = verdicts.into_iter().map(|(group, family, verdict)| {
        let kind = if verdict.sick { Kind::Sick } else { Kind::Well };
        let name = groups
            .iter()
            .find(|of| of.id == group)
            .map(|of| of.name.clone());
        let occurrence = Occurrence::new(kind, verdict.cause)
            .uplink(id)
            .family(family);
        Action::Event(occurrence.group(name.unwrap_or_default()))
    });
    events.collect()
}

/// What was used of a quota, for people.
fn standing(account: &Account, now: &Zoned) -> String {
    let quota = account.quota();
    let share = account.used() as f64 / quota.limit.0 as f64;
    format!(
        "{} of {quota} used ({}); it begins anew {}",
        human::bytes(account.used()),
        crate::quality::percent(share),
        local(account.renews(), now)
    )
}

/// A moment in local time, to the minute.
fn local(moment: Timestamp, now: &Zoned) -> String {
    let moment = moment.to_zoned(now.time_zone().clone());
    moment.strftime("%F %H:%M").to_string()
}
