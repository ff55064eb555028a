//! The thread that runs all sessions: nothing that the controller does, however long it takes, delays
//! a packet or the noticing of silence.
//!
//! It asks for real-time priority, since packets every 10 ms leave it no more than 30 ms of patience
//! from the peer. It cannot take the machine for itself: each turn is bounded, and after a flood it
//! rests.

use std::{
    collections::BTreeMap,
    io::{self, PipeReader, PipeWriter, Read as _, Write as _},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use rand::{TryRng, rngs::SysRng};
use tokio::sync::{mpsc, oneshot};

use super::{
    BfdCounters, BfdError, BfdPlan, BfdReport, SessionId,
    engine::{Engine, ToSend},
    ports::SourcePorts,
    socket::BfdSocket,
};

/// Packets that are read from one socket before the others get their turn.
const PACKETS_AT_ONCE: usize = 64;
/// How long sockets are left alone after one of them was not empty then: what floods them is dropped
/// by the kernel, at hardly any cost.
const REST: Duration = Duration::from_millis(2);
/// Reports that may wait for the controller.
const MAX_REPORTS: usize = 1024;
/// How often a socket that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The longest time that the end of the controller waits for peers to hear of it.
const LONGEST_FAREWELL: Duration = Duration::from_secs(1);
/// Above threads of usual priority, below what a machine's own needs might have.
const REAL_TIME_PRIORITY: i32 = 10;

enum Command {
    Plans(Vec<BfdPlan>),
    Stop(oneshot::Sender<()>),
}

/// A handle to the thread; dropping it ends it, with a last packet to each peer.
#[derive(Debug)]
pub struct Bfd {
    commands: Sender<Command>,
    wake: PipeWriter,
    reports: mpsc::Receiver<BfdReport>,
    counters: BfdCounters,
    source_ports: SourcePorts,
}

impl Bfd {
    /// Starts the thread, with no sessions yet. It has the network namespace of the caller.
    ///
    /// # Errors
    /// When the operating system has no random numbers or no thread.
    pub fn start() -> Result<Self, BfdError> {
        let random = |error: rand::rngs::SysError| BfdError::Random(error.to_string());
        let mut seed = [0; 32];
        SysRng.try_fill_bytes(&mut seed).map_err(random)?;
        let source_ports = SourcePorts::new(SysRng.try_next_u32().map_err(random)? as u16);
        let (woken, wake) = io::pipe().map_err(BfdError::Thread)?;
        let (commands, queue) = channel();
        let (report_queue, reports) = mpsc::channel(MAX_REPORTS);
        let counters = BfdCounters::default();
        let runner = Runner {
            engine: Engine::new(seed, counters.clone(), Instant::now()),
            sockets: BTreeMap::new(),
            source_ports,
            queue,
            woken,
            reports: report_queue,
            retry_at: None,
            ending: None,
        };
        thread::Builder::new()
            .name("bfd".to_owned())
            .spawn(move || runner.run())
            .map_err(BfdError::Thread)?;
        Ok(Self {
            commands,
            wake,
            reports,
            counters,
            source_ports,
        })
    }

    /// Makes these the sessions; those that are there already go on undisturbed.
    pub fn set_plans(&mut self, plans: Vec<BfdPlan>) {
        self.command(Command::Plans(plans));
    }

    /// The next report; `None` when the thread has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<BfdReport> {
        self.reports.recv().await
    }

    /// What was sent, taken and discarded.
    pub const fn counters(&self) -> &BfdCounters {
        &self.counters
    }

    /// The ports that packets are sent from.
    pub const fn source_ports(&self) -> SourcePorts {
        self.source_ports
    }

    /// Ends all sessions: the peers are told that they are held down, which is no failure of the path,
    /// until each has said that it knows, but for no longer than a second.
    pub async fn stop(mut self) {
        let (done, ended) = oneshot::channel();
        self.command(Command::Stop(done));
        let _ = tokio::time::timeout(2 * LONGEST_FAREWELL, ended).await;
    }

    fn command(&mut self, command: Command) {
        // The thread only ends when this handle is gone, or after a stop.
        let _ = self.commands.send(command);
        let _ = self.wake.write_all(&[0]);
    }
}

