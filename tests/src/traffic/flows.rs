//! Flows, told apart by their source port, and which uplink each of them takes.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};

use super::{
    capture::{Capture, Point, Seen},
    clock,
    payload::Stamp,
};
use crate::lab::topology::{GatewayLab, SERVER4, SERVER6};

/// The server's port to which packets go that nobody answers.
pub const DISCARD_PORT: u16 = 9000;

/// The first source port of [`many`] flows.
const FIRST_PORT: u16 = 10_000;

/// What is added to the source ports of flows that [`find`] finds, so that they can stay open
/// while many others are opened.
const FOUND_PORTS: u16 = 20_000;

/// How many flows are opened in a millisecond. More, and a slow machine's device queues overflow.
const PER_MILLISECOND: usize = 30;

/// How often a flow is tried. On a busy machine a host's own device may drop a packet, and what is
/// asked here is where flows go; what the gateway loses is for streams to find.
const ATTEMPTS: u32 = 3;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// The server's address.
    pub const fn server(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(SERVER4),
            Self::V6 => IpAddr::V6(SERVER6),
        }
    }

    /// The address that stands for all of a host's own.
    pub const fn any(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

/// A UDP flow from a LAN host to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The index of the host that it starts at.
    pub host: usize,
    /// Its address family.
    pub family: Family,
    /// Its source port.
    pub port: u16,
}

/// That many flows, spread over that many hosts. The same numbers give the same flows.
pub fn many(count: u16, hosts: usize, family: Family) -> Vec<Flow> {
    (0..usize::from(count))
        .map(|n| Flow {
            host: n % hosts,
            family,
            port: FIRST_PORT + u16::try_from(n / hosts).expect("no more than count"),
        })
        .collect()
}

/// Opens flows, with one packet each to [`DISCARD_PORT`], and returns the index of the uplink that
/// each one took; none if none of a few packets arrived. Fails if a packet arrived twice.
pub fn uplinks_of(lab: &GatewayLab, flows: &[Flow]) -> Result<Vec<Option<usize>>> {
    uplinks_to(lab, flows, DISCARD_PORT)
}

/// Finds flows to a port of the server that nobody listens at yet: for each uplink that many of
/// each family.
pub fn find(lab: &GatewayLab, per_uplink: usize, port: u16) -> Result<Vec<Flow>> {
    find_by(lab, per_uplink, port, uplinks_to)
}

/// As [`find`], with each packet sent back: hundreds of packets that nobody answers look like a silent loss,
/// and teach the gateway that silence is usual in this traffic.
pub fn find_answered(lab: &GatewayLab, per_uplink: usize, port: u16) -> Result<Vec<Flow>> {
    find_by(lab, per_uplink, port, |lab, flows, port| {
        let socket = server_socket(lab, port)?;
        answering(socket, || taken_by(lab, flows, port))
    })
}

fn find_by(
    lab: &GatewayLab,
    per_uplink: usize,
    port: u16,
    uplinks_to: impl Fn(&GatewayLab, &[Flow], u16) -> Result<Vec<Option<usize>>>,
) -> Result<Vec<Flow>> {
    const CANDIDATES: u16 = 400;
    let mut found = Vec::new();
    for family in [Family::V4, Family::V6] {
        let mut candidates = many(CANDIDATES, lab.hosts.len(), family);
        candidates
            .iter_mut()
            .for_each(|flow| flow.port += FOUND_PORTS);
        let taken = uplinks_to(lab, &candidates, port)?;
        for uplink in 0..lab.uplinks.len() {
            let own = candidates
                .iter()
                .zip(&taken)
                .filter(|(_, taken)| **taken == Some(uplink));
            let own: Vec<Flow> = own.map(|(flow, _)| *flow).take(per_uplink).collect();
            ensure!(
                own.len() == per_uplink,
                "of {CANDIDATES} {family:?} flows, only {} take uplink {uplink}",
                own.len()
            );
            found.extend(own);
        }
    }
    Ok(found)
}

