//! Whole configurations: what is accepted, and how layers are merged.

use std::{net::IpAddr, path::Path};

use super::*;
use crate::exit;

mod bfd;
mod framing;
mod mistakes;
mod properties;

/// A file that uses every key.
const FULL: &str = r#"
lan = ["lan0", "lan1"]
metrics_listen = "[::1]:9751"
run_dir = "/run/multihome-b"
state_dir = "/var/lib/multihome-b"
xdp_mode = "generic"
seed = 7
hash = "src"
on_uplink_loss = "hold"
failback = "sticky"
failback_after = "1m"
inside_prefix = "fd12:3456:789a::/48"
detach_on_exit = true
manage_routes = false

[probe]
interval = "100ms"
timeout = "1.5s"
fall = 5
rise = 2
suspicion = "off"
burst = "50ms"
quorum = 1
rate = 20

[quality]
window = "30s"

[nat]
flows = 1048576
filtering = "endpoint-independent"
unasked = "drop"
ports = ["1024-32767", "61000-65535"]

[nat.timeout]
tcp_established = "1d"
tcp_transitory = "5m"
tcp_unanswered = "10s"
udp = "2m"
udp_unanswered = "20s"
icmp = "30s"
other = "1h"

[damping]
hold = "10s"
max_hold = "10m"
forget = "15m"

[[uplink]]
name = "fibre"
device = "eth1"
weight = 5
tier = 1
gateway = ["192.0.2.1", "fe80::1"]
mode = ["nat44", "nptv6"]
mss_clamp = 1400
outside = ["192.0.2.5", "192.0.2.6"]
prefix = "2001:db8:1::/56"
quorum = 2
probe = [
  "9.9.9.9",
  "2620:fe::fe",
  { url = "https://example.net/health", address = "203.0.113.7", status = 204, verify = false },
  { url = "dns://9.9.9.9/example.net", type = "AAAA" },
]

[uplink.bfd]
interval = "10ms"
multiplier = 5
passive = true
peer = "192.0.2.9"
families = ["ipv4", "ipv6"]

[[uplink]]
name = "lte"
device = "wwan0"
tier = 2
gateway = "198.51.100.1"
mode = "nat44"
outside = "198.51.100.2"
probe = "149.112.112.112"
capacity = { up = "50mbit", down = "150mbit" }
spill_at = "80%"
quota = "200GB/month"
quota_from = 15

[[forward]]
protocol = "tcp"
outside = 8443
inside = "192.168.1.10:443"

[[forward]]
protocol = "udp"
outside = "27000-27015"
inside = "192.168.1.11:27000"
uplinks = ["fibre", "lte"]

[[group]]
name = "voice"
members = ["fibre"]
sla = { loss = "2%", latency = "150ms", latency_leave = "100ms", jitter = "30ms", well_after = "30s" }
obey_quota = false

[[group]]
name = "bulk"
members = [{ uplink = "lte", weight = 3, tier = 1 }, { uplink = "fibre", tier = 2 }]
hash = "5-tuple"
on_uplink_loss = "reset"
failback = "immediate"
failback_after = "5s"
"#;

/// The least that is a configuration.
const LEAST: &str = "lan = \"lan0\"\n[[uplink]]\nname = \"a\"\ndevice = \"eth0\"\n";

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::from_toml(Path::new("gw.toml"), text)
}

fn uplink(text: &str) -> UplinkArg {
    text.parse().expect("a valid --uplink")
}

fn port(text: &str) -> LanPort {
    text.parse().expect("a valid port")
}

fn ports(text: &str) -> PortRange {
    text.parse().expect("valid ports")
}

