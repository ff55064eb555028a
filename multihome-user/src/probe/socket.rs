//! The edge of probing: a packet socket for one device and family that sends echo requests to a
//! given MAC address and receives the replies with the kernel's timestamps.

use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    net::IpAddr,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    Family,
    echo::{Echo, IcmpChecksum, MixedFamilies},
    exchange::AuthoritiesError,
    filter,
};

mod packet_socket;
pub(crate) mod receive;

pub use packet_socket::PacketSocket;
pub(crate) use packet_socket::link_address;
pub(crate) use packet_socket::{PRIORITY, packet_address, set_option};
pub use receive::Arrival;

/// A receive timestamp older than this is a clock that was set, not a packet that waited.
pub(crate) const MAX_LATENESS: Duration = Duration::from_secs(60);

/// Why a probe socket cannot be had or used.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Opening a packet socket needs CAP_NET_RAW; binding it needs the device.
    #[error("cannot open a probe socket ({family}) on device with index {ifindex}: {what} failed")]
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
    /// The kernel did not take the packet.
    #[error("cannot send a probe from {from} to {to}")]
    Send {
        /// Our address.
        from: IpAddr,
        /// The target.
        to: IpAddr,
        /// Why.
        source: io::Error,
    },
    /// Source and target have different families.
    #[error(transparent)]
    Mixed(#[from] MixedFamilies),
    /// The socket cannot be read any more.
    #[error("cannot receive probe replies on device with index {ifindex}")]
    Receive {
        /// The device.
        ifindex: u32,
        /// Why.
        source: io::Error,
    },
    /// No port of this machine can be had for a probe.
    #[error("cannot reserve a port of {address} for a probe: {what} failed")]
    Port {
        /// Our address.
        address: IpAddr,
        /// Which step failed.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Certificates cannot be verified.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// The operating system has no random numbers.
    #[error("cannot get random numbers from the operating system: {0}")]
    Random(String),
}

impl ProbeError {
    /// Whether sending failed because of something that this machine lacks, such as room in a queue,
    /// which says nothing about the path.
    pub fn is_local_congestion(&self) -> bool {
        match self {
            Self::Send { source, .. } => {
                source.kind() == ErrorKind::WouldBlock
                    || matches!(source.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
            }
            // It is ours alone to give.
            Self::Port { .. } | Self::Authorities(_) => true,
            Self::Open { .. } | Self::Mixed(_) | Self::Receive { .. } | Self::Random(_) => false,
        }
    }

    /// Whether the device itself is gone, so that the socket has to be opened again.
    pub fn is_device_gone(&self) -> bool {
        match self {
            Self::Open { source, .. }
            | Self::Send { source, .. }
            | Self::Receive { source, .. } => {
                matches!(source.raw_os_error(), Some(libc::ENXIO | libc::ENODEV))
            }
            Self::Port { .. } | Self::Authorities(_) | Self::Mixed(_) | Self::Random(_) => false,
        }
    }
}

/// One echo request to send.
#[derive(Clone, Copy, Debug)]
pub struct EchoRequest {
    /// Our address on the device.
    pub source: IpAddr,
    /// Who shall answer.
    pub target: IpAddr,
    /// The sequence number.
    pub seq: u16,
    /// The data.
    pub cookie: u64,
}

/// A reply that passed all checks but those that only the schedule can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoReply {
    /// Who answered.
    pub from: IpAddr,
    /// To which of our addresses.
    pub to: IpAddr,
    /// The sequence number.
    pub seq: u16,
    /// The data.
    pub cookie: u64,
    /// When the kernel received it.
    pub received: Instant,
}

/// A packet socket for the echo requests and replies of one device and family.
#[derive(Debug)]
pub struct EchoSocket {
    socket: PacketSocket,
    ident: u16,
}

impl EchoSocket {
    /// Opens a socket in the calling thread's network namespace. `ident` is the echo identifier;
    /// replies with another one are not received.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when the device does not exist.
    pub fn open(ifindex: u32, family: Family, ident: u16) -> Result<Self, ProbeError> {
        let filter = filter::echo_replies(family, ident);
        let socket = PacketSocket::open(ifindex, family, &filter)?;
        Ok(Self { socket, ident })
    }

    /// Sends a request to the next hop's MAC address, or without one on a device that has none
    /// (a tunnel). Never blocks.
    ///
    /// # Errors
    /// See [`ProbeError::is_local_congestion`] and [`ProbeError::is_device_gone`].
    pub fn send(
        &self,
        request: &EchoRequest,
        next_hop_mac: Option<[u8; 6]>,
    ) -> Result<(), ProbeError> {
        let EchoRequest {
            source: from,
            target: to,
            seq,
            cookie,
        } = *request;
        let echo = Echo {
            source: from,
            destination: to,
            ident: self.ident,
            seq,
            cookie,
        };
        let packet = echo.request()?;
        self.socket
            .send(&packet, next_hop_mac)
            .map_err(|source| ProbeError::Send { from, to, source })
    }

    /// Ready when [`Self::try_recv`] may have something, or an error to tell; else the task is
    /// woken when it has. Only the last task to ask is woken.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_readable(context)
    }

    /// The next reply in the queue, if tokio knows of one; otherwise this costs no system call.
    /// Whatever is no whole reply with correct checksums is skipped.
    ///
    /// # Errors
    /// When the device is gone, so nothing will ever come.
    pub fn try_recv(&self) -> Result<Option<EchoReply>, ProbeError> {
        self.next_reply(false)
    }

    /// The next reply in the queue, asking the kernel itself: after this thread was held up, tokio
    /// may not have heard yet of what has come in.
    ///
    /// # Errors
    /// As [`Self::try_recv`].
    pub fn try_recv_now(&self) -> Result<Option<EchoReply>, ProbeError> {
        self.next_reply(true)
    }

    fn next_reply(&self, ask_kernel: bool) -> Result<Option<EchoReply>, ProbeError> {
        // A reply has at most 60 bytes of header, and 16 more.
        let mut buffer = [0; receive::PACKET_LEN];
        loop {
            let Some(arrival) = self.socket.receive(ask_kernel, &mut buffer)? else {
                return Ok(None);
            };
            let checksum = if arrival.checksum_not_ready {
                IcmpChecksum::NotComputed
            } else {
                IcmpChecksum::Verify
            };
            let packet = &buffer[..arrival.len];
            match Echo::parse_reply(self.socket.family(), packet, checksum) {
                Ok(echo) if echo.ident == self.ident => {
                    return Ok(Some(EchoReply {
                        from: echo.source,
                        to: echo.destination,
                        seq: echo.seq,
                        cookie: echo.cookie,
                        received: arrival.received(MAX_LATENESS),
                    }));
                }
                Ok(_) => {}
                Err(reason) => {
                    let ifindex = self.socket.ifindex();
                    tracing::debug!(ifindex, %reason, "probe reply ignored");
                }
            }
        }
    }

    /// The next reply. Cancel-safe.
    ///
    /// # Errors
    /// As [`Self::try_recv`].
    pub async fn recv(&self) -> Result<EchoReply, ProbeError> {
        loop {
            if let Some(reply) = self.try_recv()? {
                return Ok(reply);
            }
            poll_fn(|context| self.poll_readable(context)).await;
        }
    }

    /// The device's index.
    pub const fn ifindex(&self) -> u32 {
        self.socket.ifindex()
    }
}
