//! The edge of probing services: runs [`Exchange`]s over packet sockets bound to the uplinks' devices.
//!
//! The kernel does not know of these connections. It would reset what it does not know, and a stateful
//! firewall of its own would not let it in; but a packet socket sees a packet before the firewall does,
//! and a [`Port`] has the kernel say nothing. Since the kernel gives these ports out of its own range,
//! no translated flow ever has one of them.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::{IpAddr, SocketAddr},
    task::Context,
    time::{Duration, Instant},
};

use super::{
    Failure, Family, ProbeError, TargetId,
    exchange::{self, Answer, Ends, Exchange, Received, Transport},
    filter,
    service::{Question, Service},
    socket::{MAX_LATENESS, PacketSocket},
};

mod port;

use port::Port;

/// Exchanges with one target at a time; the oldest is given up for one more.
const MAX_OF_TARGET: usize = 8;
/// Packets read from one socket before others get their turn.
const PACKETS_AT_ONCE: usize = 64;
/// Room for any packet that the kernel has put together of several (GRO).
const BUFFER: usize = 65_575;
/// How long an exchange is waited for, for each of its round trips. Answers that come later than the
/// probe's timeout still count for the timeout of the next.
const PATIENCE: Duration = Duration::from_secs(3);

/// How to reach a target.
#[derive(Clone, Copy, Debug)]
pub struct Road {
    /// The uplink's device.
    pub ifindex: u32,
    /// Our address on it.
    pub source: IpAddr,
    /// The next hop's MAC address, if the device has such.
    pub next_hop_mac: Option<[u8; 6]>,
}

/// One probe of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    /// The target.
    pub id: TargetId,
    /// The probe's number.
    pub seq: u16,
    /// What the schedule knows it by.
    pub cookie: u64,
}

/// What came of going on with all exchanges.
#[derive(Debug, Default)]
pub struct Round {
    /// Those that are over.
    pub ended: Vec<Ended>,
    /// How long this process took to say the next thing after a packet had come in: none of the
    /// network's time.
    pub own_delays: Vec<(Probe, Duration)>,
}

/// How a probe ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// The probe.
    pub probe: Probe,
    /// The network's round-trip time, or what was wrong.
    pub result: Result<Duration, Failure>,
    /// When the packet that completed the answer came in.
    pub received: Instant,
}

struct Running {
    probe: Probe,
    road: Road,
    exchange: Exchange,
    /// When the last packet came in, until something is said to it.
    heard: Option<Instant>,
    until: Instant,
    target: SocketAddr,
    port: Port,
}

/// All exchanges under way, and the sockets for them.
#[derive(Default)]
pub struct Services {
    sockets: BTreeMap<(u32, Family), (u8, PacketSocket)>,
    running: Vec<Running>,
    buffer: Vec<u8>,
}

impl Services {
    /// Has sockets for these devices and families and no others, each with its uplink; exchanges over
    /// others end without a result.
    pub fn set_devices(&mut self, devices: &BTreeMap<(u32, Family), u8>) -> Vec<(u8, ProbeError)> {
        self.sockets
            .retain(|key, (uplink, _)| devices.get(key) == Some(uplink));
        let sockets = &self.sockets;
        self.running
            .retain(|running| sockets.contains_key(&running.key()));
        let open = |(&key, &uplink)| self.open(uplink, key).err().map(|error| (uplink, error));
        devices.iter().filter_map(open).collect()
    }

    /// Closes the socket of a device that is gone.
    pub fn forget(&mut self, ifindex: u32, family: Family) {
        self.sockets.remove(&(ifindex, family));
    }

    /// Begins to probe a service.
    ///
    /// # Errors
    /// When this machine has no socket, port or certificate authorities for it, or the packet cannot be
    /// sent.
    pub fn begin(
        &mut self,
        probe: Probe,
        service: &Service,
        road: Road,
        random: u64,
        now: Instant,
    ) -> Result<(), ProbeError> {
        let key = (road.ifindex, Family::of(road.source));
        self.open(probe.id.uplink, key)?;
        let tls = match &service.question {
            Question::Http(request) if request.tls => Some(exchange::client(request.verify)?),
            Question::Http(_) | Question::Tcp | Question::Dns(_) => None,
        };
        let transport = match &service.question {
            Question::Dns(_) => Transport::Udp,
            Question::Tcp | Question::Http(_) => Transport::Tcp,
        };
        self.make_room(probe.id, now);
        let port = Port::take(transport, road.source, road.ifindex)?;
        let target = SocketAddr::new(probe.id.target, service.port);
        let ends = Ends {
            source: SocketAddr::new(road.source, port.number()),
            target,
        };
        let exchange = Exchange::begin(&service.question, ends, tls.as_ref(), random, now);
        let running = Running {
            probe,
            road,
            exchange,
            heard: None,
            until: now + PATIENCE * probe.id.method.round_trips(),
            target,
            port,
        };
        self.running.push(running);
        // Before the first packet leaves, or its answer may be missed.
        self.listen(key)?;
        let mut packets = Vec::new();
        if let Some(running) = self.running.last_mut() {
            running.exchange.poll(now, &mut packets);
        }
        let sent = self.send(road, probe.id.target, packets);
        if sent.is_err() {
            self.running.pop();
        }
        sent
    }