#[test]
fn the_longest_hold_follows_the_hold_unless_it_is_given() {
    let damping = |text: &str| read(&format!("{LEAST}[damping]\n{text}\n"));
    assert_eq!(
        damping("").expect("it is right").damping,
        DampingConfig::default()
    );
    let long = damping("hold = \"20m\"").expect("it is right").damping;
    assert_eq!(long.max_hold, Duration::from_secs(1200));
    let error = damping("hold = \"20m\"\nmax_hold = \"10m\"").unwrap_err();
    assert_eq!(
        error.to_string(),
        "gw.toml:7:12: the longest hold, 10m, is shorter than the hold, 20m"
    );
    let flags = Flags {
        damping_hold: "2s".parse().ok(),
        damping_max_hold: "1s".parse().ok(),
        ..Flags::default()
    };
    let below = file::parse(Path::new("gw.toml"), LEAST).expect("it is right");
    let error = merge::merge(below, flags.into()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--damping-max-hold 1s: the longest hold, 1s, is shorter than the hold, 2s"
    );
}

#[test]
fn groups_are_the_default_one_first_and_have_all_uplinks_unless_told() {
    let named = |config: Config| {
        let groups = config.groups.into_iter();
        groups
            .map(|group| {
                let members = group.members.iter().map(|member| member.uplink.as_str());
                (group.name, members.collect::<Vec<_>>().join(" "))
            })
            .collect::<Vec<_>>()
    };
    let of = |name: &str, members: &str| (name.to_owned(), members.to_owned());
    let config = read(FULL).expect("the file is right");
    let all = [
        of("default", "fibre lte"),
        of("voice", "fibre"),
        of("bulk", "lte fibre"),
    ];
    assert_eq!(named(config), all);
    let text =
        format!("{LEAST}[[group]]\nname = \"g\"\n[[group]]\nname = \"default\"\nmembers = \"a\"\n");
    let config = read(&text).expect("the file is right");
    assert_eq!(named(config), [of("default", "a"), of("g", "a")]);
    let groups: String = (1..64)
        .map(|n| format!("[[group]]\nname = \"g{n}\"\n"))
        .collect();
    let config = read(&format!("{LEAST}{groups}")).expect("so many fit");
    assert_eq!(config.groups.len(), 64);
    let config = read(&format!("{LEAST}{groups}[[group]]\nname = \"default\"\n"));
    assert_eq!(config.expect("it is one of them").groups.len(), 64);
    let error = read(&format!("{LEAST}{groups}[[group]]\nname = \"more\"\n")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "gw.toml:132:8: more than 64 groups (\"default\" is one of them, also when it is not named)"
    );
}

#[test]
fn a_group_follows_the_top_of_the_file_unless_it_says_otherwise() {
    let text = format!(
        "hash = \"src\"\nfailback = \"immediate\"\nobey_quota = false\nsla = {{ loss = \"2%\" }}\n{LEAST}\
         [[group]]\nname = \"as-all\"\n\
         [[group]]\nname = \"own\"\nhash = \"5-tuple\"\nsla = \"off\"\n\
         [[group]]\nname = \"default\"\nobey_quota = true\nsla = {{ loss = \"5%\" }}\n"
    );
    let config = read(&text).expect("the file is right");
    let top = config.group;
    let loss = |group: &GroupConfig| group.sla.and_then(|sla| sla.loss).map(|loss| loss.enter);
    assert_eq!((top.hash, top.obey_quota), (Some(HashPolicy::Src), false));
    assert_eq!(loss(&top), Some(Ratio::percent(2)));
    let [default, as_all, own] = &config.groups[..] else {
        panic!("three groups")
    };
    assert_eq!(as_all.config, top);
    let off = GroupConfig {
        hash: Some(HashPolicy::FiveTuple),
        sla: None,
        ..top
    };
    assert_eq!(own.config, off);
    assert_eq!(
        (default.config.hash, default.config.obey_quota),
        (Some(HashPolicy::Src), true)
    );
    assert_eq!(loss(&default.config), Some(Ratio::percent(5)));
}

