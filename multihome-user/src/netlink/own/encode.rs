//! Requests about routes and rules of ours, in the kernel's form (linux/rtnetlink.h,
//! linux/fib_rules.h).

use std::net::IpAddr;

use multihome_common::state::IPV4;
use netlink_packet_core::Emitable;
use netlink_packet_route::{
    AddressFamily,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol,
        RouteScope, RouteType,
    },
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use crate::routes::{PROTOCOL, Route, Rule, Selector};

/// Says that the table is told by an attribute, since the header has one byte for it.
const TABLE_BY_ATTRIBUTE: u8 = libc::RT_TABLE_UNSPEC;
const MESSAGE_HEADER_LEN: usize = 16;

/// A request: its type, its flags, and what stands behind the netlink header.
pub(super) struct Request {
    kind: u16,
    flags: u16,
    payload: Vec<u8>,
}

impl Request {
    pub fn of(kind: u16, flags: u16, payload: Vec<u8>) -> Self {
        Self {
            kind,
            flags,
            payload,
        }
    }

    /// The whole message.
    pub fn bytes(&self, seq: u32, flags: u16) -> Vec<u8> {
        let flags = self.flags | flags | libc::NLM_F_REQUEST as u16;
        let len = MESSAGE_HEADER_LEN + self.payload.len();
        let mut bytes = Vec::with_capacity(len);
        bytes.extend((len as u32).to_ne_bytes());
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(seq.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// A request for all rules of a family.
pub(super) fn list_rules(family: usize) -> Vec<u8> {
    let mut rules = RuleMessage::default();
    rules.header.family = address_family(family);
    emitted(&rules)
}

/// A request for all routes of one table.
pub(super) fn list_routes(family: usize, table: u32) -> Vec<u8> {
    let mut routes = RouteMessage::default();
    routes.header.address_family = address_family(family);
    routes.attributes.push(RouteAttribute::Table(table));
    emitted(&routes)
}

/// A request to have a route, in the place of one with the same key.
pub(super) fn set_route(route: &Route) -> Request {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: address_family(route.family),
        table: TABLE_BY_ATTRIBUTE,
        protocol: RouteProtocol::from(PROTOCOL),
        scope: RouteScope::Universe,
        kind: RouteType::Unreachable,
        ..RouteHeader::default()
    };
    message.attributes = vec![
        RouteAttribute::Table(route.table),
        RouteAttribute::Priority(route.metric),
    ];
    if let Some(hop) = &route.hop {
        message.header.kind = RouteType::Unicast;
        // The next hop is a neighbour on the device, whatever the addresses there say.
        message.header.flags = RouteFlags::Onlink;
        message.attributes.extend([
            RouteAttribute::Oif(hop.ifindex),
            RouteAttribute::Gateway(match hop.gateway {
                IpAddr::V4(v4) => RouteAddress::Inet(v4),
                IpAddr::V6(v6) => RouteAddress::Inet6(v6),
            }),
        ]);
    }
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    Request::of(libc::RTM_NEWROUTE, flags as u16, emitted(&message))
}

/// A request to have a rule.
pub(super) fn add_rule(rule: &Rule) -> Request {
    let mut message = RuleMessage::default();
    message.header.family = address_family(rule.family);
    message.header.table = TABLE_BY_ATTRIBUTE;
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)),
    ];
    match &rule.selector {
        Selector::All => {}
        Selector::Mark(mark) => message.attributes.push(RuleAttribute::FwMark(*mark)),
        Selector::Device(device) => {
            message
                .attributes
                .push(RuleAttribute::Oifname(device.clone()));
        }
        Selector::Source(address, length) => {
            message.header.src_len = *length;
            message.attributes.push(RuleAttribute::Source(*address));
        }
    }
    let suppress = rule.suppress.map(RuleAttribute::SuppressPrefixLen);
    message.attributes.extend(suppress);
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    Request::of(libc::RTM_NEWRULE, flags as u16, emitted(&message))
}

fn address_family(family: usize) -> AddressFamily {
    if family == IPV4 {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

fn emitted(message: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes
}
