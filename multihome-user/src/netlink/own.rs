//! Routes and rules of ours in the kernel: listing them, changing them, and hearing that somebody
//! else did.

use std::io::{self, ErrorKind};

use super::{
    NetlinkError,
    message::{self, Message},
    socket::{DATAGRAM_LEN, NetlinkSocket, Received},
};
use crate::{
    controller::FAMILIES,
    routes::{TABLES, model::Listing, plan::Step, priority},
};

mod decode;
mod encode;

/// What changes routes and rules, or takes them away without a word (linux/rtnetlink.h).
const EVENTS: &[libc::c_uint] = &[
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_RULE,
];

/// Lists and changes routes and rules of ours.
#[derive(Debug)]
pub struct OwnTables {
    socket: NetlinkSocket,
    buffer: Vec<u8>,
    seq: u32,
}

impl OwnTables {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// When no socket can be had.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            socket: NetlinkSocket::open(&[])?.strict()?,
            buffer: vec![0; DATAGRAM_LEN],
            seq: 0,
        })
    }

    /// All rules and routes of ours, and what others have put among them.
    ///
    /// # Errors
    /// When the kernel does not list its tables.
    pub async fn list(&mut self) -> Result<Listing, NetlinkError> {
        let mut listing = Listing::default();
        for family in FAMILIES {
            let rules = encode::list_rules(family);
            let take = |message: &[u8], listing: &mut Listing| decode::rule(message, listing);
            self.dump(libc::RTM_GETRULE, &rules, &mut listing, take)
                .await
                .map_err(|source| NetlinkError::Dump {
                    table: "rules",
                    source,
                })?;
            for table in TABLES {
                let routes = encode::list_routes(family, table);
                let take = |message: &[u8], listing: &mut Listing| decode::route(message, listing);
                self.dump(libc::RTM_GETROUTE, &routes, &mut listing, take)
                    .await
                    .map_err(|source| NetlinkError::Dump {
                        table: "routes",
                        source,
                    })?;
            }
        }
        Ok(listing)
    }

    /// Carries out one step. What is to be removed and is not there any more is removed.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub async fn carry_out(&mut self, step: &Step) -> Result<(), NetlinkError> {
        let (what, request, missing_is_fine) = match step {
            Step::SetRoute(route) => (
                format!("set the route {route}"),
                encode::set_route(route),
                false,
            ),
            Step::AddRule(rule) => (
                format!("add the rule {rule}"),
                encode::add_rule(rule),
                false,
            ),
            Step::RemoveRule(raw) => (
                "remove a rule".to_owned(),
                encode::Request::of(libc::RTM_DELRULE, 0, raw.clone()),
                true,
            ),
            Step::RemoveRoute(raw) => (
                "remove a route".to_owned(),
                encode::Request::of(libc::RTM_DELROUTE, 0, raw.clone()),
                true,
            ),
        };
        let done = self.ask(&request).await;
        match done {
            Ok(()) => Ok(()),
            Err(error)
                if missing_is_fine
                    && matches!(
                        error.raw_os_error(),
                        Some(libc::ENOENT | libc::ESRCH | libc::ENODEV)
                    ) =>
            {
                Ok(())
            }
            // It was added meanwhile, or stands there in a form that is the same to the kernel.
            Err(error)
                if matches!(step, Step::AddRule(_))
                    && error.raw_os_error() == Some(libc::EEXIST) =>
            {
                Ok(())
            }
            Err(source) => Err(NetlinkError::Own { what, source }),
        }
    }

    async fn ask(&mut self, request: &encode::Request) -> io::Result<()> {
        self.seq += 1;
        self.socket
            .send(&request.bytes(self.seq, libc::NLM_F_ACK as u16))?;
        loop {
            let len = self.receive().await?;
            for message in message::messages(&self.buffer[..len]) {
                let message = message.map_err(invalid)?;
                if message.seq == self.seq && i32::from(message.kind) == libc::NLMSG_ERROR {
                    return answer(&message);
                }
            }
        }
    }

    async fn dump(
        &mut self,
        kind: u16,
        payload: &[u8],
        listing: &mut Listing,
        take: impl Fn(&[u8], &mut Listing),
    ) -> io::Result<()> {
        self.seq += 1;
        let request = encode::Request::of(kind, libc::NLM_F_DUMP as u16, payload.to_vec());
        self.socket.send(&request.bytes(self.seq, 0))?;
        loop {
            let len = self.receive().await?;
            for message in message::messages(&self.buffer[..len]) {
                let message = message.map_err(invalid)?;
                if message.seq != self.seq {
                    continue;
                }
                match i32::from(message.kind) {
                    libc::NLMSG_DONE | libc::NLMSG_ERROR => {
                        return match answer(&message) {
                            // A table that nobody has put anything in.
                            Err(error)
                                if matches!(
                                    error.raw_os_error(),
                                    Some(libc::ENOENT | libc::EAFNOSUPPORT | libc::EOPNOTSUPP)
                                ) =>
                            {
                                Ok(())
                            }
                            answer => answer,
                        };
                    }
                    _ => take(message.payload, listing),
                }
            }
        }
    }

    async fn receive(&mut self) -> io::Result<usize> {
        match self.socket.receive(&mut self.buffer).await? {
            Received::Datagram(len) => Ok(len),
            Received::Overflow | Received::Nothing => Err(io::Error::new(
                ErrorKind::InvalidData,
                "part of the answer is lost",
            )),
        }
    }
}

fn answer(message: &Message<'_>) -> io::Result<()> {
    match message::error_code(message.payload) {
        code if code < 0 => Err(io::Error::from_raw_os_error(-code)),
        _ => Ok(()),
    }
}

fn invalid(error: message::Malformed) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// Tells that routes and rules of ours may have changed.
#[derive(Debug)]
pub struct OwnEvents {
    socket: NetlinkSocket,
    buffer: Vec<u8>,
}

impl OwnEvents {
    /// Subscribes, in the calling thread's network namespace.
    ///
    /// # Errors
    /// When no socket can be had.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            socket: NetlinkSocket::open(EVENTS)?,
            buffer: vec![0; DATAGRAM_LEN],
        })
    }

    /// Waits until something happened that may have changed one of ours. Cancel-safe.
    ///
    /// # Errors
    /// When events can no longer be received.
    pub async fn changed(&mut self) -> Result<(), NetlinkError> {
        loop {
            let received = self.socket.receive(&mut self.buffer).await;
            match received.map_err(NetlinkError::Receive)? {
                // What was lost may have been about ours.
                Received::Overflow => return Ok(()),
                Received::Nothing => {}
                Received::Datagram(len) => {
                    if message::messages(&self.buffer[..len])
                        .any(|message| message.is_ok_and(|message| concerns_us(&message)))
                    {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Whether a change may have been one of ours: not each of a routing daemon's thousand routes.
fn concerns_us(message: &Message<'_>) -> bool {
    match message.kind {
        libc::RTM_NEWLINK | libc::RTM_DELLINK | libc::RTM_NEWADDR | libc::RTM_DELADDR => true,
        libc::RTM_NEWRULE | libc::RTM_DELRULE => {
            decode::priority_of(message.payload).is_none_or(|it| priority::ALL.contains(&it))
        }
        libc::RTM_NEWROUTE | libc::RTM_DELROUTE => {
            decode::table_of(message.payload).is_none_or(|it| TABLES.contains(&it))
        }
        _ => false,
    }
}
