//! What the loop tells the world: log lines and metrics.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use aya::Ebpf;
use aya_log::EbpfLogger;
use multihome_common::state::IPV4;
use tokio::io::{Interest, unix::AsyncFd};

mod bfd;

use super::{
    RunError,
    executor::Outcome,
    family_name,
    faults::FaultWatch,
    own::OwnTraffic,
    report::{Names, Shares},
    upkeep::Upkeep,
};
use crate::{
    bfd::SessionId,
    config::Config,
    controller::{Controller, FAMILIES},
    dataplane::{CounterReader, Swept},
    events::{Hub, Kind, Occurrence, ReaderDoor, Recorder, Timing, Tone},
    heartbeat::Heartbeat,
    hooks::Hooks,
    http::{self, BoundHttp, HttpServer},
    metrics::{DampingMeasure, Impeded, Metrics, PathMeasure, ProbeSeries},
    probe::{Family, ProbeError, ProbeReport, TargetId},
    quality::Meter,
    run_dir::RunDir,
};

/// Log and metrics.
pub struct Telemetry {
    metrics: Arc<Metrics>,
    heartbeat: Heartbeat,
    bound: Option<BoundHttp>,
    /// Serves as long as it lives.
    _server: Option<HttpServer>,
    /// The series of targets that were probed; `None` of those that are not shown.
    probes: BTreeMap<TargetId, Option<ProbeSeries>>,
    /// When it was last said that an uplink's probes cannot be sent.
    complained: BTreeMap<u8, Instant>,
    /// The same of an uplink's BFD packets.
    bfd_complained: BTreeMap<SessionId, Instant>,
    recorder: Recorder,
    hub: Hub,
}

/// How often the same complaint is said.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// More targets than are probed at any time: some of them are no more.
const MANY_TARGETS: usize = 4096;

impl Telemetry {
    /// Opens what needs opening, before anything is attached.
    ///
    /// # Errors
    /// When metrics cannot be served where they are wanted.
    pub fn bind(
        config: &Config,
        heartbeat: &Heartbeat,
        run_dir: &RunDir,
    ) -> Result<Self, RunError> {
        let metrics = Arc::new(Metrics::new(config, heartbeat.clone())?);
        let hooks = Hooks::new(&config.hooks, &metrics);
        let hub = Hub::start(run_dir.path(), hooks, niceness())?;
        Ok(Self {
            recorder: Recorder::new(hub.next()),
            hub,
            metrics,
            heartbeat: heartbeat.clone(),
            bound: config.metrics_listen.map(http::bind).transpose()?,
            _server: None,
            probes: BTreeMap::new(),
            complained: BTreeMap::new(),
            bfd_complained: BTreeMap::new(),
        })
    }

    /// Where those are let in who want to read events.
    pub fn readers(&self) -> ReaderDoor {
        self.hub.door()
    }

    /// Tells that the controller ends, and gives hooks and readers a moment to take it.
    pub fn end(mut self, cause: &str, names: &Names) {
        self.happened(Occurrence::new(Kind::ControllerStopped, cause), names);
        self.hub.end();
    }

