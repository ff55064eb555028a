//! A gateway whose first uplink carries traffic over a network that loses, delays and swallows
//! packets; the controller and the schedule are the real ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::super::{
    story::{FIBER, LTE, kernel, seen, settings, uplink_config},
    *,
};
use crate::{
    config::SlaConfig,
    config::Target,
    events::Kind,
    probe::{BurstPlan, ProbeAction, ProbeSchedule, ProbeSettings, TargetKind},
    suspicion::{Sample, SuspicionSettings},
};

/// What happens to packets on their round trip.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// The share that is lost.
    pub loss: f64,
    /// The shortest round trip.
    pub rtt: Duration,
    /// How much longer it may be, evenly spread.
    pub jitter: Duration,
}

/// Something on its way to the gateway.
enum Arrival {
    Reply(TargetId, u16, u64),
    Traffic,
}

/// The gateway, its network and its clock.
pub struct World {
    pub controller: Controller,
    pub now: Instant,
    /// The first uplink's provider forwards nothing any more.
    pub cut: bool,
    /// Packets that LAN hosts send by the first uplink.
    pub packets_a_second: f64,
    /// The share of these that somebody answers.
    pub answered: f64,
    /// When the first uplink's path changed, and to what: up or not.
    pub transitions: Vec<(Instant, bool)>,
    /// When its group's SLA was broken or kept again: sick or not.
    pub verdicts: Vec<(Instant, bool)>,
    /// Bursts, suspicions that were told, and probes to remote targets of the first uplink.
    pub bursts: usize,
    pub suspicions: usize,
    pub probes: usize,
    network: Network,
    targets: u8,
    random: StdRng,
    schedule: ProbeSchedule,
    arrivals: BTreeMap<(Instant, u64), Arrival>,
    numbers: u64,
    sample: Sample,
    next_packet: Instant,
    next_tick: Instant,
    lose_next: bool,
    /// Targets whose last probe was lost for this.
    spared: BTreeSet<TargetId>,
}

impl World {
    /// A gateway that has just started, with so many remote targets, probed at the default interval
    /// and no more than five times a second in all.
    pub fn new(network: Network, targets: u8, seed: u64) -> Self {
        let now = Instant::now();
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut world = Self {
            controller: controller(targets, SuspicionSettings::default(), now),
            now,
            cut: false,
            packets_a_second: 0.0,
            answered: 1.0,
            transitions: Vec::new(),
            verdicts: Vec::new(),
            bursts: 0,
            suspicions: 0,
            probes: 0,
            network,
            targets,
            random: StdRng::seed_from_u64(seed),
            schedule: ProbeSchedule::new(
                ProbeSettings {
                    interval: Duration::from_millis(500),
                    timeout: None,
                    rate: Some(5),
                },
                key,
            ),
            arrivals: BTreeMap::new(),
            numbers: 0,
            sample: Sample::default(),
            next_packet: now,
            next_tick: now,
            lose_next: false,
            spared: BTreeSet::new(),
        };
        world.begin();
        world
    }

    /// Begins anew with other settings.
    pub fn settle_with(&mut self, suspicion: SuspicionSettings) {
        self.controller = controller(self.targets, suspicion, self.now);
        self.begin();
    }

    /// The same gateway, whose group asks for little loss.
    pub fn with_sla(network: Network, targets: u8, seed: u64, sla: SlaConfig) -> Self {
        let mut world = Self::new(network, targets, seed);
        let mut settings = settings_of(targets, SuspicionSettings::default());
        settings.groups[0].config.sla = Some(sla);
        world.controller = Controller::new(settings, kernel(), world.now);
        world.begin();
        world
    }

    /// The network becomes another one.
    pub fn change(&mut self, network: Network) {
        self.network = network;
    }

    fn begin(&mut self) {
        let actions = self.controller.begin(self.now);
        self.act(actions);
        for id in [FIBER, LTE] {
            self.tell(Event::Net(seen(id, NeighbourState::Reachable)));
        }
        self.transitions.clear();
    }

