//! A TCP connection of the first LAN host, with both of its ends in hand.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use super::topology::GatewayLab;

/// The longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// A connection, and the server's end of it.
pub struct Connection {
    client: TcpStream,
    served: TcpStream,
    /// Where it comes from, as the server sees it.
    pub from: IpAddr,
}

impl Connection {
    /// Opens one to this address, which is the listener's; `own` is the host's address, if it matters.
    ///
    /// # Errors
    /// When it is not opened in time.
    pub fn open(
        lab: &GatewayLab,
        listener: &TcpListener,
        server: SocketAddr,
        own: Option<IpAddr>,
    ) -> Result<Self> {
        let client: TcpStream = lab.hosts[0].namespace.enter(|| -> Result<TcpStream> {
            let domain = Domain::for_address(server);
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
            if let Some(own) = own {
                socket.bind(&SocketAddr::from((own, 0)).into())?;
            }
            socket
                .connect_timeout(&server.into(), PATIENCE)
                .with_context(|| format!("connecting from {own:?} to {server}"))?;
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
    ///
    /// # Errors
    /// When they do not.
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

    /// Fails unless the host is told that the connection has ended.
    ///
    /// # Errors
    /// When it is not.
    pub fn ensure_ended(&self) -> Result<()> {
        let start = Instant::now();
        let mut client = &self.client;
        client.set_read_timeout(Some(Duration::from_millis(100)))?;
        while start.elapsed() < PATIENCE {
            let sent = client.write_all(b"still there?");
            let read = client.read(&mut [0]);
            let ended = |error: &std::io::Error| {
                matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                )
            };
            if sent.as_ref().is_err_and(ended) || read.as_ref().is_err_and(ended) {
                return Ok(());
            }
        }
        bail!(
            "the host was not told that its connection from {} has ended",
            self.from
        )
    }
}