    /// Serves metrics from now on.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn serve(&mut self, names: &Names, reader: &CounterReader) -> Result<(), RunError> {
        let Some(bound) = self.bound.take() else {
            return Ok(());
        };
        tracing::info!("metrics on http://{}/metrics", bound.address());
        let (names, reader) = (names.clone(), reader.clone());
        let counters = move || names.snapshot(&reader);
        let server = http::serve(
            bound,
            Arc::clone(&self.metrics),
            self.heartbeat.clone(),
            counters,
        )?;
        self._server = Some(server);
        Ok(())
    }

    /// Tells what happened: `initial` is whether it was found so at the start.
    pub fn take(&mut self, outcome: Outcome, names: &Names, initial: bool) {
        let Outcome {
            events,
            noticed,
            moved_after: moved,
            plans: _,
            bursts,
            asks: _,
            sessions: _,
        } = outcome;
        for (sign, plan) in bursts {
            // All of them are of one uplink.
            if let Some(id) = plan.targets.first() {
                self.metrics.suspected(names.uplink(id.uplink), sign);
            }
        }
        for occurrence in events {
            let timing = Timing {
                noticed,
                moved,
                wall: SystemTime::now(),
            };
            self.tell(occurrence, names, timing, initial);
        }
    }

    /// Tells what happened outside of the controller, just now.
    pub fn happened(&mut self, occurrence: Occurrence, names: &Names) {
        let timing = Timing {
            noticed: Instant::now(),
            moved: None,
            wall: SystemTime::now(),
        };
        self.tell(occurrence, names, timing, false);
    }

    /// Tells of the uplinks that are not up when the controller has started: no change tells that.
    pub fn found_down(&mut self, controller: &Controller, names: &Names) {
        let noticed = Instant::now();
        for uplink in controller.uplinks().iter().filter(|uplink| !uplink.up) {
            let cause = uplink.obstacles();
            let down = Occurrence::new(Kind::UplinkDown, cause).uplink(uplink.id);
            let timing = Timing {
                noticed,
                moved: None,
                wall: SystemTime::now(),
            };
            self.tell(down, names, timing, true);
        }
    }

    fn tell(&mut self, occurrence: Occurrence, names: &Names, timing: Timing, initial: bool) {
        let name = occurrence.uplink.map(|id| names.uplink(id));
        let family = occurrence.family.map(family_name);
        let record = self
            .recorder
            .record(occurrence, name, family, timing, initial);
        self.metrics.event(&record);
        if !self.hub.tell(record.clone()) {
            self.metrics.event_lost();
        }
        // At the start, the lines of its families tell it.
        if record.initial && record.kind == Kind::UplinkUp {
            return;
        }
        let line = record.line();
        match record.kind.tone() {
            Tone::Bad => tracing::warn!("{line}"),
            Tone::Good | Tone::Plain => tracing::info!("{line}"),
        }
    }

    /// Notes a report of the prober.
    pub fn probed(&mut self, report: &ProbeReport, names: &Names) {
        match report {
            ProbeReport::Sent(id) => {
                if let Some(series) = self.series(*id, names) {
                    series.sent();
                }
            }
            ProbeReport::Event(event) => {
                if let Some(series) = self.series(event.id, names) {
                    series.outcome(event.outcome);
                }
            }
            ProbeReport::Overdue(_) => {}
            ProbeReport::Error { uplink, error } => self.probe_failed(*uplink, error, names),
        }
    }

    fn series(&mut self, id: TargetId, names: &Names) -> Option<&ProbeSeries> {
        // Next hops that come and go have the same series, but an entry each.
        if self.probes.len() > MANY_TARGETS {
            self.probes.clear();
        }
        let metrics = &self.metrics;
        let find = || metrics.probes(names.uplink(id.uplink), id);
        self.probes.entry(id).or_insert_with(find).as_ref()
    }

    /// Says that probes cannot be sent, once a while: every probe of the uplink may fail so.
    fn probe_failed(&mut self, uplink: u8, error: &ProbeError, names: &Names) {
        let now = Instant::now();
        let last = self.complained.insert(uplink, now);
        if last.is_some_and(|last| now.duration_since(last) < COMPLAINT_INTERVAL) {
            // Keep the time of what was said, or a steady failure would be said only once.
            self.complained.extend(last.map(|last| (uplink, last)));
            return;
        }
        let cause = std::error::Error::source(error).map(ToString::to_string);
        let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        tracing::warn!("uplink {}: {error}{cause}", names.uplink(uplink));
    }

    /// Notes that another prefix is delegated to an uplink.
    pub fn prefix_changed(&mut self, id: u8, prefix: impl ToString, names: &Names) {
        self.metrics.prefix_changed(names.uplink(id));
        let occurrence = Occurrence::new(Kind::PrefixChanged, prefix.to_string());
        self.happened(occurrence.uplink(id), names);
    }

    /// Notes that netlink events were lost.
    pub fn resynced(&mut self, names: &Names) {
        self.metrics.netlink_resync();
        let cause = "the kernel's tables were read anew";
        self.happened(Occurrence::new(Kind::NetlinkResynced, cause), names);
    }

    /// Tells what a sweep of all the flow table has found.
    pub fn swept(&self, swept: &Swept, upkeep: &Upkeep, names: &Names) {
        self.metrics.flows_swept(swept.expired, swept.ended);
        for (id, name) in &names.uplinks {
            let held = upkeep.held(*id, swept);
            self.metrics.flows(name, held.flows, held.ports);
        }
    }

    /// Tells how large the flow table is.
    pub fn flow_table(&self, capacity: u32) {
        self.metrics.flow_table_capacity(capacity);
    }

    /// Brings what tells of the gateway's own traffic up to date.
    pub fn own_traffic(&self, own: &OwnTraffic, names: &Names) {
        let report = own.report();
        self.metrics.routes_restored(report.restored);
        self.metrics.settings_wrong(report.settings.len());
        for (id, name) in &names.uplinks {
            for family in FAMILIES {
                let goes_by = own.goes_by(*id, family);
                self.metrics.own_traffic(name, family_of(family), goes_by);
            }
        }
    }

    /// Shows how much the uplinks' lines lose by faults.
    pub fn faults(&self, faults: &FaultWatch, names: &Names) {
        for (id, name) in &names.uplinks {
            self.metrics.uplink_fault(name, faults.loss(*id));
        }
    }

    /// Brings the gauges up to date.
    pub fn tick(&self, controller: &Controller, shares: &Shares) {
        let now = Instant::now();
        for uplink in controller.uplinks() {
            let name = &uplink.config.name;
            self.metrics.uplink_up(name, uplink.up);
            self.metrics.uplink_share(name, shares.share(uplink.id));
            let draining = controller.common(IPV4).draining >> uplink.id & 1 == 1;
            self.metrics.draining(name, draining);
            for family in FAMILIES {
                let path = &uplink.paths[family];
                let quality = controller.quality().measure(uplink.id, family, now);
                let measure = path.exists().then(|| PathMeasure {
                    up: path.is_up(),
                    rtt: path.health().rtt(),
                    loss: quality.loss.ratio(),
                    latency: quality.latency,
                    jitter: quality.jitter,
                });
                self.metrics.path(name, family_of(family), measure);
                let damping = controller.damping(family);
                let damping = path.exists().then(|| DampingMeasure {
                    held_until: (damping.held_until(uplink.id))
                        .map(|until| SystemTime::now() + until.saturating_duration_since(now)),
                    failures: damping.failures(uplink.id, now),
                });
                self.metrics.damping(name, family_of(family), damping);
            }
            if let Some(used) = controller.quality().meter(uplink.id).and_then(Meter::used) {
                self.metrics.capacity_used(name, used);
            }
            if let Some(account) = controller.quality().account(uplink.id) {
                let limit = account.quota().limit.0;
                self.metrics.quota(name, account.used(), limit);
            }
        }
        self.metrics.impeded(impeded(controller));
        let hosts = controller.hosts();
        for family in FAMILIES {
            for group in controller.groups() {
                let eligible = group.eligible(family).count_ones() as usize;
                self.metrics
                    .eligible_uplinks(&group.name, family_of(family), eligible);
            }
            self.metrics.lan_hosts(family_of(family), hosts[family]);
        }
    }
}

