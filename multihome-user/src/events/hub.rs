//! Where all events come together: a thread of its own keeps the last ones, in memory and in the
//! journal, tells those who follow them and hands them to the hooks.
//!
//! The control loop only puts records into a queue, which never waits, and hands over the connections
//! of those who want to read. Disk, readers and hooks can be as slow as they like.

use std::{
    io::{self, Write as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use thiserror::Error;
use tokio::{
    net::UnixStream,
    sync::{Semaphore, mpsc, watch},
    time::timeout,
};

use super::{
    EventQuery, Record, follower,
    journal::{self, Journal},
    ring::Ring,
};
use crate::{
    control::protocol::{self, Response},
    exit::{Classify, ExitClass},
    hooks::Hooks,
};

/// Records that may wait for the thread.
const MAX_WAITING: usize = 4096;
/// Readers that are served at the same time.
const MAX_READERS: usize = 16;
/// Connections that may wait for the thread.
const MAX_ARRIVING: usize = MAX_READERS;
/// How long the end of the controller waits for readers and hooks to take what is left.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why events cannot be told.
#[derive(Debug, Error)]
#[error("cannot start the thread that tells events")]
pub struct HubError(#[source] io::Error);

impl Classify for HubError {
    fn exit_class(&self) -> ExitClass {
        ExitClass::Runtime
    }
}

/// What the thread and the readers share.
#[derive(Debug)]
pub(super) struct Shared {
    ring: Mutex<Ring>,
    /// The number that the next event has at least; closed when none comes any more.
    next: watch::Sender<u64>,
}

impl Shared {
    /// Looks at the last events. Nothing waits while it does.
    pub(super) fn with_ring<T>(&self, look: impl FnOnce(&Ring) -> T) -> T {
        look(&self.ring.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells whenever events are new; closed when none comes any more.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.next.subscribe()
    }
}

/// A reader on his way to the thread.
#[derive(Debug)]
struct Arrival {
    stream: std::os::unix::net::UnixStream,
    query: EventQuery,
}

/// Takes in those who want to read events.
#[derive(Clone, Debug)]
pub struct ReaderDoor(mpsc::Sender<Arrival>);

impl ReaderDoor {
    /// A door that nobody stands behind.
    #[cfg(test)]
    pub fn closed() -> Self {
        Self(mpsc::channel(1).0)
    }

    /// Hands over a connection; whoever comes to a full house is told so.
    pub fn admit(&self, stream: UnixStream, query: EventQuery) {
        // Both fail only when the process is in deep trouble, or ends; the connection closes.
        if let Ok(stream) = stream.into_std() {
            let _ = self.0.try_send(Arrival { stream, query });
        }
    }
}

/// The control loop's end.
#[derive(Debug)]
pub struct Hub {
    records: Option<mpsc::Sender<Record>>,
    door: ReaderDoor,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Hub {
    /// Reads the journal of a run directory that this process holds, and starts the thread with this
    /// niceness.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(run_dir: &Path, hooks: Hooks, niceness: i32) -> Result<Self, HubError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(HubError)?;
        let kept = journal::read(run_dir).unwrap_or_else(|error| {
            tracing::warn!("earlier events cannot be read: {error}");
            journal::Kept::default()
        });
        if kept.damaged > 0 {
            tracing::warn!(
                "{} line(s) of the journal of earlier events are damaged and left out",
                kept.damaged
            );
        }
        let ring = Ring::new(kept.records);
        let next = ring.next();
        let shared = Arc::new(Shared {
            ring: Mutex::new(ring),
            next: watch::Sender::new(next),
        });
        let (records, waiting) = mpsc::channel(MAX_WAITING);
        let (arriving, arrivals) = mpsc::channel(MAX_ARRIVING);
        let task = Task {
            shared: Arc::clone(&shared),
            journal: Journal::new(run_dir),
            hooks,
            readers: Arc::new(Semaphore::new(MAX_READERS)),
        };
        let thread = thread::Builder::new()
            .name("events".into())
            .spawn(move || {
                set_niceness(niceness);
                runtime.block_on(task.run(waiting, arrivals));
                // A name that is being looked up for a hook is not waited for.
                runtime.shutdown_background();
            })
            .map_err(HubError)?;
        Ok(Self {
            records: Some(records),
            door: ReaderDoor(arriving),
            shared,
            thread: Some(thread),
        })
    }

    /// The number for the next record.
    pub fn next(&self) -> u64 {
        self.shared.with_ring(Ring::next)
    }

    /// Where readers are let in.
    pub fn door(&self) -> ReaderDoor {
        self.door.clone()
    }

    /// Tells an event; false when it is lost to readers and hooks, since the thread cannot keep up.
    /// Never waits.
    #[must_use]
    pub fn tell(&self, record: Record) -> bool {
        let records = self.records.as_ref();
        records.is_some_and(|records| records.try_send(record).is_ok())
    }

    /// Ends the thread when it has told all that waits, or after three seconds.
    pub fn end(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        self.records = None;
        if let Some(thread) = self.thread.take() {
            // A panic in there was told already.
            let _ = thread.join();
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.finish();
    }
}

/// What the thread does.
struct Task {
    shared: Arc<Shared>,
    journal: Journal,
    hooks: Hooks,
    readers: Arc<Semaphore>,
}

impl Task {
    async fn run(
        mut self,
        mut waiting: mpsc::Receiver<Record>,
        mut arrivals: mpsc::Receiver<Arrival>,
    ) {
        self.hooks.start();
        loop {
            tokio::select! {
                record = waiting.recv() => match record {
                    Some(record) => self.take(Arc::new(record)),
                    None => break,
                },
                Some(arrival) = arrivals.recv() => self.let_in(arrival),
            }
        }
        // Readers take what is left and find that no more comes.
        let Self {
            shared,
            mut hooks,
            readers,
            journal: _,
        } = self;
        let others = u32::try_from(MAX_READERS).unwrap_or(u32::MAX);
        shared.next.send_modify(|next| *next = u64::MAX);
        let _ = timeout(PATIENCE, async {
            tokio::join!(hooks.finish(), readers.acquire_many(others))
        })
        .await;
        hooks.give_up();
    }

    fn take(&mut self, record: Arc<Record>) {
        let mut ring = self
            .shared
            .ring
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        ring.push(Arc::clone(&record));
        let next = ring.next();
        self.journal.add(&record, ring.all().map(AsRef::as_ref));
        drop(ring);
        self.shared.next.send_replace(next);
        self.hooks.take(&record);
    }

    fn let_in(&self, Arrival { stream, query }: Arrival) {
        match Arc::clone(&self.readers).try_acquire_owned() {
            Ok(permit) => {
                let Ok(stream) = UnixStream::from_std(stream) else {
                    return;
                };
                let shared = Arc::clone(&self.shared);
                tokio::spawn(async move {
                    follower::serve(stream, &query, &shared).await;
                    drop(permit);
                });
            }
            Err(_) => {
                let full = format!("{MAX_READERS} others read events already");
                // It fits the socket's buffer, or nobody reads it.
                let _ = (&stream).write_all(&protocol::line(&Response::Error(full)));
            }
        }
    }
}

/// Makes the calling thread, and what it starts, as nice as this.
fn set_niceness(niceness: i32) {
    // SAFETY: the call takes no memory. A refusal costs only that hooks run before others.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) };
}

#[cfg(test)]
mod tests;
