//! A stream of packets on several flows at once, close enough in time to see how long a fail-over
//! takes, and sent back by the server, so that both ways are seen.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::Socket;

use super::{
    capture::{Capture, Point},
    clock, flows,
    flows::Flow,
    payload::{STAMP_LEN, Stamp},
    story::Story,
};
use crate::lab::topology::GatewayLab;

/// The server's port that sends packets back.
pub const ECHO_PORT: u16 = 9001;

/// Bytes of packets that wait to be sent back, seconds of a stream.
const ECHO_BUFFER: usize = 64 << 20;

/// How long the last packets may take to be answered.
const LAST_ANSWERS: Duration = Duration::from_millis(50);

/// A running stream.
pub struct Stream {
    flows: Vec<Flow>,
    sender: Worker<Vec<u64>>,
    echo: Worker<()>,
    out: Capture<Stamp>,
    back: Capture<Stamp>,
}

/// A thread that runs until it is told to stop.
struct Worker<T> {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<T>>>,
}

impl Stream {
    /// Starts to send a packet on each flow once in each interval.
    pub fn start(lab: &GatewayLab, flows: &[Flow], interval: Duration) -> Result<Self> {
        let server = flows::server_socket(lab, ECHO_PORT)?;
        server.set_read_timeout(Some(Duration::from_millis(50)))?;
        // What waits while the machine is busy with something else is late, not lost.
        setsockopt(&server, sockopt::RcvBufForce, &ECHO_BUFFER)?;
        let echo = Worker::start(move |stop| echo(&server.into(), stop));
        let out = flows::at_internet(lab, ECHO_PORT)?;
        let hosts: Vec<Point<'_>> = lab
            .hosts
            .iter()
            .map(|host| Point {
                namespace: &host.namespace,
                device: "eth0",
            })
            .collect();
        let back = Capture::start(&hosts, &[17], |packet| Stamp::in_packet(packet, ECHO_PORT))?;
        let sockets = flows
            .iter()
            .map(|flow| {
                let socket = lab.hosts[flow.host]
                    .namespace
                    .enter(|| flows::socket(*flow))??;
                // What comes back is seen by the capture; nobody reads it here.
                Socket::from(socket.try_clone()?).set_recv_buffer_size(0)?;
                Ok((socket, *flow))
            })
            .collect::<Result<Vec<_>>>()?;
        let sender = Worker::start(move |stop| send(&sockets, interval, stop));
        Ok(Self {
            flows: flows.to_vec(),
            sender,
            echo,
            out,
            back,
        })
    }

    /// The uplink that each flow's last packet took so far; none for a flow of which nothing has
    /// arrived.
    pub fn uplinks_now(&self) -> Vec<Option<usize>> {
        let mut last: Vec<Option<(u32, usize)>> = vec![None; self.flows.len()];
        self.out.look(|seen| {
            for packet in seen.iter().rev() {
                let Some(flow) = usize::try_from(packet.what.flow)
                    .ok()
                    .and_then(|n| last.get_mut(n))
                else {
                    continue;
                };
                if flow.is_none_or(|(sequence, _)| sequence < packet.what.sequence) {
                    *flow = Some((packet.what.sequence, packet.point));
                }
                // Packets of one flow are at most a little out of order.
                if last.iter().all(Option::is_some) {
                    break;
                }
            }
        });
        last.into_iter()
            .map(|flow| flow.map(|(_, point)| point))
            .collect()
    }

    /// Stops, waits for what is on its way, and tells what happened.
    pub fn stop(self) -> Result<Story> {
        let sent = self.sender.stop()?;
        let out = self.out.stop()?;
        let back = self.back.stop()?;
        self.echo.stop()?;
        Story::new(self.flows, &sent, &out, &back)
    }
}

/// Sends a packet on each flow at a time until told to stop. Returns those times.
fn send(sockets: &[(UdpSocket, Flow)], interval: Duration, stop: &AtomicBool) -> Result<Vec<u64>> {
    let step = u64::try_from(interval.as_nanos())?;
    let start = clock::now();
    let mut times = Vec::new();
    for sequence in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        clock::sleep_until(start + u64::from(sequence) * step);
        times.push(clock::now());
        for (number, (socket, flow)) in (0..).zip(sockets) {
            let stamp = Stamp::now(number, sequence).to_bytes(ECHO_PORT);
            socket
                .send_to(&stamp, (flow.family.server(), ECHO_PORT))
                .with_context(|| format!("sending on {flow:?}"))?;
        }
    }
    // The last answers: hosts whose sockets are closed by then would send ICMP errors, which nobody answers.
    thread::sleep(LAST_ANSWERS);
    Ok(times)
}

/// Sends packets back until told to stop.
fn echo(socket: &UdpSocket, stop: &AtomicBool) -> Result<()> {
    let mut packet = [0; STAMP_LEN];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut packet) {
            Ok((length, from)) => {
                socket
                    .send_to(&packet[..length], from)
                    .context("sending back")?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("receiving at the server"),
        }
    }
    Ok(())
}

/// Puts the calling thread before all ordinary ones, so that what is measured is the network and
/// not when the scheduler gave this thread a turn.
fn be_punctual() {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter outlives the call, and 0 names the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) };
    if result != 0 {
        // Some containers do not allow it. On an idle machine it makes no difference.
        let error = std::io::Error::last_os_error();
        eprintln!("a stream is not sent by a real-time thread ({error}), and may be less even");
    }
}

impl<T: Send + 'static> Worker<T> {
    fn start(work: impl FnOnce(&AtomicBool) -> Result<T> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let work = move || {
            be_punctual();
            work(&told)
        };
        Self {
            stop,
            thread: Some(thread::spawn(work)),
        }
    }

    fn stop(mut self) -> Result<T> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a worker is stopped once")?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its error does not matter to who no longer asks for its result.
            drop(thread.join());
        }
    }
}