struct Runner {
    engine: Engine,
    sockets: BTreeMap<SessionId, BfdSocket>,
    source_ports: SourcePorts,
    queue: Receiver<Command>,
    woken: PipeReader,
    reports: mpsc::Sender<BfdReport>,
    /// When sockets that could not be opened are tried again.
    retry_at: Option<Instant>,
    ending: Option<Ending>,
}

/// The controller ends, and the peers are being told.
struct Ending {
    done: Option<oneshot::Sender<()>>,
    next: Instant,
    every: Duration,
    until: Instant,
}

impl Runner {
    fn run(mut self) {
        be_prompt();
        let mut resting = None;
        loop {
            let wanted = self.wanted();
            let Ok(commanded) = self.sleep(wanted, resting) else {
                return;
            };
            // Before reading: what comes in after this moment belongs to the next turn.
            let now = Instant::now();
            if commanded && self.obey(now).is_none() {
                return;
            }
            let empty = self.read();
            resting = (!empty).then(|| now + REST);
            self.engine.woke(wanted, now, empty);
            let due = self.engine.poll(now);
            self.send(due);
            if self.retry_at.is_some_and(|at| at <= now) {
                self.open_missing();
            }
            self.tell();
            if self.is_over(now) {
                return;
            }
        }
    }

    /// When to wake, if nothing comes in before.
    fn wanted(&self) -> Option<Instant> {
        let times = [
            self.engine.next_deadline(),
            self.retry_at,
            self.ending.as_ref().map(|ending| ending.next),
        ];
        times.into_iter().flatten().min()
    }

