//! A translated TCP connection whose uplink is lost: when it is reset, and when its host is connected
//! again.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    lab::{
        cut::Cut,
        topology::{GatewayLab, SERVER4},
    },
    traffic::clock,
};

/// The server's port.
const PORT: u16 = 7100;
/// How far apart what the client writes is.
const INTERVAL: Duration = Duration::from_millis(1);
/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Takes the carrier of the uplink that a connection has. Returns which one that is, and how many
/// milliseconds later the client was reset and connected again; none when it was not in time.
pub(super) fn trial(lab: &GatewayLab, patience: Duration) -> Result<(usize, Option<f64>)> {
    let listener = lab
        .server
        .enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))??;
    let mut client = connect(lab)?;
    let (_served, from) = listener.accept()?;
    let uplink = uplink_of(lab, from)?;
    let lost = lab.cut(uplink, Cut::Carrier)?;
    let start = Instant::now();
    while client.write_all(b".").is_ok() {
        if start.elapsed() > patience {
            return Ok((uplink, None));
        }
        thread::sleep(INTERVAL);
    }
    let _anew = connect(lab).context("connecting anew")?;
    let connected = clock::now();
    let (_served, from) = listener.accept()?;
    let other = uplink_of(lab, from)?;
    ensure!(other != uplink, "connected again by the lost uplink");
    Ok((uplink, Some(clock::milliseconds(lost.before, connected))))
}

/// The uplink whose address this is.
fn uplink_of(lab: &GatewayLab, address: SocketAddr) -> Result<usize> {
    lab.uplinks
        .iter()
        .position(|uplink| IpAddr::V4(uplink.addresses.gateway4) == address.ip())
        .with_context(|| format!("{address} is no uplink's address"))
}

fn connect(lab: &GatewayLab) -> Result<TcpStream> {
    let stream: TcpStream = lab.hosts[0].namespace.enter(|| -> Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.connect_timeout(&SocketAddr::from((SERVER4, PORT)).into(), PATIENCE)?;
        Ok(socket.into())
    })??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
