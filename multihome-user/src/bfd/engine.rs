//! All sessions together, without I/O and with the clock passed in: which there are, what of them is to
//! be sent, what is to be told, and how far what came in is known.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    BfdCounters, BfdPlan, ControlPacket, Discard, Session, SessionCounters, SessionId,
    SessionReport, Snapshot, State,
};

mod hearing;

use hearing::Hearing;

/// What may wait to be told of one session; of more, what lies between is left out.
const MAX_UNTOLD: usize = 16;
/// A machine that was late is the reason of what the peer says for so long afterwards.
const BLAMED: Duration = Duration::from_secs(1);

/// A packet to be sent for a session.
pub type ToSend = (SessionId, ControlPacket);

/// All sessions.
pub struct Engine {
    random: StdRng,
    sessions: BTreeMap<SessionId, Held>,
    counters: BfdCounters,
    hearing: Hearing,
}

struct Held {
    plan: BfdPlan,
    session: Session,
    counters: Arc<SessionCounters>,
    /// How it stood when it was last looked at.
    seen: Option<Snapshot>,
    untold: VecDeque<SessionReport>,
}

impl Engine {
    /// Without sessions yet. Discriminators and jitter come from `seed`, which must be unguessable.
    pub fn new(seed: [u8; 32], counters: BfdCounters, now: Instant) -> Self {
        Self {
            random: StdRng::from_seed(seed),
            sessions: BTreeMap::new(),
            counters,
            hearing: Hearing::new(now),
        }
    }

    /// Makes these the sessions. Those that were there before go on undisturbed, with the peer's MAC
    /// address of the new plan; of those that are gone the last packet is returned.
    pub fn set_plans(&mut self, plans: &[BfdPlan], now: Instant) -> Vec<ToSend> {
        let is_same = |held: &Held| {
            plans
                .iter()
                .any(|plan| plan.id == held.plan.id && plan.generation == held.plan.generation)
        };
        let mut farewells = Vec::new();
        self.sessions.retain(|id, held| {
            let stays = is_same(held);
            if !stays {
                farewells.extend(held.session.hold_down(now).map(|packet| (*id, packet)));
            }
            stays
        });
        for plan in plans {
            if let Some(held) = self.sessions.get_mut(&plan.id) {
                held.plan = *plan;
                continue;
            }
            let discriminator = self.discriminator();
            let mut seed = [0; 32];
            self.random.fill(&mut seed);
            let session = Session::new(plan.settings, discriminator, seed, now);
            let held = Held {
                plan: *plan,
                session,
                counters: self.counters.of(plan.id),
                seen: None,
                untold: VecDeque::new(),
            };
            self.sessions.insert(plan.id, held);
        }
        self.look(now);
        farewells
    }

    /// The plan of a session.
    pub fn plan(&self, id: SessionId) -> Option<&BfdPlan> {
        self.sessions.get(&id).map(|held| &held.plan)
    }

    /// The plans of all sessions.
    pub fn plans(&self) -> impl Iterator<Item = &BfdPlan> {
        self.sessions.values().map(|held| &held.plan)
    }

    /// Takes what came in for a session at `received`: the payload of a datagram, or why it is none.
    pub fn receive(
        &mut self,
        id: SessionId,
        arrived: Result<&[u8], Discard>,
        received: Instant,
        now: Instant,
    ) -> Option<ToSend> {
        let held = self.sessions.get_mut(&id)?;
        let answer = arrived
            .and_then(ControlPacket::decode)
            .and_then(|packet| held.session.receive(&packet, received, now));
        match answer {
            Ok(answer) => {
                held.counters.count_received();
                held.look(self.hearing.late(), now);
                answer.map(|packet| (id, packet))
            }
            Err(why) => {
                held.counters.count_discarded(why);
                None
            }
        }
    }

    /// Tells that the caller is awake at `now`, which it meant to be at `wanted`, and has then read its
    /// sockets, `empty` or not yet.
    pub fn woke(&mut self, wanted: Option<Instant>, now: Instant, empty: bool) {
        self.hearing.woke(wanted, now, empty);
    }

