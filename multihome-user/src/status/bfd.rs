//! How a BFD session stands.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a BFD session stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BfdStatus {
    /// The neighbour that it is with.
    pub peer: IpAddr,
    /// `up`, `init`, `down` or `admin_down`.
    pub state: String,
    /// The same at the neighbour's end, as it last told.
    pub remote_state: String,
    /// When the state began.
    pub since: Timestamp,
    /// What made it so.
    pub cause: String,
    /// Our name for the session.
    pub discriminator: u32,
    /// The neighbour's name for it, 0 while it is not known.
    pub remote_discriminator: u32,
    /// The negotiated time from one packet sent to the next, before jitter, in milliseconds; `None`
    /// while nothing is sent periodically.
    pub transmit_interval_ms: Option<f64>,
    /// How long the neighbour may be silent, in milliseconds; `None` while nothing was heard of it.
    pub detection_time_ms: Option<f64>,
}

impl BfdStatus {
    /// The session as people read it.
    pub fn line(&self, age: &str) -> String {
        let mut line = format!(
            "{} with {} for {age} ({})",
            self.state.replace('_', " "),
            self.peer,
            self.cause
        );
        let times = [
            ("sends every", self.transmit_interval_ms),
            ("detection time", self.detection_time_ms),
        ];
        for (what, time) in times {
            if let Some(time) = time {
                line.push_str(&format!(", {what} {time} ms"));
            }
        }
        line
    }
}
