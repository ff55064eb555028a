//! For any configuration, printing and reading agree; for any text, reading does not panic.

use std::net::{Ipv4Addr, SocketAddrV4};

use proptest::prelude::*;

use super::*;

fn any_prefix() -> impl Strategy<Value = Ipv6Prefix> {
    (any::<u128>(), 8..=64_u32).prop_map(|(bits, length)| {
        // The first byte of a unique local address.
        let bits = (bits >> 8 | 0xfd << 120) & u128::MAX << (128 - length);
        format!("{}/{length}", Ipv6Addr::from_bits(bits))
            .parse()
            .expect("a prefix of unique local addresses")
    })
}

fn any_tags() -> impl Strategy<Value = Framing> {
    let tag = (any::<bool>(), 1..=4094_u16);
    proptest::collection::vec(tag, 0..=2).prop_map(|tags| {
        let kind = |service| if service { 0x88a8 } else { 0x8100 };
        let tags = tags.into_iter();
        tags.fold(Framing::PLAIN, |tags, (service, id)| {
            tags.tagged(kind(service), id)
        })
    })
}

/// A LAN port, some with tags or a name, whatever the number says.
fn lan_port(at: usize, number: u64) -> LanConfig {
    let plain = LanConfig::plain(format!("lan{at}"));
    let id = at as u16 + 1;
    match (number + at as u64) % 4 {
        0 => plain,
        1 => LanConfig {
            vlan: Framing::PLAIN.tagged(0x8100, id),
            name: format!("lan{at}.{id}"),
            ..plain
        },
        2 => LanConfig {
            vlan: Framing::PLAIN.tagged(0x8100, 7).tagged(0x8100, id),
            name: format!("guest-{at}"),
            ..plain
        },
        _ => LanConfig {
            name: format!("office-{at}"),
            ..plain
        },
    }
}

fn any_mode() -> impl Strategy<Value = Mode> {
    proptest::sample::select(vec![
        Mode::Auto,
        Mode::Routed,
        Mode::Nat44,
        Mode::Nptv6,
        Mode::Nat44Nptv6,
    ])
}

fn any_nat() -> impl Strategy<Value = NatConfig> {
    (
        1024..=16_777_216_u32,
        any::<(bool, bool)>(),
        proptest::collection::btree_set(1..=u16::MAX, 4),
        0..=MAX_NAT_PORTS,
        (
            60_000..=86_400_000_u64,
            proptest::array::uniform6(1000..=86_400_000_u64),
        ),
    )
        .prop_map(|(flows, words, ends, ranges, (established, timeouts))| {
            let ends: Vec<u16> = ends.into_iter().collect();
            let [transitory, unanswered, udp, udp_unanswered, icmp, other] =
                timeouts.map(Duration::from_millis);
            NatConfig {
                flows,
                filtering: if words.0 {
                    Filtering::EndpointIndependent
                } else {
                    Filtering::AddressAndPortDependent
                },
                unasked: if words.1 {
                    Unasked::Drop
                } else {
                    Unasked::Kernel
                },
                ports: ends
                    .chunks(2)
                    .take(ranges)
                    .map(|ends| PortRange::new(ends[0], ends[1]).expect("the set is in order"))
                    .collect(),
                timeouts: NatTimeouts {
                    tcp_established: Duration::from_millis(established),
                    tcp_transitory: transitory,
                    tcp_unanswered: unanswered,
                    udp,
                    udp_unanswered,
                    icmp,
                    other,
                },
            }
        })
}

/// Forwards of ports that follow each other, each for all uplinks or for those that are drawn.
fn any_forwards() -> impl Strategy<Value = Vec<(ForwardConfig, u8)>> {
    let forward = (
        any::<bool>(),
        0..100_u16,
        1..=65_000_u16,
        (1..=126_u8, any::<[u8; 3]>()),
        any::<u8>(),
    );
    proptest::collection::vec(forward, 0..20).prop_map(|drawn| {
        (1..)
            .map(|at| at * 200)
            .zip(drawn)
            .map(|(low, (tcp, more, port, (a, [b, c, d]), uplinks))| {
                let forward = ForwardConfig {
                    protocol: if tcp { Protocol::Tcp } else { Protocol::Udp },
                    outside: PortRange::new(low, low + more).expect("not turned"),
                    inside: SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port),
                    uplinks: Vec::new(),
                };
                (forward, uplinks)
            })
            .collect()
    })
}