    /// Everything takes its course for a while.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let traffic = (self.packets_a_second > 0.0).then_some(self.next_packet);
            let next = [
                self.arrivals.first_key_value().map(|(key, _)| key.0),
                self.schedule.next_deadline(),
                self.controller.next_sample(),
                traffic,
                Some(self.next_tick),
            ];
            let next = next.into_iter().flatten().min().unwrap_or(end);
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            self.pass_packets();
            self.read_replies();
            self.poll();
            self.look();
        }
    }

    /// The network goes on for a while, and the controller does not; then everything waits for it
    /// at once.
    pub fn stall(&mut self, time: Duration) {
        self.now += time;
        self.pass_packets();
        // What is ready first has its turn by chance.
        if self.random.random_bool(0.5) {
            self.look();
        }
        self.read_replies();
        self.poll();
        self.look();
    }

    /// The next probe to the first uplink's targets gets lost, but none after the other to one
    /// target: that would be the network's doing.
    pub fn lose_one_probe(&mut self) {
        self.lose_next = true;
    }

    /// The traffic up to now.
    fn pass_packets(&mut self) {
        while self.packets_a_second > 0.0 && self.next_packet <= self.now {
            let at = self.next_packet;
            let gap = self.random.random_range(0.2..1.8) / self.packets_a_second;
            self.next_packet = at + Duration::from_secs_f64(gap);
            self.sample.out += 1;
            if self.random.random_bool(self.answered)
                && let Some(delay) = self.round_trip(FIBER)
            {
                self.arrive(at + delay, Arrival::Traffic);
            }
        }
        if self.packets_a_second == 0.0 {
            self.next_packet = self.now;
        }
    }

    /// How long a packet's answer takes, if it comes.
    fn round_trip(&mut self, uplink: u8) -> Option<Duration> {
        let Network { loss, rtt, jitter } = self.network;
        let lost = self.random.random_bool(loss) || self.cut && uplink == FIBER;
        let more = self.random.random_range(0.0..=1.0);
        (!lost).then(|| rtt + jitter.mul_f64(more))
    }

    fn arrive(&mut self, at: Instant, arrival: Arrival) {
        self.numbers += 1;
        self.arrivals.insert((at, self.numbers), arrival);
    }

    fn read_replies(&mut self) {
        while let Some(entry) = self.arrivals.first_entry()
            && entry.key().0 <= self.now
        {
            let ((at, _), arrival) = entry.remove_entry();
            match arrival {
                Arrival::Reply(id, seq, cookie) => {
                    self.schedule.reply(id.uplink, id.target, seq, cookie, at);
                }
                Arrival::Traffic if self.cut => {}
                Arrival::Traffic => self.sample.back += 1,
            }
        }
    }

    fn poll(&mut self) {
        for action in self.schedule.poll(self.now) {
            match action {
                ProbeAction::Send { id, seq, cookie } => {
                    if id.uplink == FIBER && id.kind == TargetKind::Remote {
                        self.probes += 1;
                    }
                    let delay = self.round_trip(id.uplink);
                    if id.uplink == FIBER && self.lose_next && self.spared.insert(id) {
                        self.lose_next = false;
                    } else if let Some(delay) = delay {
                        self.spared.remove(&id);
                        self.arrive(self.now + delay, Arrival::Reply(id, seq, cookie));
                    }
                }
                ProbeAction::Outcome(event) => self.tell(Event::Probe(event)),
                ProbeAction::Overdue(id) => self.tell(Event::ProbeOverdue(id)),
            }
        }
    }

    fn look(&mut self) {
        if self
            .controller
            .next_sample()
            .is_some_and(|at| at <= self.now)
        {
            let samples = vec![
                (FIBER, [self.sample, Sample::default()]),
                (LTE, [Sample::default(); 2]),
            ];
            self.tell(Event::Sampled(samples));
        }
        if self.next_tick <= self.now {
            // Seldom, since it costs more than the rest and hardly matters.
            self.next_tick = self.now + TICK * 4;
            self.tell(Event::Tick);
        }
    }

    fn tell(&mut self, event: Event) {
        let actions = self.controller.handle(event, self.now);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            if let Action::Probe(plans) = &action {
                let targets = plans
                    .iter()
                    .flat_map(|plan| plan.targets.iter().map(|target| target.id));
                self.schedule.set_targets(targets, self.now);
            }
            if let Action::Burst { plan, .. } = &action {
                self.bursts += 1;
                let BurstPlan {
                    targets,
                    probes,
                    step,
                    whole: _,
                } = plan;
                self.schedule.burst(targets, *probes, *step, self.now);
            }
            if let Action::Ask(plan) = &action {
                self.schedule
                    .burst_whole(&plan.targets, plan.probes, plan.step, self.now);
            }
            let Action::Event(occurrence) = &action else {
                continue;
            };
            if occurrence.uplink != Some(FIBER) {
                continue;
            }
            self.suspicions += usize::from(occurrence.kind == Kind::Suspected);
            if matches!(occurrence.kind, Kind::Sick | Kind::Well) {
                let sick = occurrence.kind == Kind::Sick;
                self.verdicts.push((self.now, sick));
            }
            if matches!(occurrence.kind, Kind::PathUp | Kind::PathDown) {
                let up = occurrence.kind == Kind::PathUp;
                self.transitions.push((self.now, up));
            }
        }
    }
}

/// A controller of two uplinks with so many remote targets each.
fn controller(targets: u8, suspicion: SuspicionSettings, now: Instant) -> Controller {
    Controller::new(settings_of(targets, suspicion), kernel(), now)
}

fn settings_of(targets: u8, suspicion: SuspicionSettings) -> Settings {
    let uplinks = [("fiber", "fiber0"), ("lte", "lte0")].map(|(name, device)| {
        let mut config = uplink_config(name, device, 1);
        config.probe = (1..=targets)
            .map(|last| Target::ping(IpAddr::from([203, 0, 113, last])))
            .collect();
        config
    });
    Settings {
        suspicion,
        ..settings(uplinks.into())
    }
}
