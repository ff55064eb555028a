//! One probed address: its next sending time, and its probes on the way.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Failure, Outcome, SmoothedRtt};
use crate::probe::since;

mod burst;

pub(super) use burst::Burst;

/// The most probes of one target on their way; the oldest is lost when one more is sent. Reached
/// only by a given timeout of more than a thousand intervals.
const MAX_IN_FLIGHT: usize = 1024;
/// How long after sending a reply to a lost probe is still recognized, for each round trip.
pub(super) const LATE: Duration = Duration::from_secs(3);
/// The most lost probes whose replies are still recognized.
const MAX_LOST: usize = 512;
/// The shortest time between two probes of one target.
const MIN_STEP: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Target {
    /// The longest time between two probes.
    interval: Duration,
    /// How long after sending a reply to a lost probe is still recognized.
    late: Duration,
    next_send: Instant,
    /// When one was last sent that was due, if ever.
    last_send: Option<Instant>,
    next_seq: u16,
    rtt: Option<SmoothedRtt>,
    /// In order of sending, with consecutive numbers. Outcomes are taken from the front only, so
    /// that they come in the order of sending and "three in a row" means just that.
    in_flight: VecDeque<Probe>,
    /// Probes judged lost, in order of sending.
    lost: VecDeque<Lost>,
    /// The burst under way.
    burst: Option<Burst>,
}

#[derive(Debug)]
struct Probe {
    seq: u16,
    cookie: u64,
    sent: Instant,
    deadline: Instant,
    /// The deadline that it has outside of bursts.
    usual: Instant,
    /// When it is strange that nothing has come; `None` when that was told, or nobody would know.
    overdue: Option<Instant>,
    /// Its deadline was put off because of a stall; this happens once.
    graced: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Answered {
        rtt: Duration,
        received: Instant,
    },
    /// Answered after the deadline, before anybody looked.
    Late {
        received: Instant,
    },
    /// Answered otherwise than expected.
    Failed {
        failure: Failure,
        received: Instant,
    },
    Unsent,
}

#[derive(Debug)]
struct Lost {
    seq: u16,
    cookie: u64,
    sent: Instant,
}

impl Target {
    pub fn new(first_send: Instant, interval: Duration, late: Duration) -> Self {
        Self {
            interval,
            late,
            next_send: first_send,
            last_send: None,
            next_seq: 0,
            rtt: None,
            in_flight: VecDeque::new(),
            lost: VecDeque::new(),
            burst: None,
        }
    }

    /// Makes this the interval; a shorter one also brings the next probe forward.
    pub fn set_interval(&mut self, interval: Duration, now: Instant) {
        if interval < self.interval {
            self.next_send = self.next_send.min(now + interval);
        }
        self.interval = interval;
    }

    pub fn rtt(&self) -> Option<SmoothedRtt> {
        self.rtt
    }

    /// Whether a burst is under way.
    pub fn is_in_haste(&self) -> bool {
        self.burst.is_some()
    }

    /// Whether the next probe may be sent now already: not within `shortest` intervals of the last one, and
    /// only while nothing is to be settled.
    pub fn may_go(&self, now: Instant, shortest: f64) -> bool {
        let long_enough = |last| since(last, now) >= self.interval.mul_f64(shortest);
        self.burst.is_none() && self.last_send.is_some_and(long_enough)
    }

    /// Has the next probe be due now at the latest.
    pub fn bring_forward(&mut self, now: Instant) {
        self.next_send = self.next_send.min(now);
    }

    /// When there is something to do next.
    pub fn wake(&self) -> Instant {
        let judged = self.in_flight.front().map(|probe| match probe.state {
            State::Waiting => probe.deadline,
            State::Answered { received, .. }
            | State::Late { received }
            | State::Failed { received, .. } => received,
            State::Unsent => probe.sent,
        });
        let send = self.burst.as_ref().and_then(Burst::next_send);
        let overdue = self.waiting().filter_map(|probe| probe.overdue).min();
        [judged, send, overdue]
            .into_iter()
            .flatten()
            .fold(self.next_send, Instant::min)
    }

