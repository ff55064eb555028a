//! Random rules in the kernel's programs against rules asked one after the other, in words of their own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use multihome::{
    config::{IpPrefix, PortRange},
    policy::Rule,
};
use multihome_common::{
    rules::{RuleCounts, Target},
    state::GroupWords,
    verdict::Verdict,
};

use super::{
    frames::{IPV4, IPV6, ethernet, ipv4, ipv6, tcp, udp},
    kernel::Kernel,
    world::{GATEWAY, HOST, Side, World},
};
use crate::model::random::Random;

/// Groups that random rules lead to; each has one uplink alone, of three.
const GROUPS: usize = 64;
/// LAN ports that rules may ask for; packets come in on the first.
const LAN_PORTS: usize = 3;

/// A packet as an operator would describe it.
#[derive(Clone, Copy, Debug)]
struct Described {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ports: (u16, u16),
    dscp: u8,
}

/// Runs `count` random packets through the programs under random rules, at most `most` of them, and
/// compares the rule and what becomes of the packet.
///
/// # Errors
/// At the first packet that they disagree on.
pub fn run(kernel: &mut Kernel, seed: u64, most: usize, count: usize) -> Result<()> {
    let random = &mut Random(seed);
    let rules: Vec<Rule> = (0..=random.below(most)).map(|_| rule(random)).collect();
    let world = world(&rules);
    kernel.enter(&world, Side::Lan)?;
    for n in 0..count {
        let packet = packet(random);
        check(kernel, &rules, packet).with_context(|| {
            format!("seed {seed}, {} rules, packet {n}: {packet:?}", rules.len())
        })?;
    }
    Ok(())
}

fn world(rules: &[Rule]) -> World {
    let group = |id: u8| GroupWords {
        eligible: [1 << uplink_of(id); 2],
        ..GroupWords::ZERO
    };
    World {
        group: group(0),
        groups: (1..GROUPS as u8).map(|id| (id, group(id))).collect(),
        rules: rules.to_vec(),
        ..World::default()
    }
}

/// The uplink that serves a group.
fn uplink_of(group: u8) -> u8 {
    group % 3
}

fn check(kernel: &mut Kernel, rules: &[Rule], packet: Described) -> Result<()> {
    let expected = rules.iter().position(|rule| matches(rule, packet));
    let counted = expected.map_or(RuleCounts::NO_RULE, |rule| rule as u32);
    let before = kernel.matched(counted);
    kernel.refill()?;
    // A pin would keep the uplink that another packet of these ends has found.
    kernel.forget_pins();
    let run = kernel.run(Side::Lan, &frame(packet))?;
    ensure!(
        kernel.matched(counted) == before + 1,
        "rule {expected:?} is not the one that was counted"
    );
    let target = expected.map_or(Target::group_of(0), |rule| rules[rule].target);
    let (verdict, uplink) = if target.is_drop() {
        (Verdict::ReplyProhibited, None)
    } else {
        (Verdict::Forwarded, Some(uplink_of(target.group())))
    };
    ensure!(
        (run.verdict, run.uplink) == (Some(verdict), uplink),
        "{:?} to {:?} instead of {verdict:?} to {uplink:?}, by rule {expected:?}",
        run.verdict,
        run.uplink
    );
    Ok(())
}

fn matches(rule: &Rule, packet: Described) -> bool {
    let within = |prefixes: &Option<Vec<IpPrefix>>, address: IpAddr| {
        let Some(prefixes) = prefixes else {
            return true;
        };
        prefixes.iter().any(|prefix| {
            let (network, address) = match (prefix.network(), address) {
                (IpAddr::V4(network), IpAddr::V4(address)) => {
                    (network.octets().to_vec(), address.octets().to_vec())
                }
                (IpAddr::V6(network), IpAddr::V6(address)) => {
                    (network.octets().to_vec(), address.octets().to_vec())
                }
                _ => return false,
            };
            (0..usize::from(prefix.length())).all(|bit| {
                let of = |bytes: &[u8]| bytes[bit / 8] >> (7 - bit % 8) & 1;
                of(&network) == of(&address)
            })
        })
    };
    let one_of = |values: &Option<Vec<u8>>, value: u8| {
        values.as_ref().is_none_or(|values| values.contains(&value))
    };
    let port_of = |ranges: &Option<Vec<PortRange>>, port: u16| {
        let has_ports = matches!(packet.protocol, 6 | 17);
        ranges.as_ref().is_none_or(|ranges| {
            let has = |range: &PortRange| range.low() <= port && port <= range.high();
            has_ports && ranges.iter().any(has)
        })
    };
    within(&rule.sources, packet.source)
        && within(&rule.destinations, packet.destination)
        && one_of(&rule.protocols, packet.protocol)
        && port_of(&rule.source_ports, packet.ports.0)
        && port_of(&rule.ports, packet.ports.1)
        && one_of(&rule.dscps, packet.dscp)
        && one_of(&rule.lan, 0)
}

