//! The metrics of BFD, which there are for uplinks that speak it.

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, core::GenericCounter};

use super::{Metrics, families::Add, family_label};
use crate::{
    bfd::{Discard, SessionCounters, Snapshot, State},
    config::UplinkConfig,
    probe::Family,
};

/// The metrics, each with the labels that are named where it is made.
pub struct BfdFamilies {
    up: IntGaugeVec,
    transitions: IntCounterVec,
    packets: IntCounterVec,
    discarded: IntCounterVec,
    transmit_interval: GaugeVec,
    detection_time: GaugeVec,
}

impl BfdFamilies {
    pub fn register(add: &Add<'_>) -> Result<Self, prometheus::Error> {
        const LABELS: &[&str] = &["uplink", "family"];
        Ok(Self {
            up: add.int_gauges("bfd_session_up", "Whether the BFD session is up.", LABELS)?,
            transitions: add.counters(
                "bfd_transitions_total",
                "Times that the BFD session came up, or went down from up.",
                &["uplink", "family", "to"],
            )?,
            packets: add.counters(
                "bfd_packets_total",
                "BFD packets sent, and received and taken.",
                &["uplink", "family", "direction"],
            )?,
            discarded: add.counters(
                "bfd_discarded_total",
                "BFD packets received and discarded, by reason.",
                &["uplink", "family", "reason"],
            )?,
            transmit_interval: add.gauges(
                "bfd_transmit_interval_seconds",
                "Negotiated time from one BFD packet sent to the next, before jitter.",
                LABELS,
            )?,
            detection_time: add.gauges(
                "bfd_detection_time_seconds",
                "Negotiated time without a packet of the peer after which the session is down.",
                LABELS,
            )?,
        })
    }

    /// Starts the counters of an uplink at zero.
    pub fn introduce(&self, uplink: &UplinkConfig) {
        let Some(bfd) = uplink.bfd else {
            return;
        };
        for family in [Family::Ipv4, Family::Ipv6] {
            if bfd.peer(family == Family::Ipv4).is_some() {
                self.set(&uplink.name, family, None, &SessionCounters::default());
            }
        }
    }

    fn set(
        &self,
        uplink: &str,
        family: Family,
        session: Option<&Snapshot>,
        counters: &SessionCounters,
    ) {
        let family = family_label(family);
        let labels = [uplink, family];
        let is_up = session.is_some_and(|session| session.state == State::Up);
        self.up.with_label_values(&labels).set(is_up.into());
        for (gauges, value) in [
            (
                &self.transmit_interval,
                session.and_then(|session| session.transmit_interval),
            ),
            (
                &self.detection_time,
                session.and_then(|session| session.detection_time),
            ),
        ] {
            match value {
                Some(value) => gauges.with_label_values(&labels).set(value.as_secs_f64()),
                // An error only says that it was not there.
                None => drop(gauges.remove_label_values(&labels)),
            }
        }
        for (to, count) in [("up", counters.ups()), ("down", counters.downs())] {
            raise(
                &self.transitions.with_label_values(&[uplink, family, to]),
                count,
            );
        }
        for (direction, count) in [("sent", counters.sent()), ("received", counters.received())] {
            let labels = [uplink, family, direction];
            raise(&self.packets.with_label_values(&labels), count);
        }
        for why in Discard::ALL {
            let labels = [uplink, family, why.name()];
            raise(
                &self.discarded.with_label_values(&labels),
                counters.discarded(why),
            );
        }
    }
}

/// Brings a counter up to what was counted elsewhere.
fn raise(counter: &GenericCounter<prometheus::core::AtomicU64>, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

impl Metrics {
    /// How the BFD session of an uplink in a family stands, if there is one, and what it has counted.
    pub fn bfd(
        &self,
        uplink: &str,
        family: Family,
        session: Option<&Snapshot>,
        counters: &SessionCounters,
    ) {
        if self.knows(uplink) {
            self.families.bfd.set(uplink, family, session, counters);
        }
    }
}
