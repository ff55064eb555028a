//! How everything stands: the status document and the counters' snapshot, from the controller's
//! state and the kernel's counters.

use std::{
    collections::{BTreeMap, VecDeque},
    process,
    time::{Duration, Instant, SystemTime},
};

use multihome_common::{
    abi::Count,
    state::{IPV4, IPV6},
    verdict::{Disposition, Verdict},
};

use super::{drains::Drains, own::OwnTraffic};
use crate::{
    controller::{Controller, Quality, Uplink},
    dataplane::{CounterReader, Faults},
    heartbeat::monotonic_nanoseconds,
    metrics::{CounterSnapshot, Traffic, UplinkTraffic, VerdictTraffic},
    quality::Measure,
    status::{
        Families, FaultStatus, LanStatus, PathStatus, SCHEMA_VERSION, State, Status, UplinkStatus,
        timestamp,
    },
};

mod bfd;
mod groups;
mod load;
mod rules;

pub use rules::RuleName;

/// How long back the shares of traffic are measured.
const SHARE_WINDOW: Duration = Duration::from_secs(10);

/// The names behind the slots.
#[derive(Clone, Debug)]
pub struct Names {
    /// Uplinks: id, name.
    pub uplinks: Vec<(u8, String)>,
    /// LAN ports: slot, device.
    pub lan: Vec<(u32, String)>,
    /// Rules, in their order.
    pub rules: Vec<RuleName>,
}

impl Names {
    /// All counters by name.
    pub fn snapshot(&self, reader: &CounterReader) -> CounterSnapshot {
        let mut snapshot = CounterSnapshot::default();
        for (id, name) in &self.uplinks {
            let received = by_name(reader.port(u32::from(*id), []).verdicts);
            snapshot.tcp.insert(name.clone(), reader.tcp(*id));
            let sent = Traffic::default();
            snapshot
                .uplinks
                .insert(name.clone(), UplinkTraffic { received, sent });
        }
        for (slot, device) in &self.lan {
            let ids = self.uplinks.iter().map(|(id, _)| *id);
            let port = reader.port(*slot, ids);
            let mut verdicts = by_name(port.verdicts);
            for ((_, name), (_, count)) in self.uplinks.iter().zip(port.to_uplinks) {
                let traffic = Traffic {
                    packets: count.packets,
                    bytes: count.bytes,
                };
                *verdicts.entry(Verdict::Forwarded.name()).or_default() += traffic;
                if let Some(uplink) = snapshot.uplinks.get_mut(name) {
                    uplink.sent += traffic;
                }
            }
            snapshot.ports.insert(device.clone(), verdicts);
        }
        snapshot.rules = self.matched(reader.rules());
        snapshot
    }

    /// The name behind a slot.
    pub fn of(&self, slot: u32) -> Option<&str> {
        let uplinks = self.uplinks.iter().map(|(id, name)| (u32::from(*id), name));
        let lan = self.lan.iter().map(|(slot, device)| (*slot, device));
        uplinks
            .chain(lan)
            .find(|(of, _)| *of == slot)
            .map(|(_, name)| name.as_str())
    }

    /// The name of an uplink.
    pub fn uplink(&self, id: u8) -> &str {
        self.of(u32::from(id)).unwrap_or("unknown")
    }

    /// What LAN ports have sent out of an uplink.
    pub fn sent(&self, reader: &CounterReader, id: u8) -> Count {
        self.lan.iter().fold(Count::default(), |sum, (slot, _)| {
            sum.plus(reader.to_uplink(*slot, id))
        })
    }
}

fn by_name(verdicts: Vec<(Verdict, Count)>) -> VerdictTraffic {
    let traffic = |count: Count| Traffic {
        packets: count.packets,
        bytes: count.bytes,
    };
    verdicts
        .into_iter()
        .map(|(verdict, count)| (verdict.name(), traffic(count)))
        .collect()
}