fn any_hooks() -> impl Strategy<Value = Vec<HookConfig>> {
    use crate::events::Kind;
    let url = proptest::option::of("https?://[a-z]{1,9}(:[1-9][0-9]{0,3})?/[a-z?=]{0,9}");
    let command = proptest::collection::vec("\\PC{0,9}", 0..4);
    let events = proptest::sample::subsequence(Kind::ALL, 0..5);
    let hook = (url, command, events, 100..=600_000_u64);
    proptest::collection::vec(hook, 0..5).prop_map(|drawn| {
        (0..)
            .zip(drawn)
            .map(|(at, (url, mut command, events, timeout))| {
                let url = url.map(|url| url.parse().expect("the URL of a server"));
                if url.is_none() && command.is_empty() {
                    command.push(String::new());
                }
                if let Some(program) = command.first_mut() {
                    program.insert(0, '/');
                }
                HookConfig {
                    name: format!("hook-{at}"),
                    command,
                    url,
                    events,
                    timeout: Duration::from_millis(timeout),
                }
            })
            .collect()
    })
}

fn any_group() -> impl Strategy<Value = GroupConfig> {
    use proptest::{option, sample::select};
    (
        option::of(select(vec![
            HashPolicy::FiveTuple,
            HashPolicy::SrcDst,
            HashPolicy::Src,
        ])),
        select(vec![OnUplinkLoss::Reset, OnUplinkLoss::Hold]),
        select(vec![Failback::Sticky, Failback::Immediate]),
        0..=3_600_000_u64,
        any_sla(),
        any::<bool>(),
    )
        .prop_map(
            |(hash, on_uplink_loss, failback, after, sla, obey_quota)| GroupConfig {
                hash,
                on_uplink_loss,
                failback,
                failback_after: Duration::from_millis(after),
                sla,
                obey_quota,
            },
        )
}

fn any_mss() -> impl Strategy<Value = MssClamp> {
    prop_oneof![
        Just(MssClamp::Auto),
        Just(MssClamp::Off),
        (536..=65_495_u16).prop_map(MssClamp::At),
    ]
}

fn any_damping() -> impl Strategy<Value = DampingConfig> {
    (0..=3_600_000_u64, any::<u32>(), 1000..=86_400_000_u64).prop_map(|(hold, more, forget)| {
        let millis = Duration::from_millis;
        DampingConfig {
            hold: millis(hold),
            max_hold: millis(hold + u64::from(more) % 82_800_000),
            forget: millis(forget),
        }
    })
}

/// Targets of each kind, and a quorum that they can meet.
fn any_targets() -> impl Strategy<Value = (Option<u32>, Vec<Target>)> {
    let targets = proptest::collection::btree_map(1..=100_u8, 0..7_u8, 0..=MAX_PROBES);
    targets.prop_map(|drawn| {
        let targets: Vec<Target> = drawn
            .into_iter()
            .map(|(last, kind)| {
                let text = match kind {
                    0 => format!("9.9.9.{last}"),
                    1 => format!("tcp://9.9.9.{last}:{last}"),
                    2 => format!("dns://9.9.9.{last}/example.net?type=MX"),
                    3 => format!("dns://9.9.9.{last}:5353"),
                    4 => format!("http://9.9.9.{last}/x?y status=20{}", last % 10),
                    5 => format!("https://example.net:8443 address=9.9.9.{last} verify=false"),
                    _ => format!("https://a.example/ address=9.9.9.{last} status=200-299"),
                };
                text.parse().expect("a target")
            })
            .collect();
        // The quorum of all uplinks may be too much for one that has none of its own.
        let quorum = (!targets.is_empty()).then_some(targets.len() as u32);
        (quorum, targets)
    })
}

fn any_sla() -> impl Strategy<Value = Option<SlaConfig>> {
    let ratio = (1..1_000_000_u32, 0..=1_000_000_u32).prop_map(|(enter, leave)| Limit {
        enter: Ratio(enter),
        leave: Ratio(leave.min(enter)),
    });
    let time = || {
        (1_000..=60_000_000_u64, 1_000..=60_000_000_u64).prop_map(|(enter, leave)| Limit {
            enter: Duration::from_micros(enter),
            leave: Duration::from_micros(leave.min(enter)),
        })
    };
    let after = 0..=3_600_000_u64;
    let sla = (
        proptest::option::of(ratio),
        time(),
        proptest::option::of(time()),
        after.clone(),
        after,
    )
        .prop_map(|(loss, latency, jitter, sick, well)| SlaConfig {
            loss,
            latency: Some(latency),
            jitter,
            sick_after: Duration::from_millis(sick),
            well_after: Duration::from_millis(well),
        });
    proptest::option::of(sla)
}

