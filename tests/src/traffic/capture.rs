//! Watching packets arrive at devices, with the kernel's own time of each.

use std::{
    io::{self, IoSliceMut},
    mem::size_of,
    os::fd::{AsRawFd as _, RawFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    net::if_::if_nametoindex,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt},
};
use socket2::{Domain, SockFilter, Socket, Type};

use super::clock;
use crate::lab::Namespace;

/// Bytes of a packet that are looked at.
const SNAP: usize = 128;

/// Bytes of packets that wait to be looked at. A burst of ten thousand takes a tenth of it.
const BUFFER: usize = 64 << 20;

/// How long a capture goes on after it was told to stop, for what is still on its way.
const DRAIN: Duration = Duration::from_millis(200);

/// A device whose arriving packets are watched.
#[derive(Clone, Copy)]
pub struct Point<'a> {
    /// The namespace that the device is in.
    pub namespace: &'a Namespace,
    /// The device.
    pub device: &'a str,
}

/// A packet that has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Seen<T> {
    /// The index of the point where it arrived.
    pub point: usize,
    /// When it arrived, by the kernel's timestamp, in nanoseconds of [`clock::now`].
    pub at: u64,
    /// What was read from it.
    pub what: T,
}

/// A running capture.
pub struct Capture<T> {
    shared: Arc<Shared<T>>,
    thread: Option<JoinHandle<Result<()>>>,
}

struct Shared<T> {
    seen: Mutex<Vec<Seen<T>>>,
    stop: AtomicBool,
}

impl<T: Send + 'static> Capture<T> {
    /// Starts to watch. Packets of these IP protocols are given to `read`, from their IP header
    /// on, and what it returns is kept.
    ///
    /// When this returns, the capture has begun.
    pub fn start(
        points: &[Point<'_>],
        protocols: &[u8],
        read: impl Fn(&[u8]) -> Option<T> + Send + 'static,
    ) -> Result<Self> {
        let sockets = points
            .iter()
            .map(|point| {
                point
                    .namespace
                    .enter(|| open(point.device, protocols))?
                    .with_context(|| format!("watching {}", point.device))
            })
            .collect::<Result<Vec<Socket>>>()?;
        let shared = Arc::new(Shared {
            seen: Mutex::new(Vec::new()),
            stop: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        let thread = thread::spawn(move || watch(&sockets, &own, read));
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Looks at what has arrived so far, in about the order of arrival.
    pub fn look<R>(&self, look: impl FnOnce(&[Seen<T>]) -> R) -> R {
        look(
            &self
                .shared
                .seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Waits for what is still on its way, and returns all that has arrived. Fails when packets
    /// arrived faster than they could be looked at, so that no count of what is lost is wrong.
    pub fn stop(mut self) -> Result<Vec<Seen<T>>> {
        thread::sleep(DRAIN);
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a capture is stopped once")?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let mut seen = self
            .shared
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *seen))
    }
}

impl<T> Drop for Capture<T> {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its error does not matter to who no longer asks for its result.
            drop(thread.join());
        }
    }
}

/// The capturing thread.
fn watch<T>(
    sockets: &[Socket],
    shared: &Shared<T>,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<()> {
    let mut batch = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let mut ready: Vec<PollFd<'_>> = sockets
            .iter()
            .map(|socket| PollFd::new(std::os::fd::AsFd::as_fd(socket), PollFlags::POLLIN))
            .collect();
        match poll(&mut ready, PollTimeout::from(20u8)) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => bail!("waiting for packets: {error}"),
        }
        let offset = clock::offset_of_wall_clock();
        for (point, socket) in sockets.iter().enumerate() {
            drain(socket.as_raw_fd(), |packet, wall| {
                if let Some(what) = read(packet) {
                    let at = wall.wrapping_add_signed(offset);
                    batch.push(Seen { point, at, what });
                }
            })?;
        }
        shared
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .append(&mut batch);
    }
    for socket in sockets {
        let lost = dropped(socket).context("reading a capture's statistics")?;
        if lost > 0 {
            bail!("a capture missed {lost} packets: this machine is too slow or too busy");
        }
    }
    Ok(())
}

/// Reads all packets that wait, with the wall clock's time of each.
fn drain(socket: RawFd, mut each: impl FnMut(&[u8], u64)) -> Result<()> {
    let mut buffer = [0; SNAP];
    let mut control = nix::cmsg_space!(libc::timespec);
    // Not for ever: other sockets wait too.
    for _ in 0..10_000 {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg::<SockaddrStorage>(
            socket,
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        );
        let (length, time) = match received {
            Err(Errno::EAGAIN) => return Ok(()),
            // The device went down; its socket goes on when it comes up again.
            Err(Errno::ENETDOWN | Errno::EINTR) => continue,
            Err(error) => bail!("reading a captured packet: {error}"),
            Ok(message) => {
                let time = message.cmsgs()?.find_map(|control| {
                    let ControlMessageOwned::ScmTimestampns(time) = control else {
                        return None;
                    };
                    Some(time)
                });
                (
                    message.bytes.min(SNAP),
                    time.context("a captured packet has no time")?,
                )
            }
        };
        let wall = u64::try_from(time.tv_sec())? * clock::SECOND + u64::try_from(time.tv_nsec())?;
        each(&buffer[..length], wall);
    }
    Ok(())
}

/// A packet socket for what arrives at a device of the namespace that the caller is in.
fn open(device: &str, protocols: &[u8]) -> Result<Socket> {
    // Protocol 0: nothing arrives before the filter is there.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, None)?;
    socket.attach_filter(&filter(protocols))?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    let index = if_nametoindex(device)?;
    // SAFETY: all zeroes are a valid sockaddr_ll, which has integers only.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET)?;
    address.sll_protocol = u16::try_from(libc::ETH_P_ALL)?.to_be();
    address.sll_ifindex = index.cast_signed();
    let length = u32::try_from(size_of::<libc::sockaddr_ll>())?;
    // SAFETY: the address is a valid sockaddr_ll of that length, and outlives the call.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(socket)
}

/// Lets through what arrives (and not what leaves) and is IPv4 or IPv6 of one of these protocols.
fn filter(protocols: &[u8]) -> Vec<SockFilter> {
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const SHIFT_RIGHT: u16 = (libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K) as u16;
    const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const PACKET_TYPE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
    let outgoing = u32::from(libc::PACKET_OUTGOING);
    let step = SockFilter::new;
    let mut program = vec![
        step(LOAD_WORD, 0, 0, PACKET_TYPE),
        step(IF_EQUAL, 0, 1, outgoing),
        step(RETURN, 0, 0, 0),
        step(LOAD_BYTE, 0, 0, 0),
        step(SHIFT_RIGHT, 0, 0, 4),
        step(IF_EQUAL, 0, 2, 4),
        // IPv4: its protocol field.
        step(LOAD_BYTE, 0, 0, 9),
        step(JUMP, 0, 0, 3),
        step(IF_EQUAL, 1, 0, 6),
        step(RETURN, 0, 0, 0),
        // IPv6: its next header field.
        step(LOAD_BYTE, 0, 0, 6),
    ];
    for protocol in protocols {
        program.push(step(IF_EQUAL, 0, 1, (*protocol).into()));
        program.push(step(RETURN, 0, 0, SNAP as u32));
    }
    program.push(step(RETURN, 0, 0, 0));
    program
}

/// Packets that did not fit into the socket's buffer.
fn dropped(socket: &Socket) -> io::Result<u32> {
    // SAFETY: all zeroes are valid statistics, which are integers only.
    let mut statistics: libc::tpacket_stats = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which the structure has.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(statistics.tp_drops)
}
