//! A packet socket of one device and family: packets from the IP header on, sent to a given MAC
//! address, received through a filter with the kernel's timestamps.

use std::{
    io::{self, ErrorKind},
    os::fd::AsRawFd,
    task::{Context, Poll},
};

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    Family, ProbeError,
    receive::{self, Arrival},
};

/// Probes go before what else waits in the device's queue (TC_PRIO_CONTROL in
/// linux/pkt_sched.h): they measure the path, not the gateway's own downloads.
pub(crate) const PRIORITY: u32 = 7;

/// A packet socket for one device and family.
#[derive(Debug)]
pub struct PacketSocket {
    socket: AsyncFd<Socket>,
    ifindex: u32,
    family: Family,
}

impl PacketSocket {
    /// Opens a socket in the calling thread's network namespace, which receives what passes `filter`.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when the device does not exist.
    pub fn open(ifindex: u32, family: Family, filter: &[SockFilter]) -> Result<Self, ProbeError> {
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
            .attach_filter(filter)
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
        })
    }

    /// Puts another filter in the place of the present one; no packet gets by in between.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn set_filter(&self, filter: &[SockFilter]) -> Result<(), ProbeError> {
        self.socket
            .get_ref()
            .attach_filter(filter)
            .map_err(|source| ProbeError::Open {
                ifindex: self.ifindex,
                family: self.family,
                what: "SO_ATTACH_FILTER",
                source,
            })
    }

    /// Sends a packet to a MAC address, or without one on a device that has none (a tunnel). Never
    /// blocks.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn send(&self, packet: &[u8], mac: Option<[u8; 6]>) -> io::Result<()> {
        let address = packet_address(self.ifindex, self.family, mac);
        self.socket.get_ref().send_to(packet, &address).map(drop)
    }

    /// Ready when [`Self::receive`] may have something, or an error to tell; else the task is woken
    /// when it has. Only the last task to ask is woken.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_read_ready(context).map(|_| ())
    }

    /// The next packet in the queue, written to the buffer's beginning. With `ask_kernel` the kernel
    /// itself is asked; else only if tokio knows of one, which otherwise costs no system call.
    ///
    /// # Errors
    /// When the device is gone, so nothing will ever come.
    pub fn receive(
        &self,
        ask_kernel: bool,
        buffer: &mut [u8],
    ) -> Result<Option<Arrival>, ProbeError> {
        loop {
            let arrival = if ask_kernel {
                receive::into(self.socket.get_ref(), buffer)
            } else {
                self.socket
                    .try_io(Interest::READABLE, |socket| receive::into(socket, buffer))
            };
            match arrival {
                Ok(arrival) => return Ok(Some(arrival)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                // Said once when the device goes down; the socket lives on with the device.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(ProbeError::Receive {
                        ifindex: self.ifindex,
                        source,
                    });
                }
            }
        }
    }

    /// The device's index.
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The family of its packets.
    pub const fn family(&self) -> Family {
        self.family
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
    link_address(ifindex, ethertype, mac)
}

/// The same for packets of an EtherType (`ETH_P_...` in linux/if_ether.h); ifindex 0 is every device.
pub(crate) fn link_address(ifindex: u32, ethertype: i32, mac: Option<[u8; 6]>) -> SockAddr {
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
