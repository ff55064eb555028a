//! What the loop tells the world: log lines and metrics.

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

use super::{RunError, executor::Outcome, family_name, report::Names};
use crate::{
    config::Config,
    controller::Controller,
    dataplane::CounterReader,
    heartbeat::Heartbeat,
    probe::{ProbeReport, Prober},
};

/// Log and metrics.
pub struct Telemetry {}

impl Telemetry {
    /// Opens what needs opening, before anything is attached.
    pub fn bind(_config: &Config, _heartbeat: &Heartbeat) -> Result<Self, RunError> {
        Ok(Self {})
    }

    /// Serves metrics from now on.
    pub fn serve(&self, _names: &Names, _reader: &CounterReader) -> Result<(), RunError> {
        Ok(())
    }

    /// Tells what came of an event.
    pub fn take(&self, outcome: &Outcome, names: &Names, prober: &Prober) {
        if let Some(plans) = &outcome.plans {
            prober.set_plans(plans.clone());
        }
        for change in &outcome.paths {
            let name = names.uplink(change.id);
            let family = family_name(change.family);
            let state = if change.up { "up" } else { "down" };
            tracing::info!("uplink {name}: {family} {state}: {}", change.cause);
        }
        for change in &outcome.uplinks {
            let name = names.uplink(change.id);
            let moved = outcome.moved_after.unwrap_or_default();
            if change.up {
                tracing::info!("uplink {name} is up: {}", change.cause);
            } else {
                tracing::warn!(
                    "uplink {name} is down: {}; flows moved after {moved:?}",
                    change.cause
                );
            }
        }
    }

    /// Notes a report of the prober.
    pub fn probed(&self, report: &ProbeReport, names: &Names) {
        match report {
            ProbeReport::Error { uplink, error } => {
                tracing::warn!(
                    "uplink {}: {error}: {:?}",
                    names.uplink(*uplink),
                    std::error::Error::source(error)
                );
            }
            ProbeReport::Sent(_) | ProbeReport::Event(_) => {}
        }
    }

    /// Notes that netlink events were lost.
    pub fn resynced(&self) {
        tracing::warn!("netlink events were lost; the kernel's tables were read anew");
    }

    /// Brings the gauges up to date.
    pub fn tick(&self, _controller: &Controller) {}
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