    /// The probes that nothing has come for yet.
    fn waiting(&self) -> impl Iterator<Item = &Probe> {
        let waiting = |probe: &&Probe| probe.state == State::Waiting;
        self.in_flight.iter().filter(waiting)
    }

    /// Whether a probe is overdue; of each it is told once.
    pub fn tell_overdue(&mut self, now: Instant) -> bool {
        let mut told = false;
        for probe in &mut self.in_flight {
            let is_overdue = |at: &mut Instant| probe.state == State::Waiting && *at <= now;
            told |= probe.overdue.take_if(is_overdue).is_some();
        }
        told
    }

    /// Takes a reply; returns whether it belongs to a probe that had none yet. `network` is the
    /// round-trip time to report where that is not the whole time since sending.
    pub fn reply(
        &mut self,
        seq: u16,
        cookie: u64,
        received: Instant,
        network: Option<Duration>,
    ) -> bool {
        let place = self
            .in_flight
            .front()
            .map(|front| usize::from(seq.wrapping_sub(front.seq)));
        if let Some(probe) = place.and_then(|place| self.in_flight.get_mut(place)) {
            if probe.cookie != cookie || probe.state != State::Waiting {
                return false;
            }
            let rtt = since(probe.sent, received);
            probe.state = if received <= probe.deadline {
                State::Answered {
                    rtt: network.unwrap_or(rtt),
                    received,
                }
            } else {
                State::Late { received }
            };
            let in_time = matches!(probe.state, State::Answered { .. });
            SmoothedRtt::update(&mut self.rtt, rtt);
            if in_time {
                self.answered_in_burst(seq);
            }
            return true;
        }
        let Some(place) = self.lost.iter().rposition(|lost| lost.seq == seq) else {
            return false;
        };
        let lost = &self.lost[place];
        let rtt = since(lost.sent, received);
        if lost.cookie != cookie || rtt > self.late {
            return false;
        }
        SmoothedRtt::update(&mut self.rtt, rtt);
        self.lost.remove(place);
        true
    }

    pub fn unsent(&mut self, seq: u16) {
        if self.settle(seq, State::Unsent)
            && let Some(burst) = &mut self.burst
        {
            burst.unsent(seq);
        }
    }

    /// Takes an answer that is not the expected one.
    pub fn failed(&mut self, seq: u16, failure: Failure, received: Instant) {
        self.settle(seq, State::Failed { failure, received });
    }

    /// Ends the waiting for a probe, if it is waited for.
    fn settle(&mut self, seq: u16, state: State) -> bool {
        if let Some(probe) = self.in_flight.iter_mut().rfind(|probe| probe.seq == seq)
            && probe.state == State::Waiting
        {
            probe.state = state;
            return true;
        }
        false
    }

    /// Notes that a probe left later than it was meant to.
    pub fn sent_at(&mut self, seq: u16, at: Instant) {
        if let Some(probe) = self.in_flight.iter().rfind(|probe| probe.seq == seq) {
            let delay = since(probe.sent, at);
            self.delayed(seq, delay);
        }
    }

    /// Takes time that was this process's own off a probe.
    pub fn delayed(&mut self, seq: u16, delay: Duration) {
        if let Some(probe) = self.in_flight.iter_mut().rfind(|probe| probe.seq == seq) {
            probe.sent += delay;
            probe.deadline += delay;
            probe.usual += delay;
            probe.overdue = probe.overdue.map(|overdue| overdue + delay);
        }
    }

    /// Whether [`Self::next_outcome`] would call a probe lost for want of a reply.
    pub fn would_lose(&self, now: Instant) -> bool {
        self.in_flight
            .front()
            .is_some_and(|front| front.state == State::Waiting && front.deadline <= now)
    }

