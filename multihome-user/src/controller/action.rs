//! What the controller wants done: plain data, so that a test can look at it.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use multihome_common::{
    framing::Framing,
    port::PortEntry,
    uplink::{HostEntry, UplinkEntry},
};

use super::Treatment;
use crate::{
    bfd::BfdPlan,
    dataplane::{Runs, Tags},
    domains::Change,
    events::Occurrence,
    policy::{Own, Rule},
    probe::{BurstPlan, ProbePlan},
    segments::{Segments, TooManySegments},
    suspicion::Sign,
};

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Store a group's eligible word of a family: this moves flows.
    SetEligible(u8, usize, u64),
    /// Store which uplinks of a group and family serve when none is eligible.
    SetLastGood(u8, usize, u64),
    /// Store which paths of a family are alive.
    SetAlive(usize, u64),
    /// Store to which uplinks of a family flows of a group go back.
    SetSettled(u8, usize, u64),
    /// Store which families' flows are looked up; bit n = family n.
    SetTracked(u64),
    /// Store what of a group's flows is hashed, and what becomes of those of a lost uplink.
    SetConduct(u8, u64),
    /// Replace an uplink's entry.
    SetUplink(u8, UplinkEntry),
    /// Make a device run its program, and send to it for its slot.
    Attach {
        /// The slot.
        slot: u32,
        /// The device's name.
        device: String,
        /// Its ifindex.
        ifindex: u32,
        /// Which program.
        runs: Runs,
        /// Whose tags its frames have.
        tags: Tags,
    },
    /// Store what frames get that are sent for a slot.
    SetFraming(u32, Framing),
    /// Enter a port of a device into the port table.
    SetPort(String, PortEntry),
    /// Remove one port of a device from the port table.
    DropPort(PortEntry),
    /// Remove a device that is gone from the port table, with all its ports.
    RemovePort(u32),
    /// Replace the address classes of a family.
    SetSegments(usize, Segments),
    /// Replace all rules as one, with the prefixes that are uplinks' own.
    SetRules(Arc<[Rule]>, Vec<Own>),
    /// Change what is known of the domains that rules name.
    Domain(Change),
    /// Tell that a family's addresses are of too many ranges for a table: the old one stays.
    SegmentsRefused(TooManySegments),
    /// Tell that a family's ranges fit again.
    SegmentsFit(usize),
    /// Enter or remove a LAN host.
    SetHost(IpAddr, Option<HostEntry>),
    /// Enter whose an outside address is (see `abi::owner_word`), or remove it.
    SetOutside(Ipv4Addr, Option<u64>),
    /// Probe these and nothing else.
    Probe(Vec<ProbePlan>),
    /// Ask these targets at once, because of this sign that something may be wrong.
    Burst {
        /// The sign.
        sign: Sign,
        /// Whom to ask, all of one uplink, and how.
        plan: BurstPlan,
    },
    /// Ask these targets in quick succession, to learn how much the path loses.
    Ask(BurstPlan),
    /// Hold these BFD sessions and no others.
    Bfd(Vec<BfdPlan>),
    /// Have the kernel resolve a neighbour, or check one that is stale.
    Resolve(u32, IpAddr),
    /// Have the kernel ask a neighbour now, whatever it knows.
    Confirm(u32, IpAddr),
    /// Tell what an uplink does with the addresses of this family from now on.
    Treats(u8, usize, Treatment),
    /// Tell what happened, with how long it took to move flows if this batch has moved any.
    Event(Occurrence),
}
