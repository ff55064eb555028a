//! What Prometheus reads: one method for each thing that happens, so that names, labels and units
//! stand in one place.
//!
//! Label values are names and addresses of the configuration, and words of this source; nothing
//! that comes over the network becomes a label. What is said of an uplink that is not configured
//! is not counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Mutex,
    time::{Duration, Instant, SystemTime},
};

use prometheus::{Registry, TextEncoder};

use crate::{
    config::{Config, UplinkConfig},
    heartbeat::Heartbeat,
    probe::{Family, Method, TargetId, TargetKind},
    suspicion::Sign,
};

mod bfd;
mod counters;
mod encode;
mod event;
mod families;
mod impeded;
mod probe;
mod process;
mod quality;

pub use counters::{CounterSnapshot, Traffic, UplinkTraffic, VerdictTraffic};
use families::{ENDED, EXPIRED, Families};
pub use impeded::DampingMeasure;
pub use probe::ProbeSeries;
pub use quality::Impeded;

/// The form of [`Metrics::render`]'s text, for the header `Content-Type`.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All metrics of one controller.
pub struct Metrics {
    registry: Registry,
    families: Families,
    counters: counters::Latest,
    heartbeat: Heartbeat,
    /// The configured uplinks with their remote targets, and the label of each: nothing else becomes one.
    known: BTreeMap<String, BTreeMap<(IpAddr, Method), String>>,
    /// What keeps uplinks from new flows, as it is shown.
    impeded: Mutex<BTreeSet<Impeded>>,
}

/// How one family of an uplink stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathMeasure {
    /// Whether it takes traffic.
    pub up: bool,
    /// The smoothed round-trip time; `None` before the first answer.
    pub rtt: Option<Duration>,
    /// The share of the probes of the last seconds that were lost, 0 to 1.
    pub loss: f64,
    /// The median round-trip time of the last seconds.
    pub latency: Option<Duration>,
    /// The mean difference between successive round-trip times of the last seconds.
    pub jitter: Option<Duration>,
}

