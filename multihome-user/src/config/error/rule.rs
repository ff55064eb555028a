//! What can be wrong with a rule.

use multihome_common::limits;
use thiserror::Error;

use super::super::{origin::Origin, suggest, value::Vlan};
use crate::policy::TooComplex;

/// Why a rule cannot be used.
#[derive(Debug, Error)]
pub enum RuleError {
    /// More rules than there can be.
    #[error("{origin}: more than {} rules", limits::MAX_RULES)]
    TooMany {
        /// Where the first one too many stands.
        origin: Origin,
    },
    /// Two rules of one name.
    #[error("{origin}: there is already a rule {name:?} ({first})")]
    SameName {
        /// Where the second stands.
        origin: Origin,
        /// The name.
        name: Box<str>,
        /// Where the first stands.
        first: Origin,
    },
    /// A list without anything in it.
    #[error("{origin}: {key} is empty, so that no packet has it; without the key, all packets do")]
    Empty {
        /// Where the rule stands.
        origin: Origin,
        /// The key.
        key: &'static str,
    },
    /// Nothing is said about what becomes of the packets.
    #[error("{origin}: a rule needs a group, or drop = true")]
    NoTarget {
        /// Where the rule stands.
        origin: Origin,
    },
    /// Two things are said about it.
    #[error("{origin}: a rule has a group or drops, not both")]
    TwoTargets {
        /// Where the second stands.
        origin: Origin,
    },
    /// It is said that packets are not dropped, which says nothing.
    #[error("{origin}: drop = false says nothing; give the rule a group")]
    NotDropped {
        /// Where.
        origin: Origin,
    },
    /// A group that does not exist.
    #[error("{origin}: there is no group {name:?}{}", suggest::hint(.suggestion.as_deref()))]
    UnknownGroup {
        /// Where it is named.
        origin: Origin,
        /// The name.
        name: Box<str>,
        /// The group that was probably meant.
        suggestion: Option<String>,
    },
    /// A LAN port that does not exist.
    #[error("{origin}: there is no LAN port {name:?}{}", suggest::hint(.suggestion.as_deref()))]
    UnknownLan {
        /// Where it is named.
        origin: Origin,
        /// The name.
        name: Box<str>,
        /// The LAN port that was probably meant.
        suggestion: Option<String>,
    },
    /// A VLAN that no LAN port has.
    #[error(
        "{origin}: no LAN port has the VLAN {vlan} that the rule asks for; those that there are: {}",
        .known.join(", ")
    )]
    UnknownVlan {
        /// Where the rule stands.
        origin: Origin,
        /// The VLAN.
        vlan: Vlan,
        /// The LAN ports and their tags.
        known: Vec<String>,
    },
    /// Sources of one family and destinations of the other.
    #[error("{origin}: no packet has an {from} source and an {to} destination")]
    FamiliesApart {
        /// Where the destination stands.
        origin: Origin,
        /// The sources' family.
        from: &'static str,
        /// The destinations'.
        to: &'static str,
    },
    /// Ports of packets that have none.
    #[error("{origin}: protocol {protocol} has no ports; only tcp and udp have")]
    NoPorts {
        /// Where the protocol stands.
        origin: Origin,
        /// It.
        protocol: String,
    },
    /// The rules do not fit the programs' tables.
    #[error("{origin}: the rules do not fit: {reason}")]
    TooComplex {
        /// Where the first rule stands.
        origin: Origin,
        /// What is too much.
        reason: TooComplex,
    },
}
