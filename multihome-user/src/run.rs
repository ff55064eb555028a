//! The loop around the controller: starts everything in order, feeds it events, carries out its
//! actions, and ends as it was asked to.

use std::time::{Duration, Instant};

use multihome_common::state::{IPV4, IPV6};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval, timeout_at},
};

use crate::{
    config::Config,
    control::{
        protocol::{Request, Response},
        server::{ControlServer, Exchange},
    },
    controller::{Controller, Event, TICK},
    dataplane::{self, CounterReader, Dataplane},
    heartbeat::Heartbeat,
    netlink::{NetState, Watcher},
    privilege,
    probe::{ProbeReport, ProbeSettings, Prober},
    run_dir::RunDir,
};

mod error;
mod executor;
mod prepared;
mod report;
mod slots;
mod telemetry;

pub use error::RunError;
use executor::{Executor, Outcome};
use prepared::Prepared;
use report::{Names, Shares, Sources};
use telemetry::Telemetry;

/// How long a first start waits for the next hops' MACs before it takes traffic over.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(1);
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
    privilege::check()?;
    let started = Instant::now();
    let run_dir = RunDir::take(&config.run_dir)?;
    let heartbeat = Heartbeat::new(started);
    let mut telemetry = Telemetry::bind(&config, &heartbeat)?;
    let mut control = ControlServer::bind(&run_dir)?;
    let mut signals = Signals::new()?;
    let (mut watcher, net) = Watcher::start().await?;
    check_devices(&config, &net)?;
    favour_this_process();

    let mut dataplane = Dataplane::open(&config.run_dir, config.xdp_mode)?;
    let reader = dataplane.counters()?;
    telemetry::follow_kernel_log(dataplane.ebpf_mut());
    let prepared = Prepared::new(&config, &mut dataplane)?;
    let mut prober = Prober::start(ProbeSettings {
        interval: config.probe.interval,
        timeout: config.probe.timeout,
    })?;
    let mut controller = Controller::new(prepared.settings(&config), net, Instant::now());
    let mut executor = Executor::new(dataplane)?;
    let outcome = executor.carry_out(controller.begin(Instant::now()), Instant::now())?;
    let names = prepared.names;
    telemetry.serve(&names, &reader)?;
    give_plans(&outcome, &prober);
    telemetry.take(&outcome, &names);

    let patience = tokio::time::Instant::now() + RESOLVE_PATIENCE;
    while !controller.resolved() {
        let Ok(event) = timeout_at(patience, watcher.next()).await else {
            break;
        };
        let now = Instant::now();
        let outcome = executor.carry_out(controller.handle(Event::Net(event?), now), now)?;
        give_plans(&outcome, &prober);
        telemetry.take(&outcome, &names);
    }
    executor.forget_strangers(&controller)?;
    if let Err(error) = executor.go() {
        drop(executor);
        if !prepared.adopted {
            // What is left are maps that nothing uses.
            dataplane::detach(&config.run_dir)?;
        }
        return Err(error.into());
    }
    tracing::info!(
        "gateway runs: {} uplink(s), {} LAN port(s){}",
        config.uplinks.len(),
        config.lan.len(),
        if prepared.adopted {
            ", taken over from an earlier controller"
        } else {
            ""
        }
    );

    let mut gateway = Gateway {
        controller,
        executor,
        telemetry,
        names,
        reader,
        shares: Shares::default(),
        started,
        heartbeat,
        ticks: 0,
    };
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (end, asked_by) = loop {
        // In this order: what moves flows first.
        tokio::select! {
            biased;
            event = watcher.next() => gateway.handle(Event::Net(event?), &prober)?,
            Some(report) = prober.next() => gateway.handle_report(report, &prober)?,
            _ = tick.tick() => gateway.tick(&prober)?,
            exchange = control.next() => {
                if let Some(reply) = gateway.answer(exchange)? {
                    break (End::Detach, Some(reply));
                }
            }
            () = signals.next() => {
                break (if config.detach_on_exit { End::Detach } else { End::Stop }, None);
            }
        }
    };
    drop(gateway);
    if end == End::Detach {
        let detached = dataplane::detach(&config.run_dir);
        if let Some(reply) = asked_by {
            let response = match &detached {
                Ok(_) => Response::Detached,
                Err(error) => Response::Error(error.to_string()),
            };
            let _ = reply.send(response);
        }
        control.shutdown().await;
        detached?;
        tracing::info!("everything is taken off the devices");
        // Not ours alone when something else was put there.
        let _ = run_dir.remove();
    } else {
        control.shutdown().await;
        tracing::info!("the controller ends; the dataplane goes on as last decided");
    }
    Ok(())
}

