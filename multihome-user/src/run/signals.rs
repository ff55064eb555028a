//! The signals that end a controller.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::RunError;

/// The signals that end the controller; SIGHUP comes when a terminal closes.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, RunError> {
        let of = |kind| signal(kind).map_err(RunError::Signal);
        Ok(Self {
            terminate: of(SignalKind::terminate())?,
            interrupt: of(SignalKind::interrupt())?,
            hang_up: of(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
