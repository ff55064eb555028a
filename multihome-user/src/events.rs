//! What happens to the gateway, told to people and programs.
//!
//! The controller says what happened as an [`Occurrence`]: plain data, by ids. [`Record`] is the
//! same with names, a number, the time and how long it took; all that is told of it, the log line
//! included, is made from the record.

pub mod command;
mod follower;
mod hub;
pub mod journal;
mod kind;
mod line;
mod occurrence;
mod query;
mod record;
mod ring;
mod since;

pub use hub::{Hub, HubError, ReaderDoor};
pub use kind::{Kind, Tone, UnknownKind};
pub use occurrence::Occurrence;
pub use query::EventQuery;
pub use record::{Record, Recorder, SCHEMA_VERSION, Timing};
pub use since::Since;

#[cfg(test)]
pub(crate) mod tests;
