//! Reads what uplinks with a capacity or a quota carry, and keeps what was used of quotas.

use std::{
    fs,
    sync::mpsc::{self, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use jiff::Zoned;

use super::RunError;
use crate::{
    config::Config,
    controller::{Quality, Readings},
    dataplane::CounterReader,
    exit,
    quality::{
        meter::{Carried, SAMPLE},
        quota::{
            Document, Ledger,
            file::{self, QuotaFileError},
            ledger::Owner,
        },
    },
    state_dir::StateDir,
};

use super::report::Names;

/// How often the counters are read where there are quotas, but no capacities.
const SELDOM: Duration = Duration::from_secs(1);
/// How often what was used is kept: this much is lost with the machine's power.
const KEEP: Duration = Duration::from_secs(60);

/// The state directory as the start finds it, before anything is attached.
pub struct Opened {
    kept: Document,
    folder: Option<StateDir>,
}

impl Opened {
    /// Takes the state directory, if any uplink has a quota, and reads what was kept there.
    ///
    /// # Errors
    /// When the directory cannot be used, or its file not be read.
    pub fn new(config: &Config) -> Result<Self, RunError> {
        if config.uplinks.iter().all(|uplink| uplink.quota.is_none()) {
            return Ok(Self {
                kept: Document::default(),
                folder: None,
            });
        }
        let folder = StateDir::take(&config.state_dir)?;
        let kept = match file::read(folder.path()) {
            Ok(kept) => kept,
            Err(error @ QuotaFileError::Damaged { .. }) => {
                // A gateway that does not start is worse than a quota that begins at zero.
                let aside = match file::put_aside(folder.path()) {
                    Ok(path) => format!("put aside as {}", path.display()),
                    Err(error) => format!("cannot be put aside: {error}"),
                };
                tracing::error!("{error}; {aside}, and all quotas are counted from zero");
                Document::default()
            }
            Err(error @ QuotaFileError::Io { .. }) => return Err(error.into()),
        };
        Ok(Self {
            kept,
            folder: Some(folder),
        })
    }

    /// The accounts of the uplinks, whose ids are given in the order of the configuration; `fresh` when the
    /// counters were made for this start.
    pub fn ledger(
        &self,
        config: &Config,
        ids: &[u8],
        reader: &CounterReader,
        fresh: bool,
    ) -> Ledger {
        let owners = config.uplinks.iter().zip(ids).filter_map(|(uplink, &id)| {
            Some(Owner {
                id,
                name: uplink.name.clone(),
                quota: uplink.quota?,
            })
        });
        // A map's number is given once, until the machine starts anew.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let counters = format!("{}/{}", boot.trim(), reader.id());
        Ledger::open(
            owners.collect(),
            self.kept.clone(),
            counters,
            fresh,
            &Zoned::now(),
        )
    }
}

/// Reads, and keeps.
pub struct Counting {
    next: Instant,
    keep_at: Instant,
    keeper: Option<Keeper>,
}

impl Counting {
    /// Begins at once.
    ///
    /// # Errors
    /// When no thread can be started to write the file.
    pub fn new(opened: Opened, now: Instant) -> Result<Self, RunError> {
        Ok(Self {
            next: now,
            keep_at: now + KEEP,
            keeper: opened.folder.map(Keeper::start).transpose()?,
        })
    }

    /// When the counters are to be read, if at all.
    pub fn due(&self, quality: &Quality) -> Option<Instant> {
        quality.counted().next().is_some().then_some(self.next)
    }

    /// Reads the counters.
    pub fn read(
        &mut self,
        quality: &Quality,
        names: &Names,
        reader: &CounterReader,
        now: Instant,
    ) -> Readings {
        self.next = now + if quality.has_meters() { SAMPLE } else { SELDOM };
        let carried = quality.counted().map(|id| {
            let down = reader.port(u32::from(id), []).verdicts;
            let carried = Carried {
                up: names.sent(reader, id).bytes,
                down: down.iter().map(|(_, count)| count.bytes).sum(),
            };
            (id, carried)
        });
        Readings {
            carried: carried.collect(),
            at: Zoned::now(),
        }
    }

    /// Keeps what was used, once a while.
    pub fn keep(&mut self, ledger: &Ledger, now: Instant) {
        if now >= self.keep_at {
            self.keep_now(ledger, now);
        }
    }

    /// Keeps what was used, now.
    pub fn keep_now(&mut self, ledger: &Ledger, now: Instant) {
        self.keep_at = now + KEEP;
        if let Some(keeper) = &self.keeper {
            keeper.keep(ledger.document());
        }
    }
}

/// The thread that writes the file: it waits for the disk, and the control loop must not. When this value is
/// dropped, what was given last is on the disk.
struct Keeper {
    documents: Option<Sender<Document>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    fn start(folder: StateDir) -> Result<Self, RunError> {
        let (documents, queue) = mpsc::channel::<Document>();
        let write = move || {
            while let Ok(mut document) = queue.recv() {
                // Only the latest counts.
                while let Ok(later) = queue.try_recv() {
                    document = later;
                }
                if let Err(error) = file::write(folder.path(), &document) {
                    tracing::error!(
                        "what was used of quotas is not kept: {}",
                        exit::message(&error)
                    );
                }
            }
        };
        let thread = thread::Builder::new()
            .name("quotas".to_owned())
            .spawn(write)
            .map_err(RunError::Thread)?;
        Ok(Self {
            documents: Some(documents),
            thread: Some(thread),
        })
    }

    fn keep(&self, document: Document) {
        if let Some(documents) = &self.documents {
            let _ = documents.send(document);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.documents.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
