//! Which way translated and inbound connections take: from one LAN host to another, in from the internet
//! and back, and when uplinks come and go.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        Namespace,
        controller::{Gateway, Settings},
        cut::Cut,
        topology::{GatewayLab, Plan, SERVER6, UplinkPlan},
        translated::{Translated, is_under, lead, prefix},
    },
    traffic::flows::Family,
};

/// The longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// The server's port.
const PORT: u16 = 7000;

fn listen(namespace: &Namespace, port: u16) -> Result<TcpListener> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    Ok(namespace.enter(|| TcpListener::bind(any))??)
}

fn connect(namespace: &Namespace, to: SocketAddr) -> Result<TcpStream> {
    let stream = namespace.enter(|| TcpStream::connect_timeout(&to, PATIENCE))?;
    let stream = stream.with_context(|| format!("connecting to {to}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn accept(listener: &TcpListener) -> Result<(TcpStream, IpAddr)> {
    let (stream, from) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok((stream, from.ip().to_canonical()))
}

fn exchange(a: &mut TcpStream, b: &mut TcpStream) -> Result<()> {
    for _ in 0..2 {
        a.write_all(b"to and fro")?;
        b.read_exact(&mut [0; 10])?;
        b.write_all(b"and back")?;
        a.read_exact(&mut [0; 8])?;
    }
    Ok(())
}

/// The uplink that an address belongs to, translated or the gateway's.
fn uplink_of(lab: &GatewayLab, address: IpAddr) -> Result<usize> {
    let is_of = |n: usize| match address {
        IpAddr::V4(v4) => lab.uplinks[n].addresses.gateway4 == v4,
        IpAddr::V6(v6) => is_under(v6, n),
    };
    (0..lab.uplinks.len())
        .find(|n| is_of(*n))
        .with_context(|| format!("{address} is no uplink's"))
}

/// A LAN host reaches another by the outside address and forwarded port, and is seen under its own
/// outside address; from outside the port is reached through each uplink.
#[test]
fn a_forwarded_port_is_reached_from_both_sides() -> Result<()> {
    let plan = Plan {
        hosts: 2,
        ..Plan::private()
    };
    let more = "[[forward]]\nprotocol = \"tcp\"\noutside = 8080\ninside = \"10.1.1.10:80\"\n";
    let Translated { lab, settings } = Translated::new(&plan, more)?;
    let _gateway = Gateway::start(&lab, settings)?;
    let listener = listen(&lab.hosts[1].namespace, 80)?;
    for uplink in &lab.uplinks {
        let outside = SocketAddr::from((uplink.addresses.gateway4, 8080));
        let mut inside = connect(&lab.hosts[0].namespace, outside)?;
        let (mut served, from) = accept(&listener)?;
        ensure!(from == outside.ip(), "a LAN host came from {from}");
        exchange(&mut inside, &mut served)?;
        let mut remote = connect(&lab.server, outside)?;
        let (mut served, from) = accept(&listener)?;
        ensure!(from == Family::V4.server(), "the server came from {from}");
        exchange(&mut remote, &mut served)?;
    }
    Ok(())
}

/// Connections to a LAN host with an address of its own, by IPv4, and to one behind a translated IPv6
/// prefix: whichever uplink they come in by, they are answered by it.
#[test]
fn what_comes_in_by_an_uplink_is_answered_by_it() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let _gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let host = &lab.hosts[0];
    let listener = listen(&host.namespace, 80)?;
    for n in 0..lab.uplinks.len() {
        // The internet sends what is new by this ISP, and follows no connection any more.
        lab.internet
            .batch(&format!("rule add pref 50 lookup {}\n", 101 + n))?;
        let before = received(&lab, n)?;
        for _ in 0..4 {
            let mut remote = connect(&lab.server, (host.addresses.host4, 80).into())?;
            let (mut served, _) = accept(&listener)?;
            exchange(&mut remote, &mut served)?;
            let answer = vec![7; ANSWER];
            let sender = std::thread::spawn(move || served.write_all(&answer));
            remote.read_exact(&mut vec![0; ANSWER])?;
            sender
                .join()
                .map_err(|_| anyhow::anyhow!("it panicked"))??;
        }
        let bytes = received(&lab, n)? - before;
        ensure!(
            bytes > 4 * ANSWER as u64,
            "{bytes} bytes came back by uplink {n}"
        );
        lab.internet.batch("rule del pref 50\n")?;
    }
    Ok(())
}

/// Bytes that a LAN host answers with: more than all probes have.
const ANSWER: usize = 200_000;

/// Bytes that the internet has received from an ISP.
fn received(lab: &GatewayLab, uplink: usize) -> Result<u64> {
    let device = format!("isp{uplink}");
    let words = ["ip", "-json", "-stats", "link", "show", "dev", &device];
    let shown: serde_json::Value = serde_json::from_str(&lab.internet.output(&words)?)?;
    shown[0]["stats64"]["rx"]["bytes"]
        .as_u64()
        .context("no counter")
}

/// A host's outside IPv6 address is reached from the internet through its uplink, and answers under it.
#[test]
fn a_host_behind_a_translated_prefix_is_reached_by_each_uplink() -> Result<()> {
    let Translated { lab, settings } = Translated::new(&Plan::private(), "")?;
    let gateway = Gateway::start(&lab, settings)?;
    let host = &lab.hosts[0].namespace;
    let listener = listen(&lab.server, PORT)?;
    let inside = listen(host, 80)?;
    // Which outside addresses the host has is learned from its own connections.
    for n in 0..lab.uplinks.len() {
        lab.cut(1 - n, Cut::Carrier)?;
        gateway.wait_for_state(1 - n, "down")?;
        let mut client = connect(host, (SERVER6, PORT).into())?;
        let (mut served, outside) = accept(&listener)?;
        ensure!(
            uplink_of(&lab, outside)? == n,
            "{outside} is not under {}",
            prefix(n)
        );
        exchange(&mut client, &mut served)?;
        lab.restore(1 - n, Cut::Carrier)?;
        lead(&lab, 1 - n)?;
        gateway.wait_until_all_up()?;
        let mut remote = connect(&lab.server, (outside, 80).into())?;
        let (mut served, from) = accept(&inside)?;
        ensure!(from == IpAddr::from(SERVER6), "{from}");
        exchange(&mut remote, &mut served)?;
    }
    Ok(())
}

/// A connection of each family, opened by whatever uplink it takes; which one.
fn opened(lab: &GatewayLab, family: Family, port: u16) -> Result<(TcpStream, TcpStream, usize)> {
    let listener = listen(&lab.server, port)?;
    let mut client = connect(&lab.hosts[0].namespace, (family.server(), port).into())?;
    let (mut served, from) = accept(&listener)?;
    exchange(&mut client, &mut served)?;
    Ok((client, served, uplink_of(lab, from)?))
}

/// A connection under an uplink's prefix is reset when the uplink is lost, and the next one works.
#[test]
fn a_connection_under_a_lost_prefix_is_reset() -> Result<()> {
    let Translated { lab, settings } = Translated::new(&Plan::private(), "")?;
    let gateway = Gateway::start(&lab, settings)?;
    let (mut client, _served, lost) = opened(&lab, Family::V6, PORT)?;
    lab.cut(lost, Cut::Blackhole)?;
    gateway.wait_for_state(lost, "down")?;
    let start = Instant::now();
    client.write_all(b"is anybody there?")?;
    let error = client.read(&mut [0; 1]).err().context("it was answered")?;
    ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
    let (_, _, now) = opened(&lab, Family::V6, PORT + 1)?;
    ensure!(
        now != lost && start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    Ok(())
}

/// Without another uplink, and where flows are to hold out, connections wait for theirs.
#[test]
fn connections_wait_where_they_are_to() -> Result<()> {
    let alone = Plan {
        uplinks: vec![UplinkPlan::new("fiber", 1)],
        ..Plan::private()
    };
    for (plan, more) in [(alone, ""), (Plan::private(), "on_uplink_loss = \"hold\"")] {
        let Translated { lab, settings } = Translated::new(&plan, more)?;
        let gateway = Gateway::start(&lab, settings)?;
        for (family, port) in [(Family::V4, PORT), (Family::V6, PORT + 1)] {
            let (mut client, mut served, lost) = opened(&lab, family, port)?;
            lab.cut(lost, Cut::Blackhole)?;
            gateway.wait_for_state(lost, "down")?;
            client.write_all(b"to and fro")?;
            std::thread::sleep(Duration::from_millis(300));
            lab.restore(lost, Cut::Blackhole)?;
            gateway.wait_until_all_up()?;
            served
                .read_exact(&mut [0; 10])
                .with_context(|| format!("{family:?} {more:?}"))?;
            exchange(&mut client, &mut served)?;
        }
    }
    Ok(())
}

/// Datagrams of a flow whose uplink is lost go on by another at once.
#[test]
fn datagrams_go_on_by_another_uplink() -> Result<()> {
    let Translated { lab, settings } = Translated::new(&Plan::private(), "")?;
    let gateway = Gateway::start(&lab, settings)?;
    for family in [Family::V4, Family::V6] {
        let bind =
            |namespace: &Namespace, address: IpAddr, port: u16| -> Result<std::net::UdpSocket> {
                let socket = namespace.enter(|| std::net::UdpSocket::bind((address, port)))??;
                socket.set_read_timeout(Some(PATIENCE))?;
                Ok(socket)
            };
        let peer = bind(&lab.server, Ipv6Addr::UNSPECIFIED.into(), 7400)?;
        let client = bind(&lab.hosts[0].namespace, family.any(), 7401)?;
        let mut buffer = [0; 16];
        let mut once = |client: &std::net::UdpSocket| -> Result<usize> {
            client.send_to(b"datagram", (family.server(), 7400))?;
            let came = peer.recv_from(&mut buffer);
            let (_, from) = came.with_context(|| format!("{family:?} outward"))?;
            peer.send_to(b"answer", from)?;
            let came = client.recv_from(&mut buffer);
            came.with_context(|| format!("{family:?} back to {from}"))?;
            uplink_of(&lab, from.ip().to_canonical())
        };
        let lost = once(&client)?;
        lab.cut(lost, Cut::Carrier)?;
        gateway.wait_for_state(lost, "down")?;
        let now = once(&client)?;
        ensure!(now != lost, "{family:?} stays on uplink {lost}");
        lab.restore(lost, Cut::Carrier)?;
        lead(&lab, lost)?;
        gateway.wait_until_all_up()?;
    }
    Ok(())
}
