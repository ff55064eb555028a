//! When to probe whom, and when a probe is lost: no I/O, and the clock is passed in.
//!
//! Every target has a phase of its own and every interval is shortened by up to a tenth at random,
//! so probes of many uplinks do not beat together. Jitter never lengthens an interval: a target
//! that falls silent is found `fall` losses down after at most `fall` intervals and one timeout.
//!
//! The caller's loop: drain the sockets into [`ProbeSchedule::reply`], call
//! [`ProbeSchedule::poll`], carry out what it returns, sleep until
//! [`ProbeSchedule::next_deadline`]. When that loop itself was held up, probes that timed out
//! meanwhile get a short grace, so that answers which were ready all along are read first, and
//! rounds that were missed are not made up for.
//!
//! [`ProbeSchedule::burst`] asks at once, several times in quick succession and with a tight
//! timeout, for when there is a suspicion to settle.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{Failure, Method, Outcome, ProbeEvent, SmoothedRtt, TargetId, TargetKind};

mod target;

use target::{Burst, Target};

/// The timeout as long as nothing is known of a target's round-trip time (RFC 6298 section 2.1).
pub const INITIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest timeout that adapts itself.
pub const MAX_ADAPTIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// A poll later than this after its deadline means that this process was held up.
pub const STALL: Duration = Duration::from_millis(50);
/// What a probe that timed out during a stall gets, for its reply to be read.
pub const GRACE: Duration = Duration::from_millis(25);
/// The time between two probes of one target in a burst, unless told otherwise.
pub const BURST_STEP: Duration = Duration::from_millis(25);
/// The least that a burst waits beyond a target's mean round-trip time. A path that was steady may
/// hold a packet back for some tens of milliseconds at any time: until a radio cell or a cable
/// modem has its next turn to send (10 to 40 ms), or behind the packets of a download that has
/// just begun. Three probes that all are later than this are a path to distrust.
pub const BURST_MARGIN: Duration = Duration::from_millis(75);

/// The shortest that jitter makes an interval, as a share of it.
const SHORTEST_STEP: f64 = 0.9;
/// Who would be probed so soon after others is probed with them, if jitter might have had it so: fewer
/// wake-ups, and no interval that would not have been possible.
const TOGETHER: Duration = Duration::from_millis(40);

/// How often to probe, and how long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeSettings {
    /// The longest time between two probes of one target, unless the rate stretches it.
    pub interval: Duration,
    /// Used as it is when given; otherwise a target's timeout is its smoothed round-trip time and
    /// four times its variation, at least the interval, at most [`MAX_ADAPTIVE_TIMEOUT`].
    pub timeout: Option<Duration>,
    /// Packets a second to all remote targets of one uplink, at most, when all is well; `None` does
    /// not bound them.
    pub rate: Option<u32>,
}

impl ProbeSettings {
    /// The timeout for the next probe of a target that is asked by `method` and took so long to
    /// answer before. What is not measured, and the longest that is adapted to, is multiplied by the
    /// method's round trips.
    pub fn timeout(&self, method: Method, rtt: Option<&SmoothedRtt>) -> Duration {
        self.timeout.unwrap_or_else(|| {
            let trips = method.round_trips();
            let expected = rtt.map_or(INITIAL_TIMEOUT * trips, SmoothedRtt::upper_bound);
            expected
                .max(self.interval)
                .min(MAX_ADAPTIVE_TIMEOUT * trips)
        })
    }

    /// The longest time between two probes of a target that is one of `remote` targets of its uplink.
    /// Each has an equal share of the rate, so that a costly one slows down none but itself:
    /// packets for a probe, times targets, by the rate. Jitter shortens intervals, and the rate
    /// holds with the shortest.
    pub fn interval_of(&self, id: TargetId, remote: u32) -> Duration {
        match (self.rate, id.kind) {
            (Some(rate), TargetKind::Remote) => {
                let packets = id.method.packets() * remote;
                let share = Duration::from_secs(packets.into()) / rate.max(1);
                self.interval.max(share.div_f64(SHORTEST_STEP))
            }
            (None, TargetKind::Remote) | (_, TargetKind::NextHop) => self.interval,
        }
    }
}

