//! The loop of a gateway that runs: it takes what comes, tells the controller, and carries out what that wants.

use std::{
    future::pending,
    time::{Instant, SystemTime},
};

use tokio::{
    sync::oneshot,
    time::{MissedTickBehavior, interval, sleep_until},
};

use super::{
    End, RunError,
    counting::Counting,
    drains::Drains,
    executor::{Executor, Outcome},
    faults::FaultWatch,
    own::OwnTraffic,
    pace::Pace,
    prefixes::DelegatedPrefixes,
    report::{Names, Shares},
    signals::Signals,
    telemetry::Telemetry,
    upkeep::Upkeep,
};
use crate::{
    bfd::{Bfd, BfdReport},
    config::Config,
    control::{protocol::Response, server::ControlServer},
    controller::{Controller, Event, TICK},
    dataplane::{CounterReader, DataplaneError, Passed, SignalReader},
    domains::{self, Answer, Observer},
    events::{Kind as EventKind, Occurrence},
    exit,
    heartbeat::{Heartbeat, monotonic_nanoseconds},
    netlink::{NetEvent, Noticed, Watcher},
    pppoe,
    probe::{ProbeReport, Prober},
    run_dir::RunDir,
    suspicion::Sample,
};

/// Changes of the kernel's tables that are taken before others get their turn.
pub(super) const CHANGES_AT_ONCE: usize = 1024;
/// Fates of probes that are taken before others get their turn.
const REPORTS_AT_ONCE: usize = 64;
/// How often shares are sampled, in ticks.
const TICKS_PER_SAMPLE: u32 = 2;

/// Everything that lives while the loop runs.
pub(super) struct Gateway {
    pub(super) controller: Controller,
    pub(super) executor: Executor,
    pub(super) telemetry: Telemetry,
    pub(super) prober: Prober,
    pub(super) bfd: Option<Bfd>,
    pub(super) observer: Option<Observer>,
    pub(super) names: Names,
    pub(super) reader: CounterReader,
    pub(super) signals: SignalReader,
    pub(super) shares: Shares,
    pub(super) pace: Pace,
    pub(super) upkeep: Upkeep,
    pub(super) prefixes: DelegatedPrefixes,
    pub(super) own: OwnTraffic,
    pub(super) drains: Drains,
    pub(super) faults: FaultWatch,
    pub(super) counting: Counting,
    pub(super) started: Instant,
    pub(super) heartbeat: Heartbeat,
    pub(super) ticks: u32,
    /// What is told when the start has succeeded; `None` from then on.
    pub(super) untold: Option<Vec<Outcome>>,
}

impl Gateway {
    /// Takes the traffic over.
    pub(super) fn go(&mut self) -> Result<(), DataplaneError> {
        self.executor.forget_strangers(&self.controller)?;
        let tables = &mut self.executor.dataplane.flows;
        let swept = self.upkeep.all(tables, &self.controller);
        self.telemetry.swept(&swept, &self.upkeep, &self.names);
        self.executor.go()
    }

    /// Looks which PPPoE sessions there are, if any uplink is one.
    pub(super) fn look_for_sessions(&mut self) -> Result<(), RunError> {
        let mut uplinks = self.controller.uplinks().iter();
        if !uplinks.any(|uplink| uplink.config.pppoe.is_some()) {
            return Ok(());
        }
        match pppoe_sessions() {
            Some(sessions) => self.handle(Event::Sessions(sessions), Instant::now()),
            None => Ok(()),
        }
    }

    /// Does the next part of the tables' upkeep.
    pub(super) fn keep_up(&mut self) -> Result<(), RunError> {
        let tables = &mut self.executor.dataplane.flows;
        let Some(swept) = self.upkeep.slice(tables, &self.controller) else {
            return Ok(());
        };
        self.telemetry.swept(&swept, &self.upkeep, &self.names);
        self.handle(Event::Swept(swept.all()), Instant::now())
    }

    /// Reads what uplinks with a capacity or a quota carry.
    pub(super) fn count(&mut self) -> Result<(), RunError> {
        let now = Instant::now();
        let quality = self.controller.quality();
        let readings = self.counting.read(quality, &self.names, &self.reader, now);
        let spent = quality.ledger().spent();
        self.handle(Event::Carried(readings), now)?;
        let ledger = self.controller.quality().ledger();
        if ledger.spent() == spent {
            self.counting.keep(ledger, now);
        } else {
            self.counting.keep_now(ledger, now);
        }
        Ok(())
    }

    /// Keeps what was used of quotas.
    pub(super) fn keep_quotas(&mut self) {
        let ledger = self.controller.quality().ledger();
        self.counting.keep_now(ledger, Instant::now());
    }

    /// Keeps what was learned of domains for the next controller.
    pub(super) fn keep_domains(&self, run_dir: &RunDir) {
        let known = self.controller.domains().known(Instant::now());
        if let Err(error) = domains::file::write(run_dir, &known, SystemTime::now()) {
            let error = exit::chain(&error);
            tracing::warn!("what was learned of domains is forgotten: {error}");
        }
    }

