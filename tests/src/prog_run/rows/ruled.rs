//! Packets of LAN hosts that rules lead to a group, or drop, and sources that have an uplink of their own.

use multihome::{
    config::{IpPrefix, PortRange},
    policy::Rule,
};
use multihome_common::{
    rules::{RuleSet, Target},
    state::GroupWords,
    verdict::Verdict::{
        DropProhibited, DropWrongSource, Forwarded, PassGateway, ReplyProhibited,
        ReplyTimeExceeded, ReplyWrongSource,
    },
};

use super::{
    OUT4, OUT6,
    answers::{answer4, answer6_of},
    from_host, in4, out4, out6,
};
use crate::prog_run::{
    frames::{IPV4, IPV6, forwarded, fragment, icmp, ipv4, ipv6, tcp, udp},
    row::Row,
    world::{GATEWAY4, HOST4, Nat, SERVER4, SERVER6, Side, World, next_hop, uplink_mac},
};

/// The group of uplink 1 alone.
const CHEAP: u8 = 5;
/// The group of uplink 2 alone.
const VOICE: u8 = 63;

fn prefixes(texts: &[&str]) -> Option<Vec<IpPrefix>> {
    let prefix = |text: &&str| text.parse().expect("a prefix");
    Some(texts.iter().map(prefix).collect())
}

fn ports(low: u16, high: u16) -> Option<Vec<PortRange>> {
    PortRange::new(low, high).map(|range| vec![range])
}

/// Uplink 0 serves all that no rule leads elsewhere.
fn ruled(world: &mut World, rules: Vec<Rule>) {
    let alone = |id: u8| GroupWords {
        eligible: [1 << id; 2],
        ..GroupWords::ZERO
    };
    world.groups = vec![(CHEAP, alone(1)), (VOICE, alone(2))];
    world.rules = rules;
}

/// Leads to group `CHEAP`.
fn cheap() -> Rule {
    Rule::any(Target::group_of(CHEAP))
}

fn family_of(frame: &[u8]) -> usize {
    usize::from(frame[14] >> 4 == 6)
}

/// Sent to the uplink of this id.
fn sent(shows: &str, rules: Vec<Rule>, input: Vec<u8>, id: u8) -> Row {
    let output = forwarded(&input, next_hop(id, family_of(&input)), uplink_mac(id));
    Row::changed(shows, Side::Lan, input, Forwarded, output)
        .within(|world| ruled(world, rules))
        .to_uplink(id)
}

/// Answered with "communication administratively prohibited".
fn prohibited(shows: &str, rules: Vec<Rule>, input: Vec<u8>) -> Row {
    let answer = if family_of(&input) == 0 {
        answer4(&input, 3, 13, 0)
    } else {
        answer6_of(&input, (1, 1), 0)
    };
    Row::changed(shows, Side::Lan, input, ReplyProhibited, answer)
        .within(|world| ruled(world, rules))
}

fn web4() -> Vec<u8> {
    out4(6, &tcp((40000, 443), &[1; 20]))
}

fn web6() -> Vec<u8> {
    out6(6, &tcp((40000, 443), &[1; 20]))
}

/// The rows.
pub fn rows() -> Vec<Row> {
    [
        asked(),
        domains(),
        ordered(),
        dropped(),
        translated(),
        kept(),
        own(),
    ]
    .concat()
}

/// Destinations that belong to a domain, and those that do not.
fn domains() -> Vec<Row> {
    let with_domains = |row: Row| {
        row.within(|world| {
            world.domains = vec![(SERVER4.into(), 1), (SERVER6.into(), 1)];
            let mut of_domain = RuleSet::NONE;
            of_domain.insert(0);
            world.domain_sets = vec![RuleSet::NONE, of_domain];
        })
    };
    let rule = || {
        let mut rule = cheap();
        rule.domains = Some(vec!["example.net".parse().expect("a domain")]);
        vec![rule]
    };
    let elsewhere = from_host(
        IPV4,
        &ipv4(
            (HOST4, [203, 0, 113, 10].into()),
            64,
            17,
            &udp((1, 2), b""),
            |_| {},
        ),
    );
    vec![
        with_domains(sent(
            "a rule for a domain matches its IPv4 addresses",
            rule(),
            web4(),
            1,
        )),
        with_domains(sent(
            "a rule for a domain matches its IPv6 addresses",
            rule(),
            web6(),
            1,
        )),
        with_domains(sent(
            "a rule for a domain matches no others",
            rule(),
            elsewhere,
            0,
        )),
        with_domains(sent(
            "DNS that is observed is forwarded like anything else",
            rule(),
            out4(17, &udp((40_000, 53), &[7; 40])),
            1,
        )),
    ]
}

