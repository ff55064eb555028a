//! What kernel and user must agree on, and every decision that can be pure: limits, verdicts, map
//! layouts, and the packet path itself.
//!
//! The crate has no I/O and no allocation. The packet path is generic over [`packet::Packet`] (the
//! bytes) and [`tables::Tables`] (what the maps say), so that the very same code runs in the XDP
//! programs, in host tests and wherever the controller has to say what the kernel would do.
#![no_std]
#![cfg_attr(
    target_arch = "bpf",
    feature(core_intrinsics, asm_experimental_arch),
    expect(
        internal_features,
        reason = "the library has no compare-and-exchange for BPF, the compiler has"
    )
)]

#[cfg(any(test, feature = "user"))]
extern crate std;

pub mod abi;
pub mod address;
pub mod branchless;
pub mod checksum;
pub mod counters;
#[cfg(any(test, feature = "fuzz"))]
pub mod exercise;
pub mod family;
pub mod fault;
pub mod flow;
pub mod framing;
pub mod hash;
pub mod icmp_error;
pub mod ip_header;
pub mod limits;
pub mod nat44;
pub mod nptv6;
pub mod opaque;
pub mod packet;
pub mod parse;
pub mod port;
pub mod rank;
pub mod rate_limit;
pub mod reset;
pub mod rewrite;
pub mod rules;
#[cfg(any(test, feature = "user"))]
pub mod sim;
pub mod state;
pub mod tables;
pub mod tcp;
#[cfg(test)]
mod testing;
pub mod transport;
pub mod uplink;
pub mod verdict;
pub mod way;
pub mod wire;
pub mod word;
