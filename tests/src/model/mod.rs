//! An independent model of the gateway: what it must do with a packet, written from the RFCs and the
//! documents over maps of the standard library, and random traffic that compares the programs with it.
//!
//! Nothing here uses the packet path's code, but to run it and to read its tables: a mistake there must
//! not be made here again. Where the programs are free to choose, the model takes their choice and checks
//! that it is allowed.

pub mod bench;
pub mod build;
pub mod choice;
pub mod damage;
pub mod errors;
pub mod flows;
pub mod gateway;
pub mod lan;
pub mod links;
pub mod mss;
pub mod packet;
pub mod prefix;
pub mod random;
pub mod replies;
pub mod rewrite;
pub mod ruled;
pub mod run;
pub mod site;
pub mod tables;
pub mod traffic;
pub mod uplink;
