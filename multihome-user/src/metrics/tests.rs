//! What a scrape shows after a story, and that nothing unasked becomes a label.

use std::path::Path;

use super::*;
use crate::{
    dataplane::TcpMeasure,
    events::{Kind, Occurrence, Recorder, Timing},
    probe::Outcome,
};

fn config() -> Config {
    let text = "
        lan = \"lan0\"
        [[uplink]]
        name = \"fibre\"
        device = \"eth1\"
        weight = 3
        probe = [\"9.9.9.9\", \"2620:fe::fe\"]
        [[uplink]]
        name = \"lte\"
        device = \"wwan0\"
        tier = 2
    ";
    Config::from_toml(Path::new("test.toml"), text).expect("the configuration is right")
}

fn metrics() -> Metrics {
    Metrics::new(&config(), Heartbeat::new(Instant::now())).expect("no name is used twice")
}

fn target(kind: TargetKind, target: &str) -> TargetId {
    TargetId {
        kind,
        ..TargetId::echo(0, target.parse().expect("an address"))
    }
}

fn tcp(factor: u64) -> TcpMeasure {
    let mut measure = TcpMeasure {
        syn: 2 * factor,
        data: 3 * factor,
        sampled: 100 * factor,
        ..TcpMeasure::default()
    };
    let times = &mut measure.handshakes[0];
    times.buckets[3] = 4 * factor;
    times.buckets[12] = factor;
    times.sum = Duration::from_millis(6_032) * factor as u32;
    measure
}

fn snapshot(factor: u64) -> CounterSnapshot {
    let traffic = |packets| Traffic {
        packets: packets * factor,
        bytes: packets * factor * 100,
    };
    CounterSnapshot {
        uplinks: [(
            "fibre".into(),
            UplinkTraffic {
                received: [("forwarded", traffic(7)), ("drop_truncated", traffic(0))].into(),
                sent: traffic(5),
            },
        )]
        .into(),
        tcp: [("fibre".into(), tcp(factor))].into(),
        ports: [("lan0".into(), [("forwarded", traffic(5))].into())].into(),
        rules: [("".into(), 3 * factor), ("guests".into(), 2 * factor)].into(),
    }
}

/// The scrape without what differs from run to run.
fn stable(text: &str) -> String {
    text.lines()
        .filter(|line| line.starts_with('#') || !line.starts_with("process_"))
        .filter(|line| !line.starts_with("multihome_heartbeat_timestamp_seconds "))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn a_story_is_shown() {
    let metrics = metrics();
    metrics.uplink_up("fibre", true);
    metrics.uplink_up("lte", false);
    metrics.uplink_share("fibre", 0.75);
    let rtt = Some(Duration::from_millis(12));
    metrics.capacity_used("fibre", [Some(0.5), None]);
    metrics.quota("lte", 150, 200);
    metrics.quota("stranger", 150, 200);
    let impeded = |why: &str| ["voice", "fibre", "ipv4", why].map(str::to_owned);
    metrics.impeded([impeded("sick"), impeded("full")].into());
    metrics.impeded([impeded("sick")].into());
    metrics.path(
        "fibre",
        Family::Ipv4,
        Some(PathMeasure {
            up: true,
            rtt,
            loss: 0.25,
            latency: Some(Duration::from_micros(21_500)),
            jitter: Some(Duration::from_micros(750)),
        }),
    );
    metrics.path(
        "fibre",
        Family::Ipv6,
        Some(PathMeasure {
            up: false,
            rtt: None,
            loss: 1.0,
            latency: None,
            jitter: None,
        }),
    );
    let now = Instant::now();
    let down = Occurrence::new(Kind::UplinkDown, "no carrier").sign(now - Duration::from_millis(2));
    let timing = Timing {
        noticed: now,
        moved: Some(Duration::from_micros(300)),
        wall: SystemTime::now(),
    };
    metrics.event(&Recorder::new(1).record(down, Some("lte"), None, timing, false));
    let remote = target(TargetKind::Remote, "9.9.9.9");
    for outcome in [
        Outcome::Reply {
            rtt: Duration::from_millis(15),
        },
        Outcome::Lost,
    ] {
        let series = metrics.probes("fibre", remote).expect("it is configured");
        series.sent();
        series.outcome(outcome);
    }
    let next_hop = metrics.probes("lte", target(TargetKind::NextHop, "fe80::1"));
    next_hop.expect("every uplink has one").sent();
    metrics.draining("lte", true);
    metrics.damping(
        "fibre",
        Family::Ipv4,
        Some(DampingMeasure {
            held_until: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_500)),
            failures: 2,
        }),
    );
    metrics.damping("fibre", Family::Ipv6, Some(DampingMeasure::default()));
    metrics.damping("lte", Family::Ipv4, None);
    metrics.eligible_uplinks("default", Family::Ipv4, 1);
    metrics.eligible_uplinks("default", Family::Ipv6, 0);
    metrics.lan_hosts(Family::Ipv4, 25);
    metrics.netlink_resync();
    metrics.set_counters(snapshot(1));
    insta::assert_snapshot!(stable(
        &metrics.render().expect("it can be written as text")
    ));
}

