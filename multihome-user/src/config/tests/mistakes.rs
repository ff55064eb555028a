//! What is refused, and in which words.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use super::*;
use crate::exit::Classify as _;

mod groups;
mod hooks;
mod probes;
mod quality;
mod rules;
mod translation;

/// Every mistake in a file, each with the message that a person reads.
#[test]
fn mistakes_in_the_file_are_explained() {
    let targets = many(9, &|n| format!("\"192.0.2.{}\",", n + 1));
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
        ("mss too small", format!("{LEAST}mss_clamp = 500\n")),
        ("mss of a word", format!("{LEAST}mss_clamp = \"on\"\n")),
        ("mss in quotes", format!("{LEAST}mss_clamp = \"1400\"\n")),
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
            "suspicion too short",
            format!("{LEAST}[probe]\nsuspicion = \"10ms\"\n"),
        ),
        (
            "burst neither time nor off",
            format!("{LEAST}[probe]\nburst = \"never\"\n"),
        ),
        (
            "metrics without port",
            format!("metrics_listen = \"127.0.0.1\"\n{LEAST}"),
        ),
        ("xdp mode", format!("xdp_mode = \"offload\"\n{LEAST}")),
        ("hash", format!("hash = \"dst\"\n{LEAST}")),
        (
            "on_uplink_loss",
            format!("on_uplink_loss = \"reject\"\n{LEAST}"),
        ),
        ("failback", format!("failback = true\n{LEAST}")),
        ("failback unknown", format!("failback = \"stick\"\n{LEAST}")),
        (
            "failback_after too long",
            format!("failback_after = \"2h\"\n{LEAST}"),
        ),
        ("seed negative", format!("seed = -1\n{LEAST}")),
        (
            "detach_on_exit",
            format!("detach_on_exit = \"yes\"\n{LEAST}"),
        ),
        (
            "manage_routes",
            format!("manage_routes = \"main\"\n{LEAST}"),
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
    insta::assert_snapshot!(explained(&cases));
}

/// What is said of each file.
fn explained(cases: &[(&str, String)]) -> String {
    let mut told = String::new();
    for (what, text) in cases {
        let error = read(text).expect_err(what);
        assert_eq!(error.exit_class(), exit::ExitClass::Input);
        told.push_str(&format!("{what}\n  {}\n", exit::message(&error)));
    }
    told
}

/// So many lines.
fn many(count: usize, each: &dyn Fn(usize) -> String) -> String {
    (0..count).map(each).collect::<Vec<_>>().join("\n")
}

#[test]
fn mistakes_in_flags_are_explained() {
    let cases = [
        ("nothing", Flags::default()),
        (
            "no uplink",
            Flags {
                lan: vec![port("lan0")],
                ..Flags::default()
            },
        ),
        (
            "uplink twice",
            Flags {
                lan: vec![port("lan0")],
                uplinks: vec![uplink("a=eth0"), uplink("a=eth1")],
                ..Flags::default()
            },
        ),
        (
            "device twice",
            Flags {
                lan: vec![port("lan0")],
                uplinks: vec![uplink("a=eth0"), uplink("b=eth0,weight=2")],
                ..Flags::default()
            },
        ),
        (
            "prefix without the LAN's",
            Flags {
                lan: vec![port("lan0")],
                uplinks: vec![uplink("a=eth0,mode=nptv6,prefix=2001:db8:1::/48")],
                ..Flags::default()
            },
        ),
        (
            "modes that exclude each other",
            Flags {
                lan: vec![port("lan0")],
                uplinks: vec![uplink("a=eth0,mode=routed,mode=nptv6")],
                ..Flags::default()
            },
        ),
        (
            "device in lan too",
            Flags {
                lan: vec![port("eth0")],
                uplinks: vec![uplink("a=eth0")],
                ..Flags::default()
            },
        ),
        (
            "run directory that is no text",
            Flags {
                lan: vec![port("lan0")],
                uplinks: vec![uplink("a=eth0")],
                run_dir: Some(OsStr::from_bytes(b"/run/\xff").into()),
                ..Flags::default()
            },
        ),
        (
            "no device",
            Flags {
                lan: vec![port("lan0")],
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
