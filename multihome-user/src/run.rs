//! The loop around the controller: starts everything in order, feeds it events, carries out its
//! actions, and ends as it was asked to.

use std::{
    future::pending,
    time::{Duration, Instant, SystemTime},
};

use multihome_common::state::{IPV4, IPV6};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::{MissedTickBehavior, interval, sleep_until, timeout_at},
};

use crate::{
    bfd::{Bfd, BfdReport},
    config::Config,
    control::{protocol::Response, server::ControlServer},
    controller::{Controller, Event, TICK},
    dataplane::{
        self, CounterReader, Dataplane, DataplaneError, Passed, PortPlan, SignalReader, Sizes,
    },
    delegation,
    domains::{self, Answer, Observer},
    drain,
    events::{Kind as EventKind, Occurrence, journal},
    exit,
    heartbeat::{Heartbeat, monotonic_nanoseconds},
    hooks,
    netlink::{NetEvent, Noticed, Watcher},
    pppoe, privilege,
    probe::{ProbeReport, Prober},
    run_dir::RunDir,
    status::timestamp,
    suspicion::Sample,
};

mod answer;
mod checks;
mod counting;
mod drains;
mod error;
pub mod executor;
mod faults;
mod groups;
mod own;
mod pace;
mod pools;
mod prefixes;
pub mod prepared;
mod report;
mod slices;
mod slots;
mod telemetry;
pub mod upkeep;

pub use checks::check_kinds;
use checks::{check_devices, ports_for_flows, tell_of_other_sizes};
use counting::{Counting, Opened};
use drains::Drains;
pub use error::RunError;
use executor::{Executor, Outcome};
use faults::FaultWatch;
use own::OwnTraffic;
use pace::Pace;
use prefixes::DelegatedPrefixes;
use prepared::{Prepared, probe_settings};
use report::{Names, Shares};
use telemetry::Telemetry;
use upkeep::Upkeep;

/// How long a first start waits for the next hops' MACs before it takes traffic over.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(1);
/// Changes of the kernel's tables that are taken before others get their turn.
const CHANGES_AT_ONCE: usize = 1024;
/// Fates of probes that are taken before others get their turn.
const REPORTS_AT_ONCE: usize = 64;
/// How often shares are sampled, in ticks.
const TICKS_PER_SAMPLE: u32 = 2;

/// How the controller ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The dataplane goes on without it.
    Stop,
    /// Everything is taken off the devices.
    Detach,
}