    /// Takes an event that was noticed at this time.
    pub(super) fn handle(&mut self, event: Event, noticed: Instant) -> Result<(), RunError> {
        let actions = self.controller.handle(event, Instant::now());
        if actions.is_empty() {
            return Ok(());
        }
        let outcome = self.executor.carry_out(actions, noticed)?;
        self.tell(outcome);
        self.lead_own_traffic();
        Ok(())
    }

    pub(super) fn start_own_traffic(&mut self) {
        let chosen = self.own.start(&self.controller, &self.names);
        self.tell_own_traffic(chosen);
    }

    /// Has routes follow what the controller knows now. After the words, which never wait for it.
    pub(super) fn lead_own_traffic(&mut self) {
        let changed = self.own.update(&self.controller, &self.names);
        self.tell_own_traffic(changed);
    }

    /// Tells which uplinks the gateway's own traffic takes now: metrics never know less than events.
    pub(super) fn tell_own_traffic(&mut self, changed: Vec<Occurrence>) {
        if !changed.is_empty() {
            self.telemetry.own_traffic(&self.own, &self.names);
        }
        for occurrence in changed {
            self.telemetry.happened(occurrence, &self.names);
        }
    }

    /// Tells the prober, the log and the metrics; the latter two only when the start has succeeded,
    /// since one that fails has brought nothing up.
    pub(super) fn tell(&mut self, outcome: Outcome) {
        if let Some(plans) = &outcome.plans {
            self.prober.set_plans(plans.clone());
        }
        for (_, burst) in &outcome.bursts {
            self.prober.burst(burst.clone());
        }
        for ask in &outcome.asks {
            self.prober.burst(ask.clone());
        }
        if let (Some(sessions), Some(bfd)) = (&outcome.sessions, &mut self.bfd) {
            bfd.set_plans(sessions.clone());
        }
        match &mut self.untold {
            Some(untold) => untold.push(outcome),
            None => self.telemetry.take(outcome, &self.names, false),
        }
    }

