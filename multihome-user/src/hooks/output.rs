//! What a command prints, for the log: bounded, and without what could pass for other lines of it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What is kept of one run, in bytes.
pub const MAX_OUTPUT: usize = 4096;

/// What one run has printed so far.
#[derive(Clone, Debug, Default)]
pub struct Output(Arc<Mutex<Printed>>);

#[derive(Debug, Default)]
struct Printed {
    kept: Vec<u8>,
    /// Bytes that were not kept.
    more: u64,
}

impl Output {
    /// Reads a stream to its end, so that whoever writes there never waits.
    pub async fn read(self, mut stream: impl AsyncRead + Unpin) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            self.add(&buffer[..length]);
        }
    }

    fn add(&self, bytes: &[u8]) {
        let mut printed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_OUTPUT - printed.kept.len();
        let (kept, more) = bytes.split_at(room.min(bytes.len()));
        printed.kept.extend_from_slice(kept);
        printed.more += more.len() as u64;
    }

    /// The lines, without control characters, and what is to be said of the rest.
    pub fn lines(&self) -> Vec<String> {
        let printed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&printed.kept);
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| line.replace(char::is_control, " "))
            .collect();
        if printed.more > 0 {
            lines.push(format!("({} more bytes are left out)", printed.more));
        }
        lines
    }
}
