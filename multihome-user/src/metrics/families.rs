//! The metrics that the controller itself counts: names, help texts, labels and buckets.

use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts,
    Registry, core::Collector,
};

use super::bfd::BfdFamilies;
use super::event::NO_UPLINK;
use crate::{
    config::UplinkConfig, events::Kind, hooks::HookResult, status::State, suspicion::Sign,
};

/// Round-trip times, in seconds: from a fibre's first hop to a satellite's worst.
const RTT_BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0,
];

/// Failover times, in seconds: from a lost carrier handled at once to a machine out of breath.
const FAILOVER_BUCKETS: [f64; 16] = [
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
    10.0,
];

/// The reason of a flow that was taken away because its time was up.
pub const EXPIRED: &str = "expired";
/// The reason of a flow that was taken away because it could not go on.
pub const ENDED: &str = "ended";

/// The metrics, each with the labels that are named where it is made.
pub struct Families {
    pub build_info: IntGaugeVec,
    pub uplink_info: IntGaugeVec,
    pub uplink_weight: IntGaugeVec,
    pub uplink_tier: IntGaugeVec,
    pub uplink_up: IntGaugeVec,
    pub uplink_share: GaugeVec,
    pub uplink_fault: GaugeVec,
    pub path_up: IntGaugeVec,
    pub path_rtt: GaugeVec,
    pub path_loss: GaugeVec,
    pub path_latency: GaugeVec,
    pub path_jitter: GaugeVec,
    pub capacity_used: GaugeVec,
    pub quota_used: GaugeVec,
    pub quota_limit: GaugeVec,
    pub impeded: IntGaugeVec,
    pub transitions: IntCounterVec,
    pub prefix_changes: IntCounterVec,
    pub events: IntCounterVec,
    pub events_lost: IntCounter,
    pub hook_runs: IntCounterVec,
    pub suspicions: IntCounterVec,
    pub failover: HistogramVec,
    pub failover_noticed: HistogramVec,
    pub probe_sent: IntCounterVec,
    pub probe_lost: IntCounterVec,
    pub probe_rtt: HistogramVec,
    pub draining: IntGaugeVec,
    pub held_until: GaugeVec,
    pub failures: IntGaugeVec,
    pub eligible: GaugeVec,
    pub lan_hosts: GaugeVec,
    pub flows: GaugeVec,
    pub nat_ports: GaugeVec,
    pub flow_capacity: Gauge,
    pub flows_swept: IntCounterVec,
    pub own_traffic: IntGaugeVec,
    pub routes_restored: IntCounter,
    pub settings_wrong: Gauge,
    pub netlink_resyncs: IntCounter,
    pub heartbeat: Gauge,
    pub bfd: BfdFamilies,
}

