//! What each uplink does with addresses: as configured, or found from the LAN's own.

use std::net::{IpAddr, Ipv4Addr};

use multihome_common::{
    limits::MAX_OUTSIDE,
    state::IPV4,
    uplink::{MODE_NAT44, MODE_ROUTED, UPLINK_DROP_UNASKED, UPLINK_OPEN_FILTER, UplinkEntry},
};

use super::{Controller, Uplink};
use crate::{
    config::{Filtering, Mode4, Unasked},
    netlink::{Link, NetState},
};

impl Controller {
    /// Whether all IPv4 addresses of the LAN's devices are private, so that the internet has no way
    /// back to them. A LAN without any is not.
    pub(super) fn lan_is_private(&self) -> bool {
        let mut addresses = self
            .net
            .addresses
            .iter()
            .filter(|(ifindex, _)| self.lan_slot(**ifindex).is_some())
            .flat_map(|(_, addresses)| addresses)
            .filter_map(|address| match address.address {
                IpAddr::V4(v4) => Some(v4),
                IpAddr::V6(_) => None,
            })
            .peekable();
        addresses.peek().is_some() && addresses.all(is_private)
    }

    /// Enters into an uplink's entry how it translates.
    pub(super) fn translate(&self, uplink: &Uplink, link: &Link, entry: &mut UplinkEntry) {
        let nat44 = match uplink.config.mode.ipv4() {
            Mode4::Routed => false,
            Mode4::Nat44 => true,
            Mode4::Auto => self.lan_is_private(),
        };
        entry.mode[IPV4] = if nat44 { MODE_NAT44 } else { MODE_ROUTED };
        entry.flags = 0;
        if self.translation.filtering == Filtering::EndpointIndependent {
            entry.flags |= UPLINK_OPEN_FILTER;
        }
        if self.translation.unasked == Unasked::Drop {
            entry.flags |= UPLINK_DROP_UNASKED;
        }
        entry.pool = uplink.pool;
        let outside: Vec<u32> = if nat44 {
            outside(&self.net, uplink, link)
        } else {
            Vec::new()
        };
        entry.outside_count = outside.len() as u8;
        entry.outside = [0; MAX_OUTSIDE];
        entry.outside[..outside.len()].copy_from_slice(&outside);
    }
}

/// The outside addresses of an uplink: those configured, else the device's first global one.
fn outside(net: &NetState, uplink: &Uplink, link: &Link) -> Vec<u32> {
    if !uplink.config.outside.is_empty() {
        let configured = uplink.config.outside.iter().take(MAX_OUTSIDE);
        return configured.map(|&address| address.into()).collect();
    }
    net.addresses
        .get(&link.ifindex)
        .into_iter()
        .flatten()
        .filter(|address| address.usable)
        .find_map(|address| match address.address {
            IpAddr::V4(v4) if !v4.is_link_local() => Some(vec![v4.into()]),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        })
        .unwrap_or_default()
}

/// RFC 1918 and RFC 6598: addresses that the internet has no way back to.
fn is_private(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_private() || (a == 100 && b & 0xc0 == 64)
}
