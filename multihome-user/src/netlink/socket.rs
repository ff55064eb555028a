//! A route netlink socket: datagrams in and out, and the overflow of its queue as a result of its
//! own.

use std::{
    io::{self, ErrorKind, IoSliceMut},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg,
        sendto, setsockopt, socket, sockopt,
    },
};
use tokio::io::{Interest, unix::AsyncFd};

use super::NetlinkError;

/// Room for the events of a burst, such as a full routing table that is withdrawn.
const RECEIVE_BUFFER: usize = 16 << 20;
/// The kernel's messages and parts of a listing are at most 32 KiB long.
pub(super) const DATAGRAM_LEN: usize = 64 << 10;

/// The groups of events that the mirror is kept by (linux/rtnetlink.h).
pub(super) const EVENTS: &[libc::c_uint] = &[
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_NEXTHOP,
];

/// What one receive gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// So many bytes from the kernel.
    Datagram(usize),
    /// The queue was full, or a datagram too long: events were lost.
    Overflow,
    /// Nothing is there now.
    Nothing,
}

/// A netlink socket.
#[derive(Debug)]
pub(super) struct NetlinkSocket(AsyncFd<OwnedFd>);

impl NetlinkSocket {
    /// Opens a socket in the calling thread's network namespace that receives the events of these
    /// groups.
    pub fn open(groups: &[libc::c_uint]) -> Result<Self, NetlinkError> {
        let error = |what| {
            move |errno: Errno| NetlinkError::Open {
                what,
                source: errno.into(),
            }
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            flags,
            SockProtocol::NetlinkRoute,
        )
        .map_err(error("socket(AF_NETLINK)"))?;
        // More than the system's limit takes CAP_NET_ADMIN; the limit will have to do without it.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER).map_err(error("SO_RCVBUF"))?;
        }
        // Group n is bit n - 1; all that are needed fit.
        let mask = groups.iter().fold(0, |mask, group| mask | 1 << (group - 1));
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, mask)).map_err(error("bind"))?;
        // SAFETY: the descriptor is owned, and is neither replaced nor closed inside.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        socket.map(Self).map_err(|source| NetlinkError::Open {
            what: "registering with tokio",
            source: source.into(),
        })
    }

    /// Has the kernel hold requests for lists to what they ask for: one table, not all.
    pub fn strict(self) -> Result<Self, NetlinkError> {
        let on: libc::c_int = 1;
        // SAFETY: the option's value is an int that outlives the call, and its length is told.
        let refused = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_NETLINK,
                libc::NETLINK_GET_STRICT_CHK,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
        };
        match Errno::result(refused) {
            Ok(_) => Ok(self),
            Err(errno) => Err(NetlinkError::Open {
                what: "NETLINK_GET_STRICT_CHK",
                source: errno.into(),
            }),
        }
    }

    /// Receives one datagram if there is one. `buffer` should have [`DATAGRAM_LEN`] bytes.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            match self
                .0
                .try_io(Interest::READABLE, |socket| receive(socket, buffer))
            {
                Ok(Some(received)) => return Ok(received),
                // Not from the kernel, but from a process that may send to others.
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Received::Nothing);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Ok(Received::Overflow);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until there is something to receive. Cancel-safe.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await?.retain_ready();
        Ok(())
    }

    /// Receives the next datagram. Cancel-safe.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            match self.try_receive(buffer)? {
                Received::Nothing => self.readable().await?,
                received @ (Received::Datagram(_) | Received::Overflow) => return Ok(received),
            }
        }
    }

    /// Sends a request to the kernel, which takes it at once.
    pub fn send(&self, request: &[u8]) -> io::Result<()> {
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.0.as_raw_fd(), request, &kernel, MsgFlags::empty())?;
        Ok(())
    }
}

/// One datagram; `None` if it is not the kernel's.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    let mut data = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<NetlinkAddr>(socket.as_raw_fd(), &mut data, None, MsgFlags::MSG_DONTWAIT)?;
    if message.address.is_some_and(|from| from.pid() != 0) {
        return Ok(None);
    }
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Ok(Some(Received::Overflow));
    }
    Ok(Some(Received::Datagram(message.bytes)))
}