/// What rules can ask for, each once met and once not.
fn asked() -> Vec<Row> {
    let of = |edit: fn(&mut Rule)| {
        let mut rule = cheap();
        edit(&mut rule);
        vec![rule]
    };
    let mut rows = Vec::new();
    for (shows, edit, met, missed) in [
        (
            "an IPv4 source",
            (|rule| rule.sources = prefixes(&["10.1.0.0/30"])) as fn(&mut Rule),
            web4(),
            web6(),
        ),
        (
            "an IPv6 source",
            |rule| rule.sources = prefixes(&["10.9.0.0/16", "2001:db8:1::/64"]),
            web6(),
            web4(),
        ),
        (
            "an IPv4 destination",
            |rule| rule.destinations = prefixes(&["203.0.113.9"]),
            web4(),
            from_host(
                IPV4,
                &ipv4(
                    (HOST4, [203, 0, 113, 10].into()),
                    64,
                    17,
                    &udp((1, 2), b""),
                    |_| {},
                ),
            ),
        ),
        (
            "an IPv6 destination",
            |rule| rule.destinations = prefixes(&["2001:db8:ffff::8/125"]),
            web6(),
            from_host(
                IPV6,
                &ipv6(
                    (OUT6.0, "2001:db8:ffff::10".parse().expect("an address")),
                    64,
                    17,
                    &udp((1, 2), b""),
                ),
            ),
        ),
        (
            "a protocol",
            |rule| rule.protocols = Some(vec![17]),
            out4(17, &udp((1, 2), b"")),
            web4(),
        ),
        (
            "ICMP of both families",
            |rule| rule.protocols = Some(vec![1, 58]),
            out6(58, &icmp(128, &[1; 9])),
            web6(),
        ),
        (
            "a source port",
            |rule| rule.source_ports = ports(39_999, 40_000),
            web4(),
            out4(17, &udp((40_001, 443), b"")),
        ),
        (
            "a range of destination ports",
            |rule| rule.ports = ports(443, 500),
            web6(),
            out6(17, &udp((443, 442), b"")),
        ),
        (
            "a DSCP of IPv4",
            |rule| rule.dscps = Some(vec![46]),
            from_host(
                IPV4,
                &ipv4(OUT4, 64, 17, &udp((1, 2), b""), |header| {
                    header.dscp = etherparse::IpDscp::try_new(46).expect("six bits");
                }),
            ),
            web4(),
        ),
        (
            "a DSCP of IPv6",
            |rule| rule.dscps = Some(vec![34]),
            marked6(34),
            marked6(46),
        ),
        (
            "the LAN port",
            |rule| rule.lan = Some(vec![3, 0]),
            web4(),
            // The world has one LAN port; see below.
            Vec::new(),
        ),
    ] {
        rows.push(sent(
            &format!("a rule for {shows} leads to its group"),
            of(edit),
            met,
            1,
        ));
        if !missed.is_empty() {
            let shows = format!("a rule for {shows} leaves others to the default group");
            rows.push(sent(&shows, of(edit), missed, 0));
        }
    }
    let elsewhere = |rule: &mut Rule| rule.lan = Some(vec![1]);
    rows.push(sent(
        "a rule for another LAN port matches nothing here",
        of(elsewhere),
        web4(),
        0,
    ));
    rows
}

