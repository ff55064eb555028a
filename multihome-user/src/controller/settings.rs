//! What the controller is told when it begins.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc, time::Duration};

use multihome_common::uplink::UplinkEntry;

use crate::{
    config::{DampingConfig, Filtering, GroupConfig, Ipv6Prefix, LanConfig, Unasked, UplinkConfig},
    domains::Known,
    health::HealthSettings,
    policy::Rule,
    pppoe::Session,
    quality::quota::Ledger,
    ranking::Member,
    suspicion::SuspicionSettings,
};

/// What the controller is to look after.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The uplinks with their ids.
    pub uplinks: Vec<(u8, UplinkConfig)>,
    /// The LAN ports with their slots.
    pub lan: Vec<(u32, LanConfig)>,
    /// When a path's state changes.
    pub health: HealthSettings,
    /// When paths are suspected.
    pub suspicion: SuspicionSettings,
    /// How long an eligible word must hold to be remembered as good.
    pub settle: Duration,
    /// How far back loss, latency and jitter look.
    pub window: Duration,
    /// What uplinks with a quota have carried.
    pub ledger: Ledger,
    /// What an earlier controller left, if one did.
    pub adopted: Option<Adopted>,
    /// The entries of the uplinks that it had, by their ids.
    pub entries: BTreeMap<u8, UplinkEntry>,
    /// How paths that have failed are held back.
    pub damping: DampingConfig,
    /// Uplinks that are being drained, with what is told of that.
    pub draining: BTreeMap<u8, String>,
    /// The groups, in the order of the configuration.
    pub groups: Vec<GroupSettings>,
    /// How addresses are translated.
    pub translation: Translation,
    /// The rules, with the groups' ids and the LAN ports' numbers.
    pub rules: Arc<[Rule]>,
    /// The PPPoE sessions that there are.
    pub sessions: Vec<Session>,
    /// What an earlier controller has learned of domains.
    pub known: Vec<Known>,
    /// Hosts of the LAN that forwards lead to.
    pub forwards: Vec<Ipv4Addr>,
}

/// A group of uplinks.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// Its id: the place of its words in the shared state.
    pub id: u8,
    /// Its name.
    pub name: String,
    /// Its members.
    pub members: Vec<Member>,
    /// How its flows are spread, and moved, and what it asks of its members.
    pub config: GroupConfig,
    /// The words that an earlier controller left it.
    pub left: LeftWords,
}

/// How addresses are translated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// The first part of the port table of each uplink that may translate IPv4, by its id.
    pub pools: BTreeMap<u8, u16>,
    /// The LAN's own IPv6 prefix.
    pub inside_prefix: Option<Ipv6Prefix>,
    /// The prefixes that were told of uplinks whose prefix is delegated, by the uplink's id.
    pub delegated: BTreeMap<u8, Ipv6Prefix>,
    /// Whose packets reach the host behind a port.
    pub filtering: Filtering,
    /// What becomes of what nobody asked for.
    pub unasked: Unasked,
}

/// What an earlier controller left of all groups, by family.
#[derive(Clone, Copy, Debug, Default)]
pub struct Adopted {
    /// The uplinks that it had; others are new, and begin as at a first start.
    pub known: u64,
    /// Paths that were alive.
    pub alive: [u64; 2],
    /// Which families' flows were looked up; bit n = family n.
    pub tracked: u64,
}

/// The words that an earlier controller left a group, by family; zeroes where none did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftWords {
    /// The members that it had; bit n = uplink n.
    pub had: u64,
    /// The eligible words.
    pub eligible: [u64; 2],
    /// The last-known-good words.
    pub last_good: [u64; 2],
    /// The settled words.
    pub settled: [u64; 2],
}
