//! When to suspect a path, and how often: no I/O, and the clock is passed in.
//!
//! A suspicion takes no path down. It has the path's targets asked in a burst, which decides.
//!
//! - [`Silence`] watches what the traffic of a path says: packets leave, and nothing comes back.
//! - [`Sampling`] says when to look, and whether this process looked too late to say anything.
//! - [`Allowance`] bounds the bursts of an uplink.

use std::time::Duration;

mod allowance;
mod sampling;
mod silence;
#[cfg(test)]
mod tests;

pub use allowance::Allowance;
pub use sampling::Sampling;
pub use silence::Silence;

use crate::probe::schedule::BURST_STEP;

/// When paths are suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuspicionSettings {
    /// For how long packets must go unanswered; `None` does not watch the traffic.
    pub silence: Option<Duration>,
    /// The longest time between two probes of one target in a burst; `None` makes no bursts, and
    /// so suspects nothing.
    pub step: Option<Duration>,
}

impl Default for SuspicionSettings {
    fn default() -> Self {
        Self {
            silence: Some(Duration::from_millis(200)),
            step: Some(BURST_STEP),
        }
    }
}

/// What raised a suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// Packets of the traffic went unanswered.
    Silence,
    /// A target lost a probe.
    Loss,
}

impl Sign {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Silence, Self::Loss];

    /// The word for it in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Loss => "loss",
        }
    }
}

/// How many packets of the traffic have passed by a path so far. The numbers only grow, and wrap
/// around.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Packets of LAN hosts that left by it.
    pub out: u64,
    /// Packets for LAN hosts that came in by it.
    pub back: u64,
}
