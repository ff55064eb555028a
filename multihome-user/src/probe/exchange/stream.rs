//! A TCP connection over packets: smoltcp with one interface, one socket and no device.

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use smoltcp::{
    iface::{Config, Interface, PollResult, SocketHandle, SocketSet},
    phy::{self, Checksum, ChecksumCapabilities, DeviceCapabilities, Medium},
    socket::tcp,
    time,
    wire::{HardwareAddress, IpCidr, IpEndpoint},
};

use super::Ends;

/// The IPv6 minimum (RFC 8200 section 5), which every path carries: no probe depends on the discovery
/// of a path's MTU, and the segments that the server is told to send fit as well.
const MTU: usize = 1280;
/// Bytes that wait to be sent: a request and a TLS hello fit.
const SEND_BUFFER: usize = 4096;
/// Packets that one call makes at most, or takes.
const MAX_PACKETS: usize = 64;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The SYN is not answered.
    Opening,
    /// Both ends know of it.
    Open,
    /// The SYN was answered by a reset.
    Refused,
    /// It was open, and nothing more comes.
    Ended,
}

/// A connection.
pub struct Stream {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    queues: Queues,
    began: Instant,
    was_open: bool,
}

impl Stream {
    /// Begins to connect; the SYN is among the packets of the first [`Self::write_packets`]. `window`
    /// bytes are received before they must be read.
    pub fn connect(ends: Ends, random: u64, window: usize, now: Instant) -> Self {
        let mut queues = Queues::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = random;
        let began = now;
        let mut interface = Interface::new(config, &mut queues, time::Instant::ZERO);
        let source = ends.source.ip();
        interface.update_ip_addrs(|addresses| {
            // There is room for one.
            let _ = addresses.push(IpCidr::new(source.into(), prefix_len(source)));
        });
        // All is sent to the next hop's MAC, whatever the gateway's address is here.
        let routed = match source {
            IpAddr::V4(source) => interface.routes_mut().add_default_ipv4_route(source),
            IpAddr::V6(source) => interface.routes_mut().add_default_ipv6_route(source),
        };
        debug_assert!(routed.is_ok(), "an empty table has room");
        let mut socket = tcp::Socket::new(
            tcp::SocketBuffer::new(vec![0; window]),
            tcp::SocketBuffer::new(vec![0; SEND_BUFFER]),
        );
        socket.set_nagle_enabled(false);
        let connected = socket.connect(
            interface.context(),
            IpEndpoint::from(ends.target),
            IpEndpoint::from(ends.source),
        );
        debug_assert!(connected.is_ok(), "both ends have one family and a port");
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Self {
            interface,
            sockets,
            handle,
            queues,
            began,
            was_open: false,
        }
    }

    /// Takes a packet; [`Self::read_packets`] looks at it.
    pub fn take(&mut self, packet: &[u8]) {
        if self.queues.incoming.len() < MAX_PACKETS {
            self.queues.incoming.push_back(packet.to_vec());
        }
    }

    /// Looks at the packets that were taken.
    pub fn read_packets(&mut self, now: Instant) -> Progress {
        let now = self.time(now);
        while !self.queues.incoming.is_empty() {
            self.interface
                .poll_ingress_single(now, &mut self.queues, &mut self.sockets);
        }
        self.progress()
    }

    /// Adds to `packets` what is to be sent now.
    pub fn write_packets(&mut self, now: Instant, packets: &mut Vec<Vec<u8>>) {
        let now = self.time(now);
        for _ in 0..MAX_PACKETS {
            let result = self
                .interface
                .poll_egress(now, &mut self.queues, &mut self.sockets);
            if result == PollResult::None {
                break;
            }
        }
        packets.append(&mut self.queues.outgoing);
    }

    /// How far it has come.
    pub fn progress(&mut self) -> Progress {
        let socket = self.sockets.get::<tcp::Socket<'_>>(self.handle);
        let progress = match socket.state() {
            tcp::State::SynSent => Progress::Opening,
            // Both at once: nobody but a forger answers a SYN by a SYN.
            tcp::State::SynReceived | tcp::State::Listen => Progress::Opening,
            tcp::State::Closed if !self.was_open => Progress::Refused,
            tcp::State::Established => Progress::Open,
            // Half of it is closed, and what came before waits to be read.
            tcp::State::CloseWait if socket.can_recv() => Progress::Open,
            tcp::State::CloseWait
            | tcp::State::Closed
            | tcp::State::FinWait1
            | tcp::State::FinWait2
            | tcp::State::Closing
            | tcp::State::LastAck
            | tcp::State::TimeWait => Progress::Ended,
        };
        self.was_open |= progress == Progress::Open || socket.state() == tcp::State::CloseWait;
        progress
    }

    /// Has these bytes sent; how many there was room for.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        socket.send_slice(bytes).unwrap_or(0)
    }

    /// Reads what has come; 0 when there is nothing.
    pub fn receive(&mut self, buffer: &mut [u8]) -> usize {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        socket.recv_slice(buffer).unwrap_or(0)
    }

    /// Ends it at once; the reset is among the packets of the next [`Self::write_packets`].
    pub fn reset(&mut self) {
        self.sockets.get_mut::<tcp::Socket<'_>>(self.handle).abort();
    }

    /// When something is to be sent, unless a packet comes before.
    pub fn wake(&mut self, now: Instant) -> Option<Instant> {
        let time = self.time(now);
        let at = self.interface.poll_at(time, &self.sockets)?;
        let after = at - time;
        Some(if at <= time {
            now
        } else {
            now + Duration::from(after)
        })
    }

    fn time(&self, now: Instant) -> time::Instant {
        let micros = now.saturating_duration_since(self.began).as_micros();
        time::Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

const fn prefix_len(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// Packets to and from the stack.
#[derive(Default)]
struct Queues {
    incoming: VecDeque<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
}

impl phy::Device for Queues {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: time::Instant) -> Option<(Incoming, Outgoing<'_>)> {
        let packet = self.incoming.pop_front()?;
        Some((Incoming(packet), Outgoing(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: time::Instant) -> Option<Outgoing<'_>> {
        (self.outgoing.len() < MAX_PACKETS).then_some(Outgoing(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        // What comes in has been checked: `super::packet`.
        let mut checksum = ChecksumCapabilities::ignored();
        checksum.ipv4 = Checksum::Tx;
        checksum.tcp = Checksum::Tx;
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities.checksum = checksum;
        capabilities
    }
}

struct Incoming(Vec<u8>);

impl phy::RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Outgoing<'q>(&'q mut Vec<Vec<u8>>);

impl phy::TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut packet = vec![0; len];
        let result = write(&mut packet);
        self.0.push(packet);
        result
    }
}