/// All that keeps uplinks from new flows of groups.
fn impeded(controller: &Controller) -> BTreeSet<Impeded> {
    let mut all = BTreeSet::new();
    for group in controller.groups() {
        for family in FAMILIES {
            let against = group.against(family, controller.common(family));
            let members = controller.uplinks().iter();
            for uplink in members.filter(|uplink| group.members() >> uplink.id & 1 == 1) {
                for impediment in against.of(uplink.id) {
                    all.insert([
                        group.name.clone(),
                        uplink.config.name.clone(),
                        family_name(family).to_owned(),
                        impediment.name().to_owned(),
                    ]);
                }
            }
        }
    }
    all
}

fn family_of(family: usize) -> Family {
    if family == IPV4 {
        Family::Ipv4
    } else {
        Family::Ipv6
    }
}

/// The niceness of the calling thread.
fn niceness() -> i32 {
    // SAFETY: the call takes no memory; it cannot fail for the calling thread.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// Shows what the programs log; they only log defects of theirs.
pub fn follow_kernel_log(ebpf: &mut Ebpf) {
    let logger = match EbpfLogger::init(ebpf) {
        Ok(logger) => logger,
        Err(error) => return tracing::warn!("the programs' log cannot be read: {error}"),
    };
    // SAFETY: the logger owns its descriptor, always the same one, as long as it lives, and it lives
    // in here.
    let registered = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = match registered {
        Ok(logger) => logger,
        Err(error) => return tracing::warn!("the programs' log cannot be waited for: {error}"),
    };
    tokio::spawn(async move {
        while let Ok(mut guard) = logger.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    });
}
