//! Messages about routes: one next hop, several, or ones that are dead.

use std::net::IpAddr;

use super::{
    Change, Malformed, RouteChange, RouteKey, after, attributes, ip, u16_at, u32_at, unspecified,
};
use crate::{netlink::state::Route, routes::PROTOCOL};

/// Not in the libc crate: linux/rtnetlink.h.
const RTNH_F_DEAD: u8 = 1;
const RTPROT_RA: u8 = 9;
const ROUTE_HEADER_LEN: usize = 12;
const NEXT_HOP_HEADER_LEN: usize = 8;

/// What a message about a route says, with multipath routes flattened.
pub(super) fn routes(payload: &[u8], how: RouteChange) -> Result<Option<Change>, Malformed> {
    let header: &[u8; ROUTE_HEADER_LEN] = payload.first_chunk().ok_or(Malformed)?;
    let [
        family,
        prefix_len,
        source_len,
        tos,
        table,
        protocol,
        _,
        kind,
        ..,
    ] = *header;
    let flags = u32_at(header, 8)?;
    let Some(unspecified) = unspecified(family) else {
        return Ok(None);
    };
    // Ours say nothing that we did not know: no next hop is learned from them.
    if protocol == PROTOCOL {
        return Ok(None);
    }
    if kind != libc::RTN_UNICAST || source_len != 0 || tos != 0 || flags & libc::RTM_F_CLONED != 0 {
        return Ok(None);
    }
    let mut key = RouteKey {
        destination: unspecified,
        prefix_len,
        table: u32::from(table),
        metric: 0,
    };
    // The low byte of the route's flags are those of its only next hop.
    let mut single = NextHop {
        flags: flags as u8,
        ifindex: None,
        gateway: None,
    };
    let mut multipath: &[u8] = &[];
    for attribute in attributes(&payload[ROUTE_HEADER_LEN..]) {
        match attribute? {
            (libc::RTA_DST, value) => key.destination = ip(family, value).ok_or(Malformed)?,
            (libc::RTA_PRIORITY, value) => key.metric = u32_at(value, 0)?,
            (libc::RTA_TABLE, value) => key.table = u32_at(value, 0)?,
            (libc::RTA_OIF, value) => single.ifindex = Some(u32_at(value, 0)?),
            (libc::RTA_MULTIPATH, value) => multipath = value,
            (kind, value) => single.gateway = gateway(family, kind, value).or(single.gateway),
        }
    }
    if key.table == u32::from(libc::RT_TABLE_LOCAL) {
        return Ok(None);
    }
    let advertised = protocol == RTPROT_RA;
    let mut routes = Vec::new();
    routes.extend(single.route(&key, how, advertised));
    while !multipath.is_empty() {
        let len = usize::from(u16_at(multipath, 0)?);
        let hop = multipath.get(..len).ok_or(Malformed)?;
        let attribute_bytes = hop.get(NEXT_HOP_HEADER_LEN..).ok_or(Malformed)?;
        let mut next_hop = NextHop {
            flags: hop[2],
            ifindex: Some(u32_at(hop, 4)?),
            gateway: None,
        };
        for attribute in attributes(attribute_bytes) {
            let (kind, value) = attribute?;
            next_hop.gateway = gateway(family, kind, value).or(next_hop.gateway);
        }
        routes.extend(next_hop.route(&key, how, advertised));
        multipath = after(multipath, len);
    }
    Ok(Some(Change::Routes { how, key, routes }))
}

struct NextHop {
    flags: u8,
    ifindex: Option<u32>,
    gateway: Option<IpAddr>,
}

impl NextHop {
    /// The route over this next hop. One that is dead, because its device is off, can only be
    /// removed.
    fn route(&self, key: &RouteKey, how: RouteChange, advertised: bool) -> Option<Route> {
        let RouteKey {
            destination,
            prefix_len,
            table,
            metric,
        } = *key;
        if self.flags & RTNH_F_DEAD != 0 && how != RouteChange::Removed {
            return None;
        }
        let ifindex = self.ifindex?;
        Some(Route {
            destination,
            prefix_len,
            table,
            metric,
            gateway: self.gateway,
            ifindex,
            advertised,
        })
    }
}

/// The next hop's address, if this attribute is one: of the route's family, or of any.
fn gateway(family: u8, kind: u16, value: &[u8]) -> Option<IpAddr> {
    match kind {
        libc::RTA_GATEWAY => ip(family, value),
        libc::RTA_VIA => {
            let (family, address) = value.split_first_chunk()?;
            ip(u8::try_from(u16::from_ne_bytes(*family)).ok()?, address)
        }
        _ => None,
    }
}