/// Measures what share of the traffic each uplink carried lately.
#[derive(Debug, Default)]
pub struct Shares {
    /// Packets sent by uplink id, oldest first.
    samples: VecDeque<(Instant, BTreeMap<u8, u64>)>,
}

impl Shares {
    /// Takes a sample.
    pub fn sample(&mut self, names: &Names, reader: &CounterReader, now: Instant) {
        let mut sent = BTreeMap::new();
        for (id, _) in &names.uplinks {
            sent.insert(*id, names.sent(reader, *id).packets);
        }
        self.samples.push_back((now, sent));
        while self.samples.len() > 2
            && self
                .samples
                .get(1)
                .is_some_and(|(then, _)| now.duration_since(*then) >= SHARE_WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// The share of one uplink in what LAN ports sent to uplinks lately, 0 to 1.
    pub fn share(&self, id: u8) -> f64 {
        let (Some((_, first)), Some((_, last))) = (self.samples.front(), self.samples.back())
        else {
            return 0.0;
        };
        let sent = |id: &u8| {
            last.get(id)
                .unwrap_or(&0)
                .saturating_sub(*first.get(id).unwrap_or(&0))
        };
        let all: u64 = last.keys().map(sent).sum();
        if all == 0 {
            0.0
        } else {
            sent(&id) as f64 / all as f64
        }
    }
}

/// What the status document is made from.
pub struct Sources<'a> {
    /// The controller's state.
    pub controller: &'a Controller,
    /// The names behind the slots.
    pub names: &'a Names,
    /// The kernel's counters.
    pub reader: &'a CounterReader,
    /// The shares of traffic.
    pub shares: &'a Shares,
    /// The gateway's own traffic.
    pub own: &'a OwnTraffic,
    /// Which uplinks are drained.
    pub drains: &'a Drains,
    /// The faults in the uplinks' lines.
    pub faults: &'a Faults,
    /// When the controller began.
    pub started: Instant,
    /// How long ago the loop last went round.
    pub heartbeat_age: Duration,
}

/// The status document.
pub fn status(sources: &Sources<'_>, now: Instant) -> Status {
    let wall = SystemTime::now();
    let moment = |then: Instant| timestamp(wall - now.saturating_duration_since(then));
    let mut drops: BTreeMap<String, u64> = BTreeMap::new();
    let mut tally = |verdicts: &[(Verdict, Count)]| {
        for (verdict, count) in verdicts {
            if verdict.disposition() == Disposition::Drop && count.packets > 0 {
                *drops.entry(verdict.name().to_owned()).or_default() += count.packets;
            }
        }
    };
    let mut lan = Vec::new();
    for (slot, device, ifindex) in sources.controller.lan_ports() {
        let ids = sources.names.uplinks.iter().map(|(id, _)| *id);
        let port = sources.reader.port(slot, ids);
        tally(&port.verdicts);
        let counts = port
            .verdicts
            .iter()
            .map(|(_, c)| c)
            .chain(port.to_uplinks.iter().map(|(_, c)| c));
        let (packets, bytes) = total(counts);
        lan.push(LanStatus {
            device: device.to_owned(),
            ifindex,
            packets,
            bytes,
        });
    }
    let now_ns = monotonic_nanoseconds();
    let faults = sources.faults.in_force(now_ns);
    let mut uplinks = Vec::new();
    for uplink in sources.controller.uplinks() {
        let received = sources.reader.port(u32::from(uplink.id), []).verdicts;
        tally(&received);
        // What a line has lost was sent, and is counted as such already.
        let came = |verdict: &Verdict| *verdict != Verdict::DropFaultOut;
        let rx = total(
            received
                .iter()
                .filter(|(v, _)| came(v))
                .map(|(_, count)| count),
        );
        let tx = sources.names.sent(sources.reader, uplink.id);
        let fault = faults.iter().find(|fault| fault.id == uplink.id);
        let mut status = uplink_status(
            uplink,
            (sources.controller.quality(), now),
            sources.shares.share(uplink.id),
            [(tx.packets, tx.bytes), rx],
            moment,
        );
        status.table = sources.own.table_of(uplink.id);
        status.fault = fault.map(|fault| FaultStatus::of(fault, now_ns));
        status.draining = sources.drains.of(&status.name);
        let Families { ipv4, ipv6 } = &mut status.families;
        for (family, path) in [(IPV4, ipv4), (IPV6, ipv6)] {
            let Some(path) = path else { continue };
            let damping = sources.controller.damping(family);
            let until = damping.held_until(uplink.id);
            path.held_until =
                until.map(|until| timestamp(wall + until.saturating_duration_since(now)));
            path.failures = damping.failures(uplink.id, now);
        }
        uplinks.push(status);
    }
    Status {
        schema_version: SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: process::id(),
        since: moment(sources.started),
        lan,
        uplinks,
        groups: groups::groups(sources.controller, sources.names),
        rules: sources.names.rule_statuses(sources.reader.rules()),
        drops,
        own_traffic: sources.own.status(sources.names),
        settings: sources.own.settings(),
        heartbeat_age_ms: sources.heartbeat_age.as_millis() as u64,
    }
}

fn total<'c>(counts: impl Iterator<Item = &'c Count>) -> (u64, u64) {
    counts.fold((0, 0), |(packets, bytes), count| {
        (packets + count.packets, bytes + count.bytes)
    })
}

