//! Whole configurations: what is accepted, what is refused and in which words, and that printing
//! and reading agree.

use std::{ffi::OsStr, net::IpAddr, os::unix::ffi::OsStrExt as _, path::Path};

use proptest::prelude::*;

use super::*;
use crate::exit::{self, Classify as _};

/// A file that uses every key.
const FULL: &str = r#"
lan = ["lan0", "lan1"]
metrics_listen = "[::1]:9751"
run_dir = "/run/multihome-b"
xdp_mode = "generic"
seed = 7
detach_on_exit = true

[probe]
interval = "100ms"
timeout = "1.5s"
fall = 5
rise = 2

[[uplink]]
name = "fibre"
device = "eth1"
weight = 5
tier = 1
gateway = ["192.0.2.1", "fe80::1"]
mode = "routed"
probe = ["9.9.9.9", "2620:fe::fe"]

[[uplink]]
name = "lte"
device = "wwan0"
tier = 2
gateway = "198.51.100.1"
probe = "149.112.112.112"
"#;

/// The least that is a configuration.
const LEAST: &str = "lan = \"lan0\"\n[[uplink]]\nname = \"a\"\ndevice = \"eth0\"\n";

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::from_toml(Path::new("gw.toml"), text)
}

fn uplink(text: &str) -> UplinkArg {
    text.parse().expect("a valid --uplink")
}

fn device(text: &str) -> Device {
    text.parse().expect("a valid device")
}

#[test]
fn reads_every_key() {
    let config = read(FULL).expect("the file is right");
    assert_eq!(config.lan, ["lan0", "lan1"]);
    assert_eq!(
        config.metrics_listen,
        Some("[::1]:9751".parse().expect("an address"))
    );
    assert_eq!(config.run_dir, Path::new("/run/multihome-b"));
    assert_eq!(config.xdp_mode, XdpMode::Generic);
    assert_eq!(config.seed, Some(7));
    assert!(config.detach_on_exit);
    assert_eq!(
        config.probe,
        ProbeConfig {
            interval: Duration::from_millis(100),
            timeout: Some(Duration::from_millis(1500)),
            fall: 5,
            rise: 2,
        }
    );
    assert_eq!(
        config.uplinks,
        [
            UplinkConfig {
                name: "fibre".into(),
                device: "eth1".into(),
                weight: 5,
                tier: 1,
                gateway4: Some(Ipv4Addr::new(192, 0, 2, 1)),
                gateway6: Some("fe80::1".parse().expect("an address")),
                mode: Mode::Routed,
                probe: vec![
                    "9.9.9.9".parse().expect("an address"),
                    "2620:fe::fe".parse().expect("an address"),
                ],
            },
            UplinkConfig {
                name: "lte".into(),
                device: "wwan0".into(),
                weight: 1,
                tier: 2,
                gateway4: Some(Ipv4Addr::new(198, 51, 100, 1)),
                gateway6: None,
                mode: Mode::Routed,
                probe: vec!["149.112.112.112".parse().expect("an address")],
            },
        ]
    );
    assert_eq!(config.device_origin("wwan0").to_string(), "gw.toml:26:10");
    assert_eq!(config.device_origin("lan1").to_string(), "gw.toml:2:16");
}

#[test]
fn fills_in_the_defaults() {
    let config = read(LEAST).expect("the file is right");
    assert_eq!(config.metrics_listen, Some(([127, 0, 0, 1], 9750).into()));
    assert_eq!(config.run_dir, Path::new("/run/multihome"));
    assert_eq!(config.xdp_mode, XdpMode::Native);
    assert_eq!((config.seed, config.detach_on_exit), (None, false));
    assert_eq!(config.probe, ProbeConfig::default());
    assert_eq!((config.uplinks[0].weight, config.uplinks[0].tier), (1, 1));
}