/// What the caller of [`ProbeSchedule::poll`] has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeAction {
    /// Send an echo request. If that fails for a reason that says nothing about the path, tell
    /// [`ProbeSchedule::unsent`].
    Send {
        /// Whom to ask.
        id: TargetId,
        /// The echo's sequence number.
        seq: u16,
        /// The echo's data.
        cookie: u64,
    },
    /// A probe's fate is known.
    Outcome(ProbeEvent),
    /// A probe of this target is not answered yet although others were by then: it may be lost, or late.
    Overdue(TargetId),
}

/// All targets, and what is on its way to them.
pub struct ProbeSchedule {
    settings: ProbeSettings,
    random: StdRng,
    targets: BTreeMap<TargetId, Target>,
    /// When each target wants attention next; one entry per target.
    agenda: BTreeSet<(Instant, TargetId)>,
    /// How many targets a burst is under way of.
    hasty: usize,
}

impl ProbeSchedule {
    /// A schedule without targets. Phases, jitter and cookies come from `seed`, which must be
    /// unguessable (a key from the operating system) or a stranger could forge replies.
    pub fn new(settings: ProbeSettings, seed: [u8; 32]) -> Self {
        Self {
            settings,
            random: StdRng::from_seed(seed),
            targets: BTreeMap::new(),
            agenda: BTreeSet::new(),
            hasty: 0,
        }
    }

    /// Makes these the targets. Those that were there before keep their phase, their probes on
    /// the way and their round-trip time; of those that are gone no outcome comes any more. A new
    /// one is probed first within an interval.
    pub fn set_targets(&mut self, targets: impl IntoIterator<Item = TargetId>, now: Instant) {
        let wanted: BTreeSet<TargetId> = targets.into_iter().collect();
        self.targets.retain(|id, _| wanted.contains(id));
        self.agenda.retain(|(_, id)| wanted.contains(id));
        self.hasty = self.targets.values().filter(|it| it.is_in_haste()).count();
        let mut remote: BTreeMap<u8, u32> = BTreeMap::new();
        for id in wanted.iter().filter(|id| id.kind == TargetKind::Remote) {
            *remote.entry(id.uplink).or_default() += 1;
        }
        for id in wanted {
            let others = remote.get(&id.uplink).copied().unwrap_or_default();
            let interval = self.settings.interval_of(id, others);
            if self.targets.contains_key(&id) {
                self.change(id, |target| target.set_interval(interval, now));
            } else {
                let phase = interval.mul_f64(self.random.random_range(0.0..1.0));
                let target = Target::new(
                    now + phase,
                    interval,
                    target::LATE * id.method.round_trips(),
                );
                self.agenda.insert((target.wake(), id));
                self.targets.insert(id, target);
            }
        }
    }

    /// Takes an echo reply that came in over `uplink`, with the kernel's receive time. Returns
    /// whether it answers a probe of ours; anything else (forged, repeated, far too late, of a
    /// target that is gone) changes nothing.
    ///
    /// A reply after its probe's timeout does not save the probe, but counts for the round-trip
    /// time, so a path that became slower than the timeout is not called dead for ever.
    pub fn reply(
        &mut self,
        uplink: u8,
        from: IpAddr,
        seq: u16,
        cookie: u64,
        received: Instant,
    ) -> bool {
        // The same address may be both next hop and remote target; the cookie tells which.
        [TargetKind::NextHop, TargetKind::Remote]
            .into_iter()
            .any(|kind| {
                let id = TargetId {
                    uplink,
                    target: from,
                    kind,
                    method: Method::Echo,
                };
                self.change(id, |target| target.reply(seq, cookie, received, None))
                    .unwrap_or(false)
            })
    }

