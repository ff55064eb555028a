//! Reads the kernel's lists of rules and routes for what is ours: leniently, since others' may have
//! attributes that nobody here knows.

use std::net::IpAddr;

use multihome_common::state::{IPV4, IPV6};

use super::super::message::{attributes, ip, u32_at};
use crate::routes::{
    Hop, PROTOCOL, Route, Rule, Selector,
    model::{Found, Listing},
    priority,
};

/// Attributes of rules (linux/fib_rules.h).
const FRA_SRC: u16 = 2;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FRA_PROTOCOL: u16 = 21;
const FR_ACT_TO_TBL: u8 = 1;
/// The rule is for all that it does not select.
const FIB_RULE_INVERT: u32 = 2;
/// `struct fib_rule_hdr` and `struct rtmsg` have the same length.
const HEADER_LEN: usize = 12;

/// Takes a rule of the kernel's list, if it is ours or stands among ours.
pub(super) fn rule(message: &[u8], listing: &mut Listing) {
    let Some(family) = family_of(message) else {
        return;
    };
    let ours = attribute(message, FRA_PROTOCOL).and_then(|value| value.first().copied());
    let priority = priority_of(message).unwrap_or_default();
    if ours == Some(PROTOCOL) {
        listing.rules.push(Found {
            is: known_rule(message, family, priority),
            raw: message.to_vec(),
        });
    } else if priority::ALL.contains(&priority) {
        listing.strange_rule(family, priority);
    }
}

/// The rule, if it is of a form that we make: nothing in it is passed over that could matter.
fn known_rule(message: &[u8], family: usize, priority: u32) -> Option<Rule> {
    let &[_, dst_len, src_len, tos, _, _, _, action, ..] = message.first_chunk::<HEADER_LEN>()?;
    let flags = u32_at(message, 8).ok()?;
    if dst_len != 0 || tos != 0 || action != FR_ACT_TO_TBL || flags & FIB_RULE_INVERT != 0 {
        return None;
    }
    let (mut table, mut suppress, mut selectors) = (None, None, Vec::new());
    let mut source_length = None;
    for attribute in attributes(&message[HEADER_LEN..]) {
        match attribute.ok()? {
            (FRA_TABLE, value) => table = Some(u32_at(value, 0).ok()?),
            (FRA_PRIORITY | FRA_PROTOCOL, _) => {}
            // All ones when there is none.
            (FRA_SUPPRESS_PREFIXLEN, value) => {
                suppress = Some(u32_at(value, 0).ok()?).filter(|&length| length != u32::MAX);
            }
            (FRA_FWMARK, value) => selectors.push(Selector::Mark(u32_at(value, 0).ok()?)),
            (FRA_FWMASK, value) if u32_at(value, 0).ok()? == u32::MAX => {}
            (FRA_OIFNAME, value) => {
                let name = value.split(|&byte| byte == 0).next()?;
                selectors.push(Selector::Device(String::from_utf8(name.to_vec()).ok()?));
            }
            (FRA_SRC, value) => {
                source_length = Some(src_len);
                selectors.push(Selector::Source(ip(message[0], value)?, src_len));
            }
            _ => return None,
        }
    }
    if src_len != source_length.unwrap_or(0) || selectors.len() > 1 {
        return None;
    }
    Some(Rule {
        family,
        priority,
        selector: selectors.pop().unwrap_or(Selector::All),
        table: table?,
        suppress,
    })
}

/// Takes a route of the kernel's list of one of our tables.
pub(super) fn route(message: &[u8], listing: &mut Listing) {
    let (Some(family), Some(header)) = (family_of(message), message.first_chunk::<HEADER_LEN>())
    else {
        return;
    };
    let [_, dst_len, src_len, tos, _, protocol, _, kind, ..] = *header;
    let flags = u32_at(message, 8).unwrap_or_default();
    // What the kernel has made for a destination is no route of anybody's.
    if flags & libc::RTM_F_CLONED != 0 {
        return;
    }
    let table = table_of(message).unwrap_or_default();
    if protocol != PROTOCOL {
        listing.strange_route(family, table);
        return;
    }
    let plain = dst_len == 0 && src_len == 0 && tos == 0;
    listing.routes.push(Found {
        is: plain
            .then(|| known_route(message, family, table, kind))
            .flatten(),
        raw: message.to_vec(),
    });
}

fn known_route(message: &[u8], family: usize, table: u32, kind: u8) -> Option<Route> {
    let number = |kind| attribute(message, kind).and_then(|value| u32_at(value, 0).ok());
    let metric = number(libc::RTA_PRIORITY).unwrap_or_default();
    let hop = match kind {
        libc::RTN_UNREACHABLE => None,
        libc::RTN_UNICAST => Some(Hop {
            ifindex: number(libc::RTA_OIF)?,
            gateway: gateway(message)?,
        }),
        _ => return None,
    };
    Some(Route {
        family,
        table,
        metric,
        hop,
    })
}

fn gateway(message: &[u8]) -> Option<IpAddr> {
    ip(message[0], attribute(message, libc::RTA_GATEWAY)?)
}

/// The priority of a rule; `None` if it cannot be read.
pub(super) fn priority_of(message: &[u8]) -> Option<u32> {
    match attribute(message, FRA_PRIORITY) {
        Some(value) => u32_at(value, 0).ok(),
        // The kernel leaves out a priority of zero.
        None => Some(0),
    }
}

/// The table of a route; `None` if it cannot be read.
pub(super) fn table_of(message: &[u8]) -> Option<u32> {
    match attribute(message, libc::RTA_TABLE) {
        Some(value) => u32_at(value, 0).ok(),
        None => message.get(4).map(|&table| u32::from(table)),
    }
}

/// The first attribute of this type behind the header.
fn attribute(message: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(message.get(HEADER_LEN..)?)
        .flatten()
        .find_map(|(kind, value)| (kind == wanted).then_some(value))
}

fn family_of(message: &[u8]) -> Option<usize> {
    match i32::from(*message.first()?) {
        libc::AF_INET => Some(IPV4),
        libc::AF_INET6 => Some(IPV6),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
