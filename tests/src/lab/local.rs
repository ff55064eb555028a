//! A LAN with unique local addresses (RFC 4193), whose prefix uplinks translate: the host's addresses, and
//! connections from them.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use super::topology::{GatewayLab, SERVER6};

/// The longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
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

/// A connection from one of the host's addresses, and the server's end of it.
pub struct Connection {
    client: TcpStream,
    served: TcpStream,
    /// Where it comes from, as the server sees it.
    pub from: IpAddr,
}

impl Connection {
    /// Opens one from the host's n-th address.
    pub fn open(lab: &GatewayLab, listener: &TcpListener, n: u16) -> Result<Self> {
        let client: TcpStream = lab.hosts[0].namespace.enter(|| -> Result<TcpStream> {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
            socket.bind(&SocketAddr::from((address(n), 0)).into())?;
            let server = SocketAddr::from((SERVER6, listener.local_addr()?.port()));
            socket
                .connect_timeout(&server.into(), PATIENCE)
                .with_context(|| format!("connecting from {}", address(n)))?;
            Ok(socket.into())
        })??;
        let (served, from) = listener.accept()?;
        for end in [&client, &served] {
            end.set_read_timeout(Some(PATIENCE))?;
            end.set_nodelay(true)?;
        }
        Ok(Self {
            client,
            served,
            from: from.ip(),
        })
    }

    /// Sends bytes both ways, and fails unless they arrive.
    pub fn exchange(&self) -> Result<()> {
        let Self { client, served, .. } = self;
        for (mut from, mut to) in [(client, served), (served, client)] {
            from.write_all(b"to and fro")?;
            let mut read = [0; 10];
            to.read_exact(&mut read)?;
            ensure!(&read == b"to and fro", "{read:?}");
        }
        Ok(())
    }
}
