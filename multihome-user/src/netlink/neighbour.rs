//! Asks the kernel to resolve neighbours, and to confirm those it knows.

use std::{io, net::IpAddr};

use futures_util::StreamExt;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
        NeighbourState as KernelState,
    },
};

use super::{NetlinkError, state::NeighbourState};

/// Asks the kernel about neighbours. The answers come as events of the
/// [`Watcher`](super::Watcher).
///
/// Entries made by hand (permanent, or without resolution) are left alone, and none of ours ever
/// becomes one.
#[derive(Clone, Debug)]
pub struct NeighbourResolver {
    handle: rtnetlink::Handle,
}

impl NeighbourResolver {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// When no socket can be had.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new() -> Result<Self, NetlinkError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|source| NetlinkError::Open {
                what: "connecting to the kernel",
                source,
            })?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Has a neighbour resolved: makes an entry if there is none, and uses it as a packet to it
    /// would. A valid but stale entry is checked by the kernel within some seconds.
    ///
    /// # Errors
    /// When the device is gone or takes no such neighbours, or for want of CAP_NET_ADMIN.
    pub async fn resolve(&self, ifindex: u32, address: IpAddr) -> Result<(), NetlinkError> {
        match self.state(ifindex, address).await? {
            Some(NeighbourState::Permanent | NeighbourState::NoArp) => Ok(()),
            _ => self.make_and_use(ifindex, address).await,
        }
    }

    /// Has the kernel check a neighbour now, by asking it directly: if it answers, the entry
    /// becomes REACHABLE, with an event; if not, it becomes FAILED after some seconds. Its MAC
    /// address stays valid meanwhile. An entry that is not valid, or not there, is resolved.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub async fn confirm(&self, ifindex: u32, address: IpAddr) -> Result<(), NetlinkError> {
        match self.state(ifindex, address).await? {
            // A check that is under way must come to its end, or it could never fail.
            Some(
                NeighbourState::Permanent
                | NeighbourState::NoArp
                | NeighbourState::Probe
                | NeighbourState::Incomplete,
            ) => Ok(()),
            Some(NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Delay) => {
                let mut check = message(ifindex, address);
                check.header.state = KernelState::Probe;
                self.request(ifindex, address, check, 0).await
            }
            Some(NeighbourState::None | NeighbourState::Failed) | None => {
                self.make_and_use(ifindex, address).await
            }
        }
    }

    async fn make_and_use(&self, ifindex: u32, address: IpAddr) -> Result<(), NetlinkError> {
        let mut make = message(ifindex, address);
        make.header.flags = NeighbourFlags::Use;
        self.request(ifindex, address, make, NLM_F_CREATE | NLM_F_REPLACE)
            .await
    }

    async fn request(
        &self,
        ifindex: u32,
        address: IpAddr,
        message: NeighbourMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewNeighbour(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        self.ask(request)
            .await
            .map(|_| ())
            .map_err(|source| NetlinkError::Neighbour {
                ifindex,
                address,
                source,
            })
    }

    /// The entry's state; `None` if there is no entry.
    async fn state(
        &self,
        ifindex: u32,
        address: IpAddr,
    ) -> Result<Option<NeighbourState>, NetlinkError> {
        let get = RouteNetlinkMessage::GetNeighbour(message(ifindex, address));
        let mut request = NetlinkMessage::from(get);
        request.header.flags = NLM_F_REQUEST;
        match self.ask(request).await {
            Ok(Some(RouteNetlinkMessage::NewNeighbour(found))) => {
                Ok(Some(NeighbourState::from_bits(found.header.state.into())))
            }
            Ok(_) => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(source) => Err(NetlinkError::Neighbour {
                ifindex,
                address,
                source,
            }),
        }
    }

    /// Sends a request and returns the message that answers it, if there is one.
    async fn ask(
        &self,
        request: NetlinkMessage<RouteNetlinkMessage>,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        let stopped = || io::Error::other("the connection to the kernel is closed");
        let mut answers = self
            .handle
            .clone()
            .request(request)
            .map_err(|_| stopped())?;
        let mut answer = None;
        while let Some(message) = answers.next().await {
            if let NetlinkPayload::InnerMessage(message) = message.payload {
                answer = Some(message);
            } else if let NetlinkPayload::Error(error) = message.payload
                && error.code.is_some()
            {
                return Err(error.to_io());
            }
        }
        Ok(answer)
    }
}

fn message(ifindex: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.ifindex = ifindex;
    message
        .attributes
        .push(NeighbourAttribute::Destination(NeighbourAddress::from(
            address,
        )));
    message
}
