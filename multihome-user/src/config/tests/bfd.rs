//! BFD of an uplink: its forms, how flags and file go together, and what is refused.

use super::*;
use crate::exit::Classify as _;

fn bfd(value: &str) -> Result<Option<BfdConfig>, ConfigError> {
    let config = read(&format!("{LEAST}bfd = {value}\n"))?;
    Ok(config.uplinks[0].bfd)
}

const BOTH: BfdConfig = BfdConfig {
    interval: Duration::from_millis(300),
    multiplier: 3,
    passive: false,
    ipv4: Some(BfdPeer::NextHop),
    ipv6: Some(BfdPeer::NextHop),
};

#[test]
fn bfd_is_off_unless_asked_for_and_has_the_usual_intervals() {
    let config = read(LEAST).expect("the least");
    assert_eq!(config.uplinks[0].bfd, None);
    assert_eq!(bfd("false").expect("right"), None);
    assert_eq!(bfd("true").expect("right"), Some(BOTH));
    assert_eq!(bfd("{}").expect("right"), Some(BOTH));
}

#[test]
fn families_are_all_or_those_that_are_named_or_those_of_the_peers() {
    let v4 = Some(BfdPeer::Address(Ipv4Addr::new(192, 0, 2, 9)));
    let v6 = Some(BfdPeer::Address("fe80::9".parse().expect("an address")));
    for (value, ipv4, ipv6) in [
        (r#"{ families = "ipv4" }"#, BOTH.ipv4, None),
        (r#"{ families = ["ipv6"] }"#, None, BOTH.ipv6),
        (r#"{ peer = "192.0.2.9" }"#, v4, None),
        (r#"{ peer = "fe80::9" }"#, None, v6),
        (r#"{ peer = ["192.0.2.9", "fe80::9"] }"#, v4, v6),
        (
            r#"{ peer = "192.0.2.9", families = ["ipv4", "ipv6"] }"#,
            v4,
            BOTH.ipv6,
        ),
    ] {
        let expected = BfdConfig { ipv4, ipv6, ..BOTH };
        assert_eq!(bfd(value).expect(value), Some(expected), "{value}");
    }
}

#[test]
fn a_flag_changes_what_it_says_and_turns_bfd_off() {
    let file = format!("{LEAST}bfd = {{ multiplier = 7, passive = true, families = \"ipv4\" }}\n");
    for (flag, interval, multiplier) in [
        ("a,weight=2", 300, 7),
        ("a,bfd=true", 300, 7),
        ("a,bfd=20ms", 20, 7),
        ("a,bfd=20msx4", 20, 4),
    ] {
        let below = file::parse(Path::new("gw.toml"), &file).expect("right");
        let flags = Flags {
            uplinks: vec![uplink(flag)],
            ..Flags::default()
        };
        let config = merge::merge(below, flags.into()).expect(flag);
        let expected = BfdConfig {
            interval: Duration::from_millis(interval),
            multiplier,
            passive: true,
            ipv6: None,
            ..BOTH
        };
        assert_eq!(config.uplinks[0].bfd, Some(expected), "{flag}");
    }
    let below = file::parse(Path::new("gw.toml"), &file).expect("right");
    let flags = Flags {
        uplinks: vec![uplink("a,bfd=false")],
        ..Flags::default()
    };
    let config = merge::merge(below, flags.into()).expect("right");
    assert_eq!(config.uplinks[0].bfd, None);
}

#[test]
fn mistakes_in_bfd_are_explained() {
    for (value, message) in [
        (
            "3",
            "gw.toml:5:7: invalid type: integer `3`, expected true, false or a table such as { \
             interval = \"300ms\", multiplier = 3 }",
        ),
        (
            r#"{ interval = "9ms" }"#,
            "gw.toml:5:20: the BFD interval is 9ms; it must be from 10ms to 1m",
        ),
        (
            "{ multiplier = 0 }",
            "gw.toml:5:22: the BFD multiplier is \"0\"; it must be a whole number from 1 to 255",
        ),
        (
            "{ detect_mult = 3 }",
            "gw.toml:5:9: unknown key \"detect_mult\"; the keys here are interval, multiplier, \
             passive, peer, families",
        ),
        (
            r#"{ families = ["ipv5"] }"#,
            "gw.toml:5:21: the address family is \"ipv5\"; it must be one of: ipv4, ipv6 (did you \
             mean \"ipv6\"?)",
        ),
        (
            r#"{ peer = "0.0.0.0" }"#,
            "gw.toml:5:16: 0.0.0.0 cannot be a BFD peer: it is the unspecified address",
        ),
        (
            r#"{ peer = ["192.0.2.1", "192.0.2.2"] }"#,
            "gw.toml:5:30: BFD of uplink \"a\": 192.0.2.1 and 192.0.2.2 are of one family; one peer \
             of each family is possible",
        ),
        (
            r#"{ peer = "192.0.2.1", families = "ipv6" }"#,
            "gw.toml:5:16: BFD of uplink \"a\": the family of the peer 192.0.2.1 is not among its \
             families",
        ),
    ] {
        let error = bfd(value).expect_err(value);
        assert_eq!(error.exit_class(), exit::ExitClass::Input);
        assert_eq!(error.to_string(), message, "{value}");
    }
}

#[test]
fn the_port_of_bfd_is_not_forwarded_on_an_uplink_that_speaks_it() {
    let forward = |protocol: &str, ports: &str| {
        format!(
            "[[forward]]\nprotocol = \"{protocol}\"\noutside = \"{ports}\"\ninside = \
             \"192.168.1.1:5000\"\n"
        )
    };
    let with = |bfd: &str, forward: String| read(&format!("{LEAST}bfd = {bfd}\n{forward}"));
    let error = with("true", forward("udp", "3700-3800")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "gw.toml:8:11: UDP ports 3700-3800 include 3784, which BFD of uplink \"a\" needs"
    );
    for (bfd, protocol, ports) in [
        ("true", "tcp", "3784"),
        ("true", "udp", "3785"),
        ("false", "udp", "3784"),
        ("{ families = \"ipv6\" }", "udp", "3784"),
    ] {
        with(bfd, forward(protocol, ports)).expect(bfd);
    }
}
