//! The edge of probing: a packet socket for one device and family that sends echo requests to a
//! given MAC address and receives the replies with the kernel's timestamps.

use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    net::IpAddr,
    os::fd::AsRawFd,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    Family,
    echo::{Echo, IcmpChecksum, MixedFamilies},
    filter,
};

pub(crate) mod receive;

/// Probes go before what else waits in the device's queue (TC_PRIO_CONTROL in
/// linux/pkt_sched.h): they measure the path, not the gateway's own downloads.
pub(crate) const PRIORITY: u32 = 7;
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
    /// The operating system has no random numbers.
    #[error("cannot get random numbers from the operating system: {0}")]
    Random(String),
}

impl ProbeError {
    /// Whether sending failed because of a full queue on this machine, which says nothing about
    /// the path.
    pub fn is_local_congestion(&self) -> bool {
        match self {
            Self::Send { source, .. } => {
                source.kind() == ErrorKind::WouldBlock
                    || matches!(source.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
            }
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
            Self::Mixed(_) | Self::Random(_) => false,
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
    socket: AsyncFd<Socket>,
    ifindex: u32,
    family: Family,
    ident: u16,
}

impl EchoSocket {
    /// Opens a socket in the calling thread's network namespace. `ident` is the echo identifier;
    /// replies with another one are not received.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when the device does not exist.
    pub fn open(ifindex: u32, family: Family, ident: u16) -> Result<Self, ProbeError> {
        let error = |what| {
            move |source| ProbeError::Open {
                ifindex,
                family,
                what,
                source,
            }
        };
        // Protocol 0 receives nothing, so nothing gets in ahead of the filter.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(0)))
            .map_err(error("socket(AF_PACKET)"))?;
        socket.set_nonblocking(true).map_err(error("O_NONBLOCK"))?;
        socket
            .attach_filter(&filter::echo_replies(family, ident))
            .map_err(error("SO_ATTACH_FILTER"))?;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
            .map_err(error("SO_TIMESTAMPNS"))?;
        set_option(&socket, libc::SOL_SOCKET, libc::SO_PRIORITY, PRIORITY)
            .map_err(error("SO_PRIORITY"))?;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)
            .map_err(error("PACKET_AUXDATA"))?;
        // The filter refuses outgoing packets too; this spares running it on them.
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)
            .map_err(error("PACKET_IGNORE_OUTGOING"))?;
        socket
            .bind(&packet_address(ifindex, family, None))
            .map_err(error("bind"))?;
        // SAFETY: the socket owns its descriptor, and is neither replaced nor closed inside.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }
            .map_err(|cause| error("registering with tokio")(cause.into()))?;
        Ok(Self {
            socket,
            ifindex,
            family,
            ident,
        })
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
        let address = packet_address(self.ifindex, Family::of(to), next_hop_mac);
        match self.socket.get_ref().send_to(&packet, &address) {
            Ok(_) => Ok(()),
            Err(source) => Err(ProbeError::Send { from, to, source }),
        }
    }

    /// Ready when [`Self::try_recv`] may have something, or an error to tell; else the task is
    /// woken when it has. Only the last task to ask is woken.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_read_ready(context).map(|_| ())
    }

    /// The next reply in the queue, if tokio knows of one; otherwise this costs no system call.
    /// Whatever is no whole reply with correct checksums is skipped.
    ///
    /// # Errors
    /// When the device is gone, so nothing will ever come.
    pub fn try_recv(&self) -> Result<Option<EchoReply>, ProbeError> {
        self.next_reply(|| self.socket.try_io(Interest::READABLE, receive::packet))
    }

    /// The next reply in the queue, asking the kernel itself: after this thread was held up, tokio
    /// may not have heard yet of what has come in.
    ///
    /// # Errors
    /// As [`Self::try_recv`].
    pub fn try_recv_now(&self) -> Result<Option<EchoReply>, ProbeError> {
        self.next_reply(|| receive::packet(self.socket.get_ref()))
    }

    fn next_reply(
        &self,
        receive: impl Fn() -> io::Result<receive::Packet>,
    ) -> Result<Option<EchoReply>, ProbeError> {
        loop {
            let packet = match receive() {
                Ok(packet) => packet,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                // Said once when the device goes down; the socket lives on with the device.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => continue,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.receive_error(error)),
            };
            let checksum = if packet.checksum_not_ready {
                IcmpChecksum::NotComputed
            } else {
                IcmpChecksum::Verify
            };
            match Echo::parse_reply(self.family, packet.bytes(), checksum) {
                Ok(echo) if echo.ident == self.ident => {
                    return Ok(Some(EchoReply {
                        from: echo.source,
                        to: echo.destination,
                        seq: echo.seq,
                        cookie: echo.cookie,
                        received: packet.received(MAX_LATENESS),
                    }));
                }
                Ok(_) => {}
                Err(reason) => {
                    tracing::debug!(ifindex = self.ifindex, %reason, "probe reply ignored");
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
        self.ifindex
    }

    fn receive_error(&self, source: io::Error) -> ProbeError {
        ProbeError::Receive {
            ifindex: self.ifindex,
            source,
        }
    }
}

pub(crate) fn set_option(socket: &Socket, level: i32, name: i32, value: u32) -> io::Result<()> {
    let len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: `value` lives through the call and has the length that is passed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            len,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A `sockaddr_ll` for a device, with the destination's MAC address when sending.
pub(crate) fn packet_address(ifindex: u32, family: Family, mac: Option<[u8; 6]>) -> SockAddr {
    let ethertype = match family {
        Family::Ipv4 => libc::ETH_P_IP,
        Family::Ipv6 => libc::ETH_P_IPV6,
    };
    let mut address = [0; 8];
    let mac_len = mac.map_or(0, |mac| {
        address[..mac.len()].copy_from_slice(&mac);
        mac.len()
    });
    let link_layer = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (ethertype as u16).to_be(),
        sll_ifindex: ifindex as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: mac_len as u8,
        sll_addr: address,
    };
    let (_, address) = {
        // SAFETY: the storage is large enough and aligned for a `sockaddr_ll`, all of which is
        // written, and its length is set.
        unsafe {
            SockAddr::try_init(|storage, len| {
                storage.cast::<libc::sockaddr_ll>().write(link_layer);
                *len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
                Ok(())
            })
        }
    }
    .unwrap_or_else(|_: io::Error| unreachable!("the initializer returns Ok"));
    address
}