fn check_devices(config: &Config, net: &NetState) -> Result<(), RunError> {
    let devices = config
        .lan
        .iter()
        .chain(config.uplinks.iter().map(|uplink| &uplink.device));
    for device in devices {
        let origin = || config.device_origin(device);
        match net.link_by_name(device) {
            None => {
                return Err(RunError::UnknownDevice {
                    origin: origin(),
                    device: device.clone(),
                });
            }
            Some(link) if link.mac.is_none() => {
                return Err(RunError::NotEthernet {
                    origin: origin(),
                    device: device.clone(),
                });
            }
            Some(_) => {}
        }
    }
    for uplink in config
        .uplinks
        .iter()
        .filter(|uplink| uplink.probe.is_empty())
    {
        tracing::warn!(
            "uplink {}: no probe= target given, so only its next hop is watched: a failure beyond \
             that is not seen",
            uplink.name
        );
    }
    Ok(())
}

/// Asks the scheduler to run this process before others: reacting late is failing over late.
fn favour_this_process() {
    // SAFETY: the call takes no memory. A refusal costs only time under load.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -15) };
}

/// Hands new plans to the prober.
fn give_plans(outcome: &Outcome, prober: &Prober) {
    if let Some(plans) = &outcome.plans {
        prober.set_plans(plans.clone());
    }
}

/// Everything that lives while the loop runs.
struct Gateway {
    controller: Controller,
    executor: Executor,
    telemetry: Telemetry,
    names: Names,
    reader: CounterReader,
    shares: Shares,
    started: Instant,
    heartbeat: Heartbeat,
    ticks: u32,
}

impl Gateway {
    fn handle(&mut self, event: Event, prober: &Prober) -> Result<(), RunError> {
        let now = Instant::now();
        let resynced = matches!(event, Event::Net(crate::netlink::NetEvent::Resynced(_)));
        let actions = self.controller.handle(event, now);
        if resynced {
            self.telemetry.resynced();
        }
        if actions.is_empty() {
            return Ok(());
        }
        let outcome = self.executor.carry_out(actions, now)?;
        give_plans(&outcome, prober);
        self.telemetry.take(&outcome, &self.names);
        Ok(())
    }

    fn handle_report(&mut self, report: ProbeReport, prober: &Prober) -> Result<(), RunError> {
        self.telemetry.probed(&report, &self.names);
        match report {
            ProbeReport::Sent(id) => self.handle(Event::ProbeSent(id), prober),
            ProbeReport::Event(event) => self.handle(Event::Probe(event), prober),
            ProbeReport::Error { .. } => Ok(()),
        }
    }

    fn tick(&mut self, prober: &Prober) -> Result<(), RunError> {
        self.handle(Event::Tick, prober)?;
        self.executor.retry();
        self.executor
            .dataplane
            .set_heartbeat(monotonic_nanoseconds());
        let now = Instant::now();
        self.heartbeat.beat(now);
        self.telemetry.tick(&self.controller, &self.shares);
        if self.ticks.is_multiple_of(TICKS_PER_SAMPLE) {
            self.shares.sample(&self.names, &self.reader, now)?;
        }
        self.ticks = self.ticks.wrapping_add(1);
        Ok(())
    }

    /// Answers a client; gives back the answer's place when everything is to be detached first.
    fn answer(
        &mut self,
        Exchange { request, reply }: Exchange,
    ) -> Result<Option<tokio::sync::oneshot::Sender<Response>>, RunError> {
        match request {
            Request::Status {} => {
                let now = Instant::now();
                self.shares.sample(&self.names, &self.reader, now)?;
                let sources = Sources {
                    controller: &self.controller,
                    names: &self.names,
                    reader: &self.reader,
                    shares: &self.shares,
                    started: self.started,
                    heartbeat_age: self.heartbeat.age(now),
                };
                let status = report::status(&sources, now)?;
                // A client that left takes no answer.
                let _ = reply.send(Response::Status(Box::new(status)));
                Ok(None)
            }
            Request::Detach {} => Ok(Some(reply)),
        }
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, RunError> {
        let of = |kind| signal(kind).map_err(RunError::Signal);
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// CLOCK_MONOTONIC, which is what the programs see too.
fn monotonic_nanoseconds() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure outlives the call, and this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// IPv4 and IPv6 by their names in metrics and logs.
fn family_name(family: usize) -> &'static str {
    match family {
        IPV4 => "ipv4",
        IPV6 => "ipv6",
        _ => "unknown",
    }
}
