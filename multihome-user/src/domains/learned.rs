//! Which addresses belong to which domains, and until when. Pure; the clock is passed in.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    time::{Duration, Instant},
};

use multihome_common::{
    limits::{MAX_DOMAIN_ADDRESSES, MAX_DOMAIN_CLASSES},
    rules::RuleSet,
};

use super::Answer;
use crate::{config::DomainPattern, policy::Rule};

/// What an answer counts for at least: hosts use an address for longer than a TTL of seconds says.
const SHORTEST: Duration = Duration::from_secs(60);
/// What it counts for at most.
const LONGEST: Duration = Duration::from_hours(24);

/// What is to be changed in the programs' tables, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The rules that packets of a class of addresses may match.
    Class(u32, RuleSet),
    /// The class of an address; `None` is that of no domain.
    Address(IpAddr, Option<u32>),
}

/// That an address belongs to a domain, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The address.
    pub address: IpAddr,
    /// The domain as rules have it.
    pub domain: DomainPattern,
    /// For how long.
    pub left: Duration,
}

/// What is known of addresses.
#[derive(Debug, Default)]
pub struct Domains {
    /// What rules ask for, each once.
    patterns: Vec<DomainPattern>,
    /// The rules that ask for each.
    asking: Vec<RuleSet>,
    /// The rules that ask for none.
    indifferent: RuleSet,
    /// For each address until when it belongs to which patterns, by their places.
    learned: HashMap<IpAddr, BTreeMap<u16, Instant>>,
    /// The class of addresses that belong to these patterns; the class of none is 0.
    classes: HashMap<BTreeSet<u16>, u32>,
    /// When something is up next.
    next: Option<Instant>,
    /// There was no room; it was told.
    full: bool,
}

impl Domains {
    /// For these rules, with what was known before, as far as they still ask for it.
    pub fn new(rules: &[Rule], known: &[Known], now: Instant) -> Self {
        let mut domains = Self::default();
        for (number, rule) in rules.iter().enumerate() {
            let Some(asked) = &rule.domains else {
                domains.indifferent.insert(number);
                continue;
            };
            for pattern in asked {
                let place = domains.patterns.iter().position(|known| known == pattern);
                let place = place.unwrap_or_else(|| {
                    domains.patterns.push(pattern.clone());
                    domains.asking.push(RuleSet::NONE);
                    domains.patterns.len() - 1
                });
                domains.asking[place].insert(number);
            }
        }
        for Known {
            address,
            domain,
            left,
        } in known
        {
            let place = domains.patterns.iter().position(|asked| asked == domain);
            let has_room = domains.learned.len() < MAX_DOMAIN_ADDRESSES;
            if let Some(place) = place.filter(|_| has_room) {
                let until = now + (*left).min(LONGEST);
                let of = domains.learned.entry(*address).or_default();
                of.insert(place as u16, until);
                domains.next = Some(domains.next.map_or(until, |next| next.min(until)));
            }
        }
        domains
    }

    /// What is known, and for how long yet.
    pub fn known(&self, now: Instant) -> Vec<Known> {
        let pairs = self.learned.iter().flat_map(|(address, of)| {
            of.iter().map(move |(place, until)| Known {
                address: *address,
                domain: self.patterns[usize::from(*place)].clone(),
                left: until.saturating_duration_since(now),
            })
        });
        pairs.collect()
    }

    /// Whether any rule asks for domains.
    pub fn is_asked(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// What the programs' tables need before the next address is known.
    pub fn begin(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.is_asked() {
            changes.push(Change::Class(0, self.indifferent));
        }
        let known = self.learned.iter();
        let known: Vec<(IpAddr, BTreeSet<u16>)> = known
            .map(|(address, of)| (*address, of.keys().copied().collect()))
            .collect();
        for (address, patterns) in known {
            self.change(address, patterns, &mut changes);
        }
        changes
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.learned.len()
    }

    /// Whether no address is known.
    pub fn is_empty(&self) -> bool {
        self.learned.is_empty()
    }

    /// Takes an answer to a query that was seen.
    pub fn learn(&mut self, answer: &Answer, now: Instant) -> Vec<Change> {
        let matching: Vec<u16> = (0..)
            .zip(&self.patterns)
            .filter(|(_, pattern)| pattern.matches(&answer.query.name))
            .map(|(place, _)| place)
            .collect();
        let mut changes = Vec::new();
        if matching.is_empty() {
            return changes;
        }
        for (address, ttl) in &answer.addresses {
            if !self.learned.contains_key(address) && self.learned.len() >= MAX_DOMAIN_ADDRESSES {
                self.tell_full("addresses");
                continue;
            }
            let holds = Duration::from_secs((*ttl).into()).clamp(SHORTEST, LONGEST);
            let until = now + holds;
            let known = self.learned.entry(*address).or_default();
            let before: BTreeSet<u16> = known.keys().copied().collect();
            for pattern in &matching {
                let of = known.entry(*pattern).or_insert(until);
                *of = until.max(*of);
            }
            let after: BTreeSet<u16> = known.keys().copied().collect();
            self.next = Some(self.next.map_or(until, |next| next.min(until)));
            if before != after {
                self.change(*address, after, &mut changes);
            }
        }
        changes
    }

    /// Forgets what does not hold any more.
    pub fn expire(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.next.is_none_or(|next| next > now) {
            return changes;
        }
        let mut different = Vec::new();
        self.learned.retain(|address, known| {
            let before = known.len();
            known.retain(|_, until| *until > now);
            if known.len() != before {
                different.push((*address, known.keys().copied().collect()));
            }
            !known.is_empty()
        });
        self.next = self
            .learned
            .values()
            .flat_map(BTreeMap::values)
            .min()
            .copied();
        for (address, patterns) in different {
            self.change(address, patterns, &mut changes);
        }
        changes
    }

    fn change(&mut self, address: IpAddr, patterns: BTreeSet<u16>, changes: &mut Vec<Change>) {
        if patterns.is_empty() {
            changes.push(Change::Address(address, None));
            return;
        }
        let class = match self.classes.get(&patterns) {
            Some(class) => *class,
            None if self.classes.len() + 1 >= MAX_DOMAIN_CLASSES => {
                self.tell_full("combinations of domains");
                return;
            }
            None => {
                let class = self.classes.len() as u32 + 1;
                let mut rules = self.indifferent;
                for pattern in &patterns {
                    rules = rules.or(self.asking[usize::from(*pattern)]);
                }
                self.classes.insert(patterns, class);
                changes.push(Change::Class(class, rules));
                class
            }
        };
        changes.push(Change::Address(address, Some(class)));
    }

    fn tell_full(&mut self, what: &str) {
        if !std::mem::replace(&mut self.full, true) {
            tracing::warn!(
                "there is no room for more {what} of the domains that rules name; what does not fit \
                 goes by the other rules"
            );
        }
    }
}
