//! Asks next hops and remote targets whether they still answer: what is asked, what comes back,
//! and the parts that do it.
//!
//! ICMP echo requests leave over packet sockets bound to the uplink's device, with the next hop's
//! MAC address already in place, so neither routing tables nor `rp_filter` have a say in where a
//! probe goes. [`schedule`] decides what to send and when a probe is lost, without I/O;
//! [`socket`] is the edge; [`prober`] runs both.

use std::{
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

pub mod echo;
pub mod exchange;
mod failure;
pub mod filter;
mod id;
pub mod prober;
pub mod rtt;
pub mod schedule;
pub mod service;
mod services;
pub mod socket;

pub use failure::Failure;
pub use id::{Method, Outcome, ProbeEvent, TargetId, TargetKind};
pub use prober::{BurstPlan, ProbePlan, ProbeReport, ProbeTarget, Prober};
pub use rtt::SmoothedRtt;
pub use schedule::{ProbeAction, ProbeSchedule, ProbeSettings};
pub use socket::{EchoSocket, ProbeError};

/// An address family that can be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4, probed by ICMP.
    Ipv4,
    /// IPv6, probed by ICMPv6.
    Ipv6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// How long ago something happened, zero for the future: clocks of two CPUs may differ slightly.
fn since(then: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(then)
}
