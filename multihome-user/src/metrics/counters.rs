//! The kernel's counters as Prometheus counters: shown as they stand, never counted again here.

use std::{
    collections::{BTreeMap, HashMap},
    ops::{Add, AddAssign},
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::encode::{counters, label};
use crate::dataplane::TcpMeasure;

mod tcp;

/// An amount of traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Their bytes, from the Ethernet header on.
    pub bytes: u64,
}

impl Add for Traffic {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// What came in on a device, by the name of the verdict.
pub type VerdictTraffic = BTreeMap<&'static str, Traffic>;

/// The traffic of one uplink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UplinkTraffic {
    /// What came in on its device, by verdict.
    pub received: VerdictTraffic,
    /// What was steered out of it.
    pub sent: Traffic,
}

/// What the kernel's counters say at one moment, since they were made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CounterSnapshot {
    /// By the uplink's name.
    pub uplinks: BTreeMap<String, UplinkTraffic>,
    /// What is counted of TCP, by the uplink's name.
    pub tcp: BTreeMap<String, TcpMeasure>,
    /// What came in on a LAN port, by the device's name and verdict.
    pub ports: BTreeMap<String, VerdictTraffic>,
    /// Packets that rules have matched, by the rule's name or number; the empty one is of those that none has.
    pub rules: BTreeMap<String, u64>,
}

/// The snapshot that the next scrape shows.
#[derive(Clone, Default)]
pub struct Latest(Arc<Mutex<CounterSnapshot>>);

impl Latest {
    /// Replaces the snapshot.
    pub fn set(&self, snapshot: CounterSnapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}

/// One family of counters, and how it is taken out of a snapshot.
struct Shown {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    collect: fn(&Shown, &CounterSnapshot) -> MetricFamily,
}

const SHOWN: [Shown; 10] = [
    Shown {
        name: "multihome_xdp_packets_total",
        help: "Packets that came in on an uplink, by what was done with them.",
        labels: &["uplink", "verdict"],
        collect: |shown, now| received(shown, now, |traffic| traffic.packets),
    },
    Shown {
        name: "multihome_xdp_bytes_total",
        help: "Bytes that came in on an uplink, by what was done with them.",
        labels: &["uplink", "verdict"],
        collect: |shown, now| received(shown, now, |traffic| traffic.bytes),
    },
    Shown {
        name: "multihome_uplink_transmit_packets_total",
        help: "Packets that were steered out of an uplink.",
        labels: &["uplink"],
        collect: |shown, now| sent(shown, now, |traffic| traffic.packets),
    },
    Shown {
        name: "multihome_uplink_transmit_bytes_total",
        help: "Bytes that were steered out of an uplink.",
        labels: &["uplink"],
        collect: |shown, now| sent(shown, now, |traffic| traffic.bytes),
    },
    Shown {
        name: "multihome_xdp_port_packets_total",
        help: "Packets that came in on a LAN port, by what was done with them.",
        labels: &["port", "verdict"],
        collect: |shown, now| ports(shown, now, |traffic| traffic.packets),
    },
    Shown {
        name: "multihome_xdp_port_bytes_total",
        help: "Bytes that came in on a LAN port, by what was done with them.",
        labels: &["port", "verdict"],
        collect: |shown, now| ports(shown, now, |traffic| traffic.bytes),
    },
    Shown {
        name: "multihome_rule_packets_total",
        help: "Packets that a rule was asked about and was the first to match: those of new flows, and now and then one of each flow that goes on.",
        labels: &["rule"],
        collect: rules,
    },
    Shown {
        name: "multihome_tcp_handshake_seconds",
        help: "Time from a TCP connection's SYN out of an uplink to the SYN-ACK that came back by it.",
        labels: &["uplink", "family"],
        collect: tcp::handshakes,
    },
    Shown {
        name: "multihome_tcp_retransmissions_total",
        help: "TCP segments that were sent again by an uplink: SYNs of LAN hosts, and data in either direction of a sample of flows.",
        labels: &["uplink", "kind"],
        collect: tcp::retransmissions,
    },
    Shown {
        name: "multihome_tcp_sampled_segments_total",
        help: "TCP segments with data that passed by an uplink, of the sample of flows whose retransmissions are counted.",
        labels: &["uplink"],
        collect: tcp::sampled,
    },
];

fn received(shown: &Shown, now: &CounterSnapshot, take: fn(&Traffic) -> u64) -> MetricFamily {
    let received = now
        .uplinks
        .iter()
        .map(|(uplink, traffic)| (uplink, &traffic.received));
    by_verdict(shown, "uplink", received, take)
}

fn ports(shown: &Shown, now: &CounterSnapshot, take: fn(&Traffic) -> u64) -> MetricFamily {
    by_verdict(shown, "port", now.ports.iter(), take)
}

fn by_verdict<'s>(
    shown: &Shown,
    owner_label: &str,
    owners: impl Iterator<Item = (&'s String, &'s VerdictTraffic)>,
    take: fn(&Traffic) -> u64,
) -> MetricFamily {
    let values = owners.flat_map(|(owner, verdicts)| {
        verdicts.iter().map(move |(verdict, traffic)| {
            (
                vec![label(owner_label, owner), label("verdict", verdict)],
                take(traffic) as f64,
            )
        })
    });
    counters(shown.name, shown.help, values)
}

fn sent(shown: &Shown, now: &CounterSnapshot, take: fn(&Traffic) -> u64) -> MetricFamily {
    let values = now
        .uplinks
        .iter()
        .map(|(uplink, traffic)| (vec![label("uplink", uplink)], take(&traffic.sent) as f64));
    counters(shown.name, shown.help, values)
}

fn rules(shown: &Shown, now: &CounterSnapshot) -> MetricFamily {
    let rules = now.rules.iter();
    let values = rules.map(|(rule, packets)| (vec![label("rule", rule)], *packets as f64));
    counters(shown.name, shown.help, values)
}

/// Gives the registry what the latest snapshot says.
pub struct KernelCollector {
    descs: Vec<Desc>,
    latest: Latest,
}

impl KernelCollector {
    /// A collector of what is put into `latest`.
    pub fn new(latest: Latest) -> Result<Self, prometheus::Error> {
        let descs = SHOWN.iter().map(|shown| {
            let labels = shown
                .labels
                .iter()
                .map(|label| (*label).to_owned())
                .collect();
            Desc::new(shown.name.into(), shown.help.into(), labels, HashMap::new())
        });
        Ok(Self {
            descs: descs.collect::<Result<_, _>>()?,
            latest,
        })
    }
}

impl Collector for KernelCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let latest = self.latest.0.lock().unwrap_or_else(PoisonError::into_inner);
        SHOWN
            .iter()
            .map(|shown| (shown.collect)(shown, &latest))
            // The registry takes a family without metrics for a mistake.
            .filter(|family| !family.get_metric().is_empty())
            .collect()
    }
}
