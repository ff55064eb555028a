//! What the controller wants done: plain data, so that a test can look at it.

use std::net::IpAddr;

use multihome_common::{
    port::PortEntry,
    uplink::{HostEntry, UplinkEntry},
};

use crate::{
    probe::ProbePlan,
    segments::{Segments, TooManySegments},
};

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Store a family's eligible word: this moves flows.
    SetEligible(usize, u64),
    /// Store which uplinks of a family serve when none is eligible.
    SetLastGood(usize, u64),
    /// Store which paths of a family are alive.
    SetAlive(usize, u64),
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
        /// The program of a LAN port, not of an uplink.
        lan: bool,
    },
    /// Enter a device into the port table.
    SetPort(String, PortEntry),
    /// Remove a device that is gone from the port table.
    RemovePort(u32),
    /// Replace the address classes of a family.
    SetSegments(usize, Segments),
    /// Tell that a family's addresses are of too many ranges for a table: the old one stays.
    SegmentsRefused(TooManySegments),
    /// Tell that a family's ranges fit again.
    SegmentsFit(usize),
    /// Enter or remove a LAN host.
    SetHost(IpAddr, Option<HostEntry>),
    /// Probe these and nothing else.
    Probe(Vec<ProbePlan>),
    /// Have the kernel resolve a neighbour, or check one that is stale.
    Resolve(u32, IpAddr),
    /// Have the kernel ask a neighbour now, whatever it knows.
    Confirm(u32, IpAddr),
    /// Tell what is odd about a path of an uplink, in this family.
    Remark(u8, usize, String),
    /// Tell that a path went up or down.
    PathChanged(PathChange),
    /// Tell that an uplink went up or down: its last path down, or its first up.
    UplinkChanged(UplinkChange),
}

/// A path went up or down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathChange {
    /// The uplink.
    pub id: u8,
    /// The family's index.
    pub family: usize,
    /// The new state.
    pub up: bool,
    /// Why, for people.
    pub cause: String,
}

/// An uplink went up or down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkChange {
    /// The uplink.
    pub id: u8,
    /// The new state.
    pub up: bool,
    /// Why, for people.
    pub cause: String,
    /// The first state that is found after the start, not a change of one.
    pub first: bool,
}
