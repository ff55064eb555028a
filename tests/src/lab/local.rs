//! A LAN with unique local addresses (RFC 4193), whose prefix uplinks translate: the host's addresses, and
//! connections from them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};

use anyhow::Result;

use super::{
    connection::Connection,
    topology::{GatewayLab, SERVER6},
};

/// Addresses of the host: enough for some to take either of two uplinks.
pub const ADDRESSES: u16 = 16;
/// The LAN's prefix.
pub const INSIDE: &str = "fd12:3456:789a::/48";

/// Gives the first host its addresses, and the gateway's LAN port one.
pub fn give(lab: &GatewayLab) -> Result<()> {
    let host = &lab.hosts[0];
    let addresses: String = (0..ADDRESSES)
        .map(|n| format!("addr add {}/64 dev eth0\n", address(n)))
        .collect();
    host.namespace.batch(&addresses)?;
    let port = &host.port;
    lab.gateway
        .batch(&format!("addr add fd12:3456:789a:5::1/64 dev {port}\n"))?;
    // The gateway knows a host's address from its neighbour solicitations.
    for n in 0..ADDRESSES {
        let from = address(n).to_string();
        let to = "fd12:3456:789a:5::1";
        host.namespace
            .output(&["ping", "-6", "-c", "1", "-W", "2", "-I", &from, to])?;
    }
    Ok(())
}

/// One of the host's addresses.
pub fn address(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd12, 0x3456, 0x789a, 5, 0, 0, 0, 0x100 + n)
}

/// Whether an address is in a prefix of 48 bits.
pub fn is_in(address: IpAddr, prefix: &str) -> bool {
    let IpAddr::V6(address) = address else {
        return false;
    };
    let network = prefix.trim_end_matches("/48").parse::<Ipv6Addr>();
    network.is_ok_and(|network| network.segments()[..3] == address.segments()[..3])
}

/// Opens a connection from the host's n-th address.
pub fn connect(lab: &GatewayLab, listener: &TcpListener, n: u16) -> Result<Connection> {
    let server = SocketAddr::from((SERVER6, listener.local_addr()?.port()));
    Connection::open(lab, listener, server, Some(address(n).into()))
}