impl Families {
    /// Makes them all and adds them to the registry.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let add = Add(registry);
        Ok(Self {
            build_info: add.int_gauges(
                "build_info",
                "Always 1; the label tells the version of multihome.",
                &["version"],
            )?,
            uplink_info: add.int_gauges(
                "uplink_info",
                "Always 1; the labels tell an uplink's device and mode.",
                &["uplink", "device", "mode"],
            )?,
            uplink_weight: add.int_gauges(
                "uplink_weight",
                "Configured share of traffic relative to the other uplinks of the tier.",
                &["uplink"],
            )?,
            uplink_tier: add.int_gauges(
                "uplink_tier",
                "Configured failover priority; 1 comes first.",
                &["uplink"],
            )?,
            uplink_up: add.int_gauges(
                "uplink_up",
                "Whether the uplink is up in at least one address family.",
                &["uplink"],
            )?,
            uplink_share: add.gauges(
                "uplink_share_ratio",
                "Share of the steered packets of the last seconds that the uplink carried, 0 to 1.",
                &["uplink"],
            )?,
            uplink_fault: add.gauges(
                "uplink_fault",
                "Share of packets that a fault put into the uplink's line loses in each direction, 0 to 1; 0 = no fault.",
                &["uplink"],
            )?,
            path_up: add.int_gauges(
                "uplink_path_up",
                "Whether the uplink is up in this address family.",
                &["uplink", "family"],
            )?,
            path_rtt: add.gauges(
                "uplink_path_rtt_seconds",
                "Smoothed round-trip time of the probes that judge the path.",
                &["uplink", "family"],
            )?,
            path_loss: add.gauges(
                "uplink_path_loss_ratio",
                "Share of the probes of the last seconds that the path lost, 0 to 1.",
                &["uplink", "family"],
            )?,
            path_latency: add.gauges(
                "uplink_path_latency_seconds",
                "Median round-trip time of the last seconds to the nearest target.",
                &["uplink", "family"],
            )?,
            path_jitter: add.gauges(
                "uplink_path_jitter_seconds",
                "Mean difference between successive round-trip times of the last seconds.",
                &["uplink", "family"],
            )?,
            capacity_used: add.gauges(
                "uplink_capacity_used_ratio",
                "Share of the configured capacity that the uplink carries, 0 to 1.",
                &["uplink", "direction"],
            )?,
            quota_used: add.gauges(
                "uplink_quota_used_bytes",
                "Bytes that the uplink has carried in the present period of its quota.",
                &["uplink"],
            )?,
            quota_limit: add.gauges(
                "uplink_quota_limit_bytes",
                "Bytes that the uplink may carry in a period of its quota.",
                &["uplink"],
            )?,
            impeded: add.int_gauges(
                "uplink_impeded",
                "1 while the uplink gets no new flows of the group although it may be up, and why.",
                &["group", "uplink", "family", "impediment"],
            )?,
            transitions: add.counters(
                "uplink_transitions_total",
                "Times that the uplink went up or down.",
                &["uplink", "to"],
            )?,
            prefix_changes: add.counters(
                "uplink_prefix_changes_total",
                "Times that another prefix was told of the uplink, or none any more.",
                &["uplink"],
            )?,
            suspicions: add.counters(
                "suspicions_total",
                "Times that probes were sent in a burst because something may have been wrong, by the \
                 sign of it: traffic without answers, or a probe lost.",
                &["uplink", "sign"],
            )?,
            events: add.counters(
                "events_total",
                "Events, by kind and by the uplink that they happened to, if to one.",
                &["kind", "uplink"],
            )?,
            events_lost: add.one(IntCounter::with_opts(opts(
                "events_lost_total",
                "Events that readers and hooks were not told of, because too many came at once.",
            ))?)?,
            hook_runs: add.counters(
                "hook_runs_total",
                "Events that a hook was told of, by what came of it.",
                &["hook", "result"],
            )?,
            failover: add.histograms(
                "failover_duration_seconds",
                "Time from the event that showed an uplink's loss to the kernel steering around it.",
                &["uplink"],
                &FAILOVER_BUCKETS,
            )?,
            failover_noticed: add.histograms(
                "failover_noticed_seconds",
                "Time from the first sign of an uplink's loss to the event that showed it.",
                &["uplink"],
                &FAILOVER_BUCKETS,
            )?,
            probe_sent: add.counters(
                "probe_sent_total",
                "Probes sent over the uplink.",
                &["uplink", "target"],
            )?,
            probe_lost: add.counters(
                "probe_lost_total",
                "Probes that were not answered in time.",
                &["uplink", "target"],
            )?,
            probe_rtt: add.histograms(
                "probe_rtt_seconds",
                "Round-trip times of the probes that were answered.",
                &["uplink", "target"],
                &RTT_BUCKETS,
            )?,
            draining: add.int_gauges(
                "uplink_draining",
                "Whether the uplink is being drained.",
                &["uplink"],
            )?,
            held_until: add.gauges(
                "uplink_held_until_timestamp_seconds",
                "Unix time until which the uplink is held back from new flows.",
                &["uplink", "family"],
            )?,
            failures: add.int_gauges(
                "uplink_recent_failures",
                "Failures of the uplink that damping has not forgotten yet.",
                &["uplink", "family"],
            )?,
            eligible: add.gauges(
                "eligible_uplinks",
                "Uplinks of the group that may take new flows.",
                &["group", "family"],
            )?,
            lan_hosts: add.gauges(
                "lan_hosts",
                "LAN hosts whose MAC address is known.",
                &["family"],
            )?,
            flows: add.gauges(
                "flows",
                "Translated flows in the flow table, as the last sweep counted them.",
                &["uplink"],
            )?,
            nat_ports: add.gauges(
                "nat_ports_in_use",
                "Outside ports that flows have, of all protocols, as the last sweep counted them.",
                &["uplink"],
            )?,
            flow_capacity: add.one(Gauge::with_opts(opts(
                "flow_table_capacity",
                "Places in the flow table.",
            ))?)?,
            flows_swept: add.counters(
                "flows_swept_total",
                "Flows that the controller took away, by reason.",
                &["reason"],
            )?,
            own_traffic: add.int_gauges(
                "own_traffic_uplink",
                "Whether the gateway's own traffic of the family goes by this uplink.",
                &["uplink", "family"],
            )?,
            routes_restored: add.one(IntCounter::with_opts(opts(
                "own_routes_restored_total",
                "Routes and rules of the gateway's own traffic that had vanished or been changed by others, \
                 and were set again.",
            ))?)?,
            settings_wrong: add.one(Gauge::with_opts(opts(
                "kernel_settings_wrong",
                "Kernel settings that stand in the gateway's way; `multihome status` names them.",
            ))?)?,
            netlink_resyncs: add.one(IntCounter::with_opts(opts(
                "netlink_resyncs_total",
                "Times that the kernel dropped netlink events and its tables were read anew.",
            ))?)?,
            heartbeat: add.one(Gauge::with_opts(opts(
                "heartbeat_timestamp_seconds",
                "Unix time at which the control loop last went round.",
            ))?)?,
            bfd: BfdFamilies::register(&add)?,
        })
    }

    /// Starts a hook's counters at zero.
    pub fn introduce_hook(&self, name: &str) {
        for result in HookResult::ALL {
            self.hook_runs.with_label_values(&[name, result.name()]);
        }
    }

    /// Shows what is known of an uplink from its configuration, and starts its counters at zero:
    /// a rate over a counter that appears with its first event would miss that event.
    pub fn introduce(&self, uplink: &UplinkConfig) {
        let name = uplink.name.as_str();
        self.bfd.introduce(uplink);
        self.uplink_info
            .with_label_values(&[name, &uplink.device, uplink.mode.name()])
            .set(1);
        self.uplink_weight
            .with_label_values(&[name])
            .set(uplink.weight.into());
        self.uplink_tier
            .with_label_values(&[name])
            .set(uplink.tier.into());
        for state in [State::Up, State::Down] {
            self.transitions.with_label_values(&[name, state.name()]);
        }
        self.uplink_fault.with_label_values(&[name]);
        self.prefix_changes.with_label_values(&[name]);
        for sign in Sign::ALL {
            self.suspicions.with_label_values(&[name, sign.name()]);
        }
        self.draining.with_label_values(&[name]).set(0);
        self.failover.with_label_values(&[name]);
        self.failover_noticed.with_label_values(&[name]);
        for kind in Kind::ALL {
            let uplink = if kind.is_of_uplink() { name } else { NO_UPLINK };
            self.events.with_label_values(&[kind.name(), uplink]);
        }
        for reason in [EXPIRED, ENDED] {
            self.flows_swept.with_label_values(&[reason]);
        }
        for family in ["ipv4", "ipv6"] {
            self.own_traffic.with_label_values(&[name, family]);
        }
        self.flows.with_label_values(&[name]);
        self.nat_ports.with_label_values(&[name]);
        for target in &uplink.probe {
            let labels = [name, &target.label()];
            self.probe_sent.with_label_values(&labels);
            self.probe_lost.with_label_values(&labels);
            self.probe_rtt.with_label_values(&labels);
        }
    }
}

/// Makes metrics and adds them to a registry.
pub(super) struct Add<'r>(&'r Registry);

impl Add<'_> {
    fn one<C: Collector + Clone + 'static>(&self, metric: C) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    pub(super) fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.one(IntCounterVec::new(opts(name, help), labels)?)
    }

    pub(super) fn int_gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.one(IntGaugeVec::new(opts(name, help), labels)?)
    }

    pub(super) fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        self.one(GaugeVec::new(opts(name, help), labels)?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, prometheus::Error> {
        let opts = HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec());
        self.one(HistogramVec::new(opts, labels)?)
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("multihome")
}
