//! An event as it is kept and told: one JSON object.

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Kind, Occurrence, line};

/// The version of [`Record`]: it changes when a field changes its meaning or goes away, not when a
/// field or a kind is added.
pub const SCHEMA_VERSION: u32 = 1;

/// An event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA_VERSION`] of the controller.
    pub schema_version: u32,
    /// Its number: each event has the next one.
    pub seq: u64,
    /// When it was told.
    pub time: Timestamp,
    /// What happened.
    pub kind: Kind,
    /// It was found so at the start, and is no change.
    pub initial: bool,
    /// The uplink's name, if it happened to one.
    pub uplink: Option<String>,
    /// `ipv4` or `ipv6`, if it happened in one family only.
    pub family: Option<String>,
    /// The group's name, if it happened in one only.
    pub group: Option<String>,
    /// Why, for people.
    pub cause: String,
    /// How long after the first sign of it the controller noticed, in milliseconds.
    pub noticed_ms: Option<f64>,
    /// How long after that the word that moves flows was in force, in milliseconds.
    pub moved_ms: Option<f64>,
}

impl Record {
    /// How long after the first sign of it the controller noticed.
    pub fn noticed(&self) -> Option<Duration> {
        self.noticed_ms.and_then(duration)
    }

    /// How long after that the word that moves flows was in force.
    pub fn moved(&self) -> Option<Duration> {
        self.moved_ms.and_then(duration)
    }

    /// The event in words, as the log has it.
    pub fn line(&self) -> String {
        line::line(self)
    }
}

/// What is known of when something happened.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// When the controller noticed.
    pub noticed: Instant,
    /// How long after that the word that moves flows was stored, if one was.
    pub moved: Option<Duration>,
    /// The time now.
    pub wall: SystemTime,
}

/// Makes records, and numbers them.
#[derive(Clone, Copy, Debug)]
pub struct Recorder {
    next: u64,
}

impl Recorder {
    /// A recorder whose first record has this number.
    pub fn new(next: u64) -> Self {
        Self { next }
    }

    /// Makes a record of what happened. `name` and `family` are what its ids stand for.
    pub fn record(
        &mut self,
        occurrence: Occurrence,
        name: Option<&str>,
        family: Option<&str>,
        timing: Timing,
        initial: bool,
    ) -> Record {
        let seq = self.next;
        self.next = self.next.saturating_add(1);
        let noticed = occurrence
            .sign
            .map(|sign| timing.noticed.saturating_duration_since(sign));
        Record {
            schema_version: SCHEMA_VERSION,
            seq,
            time: timestamp(timing.wall),
            kind: occurrence.kind,
            initial,
            uplink: name.map(str::to_owned),
            family: family.map(str::to_owned),
            group: occurrence.group,
            cause: plain(&occurrence.cause),
            noticed_ms: noticed.map(milliseconds),
            moved_ms: timing
                .moved
                .filter(|_| occurrence.kind.moves())
                .map(milliseconds),
        }
    }
}

impl Kind {
    /// Whether flows may move with it, so that it is worth telling how fast they did.
    pub const fn moves(self) -> bool {
        match self {
            Self::PathUp
            | Self::PathDown
            | Self::UplinkUp
            | Self::UplinkDown
            | Self::Sick
            | Self::Well
            | Self::Full
            | Self::Spare
            | Self::QuotaSpent
            | Self::QuotaRenewed
            | Self::Held
            | Self::Released
            | Self::Draining
            | Self::Undrained => true,
            Self::Suspected
            | Self::Cleared
            | Self::QuotaLow
            | Self::BfdUp
            | Self::BfdDown
            | Self::FaultSet
            | Self::FaultEnded
            | Self::RoutesChanged
            | Self::PathRemark
            | Self::TranslationChanged
            | Self::PrefixChanged
            | Self::NetlinkResynced
            | Self::ControllerStarted
            | Self::ControllerStopped => false,
        }
    }
}

/// The longest cause, in bytes.
const MAX_CAUSE: usize = 512;

/// A cause as one line of bounded length: a server that is probed may have a say in it, and it goes
/// into logs and environments.
fn plain(cause: &str) -> String {
    let mut plain = cause.replace(char::is_control, " ");
    if plain.len() > MAX_CAUSE {
        plain.truncate(plain.floor_char_boundary(MAX_CAUSE));
        plain.push('…');
    }
    plain
}

/// Cut to microseconds: what is compared with it is rarely exacter.
fn timestamp(wall: SystemTime) -> Timestamp {
    let exact = Timestamp::try_from(wall).unwrap_or(Timestamp::UNIX_EPOCH);
    Timestamp::from_microsecond(exact.as_microsecond()).unwrap_or(exact)
}

/// In steps of a microsecond, so that the number is short.
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

fn duration(milliseconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(milliseconds / 1000.0).ok()
}