/// An IPv6 packet with a DSCP.
fn marked6(dscp: u8) -> Vec<u8> {
    let mut packet = ipv6(OUT6, 64, 17, &udp((1, 2), b""));
    packet[0] = 0x60 | dscp >> 2;
    packet[1] = dscp << 6 | 0x2b;
    from_host(IPV6, &packet)
}

fn ordered() -> Vec<Row> {
    let voice = |edit: fn(&mut Rule)| {
        let mut rule = Rule::any(Target::group_of(VOICE));
        edit(&mut rule);
        rule
    };
    let udp_first = || vec![voice(|rule| rule.protocols = Some(vec![17])), cheap()];
    let both = voice(|rule| {
        rule.sources = prefixes(&["10.1.0.0/16"]);
        rule.ports = ports(443, 443);
    });
    // The matching rule is the thousandth.
    let never = voice(|rule| rule.ports = ports(1, 1));
    let mut thousand = vec![never; 999];
    thousand.push(cheap());
    vec![
        sent(
            "the first rule that matches decides",
            udp_first(),
            out4(17, &udp((1, 2), b"")),
            2,
        ),
        sent(
            "one that does not match is passed over",
            udp_first(),
            web4(),
            1,
        ),
        sent(
            "all that a rule asks for must be met",
            vec![both.clone(), cheap()],
            web4(),
            2,
        ),
        sent(
            "one thing alone is not enough",
            vec![both, cheap()],
            out4(17, &udp((1, 2), b"")),
            1,
        ),
        sent("the thousandth rule is found", thousand, web6(), 1),
        // Without its first fragment nobody knows a datagram's ports.
        sent(
            "a fragment has no ports that a rule could ask for",
            vec![voice(|rule| rule.ports = ports(1, 65_535)), cheap()],
            out6(44, &[fragment(17, 0, true), udp((1, 2), &[7; 16])].concat()),
            1,
        ),
    ]
}

fn dropped() -> Vec<Row> {
    let drop = || vec![Rule::any(Target::DROP)];
    let expired = from_host(IPV4, &ipv4(OUT4, 1, 17, &udp((1, 2), b""), |_| {}));
    let to_gateway = from_host(
        IPV4,
        &ipv4((HOST4, GATEWAY4), 64, 17, &udp((1, 53), b""), |_| {}),
    );
    let quoted = ipv4((SERVER4, HOST4), 60, 17, &udp((53, 1), b""), |_| {});
    let error = out4(1, &[&icmp(3, &[])[..8], &quoted].concat());
    let within = |row: Row| row.within(|world| ruled(world, vec![Rule::any(Target::DROP)]));
    let only_dns = || {
        let mut rule = Rule::any(Target::DROP);
        (rule.protocols, rule.ports) = (Some(vec![17]), ports(53, 53));
        vec![rule]
    };
    vec![
        prohibited(
            "an IPv4 packet that a rule drops is answered",
            drop(),
            web4(),
        ),
        prohibited(
            "an IPv6 packet that a rule drops is answered",
            drop(),
            web6(),
        ),
        within(Row::unchanged(
            "nobody is answered about a fragment that a rule drops",
            Side::Lan,
            from_host(
                IPV4,
                &ipv4(OUT4, 64, 17, &[7; 16], |header| {
                    header.fragment_offset = etherparse::IpFragOffset::try_new(9).expect("small");
                }),
            ),
            DropProhibited,
        )),
        Row::unchanged(
            "an ICMP error about a flow that a rule drops is dropped",
            Side::Lan,
            error,
            DropProhibited,
        )
        .within(|world| ruled(world, only_dns())),
        within(Row::unchanged(
            "no rule stands between a LAN host and the gateway",
            Side::Lan,
            to_gateway,
            PassGateway,
        )),
        within(Row::changed(
            "an expired packet is answered as such, whatever the rules",
            Side::Lan,
            expired.clone(),
            ReplyTimeExceeded,
            answer4(&expired, 11, 0, 0),
        )),
        sent("a drop rule drops nothing else", only_dns(), web4(), 0),
    ]
}