    /// Takes what comes, until a signal or a request ends it: then how, and who has asked for it.
    pub(super) async fn go_round(
        &mut self,
        config: &Config,
        run_dir: &RunDir,
        watcher: &mut Watcher,
        control: &mut ControlServer,
        signals: &mut Signals,
    ) -> Result<(End, Option<oneshot::Sender<Response>>), RunError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Whoever is ready has its turn by chance, and each turn is short: neither a flood of
            // routes nor one of requests keeps the others waiting.
            let tables_at = self.tables_at();
            let count_at = self.counting.due(self.controller.quality());
            let sample_at = self.controller.next_sample();
            tokio::select! {
                events = watcher.next(CHANGES_AT_ONCE) => self.follow(events?)?,
                Some(reports) = self.prober.next_ones(REPORTS_AT_ONCE) => {
                    for report in reports {
                        self.handle_report(report)?;
                    }
                }
                Some(report) = next_of(&mut self.bfd) => self.handle_bfd(report)?,
                Some(answer) = next_answer(&mut self.observer) => {
                    self.handle(Event::Resolved(answer), Instant::now())?;
                }
                () = sleep_until(tables_at.unwrap_or_else(Instant::now).into()),
                    if tables_at.is_some() => self.compare_tables()?,
                () = sleep_until(self.upkeep.due().into()) => self.keep_up()?,
                () = sleep_until(sample_at.unwrap_or_else(Instant::now).into()),
                    if sample_at.is_some() => self.sample()?,
                () = sleep_until(count_at.unwrap_or_else(Instant::now).into()),
                    if count_at.is_some() => self.count()?,
                _ = tick.tick() => self.tick(run_dir)?,
                exchange = control.next() => {
                    if let Some(reply) = self.answer(exchange, run_dir)? {
                        return Ok((End::Detach, Some(reply)));
                    }
                }
                () = signals.next() => {
                    let end = if config.detach_on_exit { End::Detach } else { End::Stop };
                    return Ok((end, None));
                }
            }
        }
    }

    /// The start has succeeded: tells so, and what it has found.
    pub(super) fn started(&mut self, gateway: String) {
        let started = Occurrence::new(EventKind::ControllerStarted, gateway);
        self.telemetry.happened(started, &self.names);
        for outcome in self.untold.take().unwrap_or_default() {
            self.telemetry.take(outcome, &self.names, true);
        }
        self.telemetry.found_down(&self.controller, &self.names);
    }

    /// Ends what runs beside the loop, after the last word to those who follow events; the gateway's own
    /// traffic is led on.
    pub(super) fn end(self, cause: &str) -> OwnTraffic {
        let Self {
            telemetry,
            names,
            own,
            ..
        } = self;
        telemetry.end(cause, &names);
        own
    }

    /// Takes changes of the kernel's tables.
    pub(super) fn follow(&mut self, changes: Vec<Noticed>) -> Result<(), RunError> {
        let Some(first) = changes.first().map(|change| change.at) else {
            return Ok(());
        };
        // The kernel tells of a session by nothing but its PPP device, which comes after it.
        self.look_for_sessions()?;
        // Addresses, routes and links; neighbours come and go all the time.
        let of_routes = |change: &Noticed| !matches!(change.event, NetEvent::Neighbour { .. });
        let leads = changes.iter().any(of_routes);
        for Noticed { event, at } in changes {
            if matches!(event, NetEvent::Resynced(_)) {
                self.telemetry.resynced(&self.names);
            }
            self.handle(Event::Net(event), at)?;
        }
        self.handle(Event::CaughtUp, first)?;
        // An address may have come or gone that nothing but routes depends on.
        if leads {
            self.lead_own_traffic();
        }
        Ok(())
    }

    /// When the address tables are to be compared, if they are.
    pub(super) fn tables_at(&self) -> Option<Instant> {
        self.controller.wants_tables().then(|| self.pace.next())
    }

    pub(super) fn compare_tables(&mut self) -> Result<(), RunError> {
        let began = Instant::now();
        self.handle(Event::Tables, began)?;
        self.pace.done(began, Instant::now());
        Ok(())
    }

    /// Looks at what has passed by the uplinks.
    pub(super) fn sample(&mut self) -> Result<(), RunError> {
        let samples = self
            .names
            .uplinks
            .iter()
            .map(|(id, _)| {
                let sample = |passed: Passed| Sample {
                    out: passed.out.packets,
                    back: passed.back.packets,
                };
                (*id, self.signals.of(*id).0.map(sample))
            })
            .collect();
        self.handle(Event::Sampled(samples), Instant::now())
    }

    pub(super) fn handle_report(&mut self, report: ProbeReport) -> Result<(), RunError> {
        self.telemetry.probed(&report, &self.names);
        let now = Instant::now();
        match report {
            ProbeReport::Sent(id) => self.handle(Event::ProbeSent(id), now),
            ProbeReport::Event(event) => self.handle(Event::Probe(event), now),
            ProbeReport::Overdue(id) => self.handle(Event::ProbeOverdue(id), now),
            ProbeReport::Error { .. } => Ok(()),
        }
    }

    pub(super) fn handle_bfd(&mut self, report: BfdReport) -> Result<(), RunError> {
        match report {
            BfdReport::Session(report) => self.handle(Event::Bfd(report), report.at),
            BfdReport::Error { id, error } => {
                self.telemetry.bfd_failed(id, &error, &self.names);
                Ok(())
            }
        }
    }

    /// Tells of faults that were set or are over.
    pub(super) fn look_for_faults(&mut self) {
        let faults = &self.executor.dataplane.faults;
        for occurrence in self.faults.look(faults, monotonic_nanoseconds()) {
            self.telemetry.happened(occurrence, &self.names);
        }
        self.telemetry.faults(&self.faults, &self.names);
    }

    pub(super) fn tick(&mut self, run_dir: &RunDir) -> Result<(), RunError> {
        self.end_drains(run_dir)?;
        self.look_for_sessions()?;
        self.handle(Event::Tick, Instant::now())?;
        self.executor.retry();
        self.executor
            .dataplane
            .set_heartbeat(monotonic_nanoseconds());
        let now = Instant::now();
        self.heartbeat.beat(now);
        self.look_for_faults();
        self.telemetry.tick(&self.controller, &self.shares);
        self.lead_own_traffic();
        if let Some(restored) = self.own.restored() {
            self.telemetry.happened(restored, &self.names);
        }
        self.telemetry.own_traffic(&self.own, &self.names);
        if let Some(bfd) = &self.bfd {
            self.telemetry.bfd(&self.controller, bfd.counters());
        }
        if self.ticks.is_multiple_of(TICKS_PER_SAMPLE) {
            self.shares.sample(&self.names, &self.reader, now);
        }
        self.ticks = self.ticks.wrapping_add(1);
        Ok(())
    }
}

/// The next report of BFD, if it is spoken; else it never comes.
async fn next_of(bfd: &mut Option<Bfd>) -> Option<BfdReport> {
    match bfd {
        Some(bfd) => bfd.next().await,
        None => pending().await,
    }
}

/// The next answer that a LAN host was given, if rules ask for domains; else it never comes.
async fn next_answer(observer: &mut Option<Observer>) -> Option<Answer> {
    match observer {
        Some(observer) => observer.next().await,
        None => pending().await,
    }
}

/// The PPPoE sessions that there are; `None` when the kernel does not tell.
pub(super) fn pppoe_sessions() -> Option<Vec<pppoe::Session>> {
    pppoe::read()
        .inspect_err(|error| tracing::debug!("the kernel's PPPoE sessions: {error}"))
        .ok()
}