/// Some of what rules can ask, in small numbers, so that packets meet it.
fn rule(random: &mut Random) -> Rule {
    Rule {
        sources: some(random, |random| prefix(random, false)),
        destinations: some(random, |random| prefix(random, true)),
        protocols: some(random, protocol),
        source_ports: some(random, ports),
        ports: some(random, ports),
        dscps: some(random, |random| random.below(8) as u8),
        lan: some(random, |random| random.below(LAN_PORTS) as u8),
        vlans: None,
        domains: None,
        target: if random.one_in(8) {
            Target::DROP
        } else {
            Target::group_of(random.below(GROUPS) as u8)
        },
    }
}

fn some<T>(random: &mut Random, mut one: impl FnMut(&mut Random) -> T) -> Option<Vec<T>> {
    let is_asked = random.one_in(3);
    is_asked.then(|| (0..=random.below(3)).map(|_| one(random)).collect())
}

fn protocol(random: &mut Random) -> u8 {
    random.of(&[6, 17, 47, 50])
}

fn ports(random: &mut Random) -> PortRange {
    let low = 1 + random.below(20) as u16;
    PortRange::new(low, low + random.below(5) as u16).expect("a range")
}

/// An address of the internet, or of the LAN's, of which many lie close together.
fn address(random: &mut Random, ipv4: bool, remote: bool) -> IpAddr {
    let (net, host) = (random.below(4) as u8, random.below(256) as u8);
    match (ipv4, remote) {
        (true, true) => Ipv4Addr::new(203, 0, 112 + net, host).into(),
        (true, false) => Ipv4Addr::new(10, 1, net, host).into(),
        (false, true) => Ipv6Addr::new(
            0x2001,
            0xdb8,
            0xff00 + u16::from(net),
            0,
            0,
            0,
            0,
            host.into(),
        )
        .into(),
        (false, false) => Ipv6Addr::new(0xfd01, 0x203, net.into(), 0, 0, 0, 0, host.into()).into(),
    }
}

fn prefix(random: &mut Random, remote: bool) -> IpPrefix {
    let ipv4 = random.one_in(2);
    let longest = if ipv4 { 32 } else { 128 };
    // Most are long enough to tell those addresses apart.
    let length = if random.one_in(8) {
        random.below(longest + 1)
    } else {
        longest - random.below(12)
    };
    masked(address(random, ipv4, remote), length)
}

/// The prefix of this length that has the address.
///
/// # Panics
/// When the length is more than an address has.
pub fn masked(address: IpAddr, length: usize) -> IpPrefix {
    let text = match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - length as u32).unwrap_or(0);
            format!("{}/{length}", Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - length as u32).unwrap_or(0);
            format!("{}/{length}", Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    };
    text.parse().expect("a prefix")
}

fn packet(random: &mut Random) -> Described {
    let ipv4 = random.one_in(2);
    Described {
        source: address(random, ipv4, false),
        destination: address(random, ipv4, true),
        protocol: protocol(random),
        ports: (1 + random.below(25) as u16, 1 + random.below(25) as u16),
        dscp: random.below(8) as u8,
    }
}

fn frame(packet: Described) -> Vec<u8> {
    let payload = match packet.protocol {
        6 => tcp(packet.ports, &[1; 10]),
        17 => udp(packet.ports, &[2; 10]),
        _ => vec![3; 10],
    };
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let network = ipv4(
                (source, destination),
                64,
                packet.protocol,
                &payload,
                |header| {
                    header.dscp = etherparse::IpDscp::try_new(packet.dscp).expect("six bits");
                },
            );
            ethernet(GATEWAY, HOST, &[], IPV4, &network)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut network = ipv6((source, destination), 64, packet.protocol, &payload);
            network[0] |= packet.dscp >> 2;
            network[1] |= packet.dscp << 6;
            ethernet(GATEWAY, HOST, &[], IPV6, &network)
        }
        _ => unreachable!("both are of one family"),
    }
}
