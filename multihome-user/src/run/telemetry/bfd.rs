//! What is told of BFD beside its events: metrics, and what keeps packets from being sent.

use std::time::Instant;

use super::{COMPLAINT_INTERVAL, Telemetry, family_of};
use crate::{
    bfd::{BfdCounters, BfdError, SessionId},
    controller::{Controller, FAMILIES},
    run::report::Names,
};

impl Telemetry {
    /// Brings the metrics of BFD up to date.
    pub fn bfd(&self, controller: &Controller, counters: &BfdCounters) {
        for uplink in controller.uplinks() {
            for family in FAMILIES {
                let bfd = uplink.paths[family].bfd();
                if !bfd.is_wanted() {
                    continue;
                }
                let id = SessionId {
                    uplink: uplink.id,
                    family: family_of(family),
                };
                let session = bfd.session().map(|(_, session)| session);
                self.metrics
                    .bfd(&uplink.config.name, id.family, session, &counters.of(id));
            }
        }
    }

    /// Says that packets of a session cannot be sent or received, once a while: every one may fail so.
    pub fn bfd_failed(&mut self, id: SessionId, error: &BfdError, names: &Names) {
        let now = Instant::now();
        let said = self.bfd_complained.get(&id);
        if said.is_some_and(|said| now.duration_since(*said) < COMPLAINT_INTERVAL) {
            return;
        }
        self.bfd_complained.insert(id, now);
        let cause = std::error::Error::source(error).map(ToString::to_string);
        let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        tracing::warn!("uplink {}: {error}{cause}", names.uplink(id.uplink));
    }
}
