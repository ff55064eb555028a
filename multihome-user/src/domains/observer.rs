//! Reads the messages that the programs have copied, in a thread of its own with ordinary priority: however many
//! there are, the control loop gets the answers that count, and no more than it takes.

use std::{
    io,
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use aya::maps::{MapData, RingBuf};
use multihome_common::abi::Sample;
use tokio::sync::mpsc;

use super::{Answer, Message, Queries};

/// Answers that may wait for the control loop.
const MAX_WAITING: usize = 256;
/// How long the thread waits for messages before it looks whether it is to end, in milliseconds.
const PATIENCE: libc::c_int = 200;

/// The thread, and what it has found.
pub struct Observer {
    answers: mpsc::Receiver<Answer>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut ring: RingBuf<MapData>) -> io::Result<Self> {
        let (found, answers) = mpsc::channel(MAX_WAITING);
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let work = move || {
            // Only the control loop goes before others. A refusal costs only time under load.
            // SAFETY: the call takes no memory.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
            let mut queries = Queries::default();
            while !is_over.load(Relaxed) {
                wait(&ring);
                while let Some(sample) = ring.next() {
                    if is_over.load(Relaxed) {
                        return;
                    }
                    let Some(packet) = Sample::packet(&sample) else {
                        continue;
                    };
                    let Some(message) = Message::read(packet) else {
                        continue;
                    };
                    if let Some(answer) = queries.take(message, Instant::now()) {
                        // What the loop cannot take now it will learn from the next answer.
                        let _ = found.try_send(answer);
                    }
                }
            }
        };
        let thread = thread::Builder::new().name("domains".into()).spawn(work)?;
        Ok(Self {
            answers,
            stop,
            thread: Some(thread),
        })
    }

    /// The next answer to a query that was seen.
    pub async fn next(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits until there are messages, for a while.
fn wait(ring: &RingBuf<MapData>) {
    let mut poll = libc::pollfd {
        fd: ring.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: the structure outlives the call. A failure is no worse than a wait that ended early.
    unsafe { libc::poll(&raw mut poll, 1, PATIENCE) };
}