fn any_carry() -> impl Strategy<Value = (Option<CapacityConfig>, Option<QuotaConfig>)> {
    let rate = || (8_000..=10_000_000_000_000_u64).prop_map(Rate);
    let capacity = (
        rate(),
        proptest::option::of(rate()),
        10_000..=1_000_000_u32,
        0.0..1.0,
    )
        .prop_map(|(up, down, at, until)| CapacityConfig {
            up: Some(up),
            down,
            spill_at: Ratio(at),
            spill_until: Ratio((f64::from(at) * until) as u32),
        });
    let quota =
        (1_000_000..=1_000_000_000_000_000_u64, 0..=29_u8).prop_map(|(limit, every)| QuotaConfig {
            limit: Volume(limit),
            every: match every {
                0 => Every::Day,
                29 => Every::Week,
                day => Every::Month(day),
            },
        });
    (proptest::option::of(capacity), proptest::option::of(quota))
}

fn any_bfd() -> impl Strategy<Value = Option<BfdConfig>> {
    use proptest::option::of;
    let on = (
        10_000_000..=60_000_000_000_u64,
        1..=u8::MAX,
        any::<bool>(),
        0..3_u8,
        any::<(bool, bool)>(),
    );
    of(on).prop_map(|on| {
        on.map(
            |(interval, multiplier, passive, families, (peer4, peer6))| BfdConfig {
                interval: Duration::from_nanos(interval),
                multiplier,
                passive,
                ipv4: (families != 1).then_some(if peer4 {
                    BfdPeer::Address(Ipv4Addr::new(192, 0, 2, 1))
                } else {
                    BfdPeer::NextHop
                }),
                ipv6: (families != 2).then_some(if peer6 {
                    BfdPeer::Address(
                        Ipv6Addr::LOCALHOST
                            .to_bits()
                            .wrapping_add(0xfe80 << 112)
                            .into(),
                    )
                } else {
                    BfdPeer::NextHop
                }),
            },
        )
    })
}

