//! What events add to the metrics.

use super::Metrics;
use crate::{
    events::{Kind, Record},
    hooks::HookResult,
    status::State,
};

/// The label of an uplink for events of the gateway as a whole.
pub const NO_UPLINK: &str = "";

impl Kind {
    /// Whether it happens to an uplink, and not to the gateway as a whole.
    pub(super) const fn is_of_uplink(self) -> bool {
        !matches!(
            self,
            Self::NetlinkResynced
                | Self::RoutesChanged
                | Self::ControllerStarted
                | Self::ControllerStopped
        )
    }
}

impl Metrics {
    /// An event was lost to readers and hooks.
    pub fn event_lost(&self) {
        self.families.events_lost.inc();
    }

    /// So many events more came to this with a hook, which is a configured one.
    pub fn hook_runs(&self, hook: &str, result: HookResult, runs: u64) {
        self.families
            .hook_runs
            .with_label_values(&[hook, result.name()])
            .inc_by(runs);
    }

    /// Something happened.
    pub fn event(&self, record: &Record) {
        let uplink = record.uplink.as_deref();
        if uplink.is_some_and(|uplink| !self.knows(uplink)) {
            return;
        }
        self.families
            .events
            .with_label_values(&[record.kind.name(), uplink.unwrap_or(NO_UPLINK)])
            .inc();
        let Some(uplink) = uplink else {
            return;
        };
        let to = match record.kind {
            Kind::UplinkUp => State::Up,
            Kind::UplinkDown => State::Down,
            Kind::PathUp
            | Kind::PathDown
            | Kind::Suspected
            | Kind::Cleared
            | Kind::Sick
            | Kind::Well
            | Kind::Full
            | Kind::Spare
            | Kind::QuotaLow
            | Kind::QuotaSpent
            | Kind::QuotaRenewed
            | Kind::Held
            | Kind::Released
            | Kind::Draining
            | Kind::Undrained
            | Kind::BfdUp
            | Kind::BfdDown
            | Kind::FaultSet
            | Kind::FaultEnded
            | Kind::RoutesChanged
            | Kind::PathRemark
            | Kind::TranslationChanged
            | Kind::PrefixChanged
            | Kind::NetlinkResynced
            | Kind::ControllerStarted
            | Kind::ControllerStopped => return,
        };
        self.uplink_up(uplink, to == State::Up);
        // What is found at the start is no change.
        if record.initial {
            return;
        }
        self.families
            .transitions
            .with_label_values(&[uplink, to.name()])
            .inc();
        if to == State::Down {
            let Self { families, .. } = self;
            for (histogram, took) in [
                (&families.failover_noticed, record.noticed()),
                (&families.failover, record.moved()),
            ] {
                if let Some(took) = took {
                    histogram
                        .with_label_values(&[uplink])
                        .observe(took.as_secs_f64());
                }
            }
        }
    }
}
