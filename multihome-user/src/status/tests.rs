//! The status document, whose form others rely on, and the table.

use super::*;

fn moment(text: &str) -> Timestamp {
    text.parse().expect("it is RFC 3339")
}

fn example() -> Status {
    let fibre = UplinkStatus {
        name: "fibre".into(),
        device: "eth1".into(),
        mode: "auto".into(),
        weight: 3,
        tier: 1,
        state: State::Up,
        since: moment("2026-01-02T03:04:05.678Z"),
        cause: "started".into(),
        draining: None,
        rtt_ms: Some(12.34),
        loss: 0.0,
        share: 1.0,
        fault: Some(FaultStatus {
            loss: 0.3,
            beyond_next_hop: true,
            left_ms: 8_250,
        }),
        packets: 1_234_567,
        bytes: 987_654_321,
        tx_packets: 1_000_000,
        tx_bytes: 900_000_000,
        rx_packets: 234_567,
        rx_bytes: 87_654_321,
        next_hop: Some(IpAddr::from([192, 0, 2, 1])),
        table: Some(7700),
        load: Some(LoadStatus {
            up: Some(DirectionStatus {
                capacity: 100_000_000,
                rate: Some(95_500_000),
            }),
            down: Some(DirectionStatus {
                capacity: 500_000_000,
                rate: None,
            }),
            full: true,
        }),
        quota: None,
        families: Families {
            ipv4: Some(PathStatus {
                bfd: Some(BfdStatus {
                    peer: [192, 0, 2, 1].into(),
                    state: "up".into(),
                    remote_state: "up".into(),
                    since: moment("2026-01-02T03:04:06Z"),
                    cause: "established".into(),
                    discriminator: 17,
                    remote_discriminator: 4711,
                    transmit_interval_ms: Some(10.0),
                    detection_time_ms: Some(30.0),
                }),
                state: State::Up,
                suspected: false,
                mode: "nat44".into(),
                outside: vec![Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(198, 51, 100, 7)],
                prefix: None,
                next_hop: Some(IpAddr::from([192, 0, 2, 1])),
                next_hop_mac: Some("02:00:00:00:00:01".into()),
                rtt_ms: Some(12.34),
                loss: 0.0,
                held_until: None,
                failures: 0,
                latency_ms: Some(12.5),
                jitter_ms: Some(0.75),
            }),
            ipv6: Some(PathStatus {
                bfd: None,
                state: State::Down,
                suspected: false,
                mode: "nptv6".into(),
                outside: Vec::new(),
                prefix: Some("2001:db8:1::/48".into()),
                next_hop: None,
                next_hop_mac: None,
                rtt_ms: None,
                loss: 1.0,
                held_until: None,
                failures: 3,
                latency_ms: None,
                jitter_ms: None,
            }),
        },
    };
    let mobile = UplinkStatus {
        name: "mobile-backup".into(),
        device: "wwan0".into(),
        tier: 2,
        state: State::Down,
        since: moment("2026-01-02T04:00:00Z"),
        cause: "9.9.9.9 lost 3 rounds".into(),
        rtt_ms: None,
        loss: 1.0,
        fault: None,
        share: 0.0,
        packets: 0,
        bytes: 0,
        next_hop: None,
        table: Some(7701),
        load: None,
        quota: Some(QuotaStatus {
            quota: "200GB/month".into(),
            limit_bytes: 200_000_000_000,
            used_bytes: 210_000_000_000,
            used: 1.05,
            renews: moment("2026-01-15T12:00:00Z"),
            spent: true,
        }),
        families: Families::default(),
        ..fibre.clone()
    };
    Status {
        schema_version: SCHEMA_VERSION,
        version: "0.1.0".into(),
        pid: 4242,
        since: moment("2026-01-01T00:00:00Z"),
        lan: vec![
            LanStatus {
                device: "lan0".into(),
                ifindex: Some(5),
                packets: 77_000,
                bytes: 1_500,
            },
            LanStatus {
                device: "lan1".into(),
                ifindex: None,
                packets: 0,
                bytes: 0,
            },
        ],
        uplinks: vec![fibre, mobile],
        rules: vec![RuleStatus {
            name: "guests".into(),
            group: Some("default".into()),
            packets: 12,
        }],
        groups: vec![GroupStatus {
            name: "default".into(),
            members: vec!["fibre".into(), "mobile-backup".into()],
            weights: [("fibre".into(), 5), ("mobile-backup".into(), 1)].into(),
            tiers: [("fibre".into(), 1), ("mobile-backup".into(), 2)].into(),
            on_uplink_loss: "reset".into(),
            failback: "sticky".into(),
            failback_after_seconds: 10.0,
            obey_quota: true,
            ipv4: GroupFamilyStatus {
                hash: "src-dst".into(),
                eligible: vec!["fibre".into()],
                alive: vec!["fibre".into()],
                last_good: Vec::new(),
                impediments: [("fibre".into(), vec!["full".into()])].into(),
            },
            ipv6: GroupFamilyStatus {
                hash: "5-tuple".into(),
                last_good: vec!["fibre".into()],
                ..GroupFamilyStatus::default()
            },
        }],
        drops: [("drop_truncated".into(), 3), ("drop_bad_header".into(), 0)].into(),
        own_traffic: OwnStatus {
            managed: true,
            ipv4: Some("fibre".into()),
            ipv6: None,
            restored: 1,
            problems: Vec::new(),
        },
        settings: vec![SettingStatus {
            setting: "net.ipv4.conf.eth1.rp_filter".into(),
            value: "1".into(),
            harm: "strict".into(),
            command: "sysctl -w net.ipv4.conf.eth1.rp_filter=2".into(),
        }],
        heartbeat_age_ms: 12,
    }
}

