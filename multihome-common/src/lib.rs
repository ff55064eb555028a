//! What kernel and user must agree on, and every decision that can be pure: limits, verdicts, map
//! layouts, and the packet path itself.
//!
//! The crate has no I/O and no allocation. The packet path is generic over [`packet::Packet`] (the
//! bytes) and [`tables::Tables`] (what the maps say), so that the very same code runs in the XDP
//! programs, in host tests and wherever the controller has to say what the kernel would do.
#![no_std]

#[cfg(any(test, feature = "user"))]
extern crate std;

pub mod abi;
pub mod address;
pub mod checksum;
pub mod family;
pub mod hash;
pub mod icmp_error;
pub mod limits;
pub mod packet;
pub mod parse;
pub mod port;
pub mod rank;
pub mod rate_limit;
pub mod rewrite;
#[cfg(any(test, feature = "user"))]
pub mod sim;
pub mod state;
pub mod tables;
#[cfg(test)]
mod testing;
pub mod uplink;
pub mod verdict;
pub mod way;
pub mod wire;