/// With IPv4 translated, flows are opened by the uplink of their group.
fn translated() -> Vec<Row> {
    let nat = |row: Row| row.within(|world| world.nat = Some(Nat::default()));
    let mut by_port = cheap();
    by_port.ports = ports(443, 443);
    let first = |ports| {
        from_host(
            IPV4,
            &ipv4(OUT4, 64, 17, &udp(ports, &[7; 24]), |header| {
                header.more_fragments = true
            }),
        )
    };
    vec![
        nat(prohibited(
            "a flow that a rule drops is not opened",
            vec![Rule::any(Target::DROP)],
            web4(),
        )),
        nat(prohibited(
            "a first fragment tells its ports where the others follow it",
            vec![Rule {
                domains: None,
                target: Target::DROP,
                ..by_port
            }],
            first((40_000, 443)),
        )),
    ]
}

/// What holds when the rules change under a flow.
fn kept() -> Vec<Row> {
    let data = |n: u8| {
        let mut segment = tcp((40_000, 443), &[n; 20]);
        segment[13] = 0x10;
        out4(6, &segment)
    };
    let mut syn = tcp((40_000, 443), &[]);
    syn[13] = 0x02;
    let syn = out4(6, &syn);
    let moved =
        |shows: &str, id| sent(shows, vec![cheap()], data(1), id).after(Side::Lan, syn.clone());
    vec![
        moved(
            "a flow keeps its uplink when a rule leads it to another group",
            0,
        )
        .when_before(|world| world.rules.clear()),
        Row::changed(
            "its new group's uplink takes a flow whose own has died",
            Side::Lan,
            data(1),
            Forwarded,
            forwarded(&data(1), next_hop(1, 0), uplink_mac(1)),
        )
        .within(|world| {
            ruled(world, vec![cheap()]);
            world.alive = 0b110;
        })
        .after(Side::Lan, syn.clone())
        .when_before(|world| {
            world.rules.clear();
            world.alive = 0b111;
        })
        .to_uplink(1),
        prohibited(
            "a drop rule ends a flow that is under way",
            vec![Rule::any(Target::DROP)],
            data(1),
        )
        .after(Side::Lan, syn.clone())
        .when_before(|world| world.rules.clear()),
        moved(
            "a flow that came in by an uplink leaves by it, whatever its group",
            0,
        )
        .after(Side::Uplink, in4(6, &tcp((443, 40_000), &[9; 20])))
        .when_before(|world| world.rules.clear()),
    ]
}

/// BCP 84: a source under an uplink's own prefix leaves by that uplink.
fn own() -> Vec<Row> {
    let under = |prefix: &str| vec![(prefix.parse().expect("a prefix"), 2)];
    let owned = |row: Row| row.within(|world| world.own = under("2001:db8:1::/48"));
    let refused = |row: Row| owned(row).within(|world| world.alive = 0b001);
    let answer = |frame: &[u8]| answer6_of(frame, (1, 5), 0);
    let error = out6(
        58,
        &icmp(1, &ipv6((OUT6.1, OUT6.0), 60, 6, &tcp((443, 40_000), b""))),
    );
    vec![
        owned(sent(
            "a source leaves by the uplink whose own prefix it is under",
            vec![],
            web6(),
            2,
        )),
        owned(sent(
            "also when a rule leads it to a group without that",
            vec![cheap()],
            web6(),
            2,
        )),
        owned(sent("IPv4 has no such prefixes", vec![], web4(), 0)),
        sent("another source is anybody's", vec![], web6(), 0)
            .within(|world| world.own = under("2001:db8:2::/48")),
        owned(prohibited(
            "a drop rule goes before it",
            vec![Rule::any(Target::DROP)],
            web6(),
        )),
        refused(Row::changed(
            "while that uplink is down, the sender is told to take another source",
            Side::Lan,
            web6(),
            ReplyWrongSource,
            answer(&web6()),
        )),
        refused(Row::unchanged(
            "but not of an ICMP error",
            Side::Lan,
            error,
            DropWrongSource,
        )),
        owned(sent(
            "with nothing up at all it is tried",
            vec![],
            web6(),
            2,
        ))
        .within(|world| {
            world.alive = 0;
            world.group.eligible = [0; 2];
        }),
    ]
}
