//! The life of a gateway: everything is started in order, runs in its loop, and ends as it was asked to.

use std::time::{Duration, Instant, SystemTime};

use multihome_common::state::{IPV4, IPV6};
use tokio::time::timeout_at;

use crate::{
    bfd::Bfd,
    config::Config,
    control::{protocol::Response, server::ControlServer},
    controller::Controller,
    dataplane::{self, Dataplane, PortPlan, SignalReader, Sizes},
    delegation,
    domains::{self, Observer},
    drain,
    events::journal,
    exit,
    heartbeat::{Heartbeat, monotonic_nanoseconds},
    hooks,
    netlink::Watcher,
    privilege,
    probe::Prober,
    run_dir::RunDir,
    status::timestamp,
};

mod answer;
mod checks;
mod counting;
mod drains;
mod error;
pub mod executor;
mod faults;
mod gateway;
mod groups;
mod own;
mod pace;
mod pools;
mod prefixes;
pub mod prepared;
mod process;
mod report;
mod signals;
mod slices;
mod slots;
mod telemetry;
pub mod upkeep;

pub use checks::check_kinds;
use checks::{check_devices, ports_for_flows, tell_of_other_sizes};
use counting::{Counting, Opened};
use drains::Drains;
pub use error::RunError;
use executor::Executor;
use faults::FaultWatch;
use gateway::{CHANGES_AT_ONCE, Gateway, pppoe_sessions};
use own::OwnTraffic;
use pace::Pace;
use prefixes::DelegatedPrefixes;
use prepared::{Prepared, probe_settings};
use process::{allow_many_files, favour_this_process, give_memory_back};
use report::Shares;
use signals::Signals;
use telemetry::Telemetry;
use upkeep::Upkeep;

/// How long a first start waits for the next hops' MACs before it takes traffic over.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(1);

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

/// IPv4 and IPv6 by their names in metrics and logs.
fn family_name(family: usize) -> &'static str {
    match family {
        IPV4 => "ipv4",
        IPV6 => "ipv6",
        _ => "unknown",
    }
}