/// Runs the gateway until a signal or a request ends it.
///
/// Nothing is attached unless all that can be checked before is in order.
///
/// # Errors
/// See [`RunError`]. After an error at the start nothing is attached that was not before.
pub async fn run(config: Config) -> Result<(), RunError> {
    let ports = ports_for_flows(&config)?;
    hooks::check(&config)?;
    privilege::check()?;
    let started = Instant::now();
    let run_dir = RunDir::take(&config.run_dir)?;
    let heartbeat = Heartbeat::new(started);
    let mut telemetry = Telemetry::bind(&config, &heartbeat, &run_dir)?;
    let mut control = ControlServer::bind(&run_dir, telemetry.readers())?;
    let mut signals = Signals::new()?;
    let (mut watcher, net) = Watcher::start().await?;
    check_devices(&config, &net)?;
    let quotas = Opened::new(&config)?;
    favour_this_process();
    allow_many_files();

    let sizes = Sizes {
        flows: config.nat.flows,
        pools: pools::all(&config),
    };
    let (mut dataplane, undo) = Dataplane::open(&config.run_dir, config.xdp_mode, sizes)?;
    let reader = dataplane.counters()?;
    telemetry::follow_kernel_log(dataplane.ebpf_mut());
    let prepared = Prepared::new(&config, &ports, &mut dataplane)?;
    tell_of_other_sizes(sizes, &dataplane);
    let prober = Prober::start(probe_settings(&config))?;
    let bfd = config.uplinks.iter().any(|uplink| uplink.bfd.is_some());
    let bfd = bfd.then(Bfd::start).transpose()?;
    let plan = PortPlan {
        ranges: ports,
        own_query: Some(prober.ident()),
        ..PortPlan::default()
    };
    let upkeep = Upkeep::new(
        &config,
        &prepared.pools,
        &plan,
        bfd.as_ref().map(Bfd::source_ports),
        &dataplane.flows,
    );
    telemetry.flow_table(dataplane.flows.capacity());
    let prefixes = DelegatedPrefixes::read(&run_dir, &config);
    let drains = Drains::read(&run_dir, &prepared.names, timestamp(SystemTime::now()));
    let ids = &prepared.slots.uplinks;
    let ledger = quotas.ledger(&config, ids, &reader, !prepared.adopted);
    let mut settings = prepared.settings(&config, prefixes.told(), ledger);
    settings.draining = drains.told(&prepared.names);
    // Without them their uplinks would be taken out for a moment, and their flows moved.
    if config.uplinks.iter().any(|uplink| uplink.pppoe.is_some()) {
        settings.sessions = pppoe_sessions().unwrap_or_default();
    }
    settings.known =
        domains::file::read(run_dir.path(), SystemTime::now()).unwrap_or_else(|error| {
            // Hosts will ask again.
            tracing::warn!("what was learned of domains is not known any more: {error}");
            Vec::new()
        });
    let mut controller = Controller::new(settings, net, Instant::now());
    let own = OwnTraffic::find(&config).await?;
    controller.remember_next_hops(own.next_hops());
    let mut executor = Executor::new(dataplane, config.fix_offloads)?;
    executor.dataplane.clear_domains()?;
    let outcome = executor.carry_out(controller.begin(Instant::now()), Instant::now())?;
    prepared.forget_groups(&mut executor.dataplane)?;
    executor.dataplane.forget_domains()?;
    let asks_domains = config.rules.iter().any(|rule| !rule.domain.is_empty());
    let observer = asks_domains
        .then(|| {
            let ring = executor.dataplane.samples()?;
            let start = |resolver| Observer::start(ring, resolver);
            domains::own_resolver()
                .and_then(start)
                .map_err(RunError::Observer)
        })
        .transpose()?;
    // What was counted was of other rules, or may have been.
    reader.rules().clear();
    let names = prepared.names;
    telemetry.serve(&names, &reader)?;
    let mut gateway = Gateway {
        controller,
        executor,
        telemetry,
        prober,
        signals: SignalReader::new(reader.clone(), names.lan.iter().map(|(slot, _)| *slot)),
        bfd,
        observer,
        names,
        reader,
        shares: Shares::default(),
        pace: Pace::new(Instant::now()),
        upkeep,
        prefixes,
        own,
        drains,
        faults: FaultWatch::default(),
        counting: Counting::new(quotas, Instant::now())?,
        started,
        heartbeat,
        ticks: 0,
        untold: Some(Vec::new()),
    };
    gateway.tell(outcome);
    // What is used up must not get a flow at all.
    gateway.count()?;

    let patience = tokio::time::Instant::now() + RESOLVE_PATIENCE;
    while !gateway.controller.resolved() {
        let Ok(events) = timeout_at(patience, watcher.next(CHANGES_AT_ONCE)).await else {
            break;
        };
        gateway.follow(events?)?;
    }
    gateway.go()?;
    undo.keep();
    gateway.started(format!(
        "{} uplink(s), {} LAN port(s){}",
        config.uplinks.len(),
        config.lan.len(),
        if prepared.adopted {
            ", taken over from an earlier controller"
        } else {
            ""
        }
    ));
    gateway.start_own_traffic();
    give_memory_back();

    let looped = gateway.go_round(&config, &run_dir, &mut watcher, &mut control, &mut signals);
    let (end, asked_by) = match looped.await {
        Ok(ended) => ended,
        Err(error) => {
            let cause = format!("{error}; the dataplane goes on as last decided");
            gateway.end(&cause).leave();
            return Err(error);
        }
    };
    if let Some(bfd) = gateway.bfd.take() {
        bfd.stop().await;
    }
    gateway.count()?;
    gateway.keep_quotas();
    gateway.keep_domains(&run_dir);
    // Also waits until they are on the disk.
    let own = gateway.end(match end {
        End::Stop => "the dataplane goes on as last decided",
        End::Detach => "everything is being taken off the devices",
    });
    if end == End::Detach {
        let freed = own.remove();
        let detached = dataplane::detach(&config.run_dir)
            .map_err(RunError::from)
            .and_then(|_| Ok(freed?));
        if let Some(reply) = asked_by {
            let response = match &detached {
                Ok(_) => Response::Detached,
                Err(error) => Response::Error(exit::chain(error)),
            };
            let _ = reply.send(response);
        }
        control.shutdown().await;
        detached?;
        tracing::info!("everything is taken off the devices");
        delegation::file::remove(&run_dir)?;
        journal::remove(run_dir.path()).map_err(RunError::Journal)?;
        drain::file::remove(&run_dir)?;
        domains::file::remove(&run_dir)?;
        // Not ours alone when something else was put there.
        let _ = run_dir.remove();
    } else {
        own.leave();
        control.shutdown().await;
    }
    Ok(())
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

/// Asks the scheduler to run this process before others: reacting late is failing over late.
fn favour_this_process() {
    // SAFETY: the call takes no memory. A refusal costs only time under load.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -15) };
}

/// Gives what only the start has needed back to the operating system: the kernel's types, the draws of the
/// rank rows. The allocator keeps it otherwise.
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call changes free memory alone.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Takes as many open files as this process may have: each probe of a service under way has a socket of
/// its own, and the usual limit of 1024 is less than many uplinks need that fail at once.
fn allow_many_files() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure outlives both calls. A refusal leaves the limit that there was.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// The PPPoE sessions that there are; `None` when the kernel does not tell.
fn pppoe_sessions() -> Option<Vec<pppoe::Session>> {
    pppoe::read()
        .inspect_err(|error| tracing::debug!("the kernel's PPPoE sessions: {error}"))
        .ok()
}

/// Everything that lives while the loop runs.
struct Gateway {
    controller: Controller,
    executor: Executor,
    telemetry: Telemetry,
    prober: Prober,
    bfd: Option<Bfd>,
    observer: Option<Observer>,
    names: Names,
    reader: CounterReader,
    signals: SignalReader,
    shares: Shares,
    pace: Pace,
    upkeep: Upkeep,
    prefixes: DelegatedPrefixes,
    own: OwnTraffic,
    drains: Drains,
    faults: FaultWatch,
    counting: Counting,
    started: Instant,
    heartbeat: Heartbeat,
    ticks: u32,
    /// What is told when the start has succeeded; `None` from then on.
    untold: Option<Vec<Outcome>>,
}

impl Gateway {
    /// Takes the traffic over.
    fn go(&mut self) -> Result<(), DataplaneError> {
        self.executor.forget_strangers(&self.controller)?;
        let tables = &mut self.executor.dataplane.flows;
        let swept = self.upkeep.all(tables, &self.controller);
        self.telemetry.swept(&swept, &self.upkeep, &self.names);
        self.executor.go()
    }

    /// Looks which PPPoE sessions there are, if any uplink is one.
    fn look_for_sessions(&mut self) -> Result<(), RunError> {
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
    fn keep_up(&mut self) -> Result<(), RunError> {
        let tables = &mut self.executor.dataplane.flows;
        let Some(swept) = self.upkeep.slice(tables, &self.controller) else {
            return Ok(());
        };
        self.telemetry.swept(&swept, &self.upkeep, &self.names);
        self.handle(Event::Swept(swept.all()), Instant::now())
    }

    /// Reads what uplinks with a capacity or a quota carry.
    fn count(&mut self) -> Result<(), RunError> {
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
    fn keep_quotas(&mut self) {
        let ledger = self.controller.quality().ledger();
        self.counting.keep_now(ledger, Instant::now());
    }

    /// Keeps what was learned of domains for the next controller.
    fn keep_domains(&self, run_dir: &RunDir) {
        let known = self.controller.domains().known(Instant::now());
        if let Err(error) = domains::file::write(run_dir, &known, SystemTime::now()) {
            let error = exit::chain(&error);
            tracing::warn!("what was learned of domains is forgotten: {error}");
        }
    }

    /// Takes an event that was noticed at this time.
    fn handle(&mut self, event: Event, noticed: Instant) -> Result<(), RunError> {
        let actions = self.controller.handle(event, Instant::now());
        if actions.is_empty() {
            return Ok(());
        }
        let outcome = self.executor.carry_out(actions, noticed)?;
        self.tell(outcome);
        self.lead_own_traffic();
        Ok(())
    }

    fn start_own_traffic(&mut self) {
        let chosen = self.own.start(&self.controller, &self.names);
        self.tell_own_traffic(chosen);
    }

    /// Has routes follow what the controller knows now. After the words, which never wait for it.
    fn lead_own_traffic(&mut self) {
        let changed = self.own.update(&self.controller, &self.names);
        self.tell_own_traffic(changed);
    }

    /// Tells which uplinks the gateway's own traffic takes now: metrics never know less than events.
    fn tell_own_traffic(&mut self, changed: Vec<Occurrence>) {
        if !changed.is_empty() {
            self.telemetry.own_traffic(&self.own, &self.names);
        }
        for occurrence in changed {
            self.telemetry.happened(occurrence, &self.names);
        }
    }

    /// Tells the prober, the log and the metrics; the latter two only when the start has succeeded,
    /// since one that fails has brought nothing up.
    fn tell(&mut self, outcome: Outcome) {
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
    async fn go_round(
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
    fn started(&mut self, gateway: String) {
        let started = Occurrence::new(EventKind::ControllerStarted, gateway);
        self.telemetry.happened(started, &self.names);
        for outcome in self.untold.take().unwrap_or_default() {
            self.telemetry.take(outcome, &self.names, true);
        }
        self.telemetry.found_down(&self.controller, &self.names);
    }

    /// Ends what runs beside the loop, after the last word to those who follow events; the gateway's own
    /// traffic is led on.
    fn end(self, cause: &str) -> OwnTraffic {
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
    fn follow(&mut self, changes: Vec<Noticed>) -> Result<(), RunError> {
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
    fn tables_at(&self) -> Option<Instant> {
        self.controller.wants_tables().then(|| self.pace.next())
    }

    fn compare_tables(&mut self) -> Result<(), RunError> {
        let began = Instant::now();
        self.handle(Event::Tables, began)?;
        self.pace.done(began, Instant::now());
        Ok(())
    }

    /// Looks at what has passed by the uplinks.
    fn sample(&mut self) -> Result<(), RunError> {
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

    fn handle_report(&mut self, report: ProbeReport) -> Result<(), RunError> {
        self.telemetry.probed(&report, &self.names);
        let now = Instant::now();
        match report {
            ProbeReport::Sent(id) => self.handle(Event::ProbeSent(id), now),
            ProbeReport::Event(event) => self.handle(Event::Probe(event), now),
            ProbeReport::Overdue(id) => self.handle(Event::ProbeOverdue(id), now),
            ProbeReport::Error { .. } => Ok(()),
        }
    }

    fn handle_bfd(&mut self, report: BfdReport) -> Result<(), RunError> {
        match report {
            BfdReport::Session(report) => self.handle(Event::Bfd(report), report.at),
            BfdReport::Error { id, error } => {
                self.telemetry.bfd_failed(id, &error, &self.names);
                Ok(())
            }
        }
    }

    /// Tells of faults that were set or are over.
    fn look_for_faults(&mut self) {
        let faults = &self.executor.dataplane.faults;
        for occurrence in self.faults.look(faults, monotonic_nanoseconds()) {
            self.telemetry.happened(occurrence, &self.names);
        }
        self.telemetry.faults(&self.faults, &self.names);
    }

    fn tick(&mut self, run_dir: &RunDir) -> Result<(), RunError> {
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

/// The signals that end the controller; SIGHUP comes when a terminal closes.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, RunError> {
        let of = |kind| signal(kind).map_err(RunError::Signal);
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            hang_up: of(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// IPv4 and IPv6 by their names in metrics and logs.
fn family_name(family: usize) -> &'static str {
    match family {
        IPV4 => "ipv4",
        IPV6 => "ipv6",
        _ => "unknown",
    }
}
