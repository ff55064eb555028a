//! Who has the MAC that a packet would be sent to, as the kernel's table of neighbours says.

use std::net::IpAddr;

use crate::netlink::Watcher;

/// The addresses of a family that have this MAC on a device; none when the kernel's tables cannot be read,
/// which is no reason not to tell the rest.
pub fn with_mac(ifindex: u32, mac: [u8; 6], v6: bool) -> Vec<IpAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return Vec::new();
    };
    let Ok((_, state)) = runtime.block_on(Watcher::start()) else {
        return Vec::new();
    };
    let all = state.neighbours.iter();
    let here = all.filter(|((on, address), neighbour)| {
        *on == ifindex && address.is_ipv6() == v6 && neighbour.mac == Some(mac)
    });
    here.map(|((_, address), _)| *address).collect()
}
