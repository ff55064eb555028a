//! Rules: which group a packet from the LAN belongs to, or that it is dropped.
//!
//! The controller compiles the rules into a [`Rulebook`]. Each thing that a rule can ask about a packet (its
//! addresses, ports, protocol, DSCP, port of the LAN, the domain of its destination) yields a set of rules
//! with one bit for each: those that the packet does not fail there. The first rule of all sets in common
//! is the one that matches. So what a packet costs does not grow with the rules, but for the logarithm of
//! how many prefixes they name.

mod book;
mod judge;
mod judged;

pub use book::{DomainKey, MAX_RULEBOOK_SETS, Pieces, RuleCounts, RuleSet, Rulebook, Target};
pub use judge::{Facts, judge};
pub use judged::Judged;