fn uplink_status(
    uplink: &Uplink,
    (quality, now): (&Quality, Instant),
    share: f64,
    [tx, rx]: [(u64, u64); 2],
    moment: impl Fn(Instant) -> jiff::Timestamp,
) -> UplinkStatus {
    let since = moment(uplink.since);
    let families = Families {
        ipv4: path_status(uplink, IPV4, quality.measure(uplink.id, IPV4, now), &moment),
        ipv6: path_status(uplink, IPV6, quality.measure(uplink.id, IPV6, now), &moment),
    };
    // The family that an operator looks at first is the one that is there.
    let shown = families.ipv4.as_ref().or(families.ipv6.as_ref());
    UplinkStatus {
        name: uplink.config.name.clone(),
        device: uplink.config.device.clone(),
        mode: uplink.config.mode.name().to_owned(),
        weight: uplink.config.weight,
        tier: uplink.config.tier,
        state: State::from(uplink.up),
        since,
        cause: uplink.story(),
        draining: None,
        rtt_ms: shown.and_then(|path| path.rtt_ms),
        loss: shown.map_or(0.0, |path| path.loss),
        share,
        fault: None,
        packets: tx.0 + rx.0,
        bytes: tx.1 + rx.1,
        tx_packets: tx.0,
        tx_bytes: tx.1,
        rx_packets: rx.0,
        rx_bytes: rx.1,
        next_hop: shown.and_then(|path| path.next_hop),
        table: None,
        load: load::load(quality, uplink.id),
        quota: load::quota(quality, uplink.id),
        families,
    }
}

fn path_status(
    uplink: &Uplink,
    family: usize,
    measure: Measure,
    moment: impl Fn(Instant) -> jiff::Timestamp,
) -> Option<PathStatus> {
    let (path, treatment) = (&uplink.paths[family], &uplink.treatments[family]);
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    path.exists().then(|| PathStatus {
        state: State::from(path.is_up()),
        suspected: path.is_suspected(),
        mode: treatment.name().to_owned(),
        outside: treatment.outside().to_vec(),
        prefix: treatment.prefix().map(|prefix| prefix.to_string()),
        next_hop: path.next_hop(),
        next_hop_mac: path
            .mac()
            .map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":")),
        held_until: None,
        failures: 0,
        rtt_ms: path.health().rtt().map(milliseconds),
        loss: measure.loss.ratio(),
        latency_ms: measure.latency.map(milliseconds),
        jitter_ms: measure.jitter.map(milliseconds),
        bfd: bfd::bfd(path, moment),
    })
}
