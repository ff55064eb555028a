//! A server behind a simulated wire: smoltcp once more, and what it says over its connection.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{self, DeviceCapabilities, Medium},
    socket::tcp,
    time,
    wire::{HardwareAddress, IpCidr},
};

use super::*;

/// What a server does.
pub enum Behaviour {
    /// Takes the connection, and says nothing.
    Silent,
    /// Answers no packet.
    Dead,
    /// Nobody listens at the port.
    Refuse,
    /// Says this when the connection is open and something was said.
    Say(String),
    /// Says this by TLS.
    SayByTls(Arc<ServerConfig>, String),
    /// Closes when something was said.
    HangUp,
}

/// A server.
pub struct Server {
    ends: Ends,
    behaviour: Behaviour,
    tls: Option<ServerConnection>,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    wire: Wire,
    began: Instant,
    heard: Vec<u8>,
    unsaid: Option<Vec<u8>>,
    waiting: Vec<Vec<u8>>,
}

impl Server {
    pub fn new(ends: Ends, behaviour: Behaviour) -> Self {
        let mut wire = Wire::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = 99;
        let mut interface = Interface::new(config, &mut wire, time::Instant::ZERO);
        let address = ends.target.ip();
        let length = if address.is_ipv4() { 32 } else { 128 };
        interface.update_ip_addrs(|addresses| {
            addresses
                .push(IpCidr::new(address.into(), length))
                .expect("room for one");
        });
        match address {
            IpAddr::V4(address) => interface.routes_mut().add_default_ipv4_route(address),
            IpAddr::V6(address) => interface.routes_mut().add_default_ipv6_route(address),
        }
        .expect("room for one");
        let buffer = || tcp::SocketBuffer::new(vec![0; 64 * 1024]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        if !matches!(behaviour, Behaviour::Refuse) {
            socket.listen(ends.target.port()).expect("a port");
        }
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        let (mut tls, mut unsaid) = (None, None);
        if let Behaviour::SayByTls(config, _) = &behaviour {
            tls = Some(ServerConnection::new(Arc::clone(config)).expect("a server"));
        }
        if let Behaviour::Say(text) = &behaviour {
            unsaid = Some(text.chars().map(|c| c as u8).collect());
        }
        Self {
            ends,
            behaviour,
            tls,
            interface,
            sockets,
            handle,
            wire,
            began: Instant::now(),
            heard: Vec::new(),
            unsaid,
            waiting: Vec::new(),
        }
    }

    pub fn ends(&self) -> Ends {
        self.ends
    }

    /// What was said to it.
    pub fn heard(&self) -> &[u8] {
        &self.heard
    }

    /// Keeps packets for its next turn.
    pub fn later(&mut self, packets: Vec<Vec<u8>>) {
        self.waiting.extend(packets);
    }

    pub fn is_closed(&self) -> bool {
        let socket = self.sockets.get::<tcp::Socket<'_>>(self.handle);
        matches!(socket.state(), tcp::State::Closed | tcp::State::Listen)
    }

    /// Takes a packet; what it answers.
    pub fn take(&mut self, packet: &[u8], now: Instant) -> Vec<Vec<u8>> {
        if matches!(self.behaviour, Behaviour::Dead) {
            return Vec::new();
        }
        self.wire.incoming.push_back(packet.to_vec());
        self.go_on(now)
    }

    /// What it has to send.
    pub fn go_on(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let micros = now.saturating_duration_since(self.began).as_micros();
        let now = time::Instant::from_micros(micros as i64);
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        self.speak();
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        let mut packets = std::mem::take(&mut self.waiting);
        packets.append(&mut self.wire.outgoing);
        packets
    }

    fn speak(&mut self) {
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        let mut bytes = Vec::new();
        while socket.can_recv() {
            let more = socket.recv(|data| (data.len(), data.to_vec()));
            bytes.extend(more.expect("it can"));
        }
        if let (Some(tls), Behaviour::SayByTls(_, text)) = (&mut self.tls, &self.behaviour) {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                tls.read_tls(&mut rest).expect("memory");
                // Its own complaint is an alert, which is sent.
                let _ = tls.process_new_packets();
            }
            let mut plain = [0; 4096];
            if let Ok(len @ 1..) = tls.reader().read(&mut plain) {
                self.heard.extend(&plain[..len]);
                tls.writer().write_all(text.as_bytes()).expect("memory");
            }
            let mut records = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut records).expect("memory");
            }
            if socket.can_send() {
                socket.send_slice(&records).expect("it can");
            }
            return;
        }
        self.heard.extend(&bytes);
        if self.heard.is_empty() {
            return;
        }
        if matches!(self.behaviour, Behaviour::HangUp) {
            socket.close();
        }
        if let Some(unsaid) = &mut self.unsaid
            && socket.can_send()
        {
            let sent = socket.send_slice(unsaid).expect("it can");
            unsaid.drain(..sent);
        }
    }
}

#[derive(Default)]
struct Wire {
    incoming: VecDeque<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
}

impl phy::Device for Wire {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: time::Instant) -> Option<(Rx, Tx<'_>)> {
        let packet = self.incoming.pop_front()?;
        Some((Rx(packet), Tx(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: time::Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
        capabilities
    }
}

struct Rx(Vec<u8>);

impl phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Tx<'w>(&'w mut Vec<Vec<u8>>);

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut packet = vec![0; len];
        let result = write(&mut packet);
        self.0.push(packet);
        result
    }
}
