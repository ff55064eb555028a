//! What is refused of modes, addresses, ports and forwards.

use super::*;

#[test]
fn mistakes_in_modes_and_addresses_are_explained() {
    let targets = many(9, &|n| format!("\"192.0.2.{}\",", n + 1));
    let cases = [
        (
            "mode nptv6 without prefix",
            format!("{LEAST}mode = \"nptv6\"\n"),
        ),
        (
            "modes that exclude each other",
            format!("{LEAST}mode = [\"nat44\", \"routed\"]\n"),
        ),
        (
            "mode twice",
            format!("{LEAST}mode = [\"nat44\", \"nat44\"]\n"),
        ),
        (
            "three modes",
            format!("{LEAST}mode = [\"nat44\", \"nptv6\", \"auto\"]\n"),
        ),
        (
            "prefix without the LAN's",
            format!("{LEAST}mode = [\"nat44\", \"nptv6\"]\nprefix = \"2001:db8:1::/48\"\n"),
        ),
        (
            "prefix that is no prefix",
            format!("{LEAST}prefix = \"delgated\"\n"),
        ),
        (
            "delegated prefix without the LAN's",
            format!("{LEAST}mode = \"nptv6\"\nprefix = \"delegated\"\n"),
        ),
        (
            "prefix with host bits",
            format!("{LEAST}prefix = \"2001:db8:1::1/48\"\n"),
        ),
        (
            "prefix too long",
            format!("{LEAST}prefix = \"2001:db8:1::/72\"\n"),
        ),
        (
            "inside prefix without length",
            format!("inside_prefix = \"fd12:3456:789a::\"\n{LEAST}"),
        ),
        (
            "prefix within the LAN's",
            format!(
                "inside_prefix = \"fd12:3456:789a::/48\"\n{LEAST}prefix = \"fd12:3456:789a:1::/64\"\n"
            ),
        ),
        (
            "prefix around another uplink's",
            format!(
                "inside_prefix = \"fd12:3456:789a::/48\"\n{LEAST}prefix = \"2001:db8:1:8::/61\"\n\
                 [[uplink]]\nname = \"b\"\ndevice = \"eth1\"\nprefix = \"2001:db8:1::/48\"\n"
            ),
        ),
        (
            "outside IPv6",
            format!("{LEAST}outside = \"2001:db8::1\"\n"),
        ),
        (
            "outside multicast",
            format!("{LEAST}outside = [\"192.0.2.1\", \"224.0.0.1\"]\n"),
        ),
        (
            "outside of two uplinks",
            format!(
                "{LEAST}outside = \"192.0.2.1\"\n[[uplink]]\nname = \"b\"\ndevice = \"eth1\"\n\
                 outside = \"192.0.2.1\"\n"
            ),
        ),
        (
            "nine outside addresses",
            format!("{LEAST}outside = [\n{targets}]\n"),
        ),
    ];
    insta::assert_snapshot!(explained(&cases));
}

