//! Reads the messages that the programs have copied, in a thread of its own with ordinary priority: however many
//! there are, the control loop gets the answers that count, and no more than it takes.

use std::{
    io::{self, Read as _},
    os::fd::{AsRawFd as _, RawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use aya::maps::{MapData, RingBuf};
use multihome_common::abi::Sample;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;

use super::{Answer, Message, Queries, filter};
use crate::probe::socket::link_address;

/// Answers that may wait for the control loop.
const MAX_WAITING: usize = 256;
/// How long the thread waits for messages before it looks whether it is to end, in milliseconds.
const PATIENCE: libc::c_int = 200;
/// The largest message that is read: what resolvers say that they take, with headers.
const MAX_MESSAGE: usize = 4096 + 48;

/// A socket that shows what this host's own resolver is asked and answers.
///
/// # Errors
/// Without CAP_NET_RAW, or when the kernel does not take the filter.
pub fn own_resolver() -> io::Result<Socket> {
    // Protocol 0 receives nothing, so nothing gets in ahead of the filter.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(0)))?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(&filter::own_resolver())?;
    // Only sockets for all kinds of packets see those that are sent.
    socket.bind(&link_address(0, libc::ETH_P_ALL, None))?;
    Ok(socket)
}

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
    pub fn start(mut ring: RingBuf<MapData>, mut resolver: Socket) -> io::Result<Self> {
        let (found, answers) = mpsc::channel(MAX_WAITING);
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let work = move || {
            // Only the control loop goes before others. A refusal costs only time under load.
            // SAFETY: the call takes no memory.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
            let mut queries = Queries::default();
            let mut take = |packet: &[u8]| {
                let message = Message::read(packet);
                if let Some(answer) = message.and_then(|it| queries.take(it, Instant::now())) {
                    // What the loop cannot take now it will learn from the next answer.
                    let _ = found.try_send(answer);
                }
            };
            let mut buffer = [0; MAX_MESSAGE];
            while !is_over.load(Relaxed) {
                wait([ring.as_raw_fd(), resolver.as_raw_fd()]);
                // In turns, so that a flood by one way leaves the other open.
                loop {
                    if is_over.load(Relaxed) {
                        return;
                    }
                    let sample = ring.next();
                    if let Some(packet) = sample.as_deref().and_then(Sample::packet) {
                        take(packet);
                    }
                    // An error such as that of a device that is gone is told once.
                    let read = resolver.read(&mut buffer);
                    if let Ok(len) = read {
                        take(&buffer[..len]);
                    }
                    if sample.is_none() && read.is_err() {
                        break;
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
fn wait(sources: [RawFd; 2]) {
    let mut polls = sources.map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: the structures outlive the call. A failure is no worse than a wait that ended early.
    unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, PATIENCE) };
}
