//! The kernel's links, addresses, routes and neighbours: a mirror of them kept by events, and
//! requests to resolve a neighbour.
//!
//! Messages from the kernel are read from a socket of our own and decoded leniently
//! ([`message`]): only what is needed is looked at, so an attribute that a new kernel or an exotic
//! driver adds can never hide a device. Requests go through `rtnetlink`.

use std::{io, net::IpAddr};

mod dump;
mod hardware;
mod message;
mod mirror;
mod neighbour;
mod own;
mod socket;
mod state;
mod watch;

pub use hardware::{Misfit, hardware_of};
pub use neighbour::NeighbourResolver;
pub use own::{OwnEvents, OwnTables};
pub use state::{
    Address, ETHERNET, Link, MAIN_TABLE, Neighbour, NeighbourState, NetEvent, NetState, Route,
    VlanOf,
};
pub use watch::{Noticed, Watcher};

/// What can go wrong between us and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket could be had.
    #[error("cannot open a netlink socket: {what} failed")]
    Open {
        /// Which step failed.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Events can no longer be read.
    #[error("cannot receive netlink events")]
    Receive(#[source] io::Error),
    /// The kernel refused to list one of its tables, or the answer made no sense.
    #[error("cannot list the kernel's {table}")]
    Dump {
        /// Which one: links, addresses, routes or neighbours.
        table: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A neighbour entry could not be asked for.
    #[error("cannot have {address} resolved on the device with index {ifindex}")]
    Neighbour {
        /// The device.
        ifindex: u32,
        /// The neighbour.
        address: IpAddr,
        /// Why, in the kernel's words.
        source: io::Error,
    },
    /// A route or rule of ours could not be set or removed.
    #[error("cannot {what}")]
    Own {
        /// What should have been done.
        what: String,
        /// Why, in the kernel's words.
        source: io::Error,
    },
    /// The task that reads events has ended, because of an earlier error or with its runtime.
    #[error("the netlink watcher has stopped")]
    Stopped,
}