#[test]
fn mistakes_in_nat_and_forwards_are_explained() {
    let forward = |protocol: &str, outside: &str, inside: &str| {
        format!(
            "[[forward]]\nprotocol = \"{protocol}\"\noutside = {outside}\ninside = \"{inside}\"\n"
        )
    };
    let web = forward("tcp", "8080", "192.168.1.10:80");
    let cases = [
        ("unknown key of nat", format!("{LEAST}[nat]\nflow = 5\n")),
        (
            "unknown key of nat.timeout",
            format!("{LEAST}[nat.timeout]\ntcp = \"5m\"\n"),
        ),
        ("too few flows", format!("{LEAST}[nat]\nflows = 1023\n")),
        (
            "too many flows",
            format!("{LEAST}[nat]\nflows = 16777217\n"),
        ),
        (
            "filtering",
            format!("{LEAST}[nat]\nfiltering = \"address-dependent\"\n"),
        ),
        ("unasked", format!("{LEAST}[nat]\nunasked = \"reject\"\n")),
        ("ports", format!("{LEAST}[nat]\nports = [\"0-80\"]\n")),
        (
            "ports turned",
            format!("{LEAST}[nat]\nports = [\"1024-2047\", \"5000-4000\"]\n"),
        ),
        (
            "ports overlap",
            format!("{LEAST}[nat]\nports = [\"1024-2047\", \"2047-4000\"]\n"),
        ),
        (
            "three ranges of ports",
            format!("{LEAST}[nat]\nports = [\"1024-2047\", \"3000-4000\", \"5000\"]\n"),
        ),
        (
            "tcp_established too short",
            format!("{LEAST}[nat.timeout]\ntcp_established = \"59s\"\n"),
        ),
        (
            "udp too long",
            format!("{LEAST}[nat.timeout]\nudp = \"2d\"\n"),
        ),
        (
            "icmp without unit",
            format!("{LEAST}[nat.timeout]\nicmp = 60\n"),
        ),
        (
            "forward in single brackets",
            format!("{LEAST}{}", web.replace("[[forward]]", "[forward]")),
        ),
        (
            "unknown key of a forward",
            format!("{LEAST}{web}outsde = 5\n"),
        ),
        (
            "forward without inside",
            format!("{LEAST}[[forward]]\nprotocol = \"tcp\"\noutside = 8080\n"),
        ),
        (
            "forward of a wrong protocol",
            format!("{LEAST}{}", forward("sctp", "8080", "192.168.1.10:80")),
        ),
        (
            "forward of port 0",
            format!("{LEAST}{}", forward("tcp", "0", "192.168.1.10:80")),
        ),
        (
            "forward of a negative port",
            format!("{LEAST}{}", forward("tcp", "-5", "192.168.1.10:80")),
        ),
        (
            "forward of ports past the end",
            format!(
                "{LEAST}{}",
                forward("tcp", "\"65530-65540\"", "192.168.1.10:80")
            ),
        ),
        (
            "forward to ports past the end",
            format!(
                "{LEAST}{}",
                forward("tcp", "\"8000-8010\"", "192.168.1.10:65530")
            ),
        ),
        (
            "forward to no port",
            format!("{LEAST}{}", forward("tcp", "8080", "192.168.1.10")),
        ),
        (
            "forward to a multicast address",
            format!("{LEAST}{}", forward("tcp", "8080", "224.0.0.1:80")),
        ),
        (
            "forward on an unknown uplink",
            format!(
                "lan = \"lan0\"\n[[uplink]]\nname = \"fibre\"\ndevice = \"eth0\"\n{web}uplinks = [\"fibre\", \"fiber\"]\n"
            ),
        ),
        (
            "forward twice on an uplink",
            format!("{LEAST}{web}uplinks = [\"a\", \"a\"]\n"),
        ),
        (
            "forward on a routed uplink",
            format!("{LEAST}mode = \"routed\"\n{web}uplinks = \"a\"\n"),
        ),
        (
            "forward on an uplink that translates IPv6 alone",
            format!(
                "inside_prefix = \"fd00::/48\"\n{LEAST}mode = \"nptv6\"\nprefix = \
                 \"2001:db8::/48\"\n{web}uplinks = \"a\"\n"
            ),
        ),
        (
            "forward with routed uplinks alone",
            format!("{LEAST}mode = \"routed\"\n{web}"),
        ),
        (
            "forwards overlap",
            format!(
                "{LEAST}{}{web}uplinks = \"a\"\n",
                forward("tcp", "\"8000-8080\"", "192.168.1.11:80")
            ),
        ),
        (
            "1025 forwards",
            format!(
                "{LEAST}{}",
                many(1025, &|n| forward(
                    "tcp",
                    &(n + 1).to_string(),
                    "192.168.1.10:80"
                ))
            ),
        ),
    ];
    insta::assert_snapshot!(explained(&cases));
}
