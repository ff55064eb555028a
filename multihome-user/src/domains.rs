//! Domains that rules ask for: which addresses belong to them, learned from DNS answers that pass through the
//! gateway.
//!
//! The programs copy queries that LAN hosts send and the answers that come back; they change nothing. What the
//! gateway's own resolver is asked and answers, a packet socket shows. Only the answer to a query that was seen
//! counts, from the server that was asked, to the port that asked, with its number and its question: what anybody
//! else sends teaches nothing.

pub mod file;
mod filter;
mod learned;
mod message;
mod observer;
mod queries;
#[cfg(test)]
mod tests;

pub use learned::{Change, Domains, Known};
pub use message::{Answer, Message, Query};
pub use observer::{Observer, own_resolver};
pub use queries::Queries;