#[test]
fn flags_stand_over_the_file() {
    let file = file::parse(Path::new("gw.toml"), FULL).expect("the file is right");
    let flags = Flags {
        lan: vec![device("br0")],
        uplinks: vec![
            uplink("fibre,weight=9,probe=1.1.1.1"),
            uplink("lte=wwan1,tier=3"),
            uplink("dsl=ppp0"),
        ],
        probe_interval: Some("1s".parse().expect("a duration")),
        fall: Some("4".parse().expect("a number")),
        metrics_listen: Some("off".parse().expect("off is allowed")),
        ..Flags::default()
    };
    let config = merge::merge(file, flags.into()).expect("they fit together");
    assert_eq!(config.lan, ["br0"]);
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
    assert_eq!(fibre.probe, [IpAddr::from([1, 1, 1, 1])]);
    assert_eq!((lte.tier, lte.device.as_str()), (3, "wwan1"));
    assert_eq!((dsl.weight, dsl.device.as_str()), (1, "ppp0"));
    assert_eq!(config.probe.interval, Duration::from_secs(1));
    assert_eq!((config.probe.fall, config.probe.rise), (4, 2));
    assert_eq!(
        config.device_origin("wwan1").to_string(),
        "--uplink lte=wwan1,tier=3"
    );
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

/// Every mistake in a file, each with the message that a person reads.
#[test]
fn mistakes_in_the_file_are_explained() {
    let many = |count: usize, each: &dyn Fn(usize) -> String| -> String {
        (0..count).map(each).collect::<Vec<_>>().join("\n")
    };
    let targets = many(9, &|n| format!("\"192.0.2.{n}\",")).replace("192.0.2.0", "192.0.2.9");
    let cases = [
        ("empty file", String::new()),
        ("not TOML", "lan = [\"lan0\"\nmetrics".into()),
        ("key twice", "lan = \"a\"\nlan = \"b\"\n".into()),
        ("unknown key", format!("metric_listen = \"off\"\n{LEAST}")),
        ("unknown key of an uplink", format!("{LEAST}wieght = 3\n")),
        (
            "unknown key of probe",
            format!("{LEAST}[probe]\nintervall = \"1s\"\n"),
        ),
        ("unknown key, nothing near", format!("{LEAST}zzz = 3\n")),
        (
            "unknown table",
            format!("{LEAST}[[uplinks]]\nname = \"b\"\n"),
        ),
        ("unknown quoted key", format!("{LEAST}\"we ight\" = 3\n")),
        ("no lan", LEAST.replace("lan = \"lan0\"\n", "")),
        ("no uplink", "lan = \"lan0\"\n".into()),
        (
            "uplink is no table",
            "lan = \"lan0\"\nuplink = \"eth0\"\n".into(),
        ),
        (
            "uplink in single brackets",
            LEAST.replace("[[uplink]]", "[uplink]"),
        ),
        (
            "no name",
            "lan = \"lan0\"\n[[uplink]]\ndevice = \"eth0\"\n".into(),
        ),
        (
            "no device",
            "lan = \"lan0\"\n[[uplink]]\nname = \"a\"\n".into(),
        ),
        ("name with space", LEAST.replace("\"a\"", "\"a b\"")),
        ("device with slash", LEAST.replace("\"eth0\"", "\"../x\"")),
        ("lan of a wrong type", LEAST.replace("\"lan0\"", "5")),
        (
            "lan with a wrong element",
            LEAST.replace("\"lan0\"", "[\"lan0\", 5]"),
        ),
        (
            "lan with a bad device",
            LEAST.replace("\"lan0\"", "[\"lan0\", \"a b\"]"),
        ),
        (
            "lan twice",
            LEAST.replace("\"lan0\"", "[\"lan0\", \"lan0\"]"),
        ),
        (
            "name twice",
            format!("{LEAST}[[uplink]]\nname = \"a\"\ndevice = \"eth1\"\n"),
        ),
        (
            "device twice",
            format!("{LEAST}[[uplink]]\nname = \"b\"\ndevice = \"eth0\"\n"),
        ),
        ("device in lan too", LEAST.replace("\"eth0\"", "\"lan0\"")),
        ("weight 0", format!("{LEAST}weight = 0\n")),
        ("weight negative", format!("{LEAST}weight = -1\n")),
        ("weight too large", format!("{LEAST}weight = 1000001\n")),
        ("weight in quotes", format!("{LEAST}weight = \"5\"\n")),
        ("weight with fraction", format!("{LEAST}weight = 1.5\n")),
        ("tier 17", format!("{LEAST}tier = 17\n")),
        (
            "gateway is no address",
            format!("{LEAST}gateway = \"gw.example\"\n"),
        ),
        (
            "gateway multicast",
            format!("{LEAST}gateway = \"224.0.0.1\"\n"),
        ),
        (
            "two gateways",
            format!("{LEAST}gateway = [\"192.0.2.1\", \"192.0.2.2\"]\n"),
        ),
        (
            "one bad gateway",
            format!("{LEAST}gateway = [\"192.0.2.1\", \"::1\"]\n"),
        ),
        ("mode nat44", format!("{LEAST}mode = \"nat44\"\n")),
        ("mode auto", format!("{LEAST}mode = \"auto\"\n")),
        ("mode unknown", format!("{LEAST}mode = \"route\"\n")),
        ("probe link-local", format!("{LEAST}probe = \"fe80::1\"\n")),
        (
            "probe twice",
            format!("{LEAST}probe = [\"9.9.9.9\", \"9.9.9.9\"]\n"),
        ),
        ("nine probes", format!("{LEAST}probe = [\n{targets}]\n")),
        (
            "interval without unit",
            format!("{LEAST}[probe]\ninterval = 500\n"),
        ),
        (
            "interval as text without unit",
            format!("{LEAST}[probe]\ninterval = \"500\"\n"),
        ),
        (
            "interval too short",
            format!("{LEAST}[probe]\ninterval = \"9ms\"\n"),
        ),
        (
            "timeout too long",
            format!("{LEAST}[probe]\ntimeout = \"2m\"\n"),
        ),
        ("fall 0", format!("{LEAST}[probe]\nfall = 0\n")),
        (
            "metrics without port",
            format!("metrics_listen = \"127.0.0.1\"\n{LEAST}"),
        ),
        ("xdp mode", format!("xdp_mode = \"offload\"\n{LEAST}")),
        ("seed negative", format!("seed = -1\n{LEAST}")),
        (
            "detach_on_exit",
            format!("detach_on_exit = \"yes\"\n{LEAST}"),
        ),
        ("run_dir empty", format!("run_dir = \"\"\n{LEAST}")),
        (
            "run_dir too long",
            format!("run_dir = \"/{}\"\n{LEAST}", "x".repeat(90)),
        ),
        (
            "65 uplinks",
            format!(
                "lan = \"lan0\"\n{}",
                many(65, &|n| format!(
                    "[[uplink]]\nname = \"u{n}\"\ndevice = \"eth{n}\""
                ))
            ),
        ),
        (
            "65 lan devices",
            LEAST.replace(
                "\"lan0\"",
                &format!("[{}]", many(65, &|n| format!("\"lan{n}\","))),
            ),
        ),
    ];
    let mut told = String::new();
    for (what, text) in cases {
        let error = read(&text).expect_err(what);
        assert_eq!(error.exit_class(), exit::ExitClass::Input);
        told.push_str(&format!("{what}\n  {}\n", exit::message(&error)));
    }
    insta::assert_snapshot!(told);
}

#[test]
fn mistakes_in_flags_are_explained() {
    let cases = [
        ("nothing", Flags::default()),
        (
            "no uplink",
            Flags {
                lan: vec![device("lan0")],
                ..Flags::default()
            },
        ),
        (
            "uplink twice",
            Flags {
                lan: vec![device("lan0")],
                uplinks: vec![uplink("a=eth0"), uplink("a=eth1")],
                ..Flags::default()
            },
        ),
        (
            "device twice",
            Flags {
                lan: vec![device("lan0")],
                uplinks: vec![uplink("a=eth0"), uplink("b=eth0,weight=2")],
                ..Flags::default()
            },
        ),
        (
            "device in lan too",
            Flags {
                lan: vec![device("eth0")],
                uplinks: vec![uplink("a=eth0")],
                ..Flags::default()
            },
        ),
        (
            "run directory that is no text",
            Flags {
                lan: vec![device("lan0")],
                uplinks: vec![uplink("a=eth0")],
                run_dir: Some(OsStr::from_bytes(b"/run/\xff").into()),
                ..Flags::default()
            },
        ),
        (
            "no device",
            Flags {
                lan: vec![device("lan0")],
                uplinks: vec![uplink("a,weight=2")],
                ..Flags::default()
            },
        ),
    ];
    let mut told = String::new();
    for (what, flags) in cases {
        let error = Config::load(None, flags).expect_err(what);
        told.push_str(&format!("{what}\n  {}\n", exit::message(&error)));
    }
    insta::assert_snapshot!(told);
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

fn any_config() -> impl Strategy<Value = Config> {
    let probe = (
        10_000_000..=60_000_000_000_u64,
        any::<Option<u16>>(),
        1..=100_u32,
        1..=100_u32,
    )
        .prop_map(|(interval, timeout, fall, rise)| ProbeConfig {
            interval: Duration::from_nanos(interval),
            timeout: timeout.map(|ms| Duration::from_millis(10 + u64::from(ms) % 59_990)),
            fall,
            rise,
        });
    let uplink = (
        "[A-Za-z0-9_.-]{1,28}",
        1..=1_000_000_u32,
        1..=16_u8,
        proptest::option::of((1..=223_u8).prop_filter("loopback", |first| *first != 127)),
        any::<Option<[u8; 8]>>(),
        proptest::collection::btree_set(1..=100_u8, 0..=MAX_PROBES),
    )
        .prop_map(
            |(name, weight, tier, gateway4, gateway6, probes)| UplinkConfig {
                name,
                device: String::new(),
                weight,
                tier,
                gateway4: gateway4.map(|first| Ipv4Addr::new(first, 0, 2, 1)),
                gateway6: gateway6.map(|host| {
                    let mut address = [0; 16];
                    address[..2].copy_from_slice(&[0x20, 0x01]);
                    address[8..].copy_from_slice(&host);
                    address.into()
                }),
                mode: Mode::Routed,
                probe: probes
                    .into_iter()
                    .map(|last| IpAddr::from([9, 9, 9, last]))
                    .collect(),
            },
        );
    (
        proptest::collection::vec(uplink, 1..8),
        1..5_usize,
        probe,
        any::<Option<SocketAddr>>(),
        "/[a-z \"'\\\\é#]{1,20}",
        any::<(bool, bool, Option<u64>)>(),
    )
        .prop_map(
            |(mut uplinks, lan, probe, metrics_listen, run_dir, (generic, detach, seed))| {
                for (at, uplink) in uplinks.iter_mut().enumerate() {
                    uplink.name.push_str(&format!("-{at}"));
                    uplink.device = format!("eth{at}");
                }
                Config {
                    lan: (0..lan).map(|at| format!("lan{at}")).collect(),
                    uplinks,
                    probe,
                    // A flow label or a scope has no place in the text form.
                    metrics_listen: metrics_listen.map(|a| SocketAddr::new(a.ip(), a.port())),
                    run_dir: run_dir.into(),
                    xdp_mode: if generic {
                        XdpMode::Generic
                    } else {
                        XdpMode::Native
                    },
                    seed,
                    detach_on_exit: detach,
                    origins: BTreeMap::new(),
                }
            },
        )
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(config in any_config()) {
        let text = config.to_toml();
        let mut again = read(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        again.origins.clear();
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