    /// Sleeps until it is time, a packet comes in or the controller wants something; whether it does.
    fn sleep(&self, wanted: Option<Instant>, resting: Option<Instant>) -> io::Result<bool> {
        let entry = |fd: BorrowedFd<'_>| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut entries = vec![entry(self.woken.as_fd())];
        if resting.is_none() {
            entries.extend(self.sockets.values().map(|socket| entry(socket.as_fd())));
        }
        let until = match (wanted, resting) {
            (Some(wanted), Some(resting)) => Some(wanted.max(resting)),
            (wanted, resting) => wanted.or(resting),
        };
        let timeout = until.map(|until| {
            let time = until.saturating_duration_since(Instant::now());
            libc::timespec {
                tv_sec: time.as_secs() as libc::time_t,
                tv_nsec: time.subsec_nanos().into(),
            }
        });
        let timeout = timeout
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the entries and the time live through the call, and their number is passed.
        let ready = unsafe {
            libc::ppoll(
                entries.as_mut_ptr(),
                entries.len() as libc::nfds_t,
                timeout,
                std::ptr::null(),
            )
        };
        if ready < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted {
                Ok(false)
            } else {
                Err(error)
            };
        }
        Ok(entries[0].revents != 0)
    }

    /// Does what the controller wants; `None` when it has gone without a word.
    fn obey(&mut self, now: Instant) -> Option<()> {
        let mut bytes = [0; 64];
        let gone = !matches!(self.woken.read(&mut bytes), Ok(1..));
        while let Ok(command) = self.queue.try_recv() {
            match command {
                Command::Plans(plans) => self.set_plans(&plans, now),
                Command::Stop(done) => {
                    let packets = self.engine.hold_down(now);
                    self.send(packets);
                    let (time, every) = self.engine.farewell().unwrap_or_default();
                    self.ending = Some(Ending {
                        done: Some(done),
                        next: now + every,
                        every,
                        until: now + time.min(LONGEST_FAREWELL),
                    });
                }
            }
        }
        if gone {
            let packets = self.engine.hold_down(now);
            self.send(packets);
            return None;
        }
        Some(())
    }

    fn set_plans(&mut self, plans: &[BfdPlan], now: Instant) {
        // Over the sockets that the sessions had.
        let macs: BTreeMap<SessionId, [u8; 6]> = self
            .sockets
            .keys()
            .filter_map(|id| Some((*id, self.engine.plan(*id)?.peer_mac)))
            .collect();
        for (id, packet) in self.engine.set_plans(plans, now) {
            if let (Some(socket), Some(mac)) = (self.sockets.get(&id), macs.get(&id)) {
                // Where nothing can be sent any more there is nobody to tell.
                let _ = socket.send(&packet, *mac);
            }
        }
        let engine = &self.engine;
        self.sockets.retain(|id, socket| {
            engine
                .plan(*id)
                .is_some_and(|plan| plan.generation == socket.generation())
        });
        self.open_missing();
    }

    /// Opens the sockets that are not there.
    fn open_missing(&mut self) {
        self.retry_at = None;
        let mut failed = Vec::new();
        for plan in self.engine.plans() {
            let id = plan.id;
            if self.sockets.contains_key(&id) {
                continue;
            }
            match BfdSocket::open(plan, self.source_ports.of(id)) {
                Ok((socket, taken)) => {
                    self.sockets.insert(id, socket);
                    failed.extend(taken.map(|error| (id, error)));
                }
                Err(error) => failed.push((id, error)),
            }
        }
        for (id, error) in failed {
            self.fail(id, error);
        }
    }

    /// Reads what came in; whether everything was read.
    fn read(&mut self) -> bool {
        let mut empty = true;
        let (mut failed, mut answers) = (Vec::new(), Vec::new());
        for (&id, socket) in &self.sockets {
            let mut left = PACKETS_AT_ONCE;
            loop {
                if left == 0 {
                    empty = false;
                    break;
                }
                left -= 1;
                match socket.receive() {
                    Ok(Some(arrival)) => {
                        let payload = match arrival.payload() {
                            Ok(None) => continue,
                            Ok(Some(payload)) => Ok(payload),
                            Err(why) => Err(why),
                        };
                        let (received, now) = (arrival.received(), Instant::now());
                        answers.extend(self.engine.receive(id, payload, received, now));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        failed.push((id, error));
                        break;
                    }
                }
            }
        }
        self.send(answers);
        for (id, error) in failed {
            self.fail(id, error);
        }
        empty
    }

    fn send(&mut self, packets: Vec<ToSend>) {
        for (id, packet) in packets {
            let (Some(socket), Some(plan)) = (self.sockets.get(&id), self.engine.plan(id)) else {
                continue;
            };
            match socket.send(&packet, plan.peer_mac) {
                Ok(()) => self.engine.sent(id),
                Err(error) => self.fail(id, error),
            }
        }
    }

    fn fail(&mut self, id: SessionId, error: BfdError) {
        if error.is_final() {
            self.sockets.remove(&id);
            self.retry_at = Some(Instant::now() + RETRY);
        }
        // When the controller does not listen, one complaint less is no harm.
        let _ = self.reports.try_send(BfdReport::Error { id, error });
    }

    fn tell(&mut self) {
        let reports = &self.reports;
        self.engine
            .tell(|report| reports.try_send(BfdReport::Session(report)).is_ok());
    }

    /// Tells the peers once more that it is over; whether that was the last time.
    fn is_over(&mut self, now: Instant) -> bool {
        let all_know = self.engine.farewell().is_none();
        let due = |ending: &&mut Ending| all_know || ending.next <= now;
        let Some(ending) = self.ending.as_mut().filter(due) else {
            return false;
        };
        if all_know || now >= ending.until {
            if let Some(done) = ending.done.take() {
                let _ = done.send(());
            }
            return true;
        }
        ending.next = (now + ending.every).min(ending.until);
        let packets = self.engine.hold_down(now);
        self.send(packets);
        false
    }
}

/// Asks the scheduler to run this thread before all others that are not as urgent.
fn be_prompt() {
    let parameters = libc::sched_param {
        sched_priority: REAL_TIME_PRIORITY,
    };
    // What this thread starts is not to be as urgent.
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the structure lives through the call; zero is the calling thread.
    if unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } == 0 {
        return;
    }
    let error = io::Error::last_os_error();
    // SAFETY: the call takes no memory; zero is the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    tracing::warn!(
        "BFD runs without real-time priority ({error}): on a busy machine a peer with short intervals \
         may miss packets; CAP_SYS_NICE is needed, and RestrictRealtime=no of a systemd service"
    );
}
