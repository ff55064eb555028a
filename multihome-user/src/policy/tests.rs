//! The rulebook against rules asked one after the other, in words of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use multihome_common::{
    address::{Address4, Address6},
    family::{V4, V6},
    limits::MAX_RULES,
    rules::{Facts, Judged, Target, judge},
    sim::SimTables,
    way::steer::Ends,
    wire::ethernet,
};
use proptest::prelude::*;

use super::*;
use crate::config::{Config, Ipv6Prefix, LanConfig};

/// What rules can ask about a packet, in plain words.
#[derive(Clone, Debug)]
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    source_port: u16,
    port: u16,
    dscp: u8,
    lan: u8,
}

impl Packet {
    fn matches(&self, rule: &Rule) -> bool {
        let in_any = |prefixes: &Option<Vec<IpPrefix>>, address: IpAddr| {
            prefixes.as_ref().is_none_or(|prefixes| {
                prefixes
                    .iter()
                    .any(|prefix| match (prefix.network(), address) {
                        (IpAddr::V4(network), IpAddr::V4(address)) => {
                            let beyond = 32 - u32::from(prefix.length());
                            (u64::from(network.to_bits()) >> beyond)
                                == (u64::from(address.to_bits()) >> beyond)
                        }
                        (IpAddr::V6(network), IpAddr::V6(address)) => {
                            let different = network.to_bits() ^ address.to_bits();
                            different.leading_zeros() >= prefix.length().into()
                        }
                        _ => false,
                    })
            })
        };
        let has_port = |ports: &Option<Vec<PortRange>>, port: u16| {
            ports.as_ref().is_none_or(|ports| {
                let range = |range: &PortRange| (range.low()..=range.high()).contains(&port);
                port != 0 && ports.iter().any(range)
            })
        };
        let is_one = |values: &Option<Vec<u8>>, value: u8| {
            values.as_ref().is_none_or(|values| values.contains(&value))
        };
        in_any(&rule.sources, self.source)
            && in_any(&rule.destinations, self.destination)
            && is_one(&rule.protocols, self.protocol)
            && has_port(&rule.source_ports, self.source_port)
            && has_port(&rule.ports, self.port)
            && is_one(&rule.dscps, self.dscp)
            && is_one(&rule.lan, self.lan)
    }

    /// What the programs say of it.
    fn judged(&self, tables: &SimTables) -> Judged {
        let ports = u32::from(self.source_port) << 16 | u32::from(self.port);
        let (dscp, slot) = (self.dscp, u32::from(self.lan) + MAX_UPLINKS as u32);
        let (protocol, tables) = (self.protocol, tables);
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let ends = Ends {
                    inside: Address4(source.to_bits()),
                    remote: Address4(destination.to_bits()),
                    protocol,
                    ports,
                };
                judge::<V4, _>(tables, 0, &Facts { ends, dscp, slot })
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let ends = Ends {
                    inside: Address6::from_bytes(source.octets()),
                    remote: Address6::from_bytes(destination.octets()),
                    protocol,
                    ports,
                };
                judge::<V6, _>(tables, 0, &Facts { ends, dscp, slot })
            }
            _ => unreachable!("both are of one family"),
        }
        .expect("there is a rulebook")
    }
}

fn tables(rules: &[Rule], own: &[Own]) -> SimTables {
    let mut tables = SimTables::default();
    tables.rulebooks[0] = Some(compile(rules, own).expect("the rules fit"));
    tables
}

/// Addresses of which many lie close together, so that prefixes and packets meet.
fn address(v4: bool) -> impl Strategy<Value = IpAddr> {
    (0..4_u8, any::<u8>(), any::<u128>()).prop_map(move |(network, host, any)| {
        if v4 {
            match network {
                0 => IpAddr::from(Ipv4Addr::from_bits(any as u32)),
                _ => IpAddr::from([10, network, 0, host]),
            }
        } else {
            match network {
                0 => IpAddr::from(Ipv6Addr::from_bits(any)),
                _ => IpAddr::from([0x2001, 0xdb8, network.into(), 0, 0, 0, 0, host.into()]),
            }
        }
    })
}

