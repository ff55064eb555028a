//! Makes the rulebook of rules.

use std::collections::HashMap;

use multihome_common::{
    address::{Address4, Address6},
    limits::{MAX_LAN_PORTS, MAX_PIECES, MAX_RULES},
    rules::{MAX_RULEBOOK_SETS, Pieces, RuleSet, Rulebook},
};
use thiserror::Error;

use super::{
    Rule,
    sweep::{Wanted, pieces},
};
use crate::config::{IpPrefix, Ipv6Prefix, PortRange};

/// A prefix that is an uplink's own: what has a source in it leaves by that uplink, by its id.
pub type Own = (Ipv6Prefix, u8);

/// Why rules do not fit the programs' tables.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TooComplex {
    /// More rules than a set has room for.
    #[error("there are {0} rules, and {MAX_RULES} is the most")]
    Rules(usize),
    /// A table of prefixes is too small.
    #[error(
        "their {what} prefixes cut the address space into {pieces} pieces, and {MAX_PIECES} is the most; \
         name fewer or larger ones"
    )]
    Pieces {
        /// Which prefixes.
        what: &'static str,
        /// The pieces that there would be.
        pieces: usize,
    },
    /// There are too many sets.
    #[error(
        "there are {0} different sets of them that prefixes, ports and the like may match, and \
         {MAX_RULEBOOK_SETS} is the most; name fewer or larger prefixes and ranges"
    )]
    Sets(usize),
}

/// Makes the rulebook of rules, and of the prefixes that are uplinks' own.
///
/// # Errors
/// When the rules do not fit.
pub fn compile(rules: &[Rule], own: &[Own]) -> Result<Box<Rulebook>, TooComplex> {
    if rules.len() > MAX_RULES {
        return Err(TooComplex::Rules(rules.len()));
    }
    let mut sets = Sets::default();
    let mut book = Rulebook::empty();
    fill4(
        &mut book.sources4,
        rules,
        |rule| &rule.sources,
        "IPv4 source",
        &mut sets,
    )?;
    fill4(
        &mut book.destinations4,
        rules,
        |rule| &rule.destinations,
        "IPv4 destination",
        &mut sets,
    )?;
    fill6(
        &mut book.sources6,
        rules,
        |rule| &rule.sources,
        own,
        "IPv6 source",
        &mut sets,
    )?;
    fill6(
        &mut book.destinations6,
        rules,
        |rule| &rule.destinations,
        &[],
        "IPv6 destination",
        &mut sets,
    )?;
    fill_ports(
        &mut book.source_ports,
        rules,
        |rule| &rule.source_ports,
        &mut sets,
    );
    fill_ports(&mut book.ports, rules, |rule| &rule.ports, &mut sets);
    fill_few(
        &mut book.protocols,
        rules,
        |rule| &rule.protocols,
        &mut sets,
    );
    fill_few(&mut book.dscps, rules, |rule| &rule.dscps, &mut sets);
    fill_few(&mut book.lan, rules, |rule| &rule.lan, &mut sets);
    for (place, rule) in book.targets.iter_mut().zip(rules) {
        *place = rule.target;
    }
    book.asks_domains = rules.iter().any(|rule| rule.domains.is_some()).into();
    if sets.list.len() > MAX_RULEBOOK_SETS {
        return Err(TooComplex::Sets(sets.list.len()));
    }
    for (place, set) in book.sets.iter_mut().zip(&sets.list) {
        *place = *set;
    }
    Ok(book)
}

/// The sets, each once.
#[derive(Default)]
struct Sets {
    list: Vec<RuleSet>,
    numbers: HashMap<RuleSet, usize>,
}

impl Sets {
    /// The number of a set. One that does not fit the tables is found out at the end.
    fn number(&mut self, set: RuleSet) -> u16 {
        let number = *self.numbers.entry(set).or_insert_with(|| {
            self.list.push(set);
            self.list.len() - 1
        });
        number as u16
    }
}

/// What a rule wants of the addresses of one family.
fn addresses(prefixes: Option<&[IpPrefix]>, ipv4: bool) -> Wanted {
    let of_family = |prefix: &&IpPrefix| prefix.is_ipv4() == ipv4;
    prefixes.map(|prefixes| {
        let ranges = prefixes.iter().filter(of_family);
        ranges.map(|prefix| prefix.range()).collect()
    })
}