    /// Takes the expected answer to the probe of a service, which was complete at `received`; `rtt`
    /// is the network's round-trip time within the exchange. For the rest as [`Self::reply`].
    pub fn answered(
        &mut self,
        id: TargetId,
        seq: u16,
        cookie: u64,
        received: Instant,
        rtt: Duration,
    ) -> bool {
        self.change(id, |target| target.reply(seq, cookie, received, Some(rtt)))
            .unwrap_or(false)
    }

    /// Takes an answer that is not the expected one: there is nothing left to wait for.
    pub fn failed(&mut self, id: TargetId, seq: u16, failure: Failure, received: Instant) {
        self.change(id, |target| target.failed(seq, failure, received));
    }

    /// Forgets a probe that never left for a local reason, such as a full queue. It counts neither
    /// as answered nor as lost.
    pub fn unsent(&mut self, id: TargetId, seq: u16) {
        self.change(id, |target| target.unsent(seq));
    }

    /// Notes that a probe left later than at the time of the poll that gave it out, because the
    /// sender was held up in between: its time counts from then.
    pub fn sent_at(&mut self, id: TargetId, seq: u16, at: Instant) {
        self.change(id, |target| target.sent_at(seq, at));
    }

    /// Notes that this process took so long to go on with a probe of several steps: that time is none
    /// of the network's, and the answer may come so much later.
    pub fn delayed(&mut self, id: TargetId, seq: u16, delay: Duration) {
        self.change(id, |target| target.delayed(seq, delay));
    }

    /// Asks these targets `probes` times each, `step` apart at most and offset from one another,
    /// beginning now; what is on its way to them already is judged in the same haste.
    ///
    /// The timeout is a target's smoothed round-trip time and four times its variation, and never
    /// longer than the usual one. All targets of a burst share the largest variation among them,
    /// since they share the queue of the uplink, and no less than [`BURST_MARGIN`] is used, for each
    /// round trip of a target's method.
    ///
    /// A target leaves the burst with the first reply to one of the burst's probes, and then is
    /// probed as ever. A burst takes the place of one that is under way. Targets that are unknown
    /// are passed over.
    pub fn burst(&mut self, ids: &[TargetId], probes: u32, step: Duration, now: Instant) {
        self.begin_bursts(ids, probes, step, false, now);
    }

    /// The same for who wants to know how many are lost: all of the probes are sent, whatever is answered.
    pub fn burst_whole(&mut self, ids: &[TargetId], probes: u32, step: Duration, now: Instant) {
        self.begin_bursts(ids, probes, step, true, now);
    }

    fn begin_bursts(
        &mut self,
        ids: &[TargetId],
        probes: u32,
        step: Duration,
        whole: bool,
        now: Instant,
    ) {
        let of_burst = |id: &&TargetId| self.targets.contains_key(id);
        let ids: Vec<TargetId> = ids.iter().filter(of_burst).copied().collect();
        let margin = ids
            .iter()
            .filter_map(|&id| self.rtt(id))
            .map(|rtt| rtt.variation() * 4)
            .fold(BURST_MARGIN, Duration::max);
        let settings = self.settings;
        for (place, &id) in ids.iter().enumerate() {
            let phase = (place as f64 + self.random.random_range(0.0..0.5)) / ids.len() as f64;
            let step = step.mul_f64(self.random.random_range(0.9..=1.0));
            // Each round trip may take so much longer.
            let margin = margin * id.method.round_trips();
            let burst = Burst::new(now + step.mul_f64(phase), step, probes, margin, whole);
            self.change(id, |target| {
                let usual = settings.timeout(id.method, target.rtt().as_ref());
                target.begin_burst(burst, now, usual);
            });
        }
    }

    /// Whether [`Self::poll`] would call a probe lost now: a reply to it may be in a socket's queue
    /// that nobody was told of yet.
    pub fn would_lose(&self, now: Instant) -> bool {
        self.agenda
            .iter()
            .take_while(|(at, _)| *at <= now)
            .any(|(_, id)| self.targets[id].would_lose(now))
    }

