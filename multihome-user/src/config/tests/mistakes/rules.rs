//! What is refused of rules.

use super::*;

#[test]
fn mistakes_in_rules_are_explained() {
    let rule = |keys: &str| format!("{LEAST}[[group]]\nname = \"cheap\"\n[[rule]]\n{keys}\n");
    let cases = [
        ("single brackets", format!("{LEAST}[rule]\ndrop = true\n")),
        ("nothing at all", rule("")),
        ("no target", rule("port = 25")),
        ("two targets", rule("group = \"cheap\"\ndrop = true")),
        ("drop = false", rule("drop = false")),
        ("drop of a wrong type", rule("drop = \"yes\"")),
        ("bad name", rule("name = \"a b\"\ndrop = true")),
        (
            "name twice",
            rule("name = \"x\"\ndrop = true\n[[rule]]\nname = \"x\"\ndrop = true"),
        ),
        ("unknown key", rule("dport = 25\ndrop = true")),
        ("unknown group", rule("group = \"chaep\"")),
        (
            "unknown LAN port",
            rule("lan = [\"lan0\", \"lan1\"]\ndrop = true"),
        ),
        ("source of nobody", rule("source = []\ndrop = true")),
        ("not a prefix", rule("source = \"10.0.0/8\"\ndrop = true")),
        (
            "prefix too long",
            rule("destination = [\"::/0\", \"10.0.0.0/33\"]\ndrop = true"),
        ),
        ("host bits", rule("source = \"10.1.2.3/8\"\ndrop = true")),
        (
            "families apart",
            rule(
                "source = [\"10.0.0.0/8\", \"192.0.2.1\"]\ndestination = \"2001:db8::/32\"\ndrop = true",
            ),
        ),
        (
            "unknown protocol",
            rule("protocol = \"icmpv6\"\ndrop = true"),
        ),
        ("protocol 0", rule("protocol = 0\ndrop = true")),
        ("ports turned", rule("port = [80, \"90-81\"]\ndrop = true")),
        ("port 0", rule("source_port = 0\ndrop = true")),
        (
            "ports of ICMP",
            rule("protocol = [\"tcp\", \"icmp\"]\nport = 7\ndrop = true"),
        ),
        ("unknown DSCP", rule("dscp = \"af44\"\ndrop = true")),
        ("DSCP too large", rule("dscp = [0, 64]\ndrop = true")),
        (
            "not a domain",
            rule("domain = [\"a.net\", \"www.*.net\"]\ndrop = true"),
        ),
        ("VLAN of no number", rule("vlan = \"guest\"\ndrop = true")),
        ("VLAN too large", rule("vlan = [20, 4095]\ndrop = true")),
        ("no VLAN", rule("vlan = []\ndrop = true")),
        ("list in a list", rule("port = [[1]]\ndrop = true")),
        (
            "too many",
            rule(&many(1000, &|n| {
                let port = n + 1;
                format!("port = {port}\ndrop = true\n[[rule]]\n")
            })) + "drop = true\n",
        ),
        (
            "too complex",
            rule(&format!(
                "source = [{}]\ndrop = true",
                many(2100, &|n| format!("\"10.{}.{}.0\",", n / 200, n % 200))
            )),
        ),
    ];
    insta::assert_snapshot!(explained(&cases));
}

#[test]
fn rules_that_nothing_reaches_are_told() {
    let text = format!(
        "{LEAST}probe = [\"tcp://192.0.2.1:443\", \"192.0.2.2\"]\n[[group]]\nname = \"cheap\"\n\
         [[group]]\nname = \"idle\"\n[[rule]]\nname = \"guests\"\nsource = \"10.2.0.0/16\"\n\
         group = \"cheap\"\n[[rule]]\nport = 25\ndrop = true\n[[rule]]\nsource = \"10.2.7.0/24\"\n\
         drop = true\n"
    );
    let advice = read(&text).expect("the file is right").advice();
    insta::assert_snapshot!(advice.join("\n"), @r"
    rule 3 (gw.toml:17:1) never matches: rule guests (gw.toml:10:1) before it takes all of its packets
    group idle (gw.toml:9:8): no rule names it, so it gets no traffic
    ");
}