    /// Whether there is something to read; else the task is woken when there is.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> bool {
        // Every socket must be asked, or its readiness would wake nobody.
        let sockets = self.sockets.values();
        sockets
            .filter(|(_, socket)| socket.poll_readable(context).is_ready())
            .count()
            > 0
    }

    /// Whether no exchange is under way.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// When [`Self::go_on`] has something to do, unless a packet comes before.
    pub fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        let wake = |running: &mut Running| {
            let wake = running.exchange.wake(now);
            wake.map_or(running.until, |wake| wake.min(running.until))
        };
        self.running.iter_mut().map(wake).min()
    }

    /// Reads what came in, sends what is due, ends what is over; with `ask_kernel` the kernel itself is
    /// asked for packets. What failed is added to `errors`, with its uplink.
    pub fn go_on(
        &mut self,
        now: Instant,
        ask_kernel: bool,
        errors: &mut Vec<(u8, ProbeError)>,
    ) -> Round {
        self.read(ask_kernel, errors);
        let mut round = Round::default();
        let mut unsent = Vec::new();
        self.running.retain_mut(|running| {
            let mut packets = Vec::new();
            let answer = running.exchange.poll(now, &mut packets);
            if answer.is_none() && running.until <= now {
                running.exchange.give_up(now, &mut packets);
            }
            if !packets.is_empty() {
                unsent.push((running.road, running.probe, running.heard.take(), packets));
            }
            let Some(Answer { result, received }) = answer else {
                return running.until > now;
            };
            round.ended.push(Ended {
                probe: running.probe,
                result,
                received,
            });
            false
        });
        for (road, probe, heard, packets) in unsent {
            let Probe { id, .. } = probe;
            let sent = self.send(road, id.target, packets);
            // What a packet of theirs does not ask for, a repetition, is not late.
            if let Some(heard) = heard {
                let delay = Instant::now().saturating_duration_since(heard);
                round.own_delays.push((probe, delay));
            }
            if let Err(error) = sent {
                if error.is_device_gone() {
                    self.sockets
                        .remove(&(road.ifindex, Family::of(road.source)));
                }
                errors.push((id.uplink, error));
            }
        }
        round
    }

    fn read(&mut self, ask_kernel: bool, errors: &mut Vec<(u8, ProbeError)>) {
        let Self {
            sockets,
            running,
            buffer,
        } = self;
        if sockets.is_empty() {
            return;
        }
        buffer.resize(BUFFER, 0);
        sockets.retain(|&key, (uplink, socket)| {
            for _ in 0..PACKETS_AT_ONCE {
                match socket.receive(ask_kernel, buffer) {
                    Ok(Some(arrival)) => {
                        let bytes = &buffer[..arrival.len];
                        let ready = !arrival.checksum_not_ready;
                        let Some(packet) = Received::parse(key.1, bytes, ready) else {
                            continue;
                        };
                        let of = |running: &&mut Running| running.awaits(key, &packet);
                        if let Some(running) = running.iter_mut().find(of) {
                            let at = arrival.received(MAX_LATENESS);
                            running.exchange.take(&packet, at);
                            running.heard = Some(at);
                        }
                    }
                    Ok(None) => return true,
                    Err(error) => {
                        errors.push((*uplink, error));
                        return false;
                    }
                }
            }
            true
        });
    }

    fn open(&mut self, uplink: u8, key: (u32, Family)) -> Result<(), ProbeError> {
        if let Entry::Vacant(entry) = self.sockets.entry(key) {
            let socket = PacketSocket::open(key.0, key.1, &filter::to_ports(key.1, &[], &[]))?;
            entry.insert((uplink, socket));
            // Of exchanges that outlived their socket.
            self.listen(key)?;
        }
        Ok(())
    }

    /// Has a socket receive what is for the ports of its exchanges.
    fn listen(&self, key: (u32, Family)) -> Result<(), ProbeError> {
        let Some((_, socket)) = self.sockets.get(&key) else {
            return Ok(());
        };
        let ports = |transport: Transport| -> Vec<u16> {
            let of =
                |running: &&Running| running.key() == key && running.port.transport() == transport;
            let running = self.running.iter().filter(of);
            running.map(|running| running.port.number()).collect()
        };
        let (tcp, udp) = (ports(Transport::Tcp), ports(Transport::Udp));
        socket.set_filter(&filter::to_ports(key.1, &tcp, &udp))
    }

    fn send(&self, road: Road, to: IpAddr, packets: Vec<Vec<u8>>) -> Result<(), ProbeError> {
        let Some((_, socket)) = self.sockets.get(&(road.ifindex, Family::of(road.source))) else {
            return Ok(());
        };
        for packet in packets {
            socket
                .send(&packet, road.next_hop_mac)
                .map_err(|source| ProbeError::Send {
                    from: road.source,
                    to,
                    source,
                })?;
        }
        Ok(())
    }

    /// Gives up the oldest exchange with a target that has as many as it may.
    fn make_room(&mut self, id: TargetId, now: Instant) {
        let of_target = |running: &&Running| running.probe.id == id;
        if self.running.iter().filter(of_target).count() < MAX_OF_TARGET {
            return;
        }
        let oldest = self
            .running
            .iter()
            .enumerate()
            .filter(|(_, running)| running.probe.id == id)
            .min_by_key(|(_, running)| running.exchange.began())
            .map(|(place, _)| place);
        if let Some(place) = oldest {
            let mut running = self.running.remove(place);
            let mut packets = Vec::new();
            running.exchange.give_up(now, &mut packets);
            // A server that is not told finds out by itself.
            let _ = self.send(running.road, id.target, packets);
        }
    }
}

impl Running {
    fn key(&self) -> (u32, Family) {
        (self.road.ifindex, Family::of(self.road.source))
    }

    /// Whether a packet that came in by this device is from its target to its port.
    fn awaits(&self, key: (u32, Family), packet: &Received<'_>) -> bool {
        self.key() == key
            && self.port.transport() == packet.transport
            && self.target == packet.from
            && packet.to == SocketAddr::new(self.road.source, self.port.number())
    }
}