#[test]
fn members_have_the_weight_and_tier_of_their_uplink_unless_told() {
    let text = format!(
        "{LEAST}weight = 7\ntier = 3\n[[uplink]]\nname = \"b\"\ndevice = \"eth1\"\n\
         [[group]]\nname = \"g\"\nmembers = {{ uplink = \"a\", tier = 1 }}\n\
         [[group]]\nname = \"h\"\nmembers = [\"b\", {{ uplink = \"a\", weight = 2 }}]\n\
         [[group]]\nname = \"i\"\n[[group.members]]\nuplink = \"b\"\nweight = 9\n"
    );
    let config = read(&text).expect("the file is right");
    let members = |group: &NamedGroup| {
        let members = group.members.iter();
        let each = members.map(|it| (it.uplink.clone(), it.weight, it.tier));
        each.collect::<Vec<_>>()
    };
    let of = |name: &str, weight, tier| (name.to_owned(), weight, tier);
    let [default, g, h, i] = &config.groups[..] else {
        panic!("four groups")
    };
    assert_eq!(members(default), [of("a", 7, 3), of("b", 1, 1)]);
    assert_eq!(members(g), [of("a", 7, 1)]);
    assert_eq!(members(h), [of("b", 1, 1), of("a", 2, 3)]);
    assert_eq!(members(i), [of("b", 9, 1)]);
}