fn prefix() -> impl Strategy<Value = IpPrefix> {
    (any::<bool>(), 0..=128_u8).prop_flat_map(|(v4, length)| {
        address(v4).prop_map(move |address| {
            let text = match address {
                IpAddr::V4(a) => {
                    let length = length % 33;
                    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                    format!("{}/{length}", Ipv4Addr::from_bits(a.to_bits() & mask))
                }
                IpAddr::V6(a) => {
                    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                    format!("{}/{length}", Ipv6Addr::from_bits(a.to_bits() & mask))
                }
            };
            text.parse().expect("a prefix")
        })
    })
}

/// The tags of the LAN ports: none, one, and two.
fn tags() -> [(u8, Framing); 3] {
    let plain = Framing::PLAIN;
    let two = plain.tagged(ethernet::SERVICE_VLAN, 200);
    [
        (0, plain),
        (1, plain.tagged(ethernet::VLAN, 20)),
        (2, two.tagged(ethernet::VLAN, 100)),
    ]
}

fn vlan() -> impl Strategy<Value = Vlan> {
    proptest::sample::select(&["20", "30", "100", "200", "200.100", "100.200", "30.20"][..])
        .prop_map(|text| text.parse().expect("a VLAN"))
}

fn ports() -> impl Strategy<Value = PortRange> {
    (1..12_u16, 0..4_u16).prop_map(|(low, more)| PortRange::new(low, low + more).expect("a range"))
}

