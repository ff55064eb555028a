//! Follows the kernel's tables: subscribe first, list then, and apply what came in between.
//!
//! A task of its own reads events as they come, so the caller hears of a lost carrier in well
//! under a millisecond, also while a long table is being listed. Tables are listed again
//!
//! - when events were lost because the queue overflowed: [`NetEvent::Resynced`] follows;
//! - when the kernel may have changed something without a word (see [`Mirror`]), and once in a
//!   while for safety: what turns out to be different follows as ordinary events.

use std::{
    future::{Future, pending},
    io,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    NetlinkError,
    dump::{self, Listing},
    message::{self, Change},
    mirror::Mirror,
    socket::{DATAGRAM_LEN, EVENTS, NetlinkSocket, Received},
    state::{NetEvent, NetState},
};

/// Events that may wait for the caller. When it does not fetch them, they wait in the kernel's
/// queue, and are lost when that is full too.
const MAX_EVENTS: usize = 1024;
/// Datagrams read before others get their turn.
const DATAGRAMS_AT_ONCE: usize = 64;
/// How long the kernel gets to finish what it began to change.
const SETTLE: Duration = Duration::from_millis(50);
/// How long to wait after a listing failed.
const RETRY: Duration = Duration::from_secs(1);
/// How often the mirror is compared with the kernel when nothing calls for it.
const AUDIT: Duration = Duration::from_secs(30);
/// A listing for doubt starts only after this many times the duration of the last one; an audit
/// after ten times as many. So a gateway with a full routing table is not busy listing it.
const PAUSE: u32 = 10;

/// An event, and when it was received from the kernel.
#[derive(Clone, Debug)]
pub struct Noticed {
    /// The event.
    pub event: NetEvent,
    /// When the kernel's message was read.
    pub at: Instant,
}

/// Follows the kernel's tables; dropping it ends the task behind it.
#[derive(Debug)]
pub struct Watcher {
    events: mpsc::Receiver<Result<Noticed, NetlinkError>>,
}

impl Watcher {
    /// Subscribes, lists everything, and returns the state from which on events are told. Works
    /// in the network namespace of the calling thread, also later.
    ///
    /// # Errors
    /// When no socket can be had, or the kernel does not list its tables.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn start() -> Result<(Self, NetState), NetlinkError> {
        let (sender, events) = mpsc::channel(MAX_EVENTS);
        let mut task = Task {
            events: NetlinkSocket::open(EVENTS)?,
            requests: Arc::new(NetlinkSocket::open(&[])?),
            buffer: vec![0; DATAGRAM_LEN],
            mirror: Mirror::default(),
            listing: None,
            listing_took: Duration::ZERO,
            overflowed: false,
            resync_at: None,
            doubt_at: None,
            audit_at: Instant::now(),
            told: Vec::new(),
            received_at: Instant::now(),
        };
        task.start().await?;
        let state = task.mirror.state().clone();
        tokio::spawn(task.run(sender));
        Ok((Self { events }, state))
    }

    /// The events that wait, oldest first and at most so many; waits for one if there is none.
    /// Cancel-safe.
    ///
    /// # Errors
    /// When events can no longer be received; then the watcher has to be started anew.
    pub async fn next(&mut self, at_most: usize) -> Result<Vec<Noticed>, NetlinkError> {
        let mut events = Vec::new();
        if self.events.recv_many(&mut events, at_most).await == 0 {
            return Err(NetlinkError::Stopped);
        }
        events.into_iter().collect()
    }
}

/// A listing on its way.
struct Running {
    result: Pin<Box<dyn Future<Output = Result<Listing, NetlinkError>> + Send>>,
    /// Events were lost before it began.
    resync: bool,
    started: Instant,
    /// What changed since it began.
    changes: Vec<Change>,
}

struct Task {
    events: NetlinkSocket,
    requests: Arc<NetlinkSocket>,
    buffer: Vec<u8>,
    mirror: Mirror,
    listing: Option<Running>,
    /// How long the last listing took.
    listing_took: Duration,
    /// Events were lost, and no listing was begun since.
    overflowed: bool,
    /// When to list because of that.
    resync_at: Option<Instant>,
    /// When to list because the kernel may have kept something to itself.
    doubt_at: Option<Instant>,
    /// When to list in any case.
    audit_at: Instant,
    /// Events for the caller.
    told: Vec<NetEvent>,
    /// When what they tell of was read.
    received_at: Instant,
}