#[test]
fn the_document_has_its_form() {
    let text = serde_json::to_string_pretty(&example()).expect("it is plain data");
    insta::assert_snapshot!(text);
    let again: Status = serde_json::from_str(&text).expect("it reads what it writes");
    assert_eq!(again, example());
}

#[test]
fn fields_of_a_later_version_are_passed_over() {
    let mut value = serde_json::to_value(example()).expect("it is plain data");
    value["new_field"] = 5.into();
    value["uplinks"][0]["new_field"] = 5.into();
    let again: Status = serde_json::from_value(value).expect("it still has all that is needed");
    assert_eq!(again, example());
}

#[test]
fn a_family_of_an_earlier_version_is_routed() {
    let mut value = serde_json::to_value(example()).expect("it is plain data");
    let family = &mut value["uplinks"][0]["families"]["ipv4"];
    let family = family.as_object_mut().expect("it is there");
    for field in ["mode", "outside", "prefix"] {
        family.remove(field).expect("it has this field");
    }
    let again: Status = serde_json::from_value(value).expect("it has all that is needed");
    let family = again.uplinks[0]
        .families
        .ipv4
        .as_ref()
        .expect("it is there");
    assert_eq!((family.mode.as_str(), family.outside.len()), ("routed", 0));
}

#[test]
fn the_table_lines_up() {
    insta::assert_snapshot!(render(&example(), moment("2026-01-02T04:00:09Z")));
}

#[test]
fn uplinks_that_are_up_and_yet_take_no_new_flows_are_told_with_the_end_of_that() {
    let now = moment("2026-01-02T04:00:09Z");
    let mut status = example();
    let mut cable = UplinkStatus {
        name: "cable".into(),
        ..status.uplinks[0].clone()
    };
    let ipv4 = status.uplinks[0].families.ipv4.as_mut();
    let ipv4 = ipv4.expect("it is there");
    ipv4.held_until = Some(moment("2026-01-02T04:00:29.5Z"));
    ipv4.failures = 2;
    let text = render(&status, now);
    assert!(text.contains("  held   "), "{text}");
    assert!(
        text.contains("Held back: fibre (IPv4 for 21s, after 2 failures)\n"),
        "{text}"
    );
    cable.draining = Some(Drain {
        since: moment("2026-01-02T03:50:09Z"),
        until: Some(moment("2026-01-02T04:30:09Z")),
    });
    status.uplinks.push(cable);
    status.uplinks[1].draining = Some(Drain {
        since: moment("2026-01-02T04:00:00Z"),
        until: None,
    });
    let text = render(&status, now);
    assert!(text.contains("  draining "), "{text}");
    assert!(
        text.contains(
            "Draining: mobile-backup (for 9s, until it is told to end), cable (for 10m 0s, 30m 0s to \
             go)\n"
        ),
        "{text}"
    );
}

#[test]
fn an_uplink_that_is_in_doubt_is_marked() {
    let mut status = example();
    let families = &mut status.uplinks[0].families;
    families.ipv4.as_mut().expect("it is there").suspected = true;
    let text = render(&status, moment("2026-01-02T04:00:09Z"));
    let row = text.lines().find(|line| line.starts_with("fibre "));
    assert!(
        row.is_some_and(|row| row.contains(" up, suspected ")),
        "{text}"
    );
    assert_eq!(text.matches("suspected").count(), 1);
}

#[test]
fn a_silent_control_loop_is_pointed_out() {
    let status = Status {
        heartbeat_age_ms: 65_000,
        ..example()
    };
    let text = render(&status, moment("2026-01-02T04:00:09Z"));
    assert!(
        text.contains("WARNING: the control loop has been silent for 1m 5s\n"),
        "{text}"
    );
}

#[test]
fn timestamps_are_cut_to_milliseconds() {
    let moment = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(1_500_999_999);
    assert_eq!(timestamp(moment).to_string(), "1970-01-01T00:00:01.5Z");
}
