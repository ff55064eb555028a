//! A port of this machine that is taken, and about which the kernel says nothing to anybody.
//!
//! What comes in for a TCP port that the kernel knows no connection of, it answers with a reset, and for
//! a UDP port with an ICMP error. Here a socket has the port, bound to the uplink's device and to our
//! address there: it listens, so that the kernel finds it, and its filter drops whatever comes, so that
//! nothing is answered.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    num::NonZeroU32,
};

use socket2::{Domain, SockFilter, Socket, Type};

use super::{ProbeError, Transport};

/// `BPF_RET | BPF_K` with zero: keeps nothing of any packet.
const DROP_ALL: SockFilter = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);

/// A port as long as it lives.
#[derive(Debug)]
pub struct Port {
    /// Never read.
    _socket: Socket,
    number: u16,
    transport: Transport,
}

impl Port {
    /// Takes a port that the kernel chooses at random.
    ///
    /// # Errors
    /// When there is none, or no more files can be opened.
    pub fn take(transport: Transport, address: IpAddr, ifindex: u32) -> Result<Self, ProbeError> {
        let error = |what| {
            move |source: io::Error| ProbeError::Port {
                address,
                what,
                source,
            }
        };
        let domain = match address {
            IpAddr::V4(_) => Domain::IPV4,
            IpAddr::V6(_) => Domain::IPV6,
        };
        let kind = match transport {
            Transport::Tcp => Type::STREAM,
            Transport::Udp => Type::DGRAM,
        };
        let socket = Socket::new(domain, kind, None).map_err(error("socket"))?;
        socket
            .attach_filter(&[DROP_ALL])
            .map_err(error("SO_ATTACH_FILTER"))?;
        let device = NonZeroU32::new(ifindex);
        // An address that has just been taken away is no reason to fail here: the probe will.
        match address {
            IpAddr::V4(_) => {
                socket
                    .bind_device_by_index_v4(device)
                    .map_err(error("SO_BINDTOIFINDEX"))?;
                socket.set_freebind_v4(true).map_err(error("IP_FREEBIND"))?;
            }
            IpAddr::V6(_) => {
                socket
                    .bind_device_by_index_v6(device)
                    .map_err(error("SO_BINDTOIFINDEX"))?;
                socket
                    .set_freebind_v6(true)
                    .map_err(error("IPV6_FREEBIND"))?;
            }
        }
        let wanted = match address {
            IpAddr::V4(_) => SocketAddr::new(address, 0),
            IpAddr::V6(address) => SocketAddrV6::new(address, 0, 0, ifindex).into(),
        };
        socket.bind(&wanted.into()).map_err(error("bind"))?;
        if transport == Transport::Tcp {
            socket.listen(0).map_err(error("listen"))?;
        }
        let bound = socket.local_addr().map_err(error("getsockname"))?;
        let number = bound.as_socket().map_or(0, |bound| bound.port());
        Ok(Self {
            _socket: socket,
            number,
            transport,
        })
    }

    /// Its number.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// Whose port it is.
    pub const fn transport(&self) -> Transport {
        self.transport
    }
}
