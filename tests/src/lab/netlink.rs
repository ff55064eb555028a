//! Changes to a namespace's network that must happen at a known moment: over a socket that is
//! open beforehand, with the clock read right before and right after.
//!
//! Everything else is configured by iproute2, which takes milliseconds to start.

use std::io;

use anyhow::{Context as _, Result, bail};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkFlags, LinkMessage},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::Namespace;
use crate::traffic::clock;

/// A rule before all others but the one for local addresses.
const BLACKHOLE_PRIORITY: u32 = 1;

/// When something was done: the clock just before the request and just after the kernel's answer.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Nanoseconds of [`clock::now`].
    pub before: u64,
    /// Nanoseconds of [`clock::now`].
    pub after: u64,
}

/// An rtnetlink socket in a namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
}

impl Netlink {
    /// Opens a socket.
    pub fn open(namespace: &Namespace) -> Result<Self> {
        let socket = namespace
            .enter(|| {
                Socket::new(
                    Domain::from(libc::AF_NETLINK),
                    Type::RAW,
                    Some(Protocol::from(libc::NETLINK_ROUTE)),
                )
            })?
            .context("opening a netlink socket")?;
        Ok(Self { socket })
    }

    /// Takes a device up or down.
    pub fn set_link(&self, ifindex: u32, up: bool) -> Result<Moment> {
        let mut link = LinkMessage::default();
        link.header.index = ifindex;
        link.header.change_mask = LinkFlags::Up;
        link.header.flags = if up {
            LinkFlags::Up
        } else {
            LinkFlags::empty()
        };
        self.request(vec![(RouteNetlinkMessage::SetLink(link), 0)])
            .with_context(|| {
                format!(
                    "setting device {ifindex} {}",
                    if up { "up" } else { "down" }
                )
            })
    }

    /// Starts or stops to throw away, silently, what these devices receive and what is not for the
    /// namespace itself, for both address families.
    ///
    /// A routing rule does it: it is in force for the packet after the one being routed, and
    /// traffic to the namespace's own addresses goes on.
    pub fn blackhole(&self, devices: &[&str], on: bool) -> Result<Moment> {
        let mut messages = Vec::new();
        for device in devices {
            for family in [AddressFamily::Inet, AddressFamily::Inet6] {
                let mut rule = RuleMessage::default();
                rule.header.family = family;
                rule.header.action = RuleAction::Blackhole;
                rule.attributes = vec![
                    RuleAttribute::Priority(BLACKHOLE_PRIORITY),
                    RuleAttribute::Iifname((*device).to_owned()),
                ];
                messages.push(match on {
                    true => (
                        RouteNetlinkMessage::NewRule(rule),
                        NLM_F_CREATE | NLM_F_EXCL,
                    ),
                    false => (RouteNetlinkMessage::DelRule(rule), 0),
                });
            }
        }
        self.request(messages)
            .context("changing the rules of a blackhole")
    }

    /// Sends requests in one go, and waits for the answer to each.
    fn request(&self, messages: Vec<(RouteNetlinkMessage, u16)>) -> Result<Moment> {
        let count = messages.len();
        let mut buffer = Vec::new();
        for (sequence, (message, flags)) in (1..).zip(messages) {
            let mut message = NetlinkMessage::from(message);
            message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
            message.header.sequence_number = sequence;
            message.finalize();
            let start = buffer.len();
            // Each message starts at a multiple of four bytes.
            buffer.resize((start + message.buffer_len()).next_multiple_of(4), 0);
            message.serialize(&mut buffer[start..]);
        }
        let before = clock::now();
        self.socket.send(&buffer)?;
        let mut answered = 0;
        let mut after = 0;
        while answered < count {
            let answer = self.receive()?;
            after = clock::now();
            let mut rest = answer.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)?;
                if let NetlinkPayload::Error(error) = &message.payload {
                    if error.code.is_some() {
                        bail!("netlink: {}", error.to_io());
                    }
                    answered += 1;
                }
                let length = usize::try_from(message.header.length)?.next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
            }
        }
        Ok(Moment { before, after })
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = Vec::with_capacity(8192);
        self.socket.recv(buffer.spare_capacity_mut()).map(|length| {
            // SAFETY: recv has written that many bytes at the start of the spare capacity.
            unsafe { buffer.set_len(length) };
            buffer
        })
    }
}
