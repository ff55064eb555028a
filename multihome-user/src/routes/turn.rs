//! One controller leads the own traffic of a network namespace: whose turn it is.
//!
//! The sign is an abstract socket's name, which belongs to the network namespace as routes do, and goes
//! with the process that has it. Anybody may take such a name, so one that is not root's is passed over.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use socket2::{Domain, SockAddr, Socket, Type};

/// The name.
const NAME: &str = "multihome-routes";

/// The turn, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _sign: Option<UnixListener>,
}

/// Takes the turn; `None` while another process of root's has it.
///
/// # Errors
/// When the kernel refuses sockets.
pub fn take() -> io::Result<Option<Turn>> {
    let name = SocketAddr::from_abstract_name(NAME)?;
    match UnixListener::bind_addr(&name) {
        Ok(sign) => Ok(Some(Turn { _sign: Some(sign) })),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match holder() {
            Ok(0) => Ok(None),
            Ok(user) => {
                tracing::warn!(
                    "the abstract socket {NAME:?}, by which gateways of one network namespace know of each \
                     other, is held by user {user}; that is ignored"
                );
                Ok(Some(Turn { _sign: None }))
            }
            // Gone in this moment, or not one that takes connections.
            Err(_) => match UnixListener::bind_addr(&name) {
                Ok(sign) => Ok(Some(Turn { _sign: Some(sign) })),
                Err(_) => Ok(Some(Turn { _sign: None })),
            },
        },
        Err(error) => Err(error),
    }
}

/// The user who has the name.
fn holder() -> io::Result<u32> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A holder that takes no connections must not keep us waiting.
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(format!("\0{NAME}"))?)?;
    Ok(getsockopt(&socket, PeerCredentials)?.uid())
}
