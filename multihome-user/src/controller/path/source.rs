//! The address that what the gateway itself sends to a neighbour or a target bears.

use std::net::IpAddr;

use crate::netlink::{Link, NetState};

/// Our address on the device for packets to `target`: one in its subnet, else any of its scope; a deprecated
/// one only where there is no other.
pub(in crate::controller) fn source(net: &NetState, link: &Link, target: IpAddr) -> Option<IpAddr> {
    let is_link_local = |address: IpAddr| match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let shares_subnet = |address: IpAddr, prefix_len: u8| match (address, target) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let shift = 32 - u32::from(prefix_len.min(32));
            (u64::from(a.to_bits()) >> shift) == (u64::from(b.to_bits()) >> shift)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let shift = 128 - u32::from(prefix_len.min(128));
            a.to_bits().checked_shr(shift) == b.to_bits().checked_shr(shift)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    };
    let fitting = || {
        net.usable_addresses(link.ifindex).filter(|address| {
            address.address.is_ipv4() == target.is_ipv4()
                && is_link_local(address.address) == is_link_local(target)
        })
    };
    fitting()
        .find(|address| shares_subnet(address.address, address.prefix_len))
        .or_else(|| fitting().next())
        .map(|address| address.address)
}
