//! Finding the first rule that matches a packet.

use super::{Judged, RuleCounts, RuleSet};
use crate::{
    family::Family,
    limits::{MAX_DOMAIN_CLASSES, MAX_LAN_PORTS, RULE_WORDS},
    opaque::opaque,
    tables::Tables,
    verdict::Verdict,
    way::steer::Ends,
};

/// What rules can ask about a packet.
#[derive(Clone, Copy, Debug)]
pub struct Facts<A> {
    /// Addresses, protocol and ports.
    pub ends: Ends<A>,
    /// The DSCP: 0 to 63.
    pub dscp: u8,
    /// The slot of the LAN port that it came in on.
    pub slot: u32,
}

/// What the rules in force say of a packet; counted by the rule. `in_force` is what [`SharedState::rulebook`]
/// said.
///
/// [`SharedState::rulebook`]: crate::state::SharedState::rulebook
///
/// # Errors
/// [`Verdict::DropInternal`] when there is no such copy.
#[inline(always)]
pub fn judge<F: Family, T: Tables>(
    tables: &T,
    in_force: u32,
    facts: &Facts<F::Address>,
) -> Result<Judged, Verdict> {
    let Facts { ends, dscp, slot } = facts;
    let copy = in_force & 1;
    let source = F::by_source(tables, copy, ends.inside).ok_or(Verdict::DropInternal)?;
    let destination = F::by_destination(tables, copy, ends.remote).ok_or(Verdict::DropInternal)?;
    let book = tables.rulebook(copy).ok_or(Verdict::DropInternal)?;
    let set = |number: u16| book.set(number.into());
    let by_domain = if book.asks_domains != 0 {
        let side = in_force >> 1 & 1;
        let class = F::domain(tables, side, ends.remote) & (MAX_DOMAIN_CLASSES as u32 - 1);
        tables
            .domain_set(side * MAX_DOMAIN_CLASSES as u32 + class)
            .ok_or(Verdict::DropInternal)?
    } else {
        // Once more, which changes nothing.
        book.set(source & 0xffff)
    };
    let sets = [
        book.set(source & 0xffff),
        book.set(destination & 0xffff),
        set(book.source_ports[(ends.ports >> 16) as usize & 0xffff]),
        set(book.ports[ends.ports as usize & 0xffff]),
        set(book.protocols[usize::from(ends.protocol)]),
        set(book.dscps[usize::from(*dscp) & 63]),
        set(book.lan[*slot as usize & (MAX_LAN_PORTS - 1)]),
        by_domain,
    ];
    let judged = match first(&sets) {
        Some(rule) => {
            tables.note_rule(rule);
            Judged::by(rule, book.targets[rule as usize & (64 * RULE_WORDS - 1)])
        }
        None => {
            tables.note_rule(RuleCounts::NO_RULE);
            Judged::DEFAULT
        }
    };
    Ok(judged.of_own(source >> 16))
}

/// The first rule that all sets have.
#[inline(always)]
fn first<const N: usize>(sets: &[&RuleSet; N]) -> Option<u32> {
    for n in 0..RULE_WORDS {
        let mut common = u64::MAX;
        for set in sets {
            common &= set.word(n);
        }
        if common != 0 {
            // The compiler knows the number to be small, the verifier wants to see it.
            let rule = opaque(n as u64 * 64 + u64::from(common.trailing_zeros())) as u32;
            return Some(rule & (64 * RULE_WORDS as u32 - 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_all_sets_have_is_found() {
        let mut sets = [RuleSet::NONE; 3];
        for rule in [5, 64, 700, 1023] {
            sets[0].insert(rule);
            sets[1].insert(rule);
        }
        sets[2] = RuleSet::ALL;
        let found = |sets: &[RuleSet; 3]| first(&[&sets[0], &sets[1], &sets[2]]);
        assert_eq!(found(&sets), Some(5));
        sets[2].remove(5);
        assert_eq!(found(&sets), Some(64));
        sets[1].remove(64);
        sets[0].remove(700);
        assert_eq!(found(&sets), Some(1023));
        sets[0] = RuleSet::NONE;
        assert_eq!(found(&sets), None);
    }
}
