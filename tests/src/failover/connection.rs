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
/// Source ports that are tried for a connection by the uplink.
const ATTEMPTS: u16 = 64;

/// Takes the carrier of an uplink from a connection by it, and returns how many milliseconds later the
/// client was reset and connected again; none when it was not in time.
pub(super) fn trial(lab: &GatewayLab, uplink: usize, patience: Duration) -> Result<Option<f64>> {
    let listener = lab
        .server
        .enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))??;
    let mut client = None;
    for _ in 0..ATTEMPTS {
        let tried = connect(lab)?;
        let (served, from) = listener.accept()?;
        if from.ip() == IpAddr::V4(lab.uplinks[uplink].addresses.gateway4) {
            client = Some((tried, served));
            break;
        }
    }
    let (mut client, _served) =
        client.with_context(|| format!("none of {ATTEMPTS} connections takes uplink {uplink}"))?;
    let lost = lab.cut(uplink, Cut::Carrier)?;
    let start = Instant::now();
    while client.write_all(b".").is_ok() {
        if start.elapsed() > patience {
            return Ok(None);
        }
        thread::sleep(INTERVAL);
    }
    let _anew = connect(lab).context("connecting anew")?;
    let connected = clock::now();
    let (_served, from) = listener.accept()?;
    let other = lab
        .uplinks
        .iter()
        .position(|uplink| IpAddr::V4(uplink.addresses.gateway4) == from.ip());
    ensure!(
        other.is_some_and(|other| other != uplink),
        "connected again from {from}, which is no other uplink's address"
    );
    Ok(Some(clock::milliseconds(lost.before, connected)))
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
