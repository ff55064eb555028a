//! Asks the kernel to resolve neighbours, and to confirm those it knows.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

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

/// How often a check under way is begun anew when it is asked for again. By itself the kernel
/// repeats an unanswered question only every second, so one lost packet would look like a dead
/// neighbour to who asks more often.
const MAX_REPEATS: u32 = 10;

/// Asks the kernel about neighbours. The answers come as events of the
/// [`Watcher`](super::Watcher).
///
/// Entries made by hand (permanent, or without resolution) are left alone, and none of ours ever
/// becomes one.
#[derive(Clone, Debug)]
pub struct NeighbourResolver {
    handle: rtnetlink::Handle,
    /// How often the check of a neighbour was begun anew.
    repeats: Arc<Mutex<BTreeMap<(u32, IpAddr), u32>>>,
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
        Ok(Self {
            handle,
            repeats: Arc::default(),
        })
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
    /// May be called every interval of a tenth of a second and more: each call asks once.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub async fn confirm(&self, ifindex: u32, address: IpAddr) -> Result<(), NetlinkError> {
        let state = self.state(ifindex, address).await?;
        if state != Some(NeighbourState::Probe) {
            self.repeats().remove(&(ifindex, address));
        }
        match state {
            Some(
                NeighbourState::Permanent | NeighbourState::NoArp | NeighbourState::Incomplete,
            ) => Ok(()),
            Some(NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Delay) => {
                self.set_state(ifindex, address, KernelState::Probe).await
            }
            Some(NeighbourState::Probe) => {
                // In the end a check must be left to fail, or a new MAC would never be asked for.
                if self.count_repeat(ifindex, address) > MAX_REPEATS {
                    return Ok(());
                }
                // Only a change of the state makes the kernel ask.
                self.set_state(ifindex, address, KernelState::Stale).await?;
                self.set_state(ifindex, address, KernelState::Probe).await
            }
            Some(NeighbourState::None | NeighbourState::Failed) | None => {
                self.make_and_use(ifindex, address).await
            }
        }
    }

    fn repeats(&self) -> std::sync::MutexGuard<'_, BTreeMap<(u32, IpAddr), u32>> {
        // Numbers in a map are in order whatever panicked.
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_repeat(&self, ifindex: u32, address: IpAddr) -> u32 {
        let mut repeats = self.repeats();
        let count = repeats.entry((ifindex, address)).or_default();
        *count = count.saturating_add(1);
        *count
    }

    async fn set_state(
        &self,
        ifindex: u32,
        address: IpAddr,
        state: KernelState,
    ) -> Result<(), NetlinkError> {
        let mut change = message(ifindex, address);
        change.header.state = state;
        self.request(ifindex, address, change, 0).await
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
