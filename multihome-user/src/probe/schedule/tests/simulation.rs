//! A schedule, a network with a delay, and a clock.

use std::collections::{BTreeMap, VecDeque};

use super::*;

/// A reply on its way: when it will arrive, and what it says.
pub(super) type Flying = (Instant, TargetId, u16, u64);

/// A schedule, a network with a delay, and a clock.
pub(super) struct Simulation {
    pub schedule: ProbeSchedule,
    pub start: Instant,
    pub now: Instant,
    pub flying: VecDeque<Flying>,
    pub sent: BTreeMap<TargetId, Vec<Instant>>,
    pub outcomes: Vec<(Instant, ProbeEvent)>,
    pub overdue: Vec<(Instant, TargetId)>,
    /// How often there was something to do.
    pub wakes: usize,
}

impl Simulation {
    pub fn new(
        settings: ProbeSettings,
        seed: u8,
        targets: impl IntoIterator<Item = TargetId>,
    ) -> Self {
        let start = Instant::now();
        let mut schedule = ProbeSchedule::new(settings, [seed; 32]);
        schedule.set_targets(targets, start);
        Self {
            schedule,
            start,
            now: start,
            flying: VecDeque::new(),
            sent: BTreeMap::new(),
            outcomes: Vec::new(),
            overdue: Vec::new(),
            wakes: 0,
        }
    }

    /// Runs until `end`; `network` says how long a reply takes, or that none comes.
    pub fn run(
        &mut self,
        end: Instant,
        mut network: impl FnMut(TargetId, Instant) -> Option<Duration>,
    ) {
        loop {
            self.flying
                .make_contiguous()
                .sort_unstable_by_key(|flying| flying.0);
            let arrival = self.flying.front().map(|flying| flying.0);
            let deadline = self.schedule.next_deadline();
            let next = [arrival, deadline].into_iter().flatten().min();
            let Some(next) = next.filter(|&next| next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            self.step(&mut network);
        }
        self.now = end;
    }

    /// Drains what has arrived and polls once.
    pub fn step(&mut self, network: &mut impl FnMut(TargetId, Instant) -> Option<Duration>) {
        while let Some((at, id, seq, cookie)) = self.flying.pop_front_if(|(at, ..)| *at <= self.now)
        {
            let taken = match id.method {
                Method::Echo => self.schedule.reply(id.uplink, id.target, seq, cookie, at),
                Method::Tcp { .. }
                | Method::Dns { .. }
                | Method::Http { .. }
                | Method::Https { .. } => {
                    self.schedule.answered(id, seq, cookie, at, Duration::ZERO)
                }
            };
            assert!(taken, "a true reply");
        }
        self.wakes += 1;
        for action in self.schedule.poll(self.now) {
            match action {
                ProbeAction::Send { id, seq, cookie } => {
                    self.sent.entry(id).or_default().push(self.now);
                    if let Some(delay) = network(id, self.now) {
                        self.flying.push_back((self.now + delay, id, seq, cookie));
                    }
                }
                ProbeAction::Outcome(event) => self.outcomes.push((self.now, event)),
                ProbeAction::Overdue(id) => self.overdue.push((self.now, id)),
            }
        }
    }

    pub fn lost(&self) -> usize {
        self.outcomes
            .iter()
            .filter(|(_, event)| event.outcome == Outcome::Lost)
            .count()
    }
}
