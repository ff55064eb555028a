//! The edge of a session: a packet socket that sends to the peer's MAC address and receives with the
//! kernel's timestamps, and a UDP socket that holds the port.
//!
//! Packet sockets leave neither routing tables nor `rp_filter` nor the gateway's own firewall a say in
//! which way a packet takes. The kernel does not know of them, though, and would answer each packet
//! with "port unreachable" if nobody held port 3784 on the device.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{BfdPlan, ControlPacket, Discard, datagram, filter, ports};
use crate::probe::{
    Family,
    socket::{MAX_LATENESS, PRIORITY, packet_address, receive, set_option},
};

/// Why a session's packets cannot be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum BfdError {
    /// A packet socket needs CAP_NET_RAW, and the device.
    #[error("cannot open a BFD socket ({family}) on device with index {ifindex}: {what} failed")]
    Open {
        /// The device.
        ifindex: u32,
        /// The family.
        family: Family,
        /// Which step failed.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The port is another program's: it may speak BFD with the same peer.
    #[error(
        "UDP port {} ({family}) on device with index {ifindex} is another program's; if that is a BFD \
         daemon, it must not have a session with the same neighbour",
        ports::CONTROL
    )]
    PortTaken {
        /// The device.
        ifindex: u32,
        /// The family.
        family: Family,
        /// Why.
        source: io::Error,
    },
    /// The kernel did not take a packet.
    #[error("cannot send a BFD packet from {from} to {to}")]
    Send {
        /// Our address.
        from: IpAddr,
        /// The peer's.
        to: IpAddr,
        /// Why.
        source: io::Error,
    },
    /// The socket cannot be read any more.
    #[error("cannot receive BFD packets on device with index {ifindex}")]
    Receive {
        /// The device.
        ifindex: u32,
        /// Why.
        source: io::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start the thread for BFD")]
    Thread(#[source] io::Error),
    /// The operating system has no random numbers.
    #[error("cannot get random numbers from the operating system: {0}")]
    Random(String),
}

impl BfdError {
    /// Whether the socket is of no use any more.
    pub fn is_final(&self) -> bool {
        let gone = |source: &io::Error| {
            matches!(
                source.raw_os_error(),
                Some(libc::ENXIO | libc::ENODEV | libc::EBADF)
            )
        };
        match self {
            Self::Open { .. } | Self::Receive { .. } | Self::Thread(_) | Self::Random(_) => true,
            Self::Send { source, .. } => gone(source),
            Self::PortTaken { .. } => false,
        }
    }
}

/// What came in for a session.
pub struct Arrival {
    packet: receive::Packet,
    family: Family,
    /// Our address: what is for another one is not the session's.
    source: IpAddr,
    peer: IpAddr,
}

impl Arrival {
    /// When the kernel received it.
    pub fn received(&self) -> Instant {
        self.packet.received(MAX_LATENESS)
    }

    /// The payload of the datagram; `None` when it is none between the session's two addresses.
    ///
    /// # Errors
    /// When the datagram is damaged, or a router has forwarded it (RFC 5881 section 5).
    pub fn payload(&self) -> Result<Option<&[u8]>, Discard> {
        let verify = !self.packet.checksum_not_ready;
        let datagram =
            datagram::parse(self.family, self.packet.bytes(), verify).ok_or(Discard::Datagram)?;
        if datagram.source != self.peer
            || datagram.destination != self.source
            || datagram.destination_port != ports::CONTROL
        {
            return Ok(None);
        }
        if datagram.hop_limit != datagram::HOP_LIMIT {
            return Err(Discard::HopLimit);
        }
        Ok(Some(datagram.payload))
    }
}

/// The sockets of one session.
#[derive(Debug)]
pub struct BfdSocket {
    packets: Socket,
    /// Held, never read.
    _port: Option<Socket>,
    plan: BfdPlan,
    source_port: u16,
}

impl BfdSocket {
    /// Opens the sockets of a session in the calling thread's network namespace. When only the port
    /// could not be had, that error comes along with them.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when the device does not exist.
    pub fn open(plan: &BfdPlan, source_port: u16) -> Result<(Self, Option<BfdError>), BfdError> {
        let BfdPlan { ifindex, .. } = *plan;
        let family = plan.id.family;
        let error = |what| {
            move |source| BfdError::Open {
                ifindex,
                family,
                what,
                source,
            }
        };
        // Protocol 0 receives nothing, so nothing gets in ahead of the filter.
        let packets = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(0)))
            .map_err(error("socket(AF_PACKET)"))?;
        packets.set_nonblocking(true).map_err(error("O_NONBLOCK"))?;
        packets
            .attach_filter(&filter::control_packets(plan.peer))
            .map_err(error("SO_ATTACH_FILTER"))?;
        for (level, name, value, what) in [
            (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1, "SO_TIMESTAMPNS"),
            (libc::SOL_SOCKET, libc::SO_PRIORITY, PRIORITY, "SO_PRIORITY"),
            (libc::SOL_PACKET, libc::PACKET_AUXDATA, 1, "PACKET_AUXDATA"),
            (
                libc::SOL_PACKET,
                libc::PACKET_IGNORE_OUTGOING,
                1,
                "PACKET_IGNORE_OUTGOING",
            ),
        ] {
            set_option(&packets, level, name, value).map_err(error(what))?;
        }
        packets
            .bind(&packet_address(ifindex, family, None))
            .map_err(error("bind"))?;
        let (port, taken) = match hold_port(ifindex, family) {
            Ok(port) => (Some(port), None),
            Err(source) => (
                None,
                Some(BfdError::PortTaken {
                    ifindex,
                    family,
                    source,
                }),
            ),
        };
        let socket = Self {
            packets,
            _port: port,
            plan: *plan,
            source_port,
        };
        Ok((socket, taken))
    }

    /// Which of the sessions of its uplink and family it belongs to.
    pub fn generation(&self) -> u64 {
        self.plan.generation
    }

    /// Sends a packet to the peer at this MAC address. Never blocks.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn send(&self, packet: &ControlPacket, peer_mac: [u8; 6]) -> Result<(), BfdError> {
        let BfdPlan {
            ifindex,
            source: from,
            peer: to,
            ..
        } = self.plan;
        let error = |source| BfdError::Send { from, to, source };
        let datagram = datagram::build(
            (from, self.source_port),
            (to, ports::CONTROL),
            &packet.encode(),
        )
        .ok_or_else(|| error(ErrorKind::InvalidInput.into()))?;
        let address = packet_address(ifindex, self.plan.id.family, Some(peer_mac));
        self.packets
            .send_to(&datagram, &address)
            .map(|_| ())
            .map_err(error)
    }

    /// The next packet in the queue, if there is one.
    ///
    /// # Errors
    /// When the device is gone, so nothing will ever come.
    pub fn receive(&self) -> Result<Option<Arrival>, BfdError> {
        loop {
            match receive::packet(&self.packets) {
                Ok(packet) => {
                    return Ok(Some(Arrival {
                        packet,
                        family: self.plan.id.family,
                        source: self.plan.source,
                        peer: self.plan.peer,
                    }));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                // Said once when the device goes down; the socket lives on with the device.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(BfdError::Receive {
                        ifindex: self.plan.ifindex,
                        source,
                    });
                }
            }
        }
    }
}

impl AsFd for BfdSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.packets.as_fd()
    }
}

/// A UDP socket that has the port of BFD on a device, and takes nothing.
fn hold_port(ifindex: u32, family: Family) -> io::Result<Socket> {
    let (domain, any): (_, IpAddr) = match family {
        Family::Ipv4 => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
        Family::Ipv6 => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.attach_filter(&filter::nothing())?;
    let device = nix::net::if_::if_indextoname(ifindex)?;
    socket.bind_device(Some(device.to_bytes()))?;
    if family == Family::Ipv6 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&SocketAddr::new(any, ports::CONTROL).into())?;
    Ok(socket)
}