impl Metrics {
    /// Metrics for the uplinks of a configuration, with every counter at zero.
    ///
    /// # Errors
    /// When two metrics have one name: a defect of this module, which its tests would find.
    pub fn new(config: &Config, heartbeat: Heartbeat) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let families = Families::register(&registry)?;
        let counters = counters::Latest::default();
        registry.register(Box::new(counters::KernelCollector::new(counters.clone())?))?;
        registry.register(Box::new(process::ProcessCollector::new()?))?;
        families
            .build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        for uplink in &config.uplinks {
            families.introduce(uplink);
        }
        for hook in &config.hooks {
            families.introduce_hook(&hook.name);
        }
        let known = config.uplinks.iter().map(known).collect();
        Ok(Self {
            registry,
            families,
            counters,
            heartbeat,
            impeded: Mutex::default(),
            known,
        })
    }

    /// An uplink takes traffic now, or does not.
    pub fn uplink_up(&self, uplink: &str, up: bool) {
        if self.knows(uplink) {
            self.families
                .uplink_up
                .with_label_values(&[uplink])
                .set(up.into());
        }
    }

    /// The share of an uplink in the packets that LAN ports sent lately, 0 to 1.
    pub fn uplink_share(&self, uplink: &str, share: f64) {
        if self.knows(uplink) {
            self.families
                .uplink_share
                .with_label_values(&[uplink])
                .set(share);
        }
    }

    /// How much a fault in an uplink's line loses in each direction, 0 to 1.
    pub fn uplink_fault(&self, uplink: &str, loss: f64) {
        if self.knows(uplink) {
            self.families
                .uplink_fault
                .with_label_values(&[uplink])
                .set(loss);
        }
    }

    /// How one family of an uplink stands; `None` when the uplink does not carry it.
    pub fn path(&self, uplink: &str, family: Family, path: Option<PathMeasure>) {
        if !self.knows(uplink) {
            return;
        }
        let labels = [uplink, family_label(family)];
        let Families {
            path_up,
            path_loss,
            path_rtt,
            path_latency,
            path_jitter,
            ..
        } = &self.families;
        match path {
            Some(PathMeasure { up, loss, .. }) => {
                path_up.with_label_values(&labels).set(up.into());
                path_loss.with_label_values(&labels).set(loss);
            }
            None => {
                // An error only says that it was not there.
                let _ = path_up.remove_label_values(&labels);
                let _ = path_loss.remove_label_values(&labels);
            }
        }
        for (gauge, time) in [
            (path_rtt, path.and_then(|path| path.rtt)),
            (path_latency, path.and_then(|path| path.latency)),
            (path_jitter, path.and_then(|path| path.jitter)),
        ] {
            match time {
                Some(time) => gauge.with_label_values(&labels).set(time.as_secs_f64()),
                None => {
                    let _ = gauge.remove_label_values(&labels);
                }
            }
        }
    }

    /// Another prefix is delegated to an uplink, or none any more.
    pub fn prefix_changed(&self, uplink: &str) {
        if self.knows(uplink) {
            self.families
                .prefix_changes
                .with_label_values(&[uplink])
                .inc();
        }
    }

    /// A path of an uplink was suspected because of this sign.
    pub fn suspected(&self, uplink: &str, sign: Sign) {
        if self.knows(uplink) {
            self.families
                .suspicions
                .with_label_values(&[uplink, sign.name()])
                .inc();
        }
    }

    /// So many uplinks of a group may take new flows of a family.
    pub fn eligible_uplinks(&self, group: &str, family: Family, count: usize) {
        self.families
            .eligible
            .with_label_values(&[group, family_label(family)])
            .set(count as f64);
    }

    /// So many LAN hosts of a family have a known MAC address.
    pub fn lan_hosts(&self, family: Family, count: usize) {
        self.families
            .lan_hosts
            .with_label_values(&[family_label(family)])
            .set(count as f64);
    }

    /// So many flows go over an uplink, and have so many outside ports.
    pub fn flows(&self, uplink: &str, flows: u64, ports: u64) {
        if self.knows(uplink) {
            let labels = [uplink];
            let Families {
                flows: shown,
                nat_ports,
                ..
            } = &self.families;
            shown.with_label_values(&labels).set(flows as f64);
            nat_ports.with_label_values(&labels).set(ports as f64);
        }
    }

    /// The flow table has so many places.
    pub fn flow_table_capacity(&self, places: u32) {
        self.families.flow_capacity.set(places.into());
    }

    /// So many more flows were taken away: because their time was up, and because they could not go
    /// on.
    pub fn flows_swept(&self, expired: u64, ended: u64) {
        for (reason, count) in [(EXPIRED, expired), (ENDED, ended)] {
            self.families
                .flows_swept
                .with_label_values(&[reason])
                .inc_by(count);
        }
    }

    /// Whether an uplink carries the gateway's own traffic of a family.
    pub fn own_traffic(&self, uplink: &str, family: Family, goes_by: bool) {
        if self.knows(uplink) {
            let labels = [uplink, family_label(family)];
            let gauge = self.families.own_traffic.with_label_values(&labels);
            gauge.set(goes_by.into());
        }
    }

    /// So many routes and rules of the gateway's own traffic were set again since the start.
    pub fn routes_restored(&self, all: u64) {
        let counter = &self.families.routes_restored;
        counter.inc_by(all.saturating_sub(counter.get()));
    }

    /// So many kernel settings are wrong.
    pub fn settings_wrong(&self, count: usize) {
        self.families.settings_wrong.set(count as f64);
    }

    /// The kernel dropped netlink events, and its tables were read anew.
    pub fn netlink_resync(&self) {
        self.families.netlink_resyncs.inc();
    }

    /// What the kernel's counters say now; they are shown as they are.
    pub fn set_counters(&self, snapshot: CounterSnapshot) {
        self.counters.set(snapshot);
    }

    /// All metrics as text, in the form of [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// When a metric cannot be written as text: a defect of this module, which its tests would
    /// find.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let beat = self
            .heartbeat
            .unix_seconds(Instant::now(), SystemTime::now());
        self.families.heartbeat.set(beat);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    fn knows(&self, uplink: &str) -> bool {
        self.known.contains_key(uplink)
    }

    /// The label of a probe target. Next hops share one for each family, since which address they
    /// have may be the network's choice.
    fn target_label(&self, uplink: &str, target: TargetId) -> Option<String> {
        let remote = self.known.get(uplink)?;
        match target.kind {
            TargetKind::NextHop => Some(match Family::of(target.target) {
                Family::Ipv4 => "next_hop_ipv4".into(),
                Family::Ipv6 => "next_hop_ipv6".into(),
            }),
            TargetKind::Remote => remote.get(&(target.target, target.method)).cloned(),
        }
    }
}

fn known(uplink: &UplinkConfig) -> (String, BTreeMap<(IpAddr, Method), String>) {
    let targets = (0..).zip(&uplink.probe);
    let labels = targets.map(|(number, target)| {
        let key = (target.address(), target.method(number));
        (key, target.label())
    });
    (uplink.name.clone(), labels.collect())
}

/// A family's name in labels.
const fn family_label(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    }
}

#[cfg(test)]
mod tests;
