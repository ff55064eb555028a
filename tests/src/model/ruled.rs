//! Random rules for a site: about the hosts, servers and ports that its traffic is of, and the groups that
//! they lead to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use multihome::{
    config::PortRange,
    policy::{Own, Rule, compile},
};
use multihome_common::{
    limits::BUCKETS,
    rules::{RuleSet, Rulebook, Target},
    state::{self, GroupWords},
};

use super::{
    random::Random,
    site::{Site, Words, host4, host6},
};
use crate::prog_run::policy::masked;

/// Groups beside the default one, with ids from 1 on.
pub const GROUPS: usize = 3;

/// A group beside the default one.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Its words; `alive` is that of the site.
    pub words: Words,
    /// What of its flows is hashed.
    pub hash: state::Policy,
    /// Translated flows wait for their uplink.
    pub hold: bool,
}

impl Group {
    /// What the programs read of the group of this id.
    pub fn words(&self, id: usize) -> GroupWords {
        let flags = if self.hold { state::GROUP_HOLD } else { 0 };
        GroupWords {
            eligible: [self.words.eligible; 2],
            last_good: [self.words.last_good; 2],
            settled: [self.words.settled; 2],
            conduct: GroupWords::conduct([self.hash; 2], flags),
            rows: (id * BUCKETS) as u64,
        }
    }
}

/// Rules, and what they need.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The rules.
    pub rules: Vec<Rule>,
    /// The prefixes that are uplinks' own.
    pub own: Vec<Own>,
    /// Addresses of the one domain that rules ask for.
    pub named: Vec<IpAddr>,
}

impl Policy {
    /// Random rules, at most `most`, for a site. They ask for the DSCP only where no flow may be known by it: a flow
    /// whose packets differ there is judged anew only now and then.
    pub fn random(random: &mut Random, site: &Site, most: usize, dscp: bool) -> Self {
        // Of those that match little, later ones have their turn.
        let narrow = random.one_in(2);
        let rules = (0..=random.below(most)).map(|_| rule(random, narrow, dscp));
        let rules = rules.collect();
        let under = |text: &str, id| (text.parse().expect("a prefix"), id);
        // What is translated has no prefix of its own on the LAN.
        let own = if site.conduct.routed && random.one_in(2) {
            vec![
                under("2001:db8:1:5::/64", 1),
                under("2001:db8:1:ffff::/64", 0),
            ]
        } else {
            Vec::new()
        };
        let named = vec![server4(1).into(), server4(4).into(), server6(2).into()];
        Self { rules, own, named }
    }

    /// The rulebook.
    ///
    /// # Panics
    /// When the rules do not fit.
    pub fn book(&self) -> Box<Rulebook> {
        compile(&self.rules, &self.own).expect("they fit")
    }

    /// The rules that packets to addresses of no domain may match, and of those to the one that there is.
    pub fn domain_sets(&self) -> [RuleSet; 2] {
        let mut sets = [RuleSet::NONE; 2];
        for (number, rule) in self.rules.iter().enumerate() {
            if rule.domains.is_none() {
                sets[0].insert(number);
            }
            sets[1].insert(number);
        }
        sets
    }
}

fn rule(random: &mut Random, narrow: bool, dscp: bool) -> Rule {
    let domain = || vec!["*.example.net".parse().expect("a pattern")];
    Rule {
        sources: some(random, narrow, |random| {
            let last = 2 + random.below(6) as u8;
            if random.one_in(2) {
                masked(host4(last).into(), 29 + random.below(4))
            } else {
                let subnet = random.of(&[0, 5, 0xffff]);
                masked(
                    host6(subnet, last).into(),
                    random.of(&[48, 64, 126, 127, 128]),
                )
            }
        }),
        destinations: some(random, narrow, |random| {
            let last = 1 + random.below(5) as u8;
            if random.one_in(2) {
                masked(server4(last).into(), random.of(&[16, 30, 31, 32]))
            } else {
                masked(server6(last).into(), random.of(&[32, 126, 127, 128]))
            }
        }),
        protocols: some(random, narrow, |random| {
            random.of(&[1, 6, 6, 17, 17, 47, 50, 58])
        }),
        source_ports: some(random, false, |random| {
            range(random, &[80, 1000, 2022, 40_000])
        }),
        ports: some(random, false, |random| range(random, &[53, 80, 443])),
        dscps: (dscp && random.one_in(4)).then(|| vec![random.of(&[0, 46])]),
        lan: random.one_in(6).then(|| vec![random.of(&[0, 0, 1])]),
        vlans: None,
        domains: random.one_in(6).then(domain),
        target: if random.one_in(5) {
            Target::DROP
        } else {
            Target::group_of(random.below(GROUPS + 1) as u8)
        },
    }
}

fn some<T>(
    random: &mut Random,
    always: bool,
    mut one: impl FnMut(&mut Random) -> T,
) -> Option<Vec<T>> {
    let is_asked = always || random.one_in(4);
    is_asked.then(|| (0..=random.below(3)).map(|_| one(random)).collect())
}

fn range(random: &mut Random, from: &[u16]) -> PortRange {
    let low = random.of(from);
    PortRange::new(low, low + random.below(4) as u16).expect("a range")
}

/// A server's address.
pub const fn server4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, last)
}

/// A server's address.
pub const fn server6(last: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x5000, 0, 0, 0, 0, last as u16)
}