fn some<T: Clone + std::fmt::Debug>(
    of: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<Vec<T>>> {
    proptest::option::weighted(0.3, proptest::collection::vec(of, 1..4))
}

prop_compose! {
    fn rule()(
        sources in some(prefix()), destinations in some(prefix()),
        protocols in some(0..20_u8), source_ports in some(ports()), ports in some(ports()),
        dscps in some(0..6_u8), lan in some(0..3_u8),
        target in prop_oneof![(0..64_u8).prop_map(Target::group_of), Just(Target::DROP)],
    ) -> Rule {
        Rule { sources, destinations, protocols, source_ports, ports, dscps, lan, vlans: None, domains: None, target }
    }
}

fn packet() -> impl Strategy<Value = Packet> {
    any::<bool>().prop_flat_map(|v4| {
        let numbers = (0..20_u8, 0..16_u16, 0..16_u16, 0..6_u8, 0..3_u8);
        (address(v4), address(v4), numbers).prop_map(
            |(source, destination, (protocol, source_port, port, dscp, lan))| Packet {
                source,
                destination,
                protocol,
                source_port,
                port,
                dscp,
                lan,
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever the rules and the packet, the first rule that matches decides.
    #[test]
    fn the_rulebook_says_what_the_rules_say(
        rules in proptest::collection::vec(rule(), 0..80),
        packets in proptest::collection::vec(packet(), 60),
    ) {
        let tables = tables(&rules, &[]);
        for packet in packets {
            let judged = packet.judged(&tables);
            let first = rules.iter().position(|rule| packet.matches(rule));
            prop_assert_eq!(judged.rule().map(|rule| rule as usize), first, "{:?}", packet);
            match first.map(|at| rules[at].target) {
                None => prop_assert_eq!(judged, Judged::DEFAULT),
                Some(target) => {
                    prop_assert_eq!(judged.is_drop(), target == Target::DROP);
                    prop_assert_eq!(judged.group(), target.group());
                }
            }
        }
    }

    /// A prefix that is an uplink's own is found whatever the rules say, and no other address. Of two that hold
    /// an address, the longer one is, also when both begin with the same address.
    #[test]
    fn the_uplink_of_a_source_is_found(
        rules in proptest::collection::vec(rule(), 0..10),
        packets in proptest::collection::vec(packet(), 30),
    ) {
        let own: Vec<Own> = [
            ("2001:db8:1::/48", 5),
            ("2001:db8:2::/64", 0),
            ("2001:db8:1:8000::/50", 7),
            ("2001:db8:3::/48", 1),
            ("2001:db8:3::/64", 2),
        ]
        .map(|(text, id)| (text.parse::<Ipv6Prefix>().expect("a prefix"), id))
        .to_vec();
        let tables = tables(&rules, &own);
        for packet in packets {
            let expected = match packet.source {
                IpAddr::V4(_) => None,
                IpAddr::V6(v6) => match v6.segments() {
                    [0x2001, 0xdb8, 1, subnet, ..] if subnet >> 14 == 0b10 => Some(7),
                    [0x2001, 0xdb8, 1, ..] => Some(5),
                    [0x2001, 0xdb8, 2, 0, ..] => Some(0),
                    [0x2001, 0xdb8, 3, 0, ..] => Some(2),
                    [0x2001, 0xdb8, 3, ..] => Some(1),
                    _ => None,
                },
            };
            prop_assert_eq!(packet.judged(&tables).own(), expected);
        }
    }

    /// A rule that another covers matches nothing that the other does not.
    #[test]
    fn what_is_covered_never_matches(
        rules in proptest::collection::vec((rule(), some(vlan())), 2..12),
        packets in proptest::collection::vec(packet(), 60),
    ) {
        let configured = |(rule, vlans): &(Rule, Option<Vec<Vlan>>)| RuleConfig {
            vlan: vlans.clone().unwrap_or_default(),
            ..as_configured(rule)
        };
        let configs: Vec<RuleConfig> = rules.iter().map(configured).collect();
        let lan = ["a", "b", "c"].map(LanConfig::plain);
        let ports = [("a", 0), ("b", 1), ("c", 2)];
        let rules = place(&resolve(&configs, &[], &ports).into(), &tags());
        for (at, by) in covered(&configs, &lan) {
            prop_assert!(by < at);
            for packet in &packets {
                prop_assert!(!packet.matches(&rules[at]) || packet.matches(&rules[by]));
            }
        }
    }
}

/// The rule as a file would have it.
fn as_configured(rule: &Rule) -> RuleConfig {
    let numbers = |values: &Option<Vec<u8>>| values.clone().unwrap_or_default();
    let mut protocols = numbers(&rule.protocols);
    protocols.retain(|number| *number > 0);
    RuleConfig {
        name: None,
        source: rule.sources.clone().unwrap_or_default(),
        destination: rule.destinations.clone().unwrap_or_default(),
        protocol: protocols
            .iter()
            .map(|number| number.to_string().parse().expect("a number"))
            .collect(),
        source_port: rule.source_ports.clone().unwrap_or_default(),
        port: rule.ports.clone().unwrap_or_default(),
        dscp: numbers(&rule.dscps)
            .into_iter()
            .map(crate::config::Dscp)
            .collect(),
        lan: numbers(&rule.lan)
            .iter()
            .map(|number| ["a", "b", "c"][usize::from(*number)].to_owned())
            .collect(),
        vlan: Vec::new(),
        domain: Vec::new(),
        action: RuleAction::Drop,
    }
}

fn configured(rules: &str) -> Config {
    let text = format!(
        "lan = [\"lan0\", \"lan1\"]\n[[uplink]]\nname = \"a\"\ndevice = \"eth0\"\nprobe = []\n\
         [[group]]\nname = \"cheap\"\n{rules}"
    );
    Config::from_toml(std::path::Path::new("gw.toml"), &text).expect("the file is right")
}

#[test]
fn an_earlier_rule_that_takes_all_is_named() {
    let pair = |first: &str, second: &str| {
        let text =
            format!("[[rule]]\n{first}\ngroup = \"cheap\"\n[[rule]]\n{second}\ndrop = true\n");
        let config = configured(&text);
        covered(&config.rules, &config.lan) == [(1, 0)]
    };
    for (first, second) in [
        ("", "port = 25"),
        (
            "source = \"10.0.0.0/8\"",
            "source = \"10.1.0.0/16\"\nprotocol = \"tcp\"",
        ),
        (
            "source = [\"10.0.0.0/9\", \"10.128.0.0/9\"]",
            "source = \"10.0.0.0/8\"",
        ),
        ("source = \"0.0.0.0/0\"", "destination = \"192.0.2.1\""),
        ("port = \"1-1024\"", "protocol = \"udp\"\nport = [53, 123]"),
        ("protocol = [\"tcp\", \"udp\"]", "port = 80"),
        ("lan = [\"lan0\", \"lan1\"]", "dscp = \"ef\""),
        (
            "domain = \"*.net\"",
            "domain = [\"a.net\", \"*.b.net\"]\nport = 80",
        ),
        ("dscp = [\"ef\", 34]", "dscp = 46\nlan = \"lan1\""),
    ] {
        assert!(pair(first, second), "{first} / {second}");
    }
    for (first, second) in [
        ("port = 25", ""),
        ("port = \"1-65535\"", "protocol = \"tcp\""),
        (
            "source = \"10.0.0.0/8\"",
            "source = [\"10.1.0.0/16\", \"2001:db8::/32\"]",
        ),
        ("source = \"0.0.0.0/0\"", "port = 25"),
        ("protocol = \"tcp\"", "port = 80"),
        ("domain = \"a.net\"", "domain = [\"a.net\", \"b.net\"]"),
        ("domain = \"a.net\"", "port = 80"),
        ("lan = \"lan0\"", "lan = [\"lan0\", \"lan1\"]"),
    ] {
        assert!(!pair(first, second), "{first} / {second}");
    }
}

#[test]
fn a_vlan_is_the_lan_ports_that_have_it() {
    let placed = |lan: &str, vlan: &str| {
        let text = format!("[[rule]]\n{lan}\nvlan = {vlan}\ndrop = true\n");
        let config = configured(&text);
        let ports = [("lan0", 0), ("lan1", 2)];
        let rules = place(&resolve(&config.rules, &[], &ports).into(), &tags());
        assert_eq!(rules[0].vlans, None);
        rules[0].lan.clone().expect("a list of ports")
    };
    for (lan, vlan, expected) in [
        ("", "20", &[1][..]),
        ("", "[20, 100]", &[1, 2]),
        ("", "200", &[2]),
        ("", "\"200.100\"", &[2]),
        ("", "\"100.200\"", &[]),
        ("", "30", &[]),
        ("lan = \"lan1\"", "[20, 200]", &[2]),
        ("lan = \"lan0\"", "20", &[]),
    ] {
        assert_eq!(placed(lan, vlan), expected, "{lan} {vlan}");
    }
}

#[test]
fn a_thousand_rules_fit_and_what_does_not_is_refused() {
    let rule = |n: u32| {
        let prefix = |a: u32| {
            format!("{}/24", Ipv4Addr::from_bits(a << 8))
                .parse()
                .expect("a prefix")
        };
        Rule {
            sources: Some(vec![prefix(0x0a_0000 + 2 * n)]),
            destinations: Some(vec![prefix(0xc0_0000 + 2 * n)]),
            protocols: Some(vec![6]),
            source_ports: None,
            ports: PortRange::new(1000 + n as u16, 1000 + n as u16).map(|range| vec![range]),
            dscps: None,
            lan: None,
            vlans: None,
            domains: None,
            target: Target::group_of(n as u8 & 63),
        }
    };
    let mut rules: Vec<Rule> = (0..MAX_RULES as u32).map(rule).collect();
    let tables = tables(&rules, &[]);
    for n in [0, 1, 500, 998, 999] {
        let packet = Packet {
            source: Ipv4Addr::from_bits((0x0a_0000 + 2 * n) << 8 | 9).into(),
            destination: Ipv4Addr::from_bits((0xc0_0000 + 2 * n) << 8 | 9).into(),
            protocol: 6,
            source_port: 5,
            port: 1000 + n as u16,
            dscp: 0,
            lan: 0,
        };
        assert_eq!(packet.judged(&tables).rule(), Some(n));
        let other = Packet { port: 1, ..packet };
        assert_eq!(other.judged(&tables).rule(), None);
    }
    rules.push(rule(0));
    assert_eq!(compile(&rules, &[]).err(), Some(TooComplex::Rules(1001)));
    let many = (0..3000_u32).map(|n| Ipv4Addr::from_bits(n << 9).to_string());
    let prefixes = many.map(|text| text.parse().expect("an address")).collect();
    let rules = [Rule {
        sources: Some(prefixes),
        ..rule(0)
    }];
    assert!(matches!(
        compile(&rules, &[]).err(),
        Some(TooComplex::Pieces { .. })
    ));
}