    /// Whether a burst is under way: each moment counts.
    pub fn is_in_haste(&self) -> bool {
        self.hasty > 0
    }

    /// Everything that is due, and probes that are about to be. Drain the sockets into [`Self::reply`] right before.
    pub fn poll(&mut self, now: Instant) -> Vec<ProbeAction> {
        let mut actions = Vec::new();
        let Some(due) = self.next_deadline() else {
            return actions;
        };
        if now.saturating_duration_since(due) > STALL {
            self.grant_grace(now);
        }
        while let Some(&(at, id)) = self.agenda.first()
            && at <= now
        {
            self.look_at(id, now, &mut actions);
        }
        let soon = self.agenda.iter();
        let soon = soon.take_while(|(at, _)| *at <= now + TOGETHER);
        let soon: Vec<TargetId> = soon
            .filter(|(_, id)| self.targets[id].may_go(now, SHORTEST_STEP))
            .map(|(_, id)| *id)
            .collect();
        for id in soon {
            self.change(id, |target| target.bring_forward(now));
            self.look_at(id, now, &mut actions);
        }
        actions
    }

    /// What is due of one target.
    fn look_at(&mut self, id: TargetId, now: Instant, actions: &mut Vec<ProbeAction>) {
        let Self {
            settings, random, ..
        } = self;
        let settings = *settings;
        let step = random.random_range(SHORTEST_STEP..=1.0);
        let cookie = random.random();
        self.change(id, |target| {
            while let Some((outcome, sent)) = target.next_outcome(now) {
                actions.push(ProbeAction::Outcome(ProbeEvent { id, outcome, sent }));
            }
            if target.tell_overdue(now) {
                actions.push(ProbeAction::Overdue(id));
            }
            let rtt = target.rtt();
            let usual = settings.timeout(id.method, rtt.as_ref());
            let overdue = rtt.map(|rtt| rtt.smoothed() + margin(id, rtt));
            let overdue = overdue.filter(|overdue| *overdue < usual);
            if let Some(seq) = target.next_probe(now, step, cookie, usual, overdue) {
                actions.push(ProbeAction::Send { id, seq, cookie });
            }
        });
    }

    /// When [`Self::poll`] has something to do next; in the past if it has already.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.agenda.first().map(|&(at, _)| at)
    }

    /// The smoothed round-trip time of one target, late replies included.
    pub fn rtt(&self, id: TargetId) -> Option<SmoothedRtt> {
        self.targets.get(&id)?.rtt()
    }

    /// The present targets, in order.
    pub fn targets(&self) -> impl Iterator<Item = TargetId> {
        self.targets.keys().copied()
    }

    /// Postpones the judgement on every probe that timed out while this process slept.
    fn grant_grace(&mut self, now: Instant) {
        let ids: Vec<TargetId> = self.targets.keys().copied().collect();
        for id in ids {
            self.change(id, |target| target.grant_grace(now, GRACE));
        }
    }

    /// Changes one target and keeps its entry in the agenda true.
    fn change<R>(&mut self, id: TargetId, change: impl FnOnce(&mut Target) -> R) -> Option<R> {
        let target = self.targets.get_mut(&id)?;
        let (before, was_hasty) = (target.wake(), target.is_in_haste());
        let result = change(target);
        let after = target.wake();
        self.hasty = self.hasty - usize::from(was_hasty) + usize::from(target.is_in_haste());
        if before != after {
            self.agenda.remove(&(before, id));
            self.agenda.insert((after, id));
        }
        Some(result)
    }
}

/// How much later than the mean an answer may be before that is strange.
fn margin(id: TargetId, rtt: SmoothedRtt) -> Duration {
    (rtt.variation() * 4).max(BURST_MARGIN) * id.method.round_trips()
}

#[cfg(test)]
mod tests;