#[test]
fn reads_every_key() {
    let config = read(FULL).expect("the file is right");
    assert_eq!(config.lan, ["lan0", "lan1"].map(LanConfig::plain));
    assert_eq!(
        config.metrics_listen,
        Some("[::1]:9751".parse().expect("an address"))
    );
    assert_eq!(config.run_dir, Path::new("/run/multihome-b"));
    assert_eq!(config.xdp_mode, XdpMode::Generic);
    assert_eq!(config.seed, Some(7));
    assert_eq!(
        config.group,
        GroupConfig {
            hash: Some(HashPolicy::Src),
            on_uplink_loss: OnUplinkLoss::Hold,
            failback: Failback::Sticky,
            failback_after: Duration::from_secs(60),
            sla: None,
            obey_quota: true,
        }
    );
    assert_eq!(
        config.inside_prefix,
        Some("fd12:3456:789a::/48".parse().expect("a prefix"))
    );
    assert!(config.detach_on_exit);
    assert!(!config.manage_routes);
    assert_eq!(
        config.probe,
        ProbeConfig {
            interval: Duration::from_millis(100),
            timeout: Some(Duration::from_millis(1500)),
            fall: 5,
            rise: 2,
            suspicion: None,
            burst: Some(Duration::from_millis(50)),
            quorum: 1,
            rate: Some(20),
        }
    );
    assert_eq!(
        config.damping,
        DampingConfig {
            hold: Duration::from_secs(10),
            max_hold: Duration::from_secs(600),
            forget: Duration::from_secs(900),
        }
    );
    assert_eq!(
        config.nat,
        NatConfig {
            flows: 1_048_576,
            filtering: Filtering::EndpointIndependent,
            unasked: Unasked::Drop,
            ports: vec![ports("1024-32767"), ports("61000-65535")],
            timeouts: NatTimeouts {
                tcp_established: Duration::from_secs(86_400),
                tcp_transitory: Duration::from_secs(300),
                tcp_unanswered: Duration::from_secs(10),
                udp: Duration::from_secs(120),
                udp_unanswered: Duration::from_secs(20),
                icmp: Duration::from_secs(30),
                other: Duration::from_secs(3600),
            },
        }
    );
    assert_eq!(
        config.uplinks,
        [
            UplinkConfig {
                capacity: None,
                quota: None,
                name: "fibre".into(),
                device: "eth1".into(),
                vlan: Framing::PLAIN,
                pppoe: None,
                weight: 5,
                tier: 1,
                gateway4: Some(Ipv4Addr::new(192, 0, 2, 1)),
                gateway6: Some("fe80::1".parse().expect("an address")),
                mode: Mode::Nat44Nptv6,
                outside: vec![Ipv4Addr::new(192, 0, 2, 5), Ipv4Addr::new(192, 0, 2, 6)],
                mss_clamp: MssClamp::At(1400),
                prefix: Some(UplinkPrefix::Fixed(
                    "2001:db8:1::/56".parse().expect("a prefix")
                )),
                quorum: Some(2),
                probe: vec![
                    "9.9.9.9".parse().expect("a target"),
                    "2620:fe::fe".parse().expect("a target"),
                    "https://example.net/health address=203.0.113.7 status=204 verify=false"
                        .parse()
                        .expect("a target"),
                    "dns://9.9.9.9/example.net?type=AAAA"
                        .parse()
                        .expect("a target"),
                ],
                bfd: Some(BfdConfig {
                    interval: Duration::from_millis(10),
                    multiplier: 5,
                    passive: true,
                    ipv4: Some(BfdPeer::Address(Ipv4Addr::new(192, 0, 2, 9))),
                    ipv6: Some(BfdPeer::NextHop),
                }),
            },
            UplinkConfig {
                capacity: Some(CapacityConfig {
                    up: Some(Rate(50_000_000)),
                    down: Some(Rate(150_000_000)),
                    spill_at: Ratio::percent(80),
                    spill_until: Ratio(666_666),
                }),
                quota: Some(QuotaConfig {
                    limit: Volume(200_000_000_000),
                    every: Every::Month(15),
                }),
                name: "lte".into(),
                device: "wwan0".into(),
                vlan: Framing::PLAIN,
                pppoe: None,
                weight: 1,
                tier: 2,
                gateway4: Some(Ipv4Addr::new(198, 51, 100, 1)),
                gateway6: None,
                mode: Mode::Nat44,
                outside: vec![Ipv4Addr::new(198, 51, 100, 2)],
                prefix: None,
                mss_clamp: MssClamp::Auto,
                quorum: None,
                probe: vec!["149.112.112.112".parse().expect("a target")],
                bfd: None,
            },
        ]
    );
    assert_eq!(
        config.forwards,
        [
            ForwardConfig {
                protocol: Protocol::Tcp,
                outside: ports("8443"),
                inside: "192.168.1.10:443".parse().expect("an address"),
                uplinks: vec![],
            },
            ForwardConfig {
                protocol: Protocol::Udp,
                outside: ports("27000-27015"),
                inside: "192.168.1.11:27000".parse().expect("an address"),
                uplinks: vec!["fibre".into(), "lte".into()],
            },
        ]
    );
    let ms = Duration::from_millis;
    let [default, voice, bulk] = &config.groups[..] else {
        panic!("three groups")
    };
    assert_eq!(default.config, config.group);
    let own = GroupConfig {
        hash: Some(HashPolicy::FiveTuple),
        on_uplink_loss: OnUplinkLoss::Reset,
        failback: Failback::Immediate,
        failback_after: Duration::from_secs(5),
        ..config.group
    };
    assert_eq!(bulk.config, own);
    let member = |uplink: &str, weight, tier| MemberConfig {
        uplink: uplink.into(),
        weight,
        tier,
    };
    assert_eq!(voice.members, [member("fibre", 5, 1)]);
    assert_eq!(bulk.members, [member("lte", 3, 1), member("fibre", 5, 2)]);
    let times = |enter, leave| {
        let (enter, leave) = (ms(enter), ms(leave));
        Some(Limit { enter, leave })
    };
    let sla = SlaConfig {
        loss: Some(Limit {
            enter: Ratio::percent(2),
            leave: Ratio::percent(1),
        }),
        latency: times(150, 100),
        jitter: times(30, 24),
        sick_after: Duration::ZERO,
        well_after: Duration::from_secs(30),
    };
    let own = GroupConfig {
        sla: Some(sla),
        obey_quota: false,
        ..config.group
    };
    assert_eq!(voice.config, own);
    assert_eq!(config.state_dir, Path::new("/var/lib/multihome-b"));
    assert_eq!(config.quality.window, Duration::from_secs(30));
    assert_eq!(config.device_origin("wwan0").to_string(), "gw.toml:76:10");
    assert_eq!(config.device_origin("lan1").to_string(), "gw.toml:2:16");
}

