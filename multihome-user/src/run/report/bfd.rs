//! BFD sessions in the status document.

use std::time::Instant;

use jiff::Timestamp;

use crate::{controller::path::Path, status::BfdStatus};

/// How the BFD session of a path stands, if it has one.
pub fn bfd(path: &Path, moment: impl Fn(Instant) -> Timestamp) -> Option<BfdStatus> {
    let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    let (peer, session) = path.bfd().session()?;
    Some(BfdStatus {
        peer,
        state: session.state.name().to_owned(),
        remote_state: session.remote_state.name().to_owned(),
        since: moment(session.since),
        cause: session.cause.to_string(),
        discriminator: session.discriminator,
        remote_discriminator: session.remote_discriminator,
        transmit_interval_ms: session.transmit_interval.map(milliseconds),
        detection_time_ms: session.detection_time.map(milliseconds),
    })
}