    /// Notices silence, and returns what is due to be sent.
    pub fn poll(&mut self, now: Instant) -> Vec<ToSend> {
        let heard_until = self.hearing.until();
        let mut due = Vec::new();
        for (id, held) in &mut self.sessions {
            due.extend(
                held.session
                    .poll(heard_until, now)
                    .map(|packet| (*id, packet)),
            );
        }
        self.look(now);
        due
    }

    /// When [`Self::poll`] is to be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = self
            .sessions
            .values()
            .filter_map(|held| held.session.next_deadline());
        let next = deadlines.min()?;
        Some(self.hearing.not_before(next))
    }

    /// Holds all sessions down, and returns the packets that say so to those who do not know it yet.
    pub fn hold_down(&mut self, now: Instant) -> Vec<ToSend> {
        let mut packets = Vec::new();
        for (id, held) in &mut self.sessions {
            let told = held.session.state() == State::AdminDown;
            if told && !held.session.is_unheard_farewell() {
                continue;
            }
            packets.extend(held.session.hold_down(now).map(|packet| (*id, packet)));
        }
        packets
    }

    /// How long peers may take to know that their sessions are held down here, and the interval at which
    /// they may be told again; `None` when all of them know.
    pub fn farewell(&self) -> Option<(Duration, Duration)> {
        let unheard = || {
            let sessions = self.sessions.values();
            sessions.filter(|held| held.session.is_unheard_farewell())
        };
        let longest = unheard().map(|held| held.patience());
        let shortest = unheard().map(|held| held.plan.settings.interval);
        longest.max().zip(shortest.min())
    }

    /// A packet of a session was sent.
    pub fn sent(&self, id: SessionId) {
        if let Some(held) = self.sessions.get(&id) {
            held.counters.count_sent();
        }
    }

    /// The oldest change that was not told yet, for `tell` to take or to leave to the next time.
    pub fn tell(&mut self, mut tell: impl FnMut(SessionReport) -> bool) {
        for held in self.sessions.values_mut() {
            while let Some(report) = held.untold.front() {
                if !tell(*report) {
                    return;
                }
                held.untold.pop_front();
            }
        }
    }

    fn look(&mut self, now: Instant) {
        let late = self.hearing.late();
        for held in self.sessions.values_mut() {
            held.look(late, now);
        }
    }

    /// A name for a session that no other one has (RFC 5880 section 6.3).
    fn discriminator(&mut self) -> u32 {
        loop {
            let name = self.random.random_range(1..=u32::MAX);
            let taken = |held: &Held| held.session.snapshot().discriminator == name;
            if !self.sessions.values().any(taken) {
                return name;
            }
        }
    }
}

impl Held {
    /// How long the peer may miss our packets, if it asks for no slower ones.
    fn patience(&self) -> Duration {
        self.plan.settings.interval * u32::from(self.plan.settings.multiplier)
    }

    /// Notes what has changed since the last look.
    fn look(&mut self, late: Option<(Instant, Duration)>, now: Instant) {
        let snapshot = self.session.snapshot();
        if self.seen == Some(snapshot) {
            return;
        }
        let was_up = self.seen.is_some_and(|seen| seen.state == State::Up);
        let is_up = snapshot.state == State::Up;
        if was_up != is_up {
            self.counters.count_transition(is_up);
        }
        self.seen = Some(snapshot);
        if self.untold.len() >= MAX_UNTOLD {
            self.untold.pop_back();
        }
        let patience = self.patience();
        let blamed = late.filter(|(when, late)| {
            was_up && !is_up && *late >= patience && now.saturating_duration_since(*when) < BLAMED
        });
        self.untold.push_back(SessionReport {
            id: self.plan.id,
            generation: self.plan.generation,
            snapshot,
            at: now,
            held_up: blamed.map(|(_, late)| late),
        });
    }
}

#[cfg(test)]
mod tests;