#[test]
fn fills_in_the_defaults() {
    let config = read(LEAST).expect("the file is right");
    assert_eq!(config.metrics_listen, Some(([127, 0, 0, 1], 9750).into()));
    assert_eq!(config.run_dir, Path::new("/run/multihome"));
    assert_eq!(config.state_dir, Path::new("/var/lib/multihome"));
    assert_eq!(config.quality, QualityConfig::default());
    assert_eq!(config.xdp_mode, XdpMode::Native);
    assert_eq!((config.seed, config.detach_on_exit), (None, false));
    assert!(config.manage_routes);
    assert_eq!(config.probe, ProbeConfig::default());
    // Whoever gives an interval is not slowed down.
    for (given, rate) in [
        ("interval = \"100ms\"", None),
        ("interval = \"100ms\"\nrate = 5", Some(5)),
        ("rate = \"off\"", None),
        ("fall = 2", Some(5)),
    ] {
        let config = read(&format!("{LEAST}[probe]\n{given}\n")).expect("the file is right");
        assert_eq!(config.probe.rate, rate, "{given}");
    }
    assert_eq!(config.group, GroupConfig::default());
    assert_eq!(config.nat, NatConfig::default());
    assert_eq!(config.forwards, []);
    let some = read(&format!("{LEAST}[nat.timeout]\nudp = \"3m\"\n")).expect("the file is right");
    let timeouts = NatTimeouts {
        udp: Duration::from_secs(180),
        ..NatTimeouts::default()
    };
    assert_eq!(
        some.nat,
        NatConfig {
            timeouts,
            ..NatConfig::default()
        }
    );
    let uplink = &config.uplinks[0];
    assert_eq!((uplink.weight, uplink.tier), (1, 1));
    assert_eq!((uplink.mode, uplink.prefix), (Mode::Auto, None));
    assert_eq!((config.inside_prefix, uplink.outside.len()), (None, 0));
}

