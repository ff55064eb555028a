//! The rows, by what becomes of the packet.

pub mod answers;
pub mod clamped;
pub mod delivery;
pub mod dropped;
pub mod faults;
pub mod forwarded_ports;
pub mod fragments;
pub mod framed;
pub mod guarded;
pub mod passed;

pub mod pinned;
pub mod prefixed;
pub mod quoted;
pub mod ruled;
pub mod steering;
pub mod translated;

use super::{
    frames::{IPV4, IPV6, ethernet, ipv4, ipv6},
    world::{GATEWAY, HOST, HOST4, HOST6, SERVER4, SERVER6, next_hop},
};

/// The addresses of a packet from the LAN host to the server.
const OUT4: (std::net::Ipv4Addr, std::net::Ipv4Addr) = (HOST4, SERVER4);
/// The same for IPv6.
const OUT6: (std::net::Ipv6Addr, std::net::Ipv6Addr) = (HOST6, SERVER6);
/// The addresses of a packet from the server to the LAN host.
const IN4: (std::net::Ipv4Addr, std::net::Ipv4Addr) = (SERVER4, HOST4);
/// The same for IPv6.
const IN6: (std::net::Ipv6Addr, std::net::Ipv6Addr) = (SERVER6, HOST6);

/// A frame from the LAN host.
fn from_host(ethertype: u16, packet: &[u8]) -> Vec<u8> {
    ethernet(GATEWAY, HOST, &[], ethertype, packet)
}

/// A frame from the next hop of uplink 0.
fn from_uplink(ethertype: u16, packet: &[u8]) -> Vec<u8> {
    ethernet(GATEWAY, next_hop(0, 0), &[], ethertype, packet)
}

/// An IPv4 frame from the LAN host to the server.
fn out4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    from_host(IPV4, &ipv4(OUT4, 64, protocol, payload, |_| {}))
}

/// An IPv6 frame from the LAN host to the server.
fn out6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    from_host(IPV6, &ipv6(OUT6, 64, next_header, payload))
}

/// An IPv4 frame from the server to the LAN host.
fn in4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    from_uplink(IPV4, &ipv4(IN4, 60, protocol, payload, |_| {}))
}

/// An IPv6 frame from the server to the LAN host.
fn in6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    from_uplink(IPV6, &ipv6(IN6, 60, next_header, payload))
}
