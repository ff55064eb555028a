//! Rules that never match, because one before them takes all of their packets.

use multihome_common::wire::protocol;

use super::{Rule, resolve};
use crate::config::{DomainPattern, IpPrefix, LanConfig, RuleConfig, Vlan};

/// Rules that an earlier one covers, by their places: the rule, and the first that covers it.
///
/// Only what one earlier rule takes alone is found, not what several do together.
pub fn covered(rules: &[RuleConfig], lan: &[LanConfig]) -> Vec<(usize, usize)> {
    let ports: Vec<(&str, u8)> = lan.iter().map(|port| port.name.as_str()).zip(0..).collect();
    let asked: Vec<Asked> = resolve(rules, &[], &ports)
        .iter()
        .map(|rule| Asked::new(rule, lan.len()))
        .collect();
    let covering = |(at, rule): (usize, &Asked)| {
        let first = asked[..at].iter().position(|earlier| earlier.covers(rule));
        first.map(|by| (at, by))
    };
    asked.iter().enumerate().filter_map(covering).collect()
}

/// What a rule asks of each dimension, as ranges that do not touch, ascending.
struct Asked {
    /// By family: sources and destinations.
    ends: [[Ranges; 2]; 2],
    protocols: Ranges,
    ports: [Ranges; 2],
    dscps: Ranges,
    lan: Ranges,
    vlans: Option<Vec<Vlan>>,
    domains: Option<Vec<DomainPattern>>,
}

type Ranges = Vec<(u128, u128)>;

impl Asked {
    fn new(rule: &Rule, lan: usize) -> Self {
        let family = |ipv4: bool| {
            [&rule.sources, &rule.destinations].map(|prefixes| {
                let last = if ipv4 { u32::MAX.into() } else { u128::MAX };
                let of = |prefix: &&IpPrefix| prefix.is_ipv4() == ipv4;
                ranges(prefixes.as_ref(), last, |prefixes| {
                    prefixes
                        .iter()
                        .filter(of)
                        .map(|prefix| prefix.range())
                        .collect()
                })
            })
        };
        let ports = [&rule.source_ports, &rule.ports].map(|ports| {
            ranges(ports.as_ref(), u16::MAX.into(), |ports| {
                let range =
                    |range: &crate::config::PortRange| (range.low().into(), range.high().into());
                ports.iter().map(range).collect()
            })
        });
        let few = |values: &Option<Vec<u8>>, last: u128| {
            ranges(values.as_ref(), last, |values| {
                values
                    .iter()
                    .map(|&value| (value.into(), value.into()))
                    .collect()
            })
        };
        let asks_ports = rule.source_ports.is_some() || rule.ports.is_some();
        // Only these have ports.
        let with_ports = Some(vec![protocol::TCP, protocol::UDP]);
        let protocols = match (&rule.protocols, asks_ports) {
            (None, true) => &with_ports,
            (protocols, _) => protocols,
        };
        Self {
            ends: [family(true), family(false)],
            protocols: few(protocols, u8::MAX.into()),
            ports,
            dscps: few(&rule.dscps, 63),
            lan: few(&rule.lan, lan.max(1) as u128 - 1),
            vlans: rule.vlans.clone(),
            domains: rule.domains.clone(),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        let ends = self.ends.iter().zip(&other.ends).all(|(own, other)| {
            let is_possible = other.iter().all(|ranges| !ranges.is_empty());
            !is_possible
                || own
                    .iter()
                    .zip(other)
                    .all(|(own, other)| contains(own, other))
        });
        ends && contains(&self.protocols, &other.protocols)
            && self
                .ports
                .iter()
                .zip(&other.ports)
                .all(|(own, other)| contains(own, other))
            && contains(&self.dscps, &other.dscps)
            && contains(&self.lan, &other.lan)
            && match (&self.vlans, &other.vlans) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(own), Some(other)) => other
                    .iter()
                    .all(|other| own.iter().any(|own| own.covers(*other))),
            }
            && match (&self.domains, &other.domains) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(own), Some(other)) => other
                    .iter()
                    .all(|other| own.iter().any(|own| own.covers(other))),
            }
    }
}

/// The ranges of a list, those that overlap or touch as one; without a list all from 0 to `last`.
fn ranges<T>(list: Option<&Vec<T>>, last: u128, ranges: impl Fn(&[T]) -> Ranges) -> Ranges {
    let Some(list) = list else {
        return vec![(0, last)];
    };
    let mut ranges = ranges(list);
    ranges.sort_unstable();
    let mut joined: Ranges = Vec::new();
    for (first, end) in ranges {
        match joined.last_mut() {
            Some((_, before)) if first <= before.saturating_add(1) => *before = end.max(*before),
            Some(_) | None => joined.push((first, end)),
        }
    }
    joined
}

/// Whether all of `inner` is in `outer`.
fn contains(outer: &[(u128, u128)], inner: &[(u128, u128)]) -> bool {
    inner.iter().all(|(first, last)| {
        let mut outer = outer.iter();
        outer.any(|(from, to)| from <= first && last <= to)
    })
}