type Prefixes = fn(&Rule) -> &Option<Vec<IpPrefix>>;

fn fill4(
    table: &mut Pieces<Address4>,
    rules: &[Rule],
    prefixes: Prefixes,
    what: &'static str,
    sets: &mut Sets,
) -> Result<(), TooComplex> {
    let wanted = rules
        .iter()
        .map(|rule| addresses(prefixes(rule).as_deref(), true));
    let list: Vec<(Address4, u32)> = pieces(wanted, u32::MAX.into())
        .into_iter()
        .map(|(start, set)| (Address4(start as u32), sets.number(set).into()))
        .collect();
    if table.fill(&list) {
        Ok(())
    } else {
        let pieces = list.len();
        Err(TooComplex::Pieces { what, pieces })
    }
}

fn fill6(
    table: &mut Pieces<Address6>,
    rules: &[Rule],
    prefixes: Prefixes,
    own: &[Own],
    what: &'static str,
    sets: &mut Sets,
) -> Result<(), TooComplex> {
    let wanted = rules
        .iter()
        .map(|rule| addresses(prefixes(rule).as_deref(), false));
    let swept = pieces(wanted, u128::MAX);
    let own: Vec<(u128, u128, u8)> = own
        .iter()
        .map(|(prefix, id)| {
            let first = prefix.network().to_bits();
            (first, first | (u128::MAX >> prefix.length()), *id)
        })
        .collect();
    // Where an own prefix begins, and just behind it, a piece begins as well.
    let mut starts: Vec<u128> = swept.iter().map(|(start, _)| *start).collect();
    for (first, last, _) in &own {
        starts.push(*first);
        starts.extend(last.checked_add(1));
    }
    starts.sort_unstable();
    starts.dedup();
    let mut list: Vec<(Address6, u32)> = Vec::new();
    for start in starts {
        let piece = swept.partition_point(|(first, _)| *first <= start) - 1;
        let owners = own
            .iter()
            .filter(|(first, last, _)| (*first..=*last).contains(&start));
        // Of two the longer prefix, as in any routing table.
        let owner = owners.min_by_key(|(first, last, _)| last - first);
        let owner = owner.map_or(0, |(.., id)| u32::from(*id) + 1);
        let value = u32::from(sets.number(swept[piece].1)) | owner << 16;
        if list.last().is_none_or(|(_, before)| *before != value) {
            let address = Address6::from_bytes(start.to_be_bytes());
            list.push((address, value));
        }
    }
    if table.fill(&list) {
        Ok(())
    } else {
        let pieces = list.len();
        Err(TooComplex::Pieces { what, pieces })
    }
}

fn fill_ports(
    table: &mut [u16; 1 << 16],
    rules: &[Rule],
    ports: fn(&Rule) -> &Option<Vec<PortRange>>,
    sets: &mut Sets,
) {
    let wanted = rules.iter().map(|rule| {
        let range = |range: &PortRange| (range.low().into(), range.high().into());
        let ranges = ports(rule).as_ref();
        ranges.map(|ranges| ranges.iter().map(range).collect())
    });
    fill_all(table, pieces(wanted, u16::MAX.into()), sets);
}

fn fill_few<const N: usize>(
    table: &mut [u16; N],
    rules: &[Rule],
    values: fn(&Rule) -> &Option<Vec<u8>>,
    sets: &mut Sets,
) {
    let wanted = rules.iter().map(|rule| {
        let values = values(rule).as_ref();
        values.map(|values| {
            values
                .iter()
                .map(|&value| (value.into(), value.into()))
                .collect()
        })
    });
    fill_all(table, pieces(wanted, N as u128 - 1), sets);
}

/// Enters the number of its set for each value.
fn fill_all<const N: usize>(table: &mut [u16; N], pieces: Vec<(u128, RuleSet)>, sets: &mut Sets) {
    for (start, set) in pieces {
        let number = sets.number(set);
        // Later pieces overwrite what is theirs.
        table[start as usize..].fill(number);
    }
}

const _: () = assert!(
    MAX_LAN_PORTS <= 64,
    "a rule knows LAN ports by numbers below 64"
);
