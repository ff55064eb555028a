//! Bidirectional Forwarding Detection (RFC 5880) with the next hop or another neighbour on an uplink's
//! link (RFC 5881): asynchronous mode, single hop.
//!
//! [`session`] is the state machine of the standard, without I/O and clock, and [`packet`] its wire
//! form. [`socket`] is the edge, [`thread`](mod@thread) runs both on a thread of its own, so that nothing
//! else that the controller does delays a packet. [`evidence`] says what a session means for its path.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::probe::Family;

pub mod counters;
pub mod datagram;
pub mod discard;
pub mod engine;
pub mod evidence;
mod filter;
pub mod packet;
pub mod ports;
pub mod session;
pub mod socket;
pub mod thread;

pub use counters::{BfdCounters, SessionCounters};
pub use discard::Discard;
pub use evidence::Evidence;
pub use packet::{ControlPacket, Diagnostic, State};
pub use session::{Cause, Session, Snapshot};
pub use socket::BfdError;
pub use thread::Bfd;

/// One session: one uplink in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// The uplink's number, 0..=63.
    pub uplink: u8,
    /// The address family.
    pub family: Family,
}

/// How a session is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdSettings {
    /// The time from one packet to the next that is wished for while the session is up, in both
    /// directions (bfd.DesiredMinTxInterval and bfd.RequiredMinRxInterval): 10 ms to 60 s.
    pub interval: Duration,
    /// How many packets in a row the peer may miss before it takes the session down
    /// (bfd.DetectMult), at least 1.
    pub multiplier: u8,
    /// Nothing is sent before the peer has spoken (RFC 5880 section 6.1).
    pub passive: bool,
}

/// A session to be held, and how its packets reach the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdPlan {
    /// Whose session it is.
    pub id: SessionId,
    /// Which of the sessions that this uplink and family had one after the other: another number is
    /// another session.
    pub generation: u64,
    /// The uplink's device.
    pub ifindex: u32,
    /// Our address on it, of the peer's family.
    pub source: IpAddr,
    /// The neighbour that speaks BFD.
    pub peer: IpAddr,
    /// Its MAC address.
    pub peer_mac: [u8; 6],
    /// How the session is run.
    pub settings: BfdSettings,
}

/// What became of a session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SessionReport {
    /// Whose session it is.
    pub id: SessionId,
    /// Which of them: that of the plan.
    pub generation: u64,
    /// How it stands now.
    pub snapshot: Snapshot,
    /// When that was noticed.
    pub at: Instant,
    /// How late this machine gave the thread its turn in the time in which the session went down,
    /// when that was long enough for the peer to have missed our packets.
    pub held_up: Option<Duration>,
}

/// What the thread tells.
#[derive(Debug)]
pub enum BfdReport {
    /// A session changed.
    Session(SessionReport),
    /// A session's socket could not be opened or used. It is tried again every second.
    Error {
        /// Whose session it is.
        id: SessionId,
        /// What happened.
        error: BfdError,
    },
}