fn any_config() -> impl Strategy<Value = Config> {
    let probe = (
        10_000_000..=60_000_000_000_u64,
        any::<Option<u16>>(),
        1..=100_u32,
        1..=100_u32,
        proptest::option::of(50..=10_000_u64),
        proptest::option::of(10..=1_000_u64),
        1..=8_u32,
        proptest::option::of(1..=10_000_u32),
    )
        .prop_map(
            |(interval, timeout, fall, rise, suspicion, burst, quorum, rate)| ProbeConfig {
                suspicion: suspicion.map(Duration::from_millis),
                burst: burst.map(Duration::from_millis),
                interval: Duration::from_nanos(interval),
                timeout: timeout.map(|ms| Duration::from_millis(10 + u64::from(ms) % 59_990)),
                fall,
                rise,
                quorum,
                rate,
            },
        );
    let uplink = (
        "[A-Za-z0-9_.-]{1,28}",
        1..=1_000_000_u32,
        1..=16_u8,
        proptest::option::of((1..=223_u8).prop_filter("loopback", |first| *first != 127)),
        any::<Option<[u8; 8]>>(),
        any_targets(),
        any_mode(),
        any_prefix(),
        0..=2_u8,
        (
            0..=MAX_OUTSIDE,
            any_carry(),
            any_bfd(),
            any_mss(),
            any_tags(),
            any::<bool>(),
        ),
    )
        .prop_map(
            |(
                name,
                weight,
                tier,
                gateway4,
                gateway6,
                probes,
                mode,
                prefix,
                kind,
                (outside, (capacity, quota), bfd, mss_clamp, vlan, session),
            )| {
                UplinkConfig {
                    name,
                    device: String::new(),
                    vlan,
                    pppoe: (session && bfd.is_none()).then(String::new),
                    weight,
                    tier,
                    gateway4: gateway4.map(|first| Ipv4Addr::new(first, 0, 2, 1)),
                    gateway6: gateway6.map(|host| {
                        let mut address = [0; 16];
                        address[..2].copy_from_slice(&[0x20, 0x01]);
                        address[8..].copy_from_slice(&host);
                        address.into()
                    }),
                    mode,
                    outside: vec![Ipv4Addr::UNSPECIFIED; outside],
                    prefix: match kind {
                        0 if mode.ipv6() != Mode6::Nptv6 => None,
                        1 => Some(UplinkPrefix::Delegated),
                        _ => Some(UplinkPrefix::Fixed(prefix)),
                    },
                    mss_clamp,
                    quorum: probes.0,
                    probe: probes.1,
                    capacity,
                    quota,
                    bfd,
                }
            },
        );
    (
        proptest::collection::vec(uplink, 1..8),
        1..5_usize,
        probe,
        any::<Option<SocketAddr>>(),
        "/[a-z \"'\\\\é#]{1,20}",
        any::<(bool, bool, bool, Option<u64>)>(),
        any_prefix(),
        any_nat(),
        any_forwards(),
        (
            any_group(),
            proptest::collection::vec((any::<u8>(), any_group(), 0..4_u32, 1..4_u8), 0..5),
            any_damping(),
            1_000..=300_000_u64,
        ),
    )
        .prop_map(
            |(
                mut uplinks,
                lan,
                probe,
                metrics_listen,
                run_dir,
                (generic, detach, routes, seed),
                inside,
                nat,
                forwards,
                (group, drawn_groups, damping, window),
            )| {
                for (at, uplink) in uplinks.iter_mut().enumerate() {
                    uplink.name.push_str(&format!("-{at}"));
                    uplink.device = format!("eth{at}");
                    if let Some(session) = &mut uplink.pppoe {
                        *session = format!("ppp{at}");
                    }
                    if let Some(UplinkPrefix::Fixed(prefix)) = &mut uplink.prefix {
                        let rest = prefix.network().to_bits() & u128::MAX >> 8;
                        let network = Ipv6Addr::from_bits(rest | (0x20 + at as u128) << 120);
                        let apart = format!("{network}/{}", prefix.length());
                        *prefix = apart.parse().expect("a prefix with another first byte");
                    }
                    for (last, address) in uplink.outside.iter_mut().enumerate() {
                        *address = Ipv4Addr::from(0xc000_0200 + (at * 16 + last) as u32);
                    }
                }
                let inside_prefix = uplinks
                    .iter()
                    .any(|uplink| uplink.prefix.is_some())
                    .then_some(inside);
                let anywhere = uplinks
                    .iter()
                    .any(|uplink| uplink.mode.ipv4() != Mode4::Routed);
                let forwards = forwards.into_iter().filter(|_| anywhere);
                let forwards = forwards.map(|(mut forward, drawn)| {
                    forward.uplinks = (0..8)
                        .filter(|at| drawn >> at & 1 == 1)
                        .filter_map(|at| uplinks.get(at))
                        .filter(|uplink| uplink.mode.takes_forwards())
                        .map(|uplink| uplink.name.clone())
                        .collect();
                    forward
                });
                let forwards = forwards.collect();
                type Drawn = (u8, GroupConfig, u32, u8);
                let named = |(at, (drawn, own, weight, tier)): (usize, Drawn)| NamedGroup {
                    config: GroupConfig {
                        // There is no word for the hash that follows the uplinks.
                        hash: own.hash.or(group.hash),
                        ..own
                    },
                    name: if at == 0 {
                        DEFAULT_GROUP.to_owned()
                    } else {
                        format!("group-{at}")
                    },
                    // The first uplink is always there: no group is empty.
                    members: (0..uplinks.len())
                        .filter(|at| (drawn | 1) >> at & 1 == 1)
                        .map(|at| match weight {
                            0 => MemberConfig::of(&uplinks[at]),
                            _ => MemberConfig {
                                uplink: uplinks[at].name.clone(),
                                weight: weight + at as u32 % 2,
                                tier,
                            },
                        })
                        .collect(),
                };
                let plain = (u8::MAX, group, 0, 1);
                let groups = (0..).zip([plain].into_iter().chain(drawn_groups.clone()));
                let mut groups: Vec<NamedGroup> = groups.map(named).collect();
                if let Some(first) = drawn_groups.first() {
                    groups[0] = named((0, *first));
                }
                Config {
                    lan: (0..lan).map(|at| lan_port(at, window)).collect(),
                    uplinks,
                    probe,
                    damping,
                    // A flow label or a scope has no place in the text form.
                    metrics_listen: metrics_listen.map(|a| SocketAddr::new(a.ip(), a.port())),
                    state_dir: format!("{run_dir}-state").into(),
                    quality: QualityConfig {
                        window: Duration::from_millis(window),
                    },
                    run_dir: run_dir.into(),
                    xdp_mode: if generic {
                        XdpMode::Generic
                    } else {
                        XdpMode::Native
                    },
                    seed,
                    inside_prefix,
                    group,
                    groups,
                    rules: Vec::new(),
                    nat,
                    forwards,
                    hooks: Vec::new(),
                    detach_on_exit: detach,
                    fix_offloads: detach,
                    manage_routes: routes,
                    origins: Origins::default(),
                }
            },
        )
}