impl Task {
    /// The first listing, with what changed while it was made.
    async fn start(&mut self) -> Result<(), NetlinkError> {
        loop {
            let started = Instant::now();
            let listing = dump::list(Arc::clone(&self.requests)).await?;
            self.listing_took = started.elapsed();
            self.mirror = Mirror::new(listing.state);
            self.overflowed = false;
            while self.read_events().map_err(NetlinkError::Receive)? {}
            self.told.clear();
            if !self.overflowed {
                let doubt = self.mirror.take_doubt();
                self.plan(doubt || !listing.complete);
                self.mirror = Mirror::new(Mirror::merge(self.mirror.state().clone(), &[]));
                return Ok(());
            }
        }
    }

    async fn run(mut self, sender: mpsc::Sender<Result<Noticed, NetlinkError>>) {
        loop {
            let due = self.listing.is_none().then(|| self.due());
            tokio::select! {
                ready = self.events.readable() => {
                    self.received_at = Instant::now();
                    if let Err(error) = ready.and_then(|()| self.take_events()) {
                        let _ = sender.send(Err(NetlinkError::Receive(error))).await;
                        return;
                    }
                }
                result = listed(&mut self.listing) => {
                    self.received_at = Instant::now();
                    self.finish(result);
                }
                () = sleep_until(due) => self.begin(),
                () = sender.closed() => return,
            }
            let at = self.received_at;
            for event in self.told.drain(..) {
                if sender.send(Ok(Noticed { event, at })).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Reads some events, and sees to a listing if they call for one.
    fn take_events(&mut self) -> io::Result<()> {
        let more = self.read_events()?;
        if self.mirror.take_doubt() {
            self.plan(true);
        }
        // The kernel adds nothing to a queue that overflowed until it has been emptied.
        if self.overflowed && !more && self.resync_at.is_none() {
            self.resync_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Reads a number of datagrams; returns whether there may be more.
    fn read_events(&mut self) -> io::Result<bool> {
        for _ in 0..DATAGRAMS_AT_ONCE {
            let len = match self.events.try_receive(&mut self.buffer)? {
                Received::Datagram(len) => len,
                Received::Overflow => {
                    self.overflowed = true;
                    continue;
                }
                Received::Nothing => return Ok(false),
            };
            for message in message::messages(&self.buffer[..len]) {
                match message.and_then(|message| message.change()) {
                    Ok(None) => {}
                    Ok(Some(change)) => {
                        self.mirror.absorb(&change, &mut self.told);
                        if let Some(listing) = &mut self.listing {
                            listing.changes.push(change);
                        }
                    }
                    Err(error) => {
                        tracing::warn!("netlink event skipped: {error}");
                        self.mirror.raise_doubt();
                    }
                }
            }
        }
        Ok(true)
    }

    /// When to list next.
    fn due(&self) -> Instant {
        [self.resync_at, self.doubt_at]
            .into_iter()
            .flatten()
            .fold(self.audit_at, Instant::min)
    }

    fn begin(&mut self) {
        let resync = self.resync_at.take().is_some();
        if resync {
            tracing::warn!("netlink events were lost; reading the kernel's tables anew");
            self.overflowed = false;
        }
        self.doubt_at = None;
        self.listing = Some(Running {
            result: Box::pin(dump::list(Arc::clone(&self.requests))),
            resync,
            started: Instant::now(),
            changes: Vec::new(),
        });
    }

    fn finish(&mut self, result: Result<Listing, NetlinkError>) {
        let Some(Running {
            resync,
            started,
            changes,
            ..
        }) = self.listing.take()
        else {
            return;
        };
        self.listing_took = started.elapsed();
        let listing = match result {
            Ok(listing) => listing,
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, source, "will be tried again");
                let retry = Some(Instant::now() + RETRY);
                if resync {
                    self.overflowed = true;
                    self.resync_at = retry;
                }
                self.doubt_at = retry;
                self.plan(true);
                return;
            }
        };
        if self.overflowed {
            // Events were lost meanwhile: there is no telling what this listing is worth, and
            // another one will be made.
            return;
        }
        self.plan(!listing.complete);
        let state = Mirror::merge(listing.state, &changes);
        if resync {
            self.told.push(NetEvent::Resynced(Box::new(state.clone())));
            self.mirror = Mirror::new(state);
        } else {
            self.mirror.become_state(state, &mut self.told);
        }
    }

    /// Plans the next listing after one was made, or after something raised doubt.
    fn plan(&mut self, in_doubt: bool) {
        let now = Instant::now();
        let pause = self.listing_took * PAUSE;
        self.audit_at = now + AUDIT.max(pause * PAUSE);
        if in_doubt {
            self.doubt_at.get_or_insert(now + SETTLE.max(pause));
        }
    }
}

/// The result of the listing on its way; never if there is none.
async fn listed(listing: &mut Option<Running>) -> Result<Listing, NetlinkError> {
    match listing {
        Some(listing) => listing.result.as_mut().await,
        None => pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}