    /// The outcome of the oldest probe if it is known by now, and when that was sent. Call until there
    /// is none.
    pub fn next_outcome(&mut self, now: Instant) -> Option<(Outcome, Instant)> {
        loop {
            let front = self.in_flight.front()?;
            if front.state == State::Waiting && front.deadline > now {
                return None;
            }
            let probe = self.in_flight.pop_front()?;
            self.judged_in_burst(probe.seq);
            match probe.state {
                State::Waiting => {
                    self.remember_lost(&probe, now);
                    return Some((Outcome::Lost, probe.sent));
                }
                State::Late { .. } => return Some((Outcome::Lost, probe.sent)),
                State::Answered { rtt, .. } => return Some((Outcome::Reply { rtt }, probe.sent)),
                State::Failed { failure, .. } => {
                    return Some((Outcome::Failed(failure), probe.sent));
                }
                State::Unsent => {}
            }
        }
    }

    /// The number of the probe to send, if one is due; the next is due after `step` intervals. `usual`
    /// is its timeout outside of bursts, and after `overdue` it is strange that nothing has come.
    pub fn next_probe(
        &mut self,
        now: Instant,
        step: f64,
        cookie: u64,
        usual: Duration,
        overdue: Option<Duration>,
    ) -> Option<u16> {
        let due = self.next_send <= now;
        if due {
            self.last_send = Some(now);
            let step = self.interval.mul_f64(step).max(MIN_STEP);
            // Rounds that were missed are skipped, and the phase is kept: after a stall the targets
            // must not march in step. The next probe comes half an interval after this one at
            // least.
            let missed = since(self.next_send, now).as_nanos() / step.as_nanos();
            let missed = u32::try_from(missed).unwrap_or(u32::MAX);
            self.next_send = (self.next_send + step * missed + step).max(now + step / 2);
        }
        // One that is due anyway is also the burst's next.
        let next_seq = self.next_seq;
        let of_burst = self
            .burst
            .as_mut()
            .is_some_and(|burst| burst.take(next_seq, due, now));
        if !due && !of_burst {
            return None;
        }

        if self.in_flight.len() >= MAX_IN_FLIGHT
            && let Some(oldest) = self.in_flight.front_mut()
        {
            oldest.deadline = oldest.deadline.min(now);
        }
        let seq = self.next_seq;
        self.next_seq = seq.wrapping_add(1);
        // As long as a burst is judged, all probes are in a hurry: one that may take its time would
        // hold up the outcomes behind it.
        let timeout = self
            .burst
            .as_ref()
            .map_or(usual, |burst| burst.timeout(self.rtt.as_ref(), usual));
        self.in_flight.push_back(Probe {
            seq,
            cookie,
            sent: now,
            deadline: now + timeout,
            usual: now + usual,
            overdue: overdue
                .filter(|_| self.burst.is_none())
                .map(|after| now + after),
            graced: false,
            state: State::Waiting,
        });
        Some(seq)
    }

    /// Lets probes that are about to be judged wait for `grace` more, but each only once.
    pub fn grant_grace(&mut self, now: Instant, grace: Duration) {
        for probe in &mut self.in_flight {
            if !probe.graced && probe.deadline < now + grace {
                probe.deadline = now + grace;
                probe.graced = true;
            }
            // Who was held up has no call to wonder.
            probe.overdue = probe.overdue.map(|at| at.max(now + grace));
        }
    }

    fn remember_lost(&mut self, probe: &Probe, now: Instant) {
        while self.lost.front().is_some_and(|oldest| {
            since(oldest.sent, now) > self.late || self.lost.len() >= MAX_LOST
        }) {
            self.lost.pop_front();
        }
        self.lost.push_back(Lost {
            seq: probe.seq,
            cookie: probe.cookie,
            sent: probe.sent,
        });
    }
}