/// As [`uplinks_of`], with any port of the server that nobody listens at.
fn uplinks_to(lab: &GatewayLab, flows: &[Flow], port: u16) -> Result<Vec<Option<usize>>> {
    // Without a socket there, the server would answer that nobody is there.
    let _open = server_socket(lab, port)?;
    taken_by(lab, flows, port)
}

/// Does something while what comes to a socket is sent back.
fn answering<R>(socket: Socket, work: impl FnOnce() -> Result<R>) -> Result<R> {
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut packet = [0; 128];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut packet) {
                    // What does not get through is tried again by who sent it.
                    let _ = socket.send_to(&packet[..length], from);
                }
            }
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        done
    })
}

/// The index of the uplink that each flow takes to a port of the server that is open.
fn taken_by(lab: &GatewayLab, flows: &[Flow], port: u16) -> Result<Vec<Option<usize>>> {
    let mut taken = vec![None; flows.len()];
    for attempt in 0..ATTEMPTS {
        let capture = at_internet(lab, port)?;
        for host in 0..lab.hosts.len() {
            let own: Vec<(u32, Flow)> = (0..)
                .zip(flows.iter().copied().zip(&taken))
                .filter(|(_, (flow, taken))| flow.host == host && taken.is_none())
                .map(|(number, (flow, _))| (number, flow))
                .collect();
            lab.hosts[host]
                .namespace
                .enter(|| open_all(&own, attempt, port))??;
        }
        for Seen { point, what, .. } in capture.stop()? {
            let flow = taken
                .get_mut(usize::try_from(what.flow)?)
                .context("an unknown flow")?;
            ensure!(
                what.sequence == attempt && flow.is_none(),
                "a packet of flow {} arrived late or twice",
                what.flow
            );
            *flow = Some(point);
        }
        if taken.iter().all(Option::is_some) {
            break;
        }
    }
    Ok(taken)
}

/// The share of the flows, 0 to 1, that each uplink has. What was lost counts for none.
pub fn shares(taken: &[Option<usize>], uplinks: usize) -> Vec<f64> {
    (0..uplinks)
        .map(|uplink| {
            let own = taken.iter().filter(|taken| **taken == Some(uplink)).count();
            own as f64 / taken.len() as f64
        })
        .collect()
}

/// Watches stamped packets arrive from the ISPs; the points are the uplinks' indexes.
pub fn at_internet(lab: &GatewayLab, port: u16) -> Result<Capture<Stamp>> {
    let devices: Vec<String> = (0..lab.uplinks.len()).map(|n| format!("isp{n}")).collect();
    let points: Vec<Point<'_>> = devices
        .iter()
        .map(|device| Point {
            namespace: &lab.internet,
            device,
        })
        .collect();
    Capture::start(&points, &[17], move |packet| Stamp::in_packet(packet, port))
}

/// A socket bound to a flow's source port, in the namespace that the caller is in.
pub fn socket(flow: Flow) -> Result<UdpSocket> {
    let address = SocketAddr::new(flow.family.any(), flow.port);
    let open = || -> Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        if flow.family == Family::V6 {
            // The same port may be used by an IPv4 flow.
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        Ok(socket)
    };
    open()
        .map(UdpSocket::from)
        .with_context(|| format!("opening {flow:?}"))
}

/// A socket of the server for both families.
pub fn server_socket(lab: &GatewayLab, port: u16) -> Result<Socket> {
    lab.server.enter(|| {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
        socket.set_only_v6(false)?;
        socket.bind(&SocketAddr::new(Family::V6.any(), port).into())?;
        Ok(socket)
    })?
}

/// Sends one packet for each flow, of one host.
fn open_all(flows: &[(u32, Flow)], sequence: u32, port: u16) -> Result<()> {
    for batch in flows.chunks(PER_MILLISECOND) {
        let start = clock::now();
        for (number, flow) in batch {
            let stamp = Stamp::now(*number, sequence).to_bytes(port);
            socket(*flow)?.send_to(&stamp, (flow.family.server(), port))?;
        }
        clock::sleep_until(start + clock::SECOND / 1000);
    }
    Ok(())
}