/// Rules for a configuration with any groups and LAN ports, which are drawn by number.
fn any_rules() -> impl Strategy<Value = Vec<(RuleConfig, u8, u8)>> {
    use proptest::{collection::vec, sample::select};
    let prefix = (any::<bool>(), any::<u128>(), 0..=128_u8).prop_map(|(v4, bits, length)| {
        let text = if v4 {
            let (bits, length) = (bits as u32, length % 33);
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            format!("{}/{length}", Ipv4Addr::from_bits(bits & mask))
        } else {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            format!("{}/{length}", Ipv6Addr::from_bits(bits & mask))
        };
        text.parse::<IpPrefix>().expect("a prefix")
    });
    let ports = (1..=u16::MAX, any::<u16>())
        .prop_map(|(low, more)| PortRange::new(low, low.saturating_add(more)).expect("a range"));
    let ports = move || vec(ports.clone(), 0..3);
    let with_ports = select(vec![RuleProtocol::Tcp, RuleProtocol::Udp]);
    let rule = (
        vec(prefix.clone(), 0..3),
        vec(prefix, 0..3),
        (vec(with_ports, 0..3), ports(), ports()),
        (
            vec((0..64_u8).prop_map(Dscp), 0..3),
            vec(
                (1..=4094_u16, proptest::option::of(1..=4094_u16))
                    .prop_map(|(inner, outer)| Vlan { outer, inner }),
                0..3,
            ),
            vec("(\\*\\.)?[a-z0-9]{1,9}(\\.[a-z]{2,5}){1,2}", 0..3),
        ),
        (any::<u8>(), any::<u8>(), any::<bool>()),
    );
    vec(rule, 0..6).prop_map(|drawn| {
        let rules = drawn.into_iter().enumerate();
        let rules = rules.map(
            |(at, (source, mut destination, ports, (dscp, vlan, domain), drawn))| {
                let (protocol, source_port, port) = ports;
                let (group, lan, named) = drawn;
                // No packet is of two families.
                destination.retain(|to| source.iter().all(|from| from.is_ipv4() == to.is_ipv4()));
                let rule = RuleConfig {
                    name: named.then(|| format!("rule-{at}")),
                    source,
                    destination,
                    protocol,
                    source_port,
                    port,
                    dscp,
                    lan: Vec::new(),
                    vlan,
                    domain: domain
                        .iter()
                        .map(|text| text.parse().expect("a domain"))
                        .collect(),
                    action: RuleAction::Drop,
                };
                (rule, group, lan)
            },
        );
        rules.collect()
    })
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(
        mut config in any_config(), hooks in any_hooks(), rules in any_rules()
    ) {
        config.hooks = hooks;
        for (mut rule, group, lan) in rules {
            if let Some(group) = config.groups.get(usize::from(group)) {
                rule.action = RuleAction::Group(group.name.clone());
            }
            let lan = config.lan.get(usize::from(lan));
            rule.lan.extend(lan.map(|port| port.name.clone()));
            config.rules.push(rule);
        }
        let text = config.to_toml();
        let mut again = read(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        again.origins = Origins::default();
        prop_assert_eq!(again, config);
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = read(&text);
    }

    /// Damage somewhere in a good file reaches deeper than random text does.
    #[test]
    fn no_damage_makes_it_panic(at in 0..FULL.len(), cut in 0..40_usize, put in "[\\PC\n]{0,8}") {
        let end = (at + cut).min(FULL.len());
        prop_assume!(FULL.is_char_boundary(at) && FULL.is_char_boundary(end));
        let text = format!("{}{put}{}", &FULL[..at], &FULL[end..]);
        if let Err(error) = read(&text) {
            prop_assert!(!exit::message(&error).is_empty());
        }
    }
}