#[test]
fn flags_stand_over_the_file() {
    let file = file::parse(Path::new("gw.toml"), FULL).expect("the file is right");
    let flags = Flags {
        lan: vec![port("br0")],
        uplinks: vec![
            uplink(
                "fibre,weight=9,quorum=1,probe=1.1.1.1,prefix=2001:db8:2::/48,outside=192.0.2.7",
            ),
            uplink("lte=wwan1,tier=3,mode=auto"),
            uplink("dsl=ppp0"),
        ],
        probe_interval: Some("1s".parse().expect("a duration")),
        failback: Some(Failback::Immediate),
        failback_after: Some("0s".parse().expect("a duration")),
        fall: Some("4".parse().expect("a number")),
        probe_quorum: Some("1".parse().expect("a number")),
        probe_rate: Some("off".parse().expect("off is allowed")),
        metrics_listen: Some("off".parse().expect("off is allowed")),
        ..Flags::default()
    };
    let config = merge::merge(file, flags.into()).expect("they fit together");
    assert_eq!(config.lan, [LanConfig::plain("br0")]);
    assert_eq!(
        config.group,
        GroupConfig {
            hash: Some(HashPolicy::Src),
            on_uplink_loss: OnUplinkLoss::Hold,
            failback: Failback::Immediate,
            failback_after: Duration::ZERO,
            ..GroupConfig::default()
        }
    );
    assert_eq!(config.metrics_listen, None);
    let names: Vec<_> = config
        .uplinks
        .iter()
        .map(|uplink| uplink.name.as_str())
        .collect();
    assert_eq!(names, ["fibre", "lte", "dsl"]);
    let [fibre, lte, dsl] = &config.uplinks[..] else {
        panic!("there are three uplinks")
    };
    // Keys that are given are replaced, the others stay.
    assert_eq!((fibre.weight, fibre.device.as_str()), (9, "eth1"));
    assert_eq!(fibre.gateway4, Some(Ipv4Addr::new(192, 0, 2, 1)));
    assert_eq!(fibre.probe, [Target::ping(IpAddr::from([1, 1, 1, 1]))]);
    assert_eq!(fibre.mode, Mode::Nat44Nptv6);
    assert_eq!(
        fibre.prefix,
        Some("2001:db8:2::/48".parse().expect("a prefix"))
    );
    assert_eq!(fibre.outside, [Ipv4Addr::new(192, 0, 2, 7)]);
    assert_eq!(lte.mode, Mode::Auto);
    assert_eq!(lte.outside, [Ipv4Addr::new(198, 51, 100, 2)]);
    assert_eq!((lte.tier, lte.device.as_str()), (3, "wwan1"));
    assert_eq!((dsl.weight, dsl.device.as_str()), (1, "ppp0"));
    assert_eq!(config.probe.interval, Duration::from_secs(1));
    assert_eq!((config.probe.fall, config.probe.rise), (4, 2));
    assert_eq!((config.probe.quorum, config.probe.rate), (1, None));
    assert_eq!(fibre.quorum, Some(1));
    assert_eq!(
        config.device_origin("wwan1").to_string(),
        "--uplink lte=wwan1,tier=3,mode=auto"
    );
}

#[test]
fn forwards_without_a_port_on_an_uplink_in_common_are_apart() {
    let text = "
        lan = \"lan0\"
        uplink = [
            { name = \"a\", device = \"eth0\" },
            { name = \"b\", device = \"eth1\", mode = \"nat44\" },
            { name = \"c\", device = \"eth2\", mode = \"routed\" },
        ]
        forward = [
            { protocol = \"tcp\", outside = \"80-81\", inside = \"10.0.0.1:80\", uplinks = \"a\" },
            { protocol = \"udp\", outside = \"80-81\", inside = \"10.0.0.1:80\", uplinks = \"a\" },
            { protocol = \"tcp\", outside = \"80-81\", inside = \"10.0.0.2:80\", uplinks = \"b\" },
            { protocol = \"tcp\", outside = 82, inside = \"10.0.0.1:65535\" },
        ]
    ";
    let config = read(text).expect("nothing overlaps");
    let on = |forward: &ForwardConfig| {
        let names = config.uplinks.iter().filter(|uplink| forward.is_on(uplink));
        names.map(|uplink| uplink.name.as_str()).collect::<String>()
    };
    let all: Vec<_> = config.forwards.iter().map(on).collect();
    assert_eq!(all, ["a", "a", "b", "ab"]);
}

#[test]
fn a_relative_run_directory_is_made_absolute() {
    let flags = Flags {
        run_dir: Some("state".into()),
        ..Flags::default()
    };
    let file = file::parse(Path::new("gw.toml"), LEAST).expect("the file is right");
    let config = merge::merge(file, flags.into()).expect("they fit together");
    assert!(config.run_dir.is_absolute() && config.run_dir.ends_with("state"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Some(Path::new("/nonexistent/gw.toml")), Flags::default())
        .expect_err("there is no such file");
    assert_eq!(
        exit::message(&error),
        "error: cannot read the configuration file /nonexistent/gw.toml: No such file or \
         directory (os error 2)"
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("large.toml");
    std::fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).expect("room for a file");
    let error = Config::load(Some(&path), Flags::default()).expect_err("the file is too large");
    assert!(
        error.to_string().ends_with("is larger than 1048576 bytes"),
        "{error}"
    );
}