#[test]
fn kernel_counters_are_shown_as_they_stand() {
    let metrics = metrics();
    for factor in [2, 3, 1] {
        metrics.set_counters(snapshot(factor));
        let text = metrics.render().expect("it can be written as text");
        for (name, value) in [
            (
                "multihome_xdp_packets_total{uplink=\"fibre\",verdict=\"forwarded\"}",
                7,
            ),
            (
                "multihome_xdp_bytes_total{uplink=\"fibre\",verdict=\"forwarded\"}",
                700,
            ),
            (
                "multihome_xdp_packets_total{uplink=\"fibre\",verdict=\"drop_truncated\"}",
                0,
            ),
            (
                "multihome_uplink_transmit_packets_total{uplink=\"fibre\"}",
                5,
            ),
            (
                "multihome_uplink_transmit_bytes_total{uplink=\"fibre\"}",
                500,
            ),
            (
                "multihome_xdp_port_packets_total{port=\"lan0\",verdict=\"forwarded\"}",
                5,
            ),
            (
                "multihome_xdp_port_bytes_total{port=\"lan0\",verdict=\"forwarded\"}",
                500,
            ),
        ] {
            let line = format!("\n{name} {}\n", value * factor);
            assert!(text.contains(&line), "{line} is not in {text}");
        }
    }
}

#[test]
fn only_the_configuration_makes_labels() {
    let metrics = metrics();
    let before = stable(&metrics.render().expect("it can be written as text"));
    metrics.uplink_up("intruder", true);
    metrics.uplink_share("intruder", 1.0);
    let now = Instant::now();
    let timing = Timing {
        noticed: now,
        moved: Some(Duration::ZERO),
        wall: SystemTime::now(),
    };
    let up = Occurrence::new(Kind::UplinkUp, "");
    metrics.event(&Recorder::new(1).record(up, Some("intruder"), None, timing, false));
    metrics.path(
        "intruder",
        Family::Ipv4,
        Some(PathMeasure {
            up: true,
            rtt: None,
            loss: 0.0,
            latency: None,
            jitter: None,
        }),
    );
    for (uplink, target) in [
        ("intruder", target(TargetKind::NextHop, "192.0.2.1")),
        // Of the other uplink, and of none.
        ("lte", target(TargetKind::Remote, "9.9.9.9")),
        ("fibre", target(TargetKind::Remote, "203.0.113.66")),
    ] {
        assert!(metrics.probes(uplink, target).is_none());
    }
    assert_eq!(
        stable(&metrics.render().expect("it can be written as text")),
        before
    );

    // A next hop that moves about adds no label with each address.
    for host in 1..=50 {
        let hop = target(TargetKind::NextHop, &format!("192.0.2.{host}"));
        metrics.probes("lte", hop).expect("a next hop").sent();
    }
    let text = metrics.render().expect("it can be written as text");
    let line = "\nmultihome_probe_sent_total{target=\"next_hop_ipv4\",uplink=\"lte\"} 50\n";
    assert!(text.contains(line), "{text}");
    assert!(!text.contains("192.0.2."), "{text}");
}

#[test]
fn a_family_that_goes_away_is_shown_no_more() {
    let metrics = metrics();
    let measure = PathMeasure {
        up: true,
        rtt: Some(Duration::from_millis(1)),
        loss: 0.0,
        latency: None,
        jitter: None,
    };
    let shown = || {
        let text = metrics.render().expect("it can be written as text");
        text.lines()
            .filter(|line| line.starts_with("multihome_uplink_path_"))
            .count()
    };
    metrics.path("fibre", Family::Ipv6, Some(measure));
    assert_eq!(shown(), 3);
    metrics.path(
        "fibre",
        Family::Ipv6,
        Some(PathMeasure {
            rtt: None,
            ..measure
        }),
    );
    assert_eq!(shown(), 2);
    metrics.path("fibre", Family::Ipv6, None);
    assert_eq!(shown(), 0);
}

#[test]
fn the_process_is_measured() {
    let text = metrics().render().expect("it can be written as text");
    let value = |name: &str| -> f64 {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in {text}"))
            .parse()
            .expect("a number")
    };
    assert!(value("process_resident_memory_bytes") > 100_000.0);
    assert!(value("process_virtual_memory_bytes") > value("process_resident_memory_bytes"));
    assert!(value("process_open_fds") >= 3.0);
    assert!(value("process_cpu_seconds_total") >= 0.0);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("the clock is right")
        .as_secs_f64();
    let age = now - value("process_start_time_seconds");
    assert!((-2.0..3600.0).contains(&age), "{age}");
    let beat = now - value("multihome_heartbeat_timestamp_seconds");
    assert!((-1.0..10.0).contains(&beat), "{beat}");
}
