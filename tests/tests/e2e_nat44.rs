//! A LAN with private addresses behind uplinks of one address each: what the far end sees, what comes
//! back, and what becomes of connections when their uplink or the controller goes.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use multihome_tests::{
    lab::{
        Namespace,
        controller::{Gateway, Settings},
        cut::Cut,
        topology::{GatewayLab, Plan, SERVER4},
    },
    traffic::{flows::Family, ping},
};
use nix::sys::signal::Signal;
use socket2::{Domain, Protocol, Socket, Type};

/// The longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// The server's port.
const PORT: u16 = 7000;

/// A lab whose LAN has private addresses, and how its gateway is started: it finds out by itself that
/// it has to translate.
fn private_lan() -> Result<(GatewayLab, Settings)> {
    let lab = GatewayLab::new(&Plan::private())?;
    let settings = Settings {
        mode: "auto",
        ..Settings::from_environment()?
    };
    Ok((lab, settings))
}

/// With a configuration file of these lines.
fn with_file(lab: &GatewayLab, mut settings: Settings, text: &str) -> Result<Settings> {
    settings.add_file(lab, text)?;
    Ok(settings)
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}

fn server(port: u16) -> SocketAddr {
    SocketAddr::from((SERVER4, port))
}

fn listen(namespace: &Namespace, port: u16) -> Result<TcpListener> {
    Ok(namespace.enter(|| TcpListener::bind(any(port)))??)
}

fn udp(namespace: &Namespace, port: u16) -> Result<UdpSocket> {
    let socket = namespace.enter(|| UdpSocket::bind(any(port)))??;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Connects from this port of a namespace.
fn connect(namespace: &Namespace, from: u16, to: SocketAddr) -> Result<TcpStream> {
    let stream: TcpStream = namespace.enter(|| -> Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&any(from).into())?;
        socket
            .connect_timeout(&to.into(), PATIENCE)
            .with_context(|| format!("connecting from port {from} to {to}"))?;
        Ok(socket.into())
    })??;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Accepts a connection, which must have come already.
fn accept(listener: &TcpListener) -> Result<(TcpStream, SocketAddr)> {
    let (stream, from) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok((stream, from))
}

/// Sends bytes both ways, and fails unless they arrive.
fn exchange(a: &mut TcpStream, b: &mut TcpStream) -> Result<()> {
    send(a, b)?;
    send(b, a)
}

fn send(from: &mut TcpStream, to: &mut TcpStream) -> Result<()> {
    from.write_all(b"to and fro")?;
    let mut read = [0; 10];
    to.read_exact(&mut read)?;
    ensure!(&read == b"to and fro", "{read:?}");
    Ok(())
}

/// The uplink whose address this is.
fn uplink_of(lab: &GatewayLab, address: IpAddr) -> Result<usize> {
    lab.uplinks
        .iter()
        .position(|uplink| IpAddr::from(uplink.addresses.gateway4) == address)
        .with_context(|| format!("{address} is no uplink's address"))
}

/// TCP, UDP and pings reach the server under an uplink's address and with their own ports, and what
/// the server sends comes back; the status says what is translated to what.
#[test]
fn a_private_lan_reaches_the_internet_under_the_uplinks_addresses() -> Result<()> {
    let (lab, settings) = private_lan()?;
    let gateway = Gateway::start(&lab, settings)?;
    let host = &lab.hosts[0].namespace;
    for (uplink, status) in lab.uplinks.iter().zip(gateway.status()?.uplinks) {
        let family = |name: &str| status.families.get(name).cloned().flatten();
        let (ipv4, ipv6) = (family("ipv4"), family("ipv6"));
        let (ipv4, ipv6) = (ipv4.context("no IPv4")?, ipv6.context("no IPv6")?);
        ensure!(
            (&*ipv4.mode, &*ipv6.mode) == ("nat44", "routed"),
            "{ipv4:?} {ipv6:?}"
        );
        ensure!(
            ipv4.outside == [uplink.addresses.gateway4.to_string()],
            "{ipv4:?}"
        );
    }

    let listener = listen(&lab.server, PORT)?;
    for port in 5000..5010 {
        let mut client = connect(host, port, server(PORT))?;
        let (mut served, from) = accept(&listener)?;
        uplink_of(&lab, from.ip())?;
        ensure!(from.port() == port, "port {port} became {}", from.port());
        exchange(&mut client, &mut served)?;
    }

    let (asking, answering) = (udp(host, 5353)?, udp(&lab.server, PORT)?);
    asking.send_to(b"who am I", server(PORT))?;
    let mut buffer = [0; 64];
    let (length, from) = answering.recv_from(&mut buffer)?;
    ensure!(
        &buffer[..length] == b"who am I" && from.port() == 5353,
        "{from}"
    );
    uplink_of(&lab, from.ip())?;
    answering.send_to(b"you are", from)?;
    let (length, from) = asking.recv_from(&mut buffer)?;
    ensure!(
        &buffer[..length] == b"you are" && from == server(PORT),
        "{from}"
    );

    ping::ping(&lab, 0, SERVER4.into(), &[])?;
    ping::ping(&lab, 0, SERVER4.into(), &["-s", "1400"])?;
    // What is not translated goes on beside it.
    ping::ping(&lab, 0, Family::V6.server(), &[])?;
    Ok(())
}

/// A connection whose uplink is lost is reset at once, not left to its timers, and one that is opened
/// anew takes the other uplink.
fn lose_an_uplink(cut: Cut) -> Result<()> {
    let (lab, settings) = private_lan()?;
    let gateway = Gateway::start(&lab, settings)?;
    let host = &lab.hosts[0].namespace;
    let listener = listen(&lab.server, PORT)?;
    let mut client = connect(host, 6000, server(PORT))?;
    let (mut served, from) = accept(&listener)?;
    exchange(&mut client, &mut served)?;
    let lost = uplink_of(&lab, from.ip())?;
    lab.cut(lost, cut)?;
    gateway.wait_for_state(lost, "down")?;
    let start = Instant::now();
    client.write_all(b"is anybody there?")?;
    let error = match client.read(&mut [0; 1]) {
        Ok(length) => bail!("{length} bytes came"),
        Err(error) => error,
    };
    ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
    ensure!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    drop(client);
    let mut client = connect(host, 6001, server(PORT))?;
    let (mut served, from) = accept(&listener)?;
    exchange(&mut client, &mut served)?;
    ensure!(
        uplink_of(&lab, from.ip())? != lost,
        "it took the lost uplink"
    );
    // And when it is back, that one is not moved: its far end knows it by another address.
    lab.restore(lost, cut)?;
    gateway.wait_until_all_up()?;
    Ok(())
}

#[test]
fn a_connection_whose_uplink_has_no_carrier_is_reset_and_the_next_one_works() -> Result<()> {
    lose_an_uplink(Cut::Carrier)
}

#[test]
fn a_connection_whose_uplink_is_silent_is_reset_and_the_next_one_works() -> Result<()> {
    lose_an_uplink(Cut::Blackhole)
}

/// By default a connection stays on the uplink that it has when its first choice returns.
#[test]
fn a_connection_stays_where_it_is_when_an_uplink_returns() -> Result<()> {
    let (lab, mut settings) = private_lan()?;
    // As an operator has it who says nothing of it.
    for given in ["--failback", "--failback-after"] {
        let at = settings.options.iter().position(|option| option == given);
        let at = at.with_context(|| format!("{given} is not given"))?;
        settings.options.drain(at..at + 2);
    }
    let gateway = Gateway::start(&lab, settings)?;
    let host = &lab.hosts[0].namespace;
    let listener = listen(&lab.server, PORT)?;
    for (lost, other) in [(0, 1), (1, 0)] {
        lab.cut(lost, Cut::Carrier)?;
        gateway.wait_for_state(lost, "down")?;
        let mut client = connect(host, 6000 + other as u16, server(PORT))?;
        let (mut served, from) = accept(&listener)?;
        ensure!(uplink_of(&lab, from.ip())? == other, "{from}");
        lab.restore(lost, Cut::Carrier)?;
        gateway.wait_until_all_up()?;
        thread::sleep(Duration::from_secs(1));
        exchange(&mut client, &mut served)?;
    }
    Ok(())
}

/// The controller ends and another takes over: connections go on, and the kernel is asked again what
/// it has of them.
#[test]
fn connections_outlive_the_controller() -> Result<()> {
    let (lab, settings) = private_lan()?;
    let mut gateway = Gateway::start(&lab, settings)?;
    let host = &lab.hosts[0].namespace;
    let listener = listen(&lab.server, PORT)?;
    let mut connections = Vec::new();
    for port in 6000..6020 {
        let client = connect(host, port, server(PORT))?;
        connections.push((client, accept(&listener)?.0));
    }
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        gateway.process()?.signal(signal)?;
        gateway.process()?.wait(PATIENCE)?;
        for (client, served) in &mut connections {
            exchange(client, served).context("without a controller")?;
        }
        gateway.launch()?;
        gateway.wait_until_all_up()?;
        for (client, served) in &mut connections {
            exchange(client, served).context("with the next controller")?;
        }
        let (_, metrics) = gateway.fetch("/metrics")?;
        let count: f64 = metrics
            .lines()
            .filter_map(|line| line.strip_prefix("multihome_flows{")?.split_once(' '))
            .filter_map(|(_, count)| count.parse::<f64>().ok())
            .sum();
        // The two families' probes are the gateway's own and no flows.
        ensure!(count == 20.0, "{count} flows are counted");
    }
    Ok(())
}

const FORWARDS: &str = r#"
[[forward]]
protocol = "tcp"
outside = "8080-8081"
inside = "10.1.0.10:80"

[[forward]]
protocol = "udp"
outside = 5060
inside = "10.1.0.10:5060"
uplinks = "cable"
"#;

/// Ports that are forwarded lead to their host, on the uplinks that have them, and from the first
/// packet on; the host sees who it is that comes.
#[test]
fn forwarded_ports_are_reached_from_outside() -> Result<()> {
    let (lab, settings) = private_lan()?;
    let settings = with_file(&lab, settings, FORWARDS)?;
    let _gateway = Gateway::start(&lab, settings)?;
    let host = &lab.hosts[0].namespace;
    let listeners = [(8080, listen(host, 80)?), (8081, listen(host, 81)?)];
    for (uplink, ports) in lab.uplinks.iter().zip([20_000, 30_000]) {
        for (port, listener) in &listeners {
            let outside = SocketAddr::from((uplink.addresses.gateway4, *port));
            let mut client = connect(&lab.server, ports + port, outside)?;
            let (mut served, from) = accept(listener)?;
            ensure!(from == server(ports + port), "{from}");
            exchange(&mut client, &mut served)?;
        }
    }
    let (asking, answering) = (udp(&lab.server, 40_001)?, udp(host, 5060)?);
    for (uplink, has_it) in lab.uplinks.iter().zip([false, true]) {
        let outside = SocketAddr::from((uplink.addresses.gateway4, 5060));
        asking.send_to(b"ring", outside)?;
        if has_it {
            let (_, from) = answering.recv_from(&mut [0; 8])?;
            ensure!(from == server(40_001), "{from}");
            answering.send_to(b"hello", from)?;
            let (_, from) = asking.recv_from(&mut [0; 8])?;
            ensure!(from == outside, "{from}");
        }
    }
    Ok(())
}

/// A forward that the next configuration has no more is closed, and its connections with it.
#[test]
fn a_forward_that_is_gone_is_closed() -> Result<()> {
    let (lab, settings) = private_lan()?;
    let settings = with_file(&lab, settings, FORWARDS)?;
    let mut gateway = Gateway::start(&lab, settings.clone())?;
    let host = &lab.hosts[0].namespace;
    let listener = listen(host, 80)?;
    let outside = SocketAddr::from((lab.uplinks[0].addresses.gateway4, 8080));
    let mut client = connect(&lab.server, 40_000, outside)?;
    let (mut served, _) = accept(&listener)?;
    exchange(&mut client, &mut served)?;
    let _ = with_file(&lab, settings, "")?;
    gateway.process()?.signal(Signal::SIGTERM)?;
    gateway.process()?.wait(PATIENCE)?;
    gateway.launch()?;
    gateway.wait_until_all_up()?;
    served.write_all(b"are you there?")?;
    ensure!(served.read(&mut [0; 8]).is_err(), "the connection goes on");
    ensure!(
        connect(&lab.server, 40_001, outside).is_err(),
        "the port still leads inside"
    );
    Ok(())
}

/// The tables of outside ports are made at the first start: a configuration that needs larger ones is
/// refused, and what runs goes on.
#[test]
fn more_outside_addresses_than_the_tables_have_room_for_are_refused() -> Result<()> {
    let (lab, settings) = private_lan()?;
    let mut gateway = Gateway::start(&lab, settings)?;
    let host = &lab.hosts[0].namespace;
    let listener = listen(&lab.server, PORT)?;
    let mut client = connect(host, 6000, server(PORT))?;
    let (mut served, _) = accept(&listener)?;
    gateway.process()?.signal(Signal::SIGTERM)?;
    gateway.process()?.wait(PATIENCE)?;
    let more = "fiber=wan0,mode=nat44,outside=192.0.2.2,outside=192.0.2.200";
    let words = ["--lan", "lan0", "--metrics-listen", "off", "--uplink"];
    let output = gateway.run("run", &[&words[..], &[more, "cable=wan1"]].concat())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2), "{}\n{said}", output.status);
    for told in ["uplink fiber", "3 are configured", "multihome detach"] {
        ensure!(said.contains(told), "{told:?} is not in: {said}");
    }
    exchange(&mut client, &mut served)?;
    let output = gateway.run("detach", &[])?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

/// A device's new address is what flows are translated to from then on.
#[test]
fn a_new_address_of_the_device_is_used() -> Result<()> {
    let (lab, settings) = private_lan()?;
    let gateway = Gateway::start(&lab, settings)?;
    let host = &lab.hosts[0].namespace;
    lab.cut(1, Cut::Carrier)?;
    gateway.wait_for_state(1, "down")?;
    let listener = listen(&lab.server, PORT)?;
    let mut client = connect(host, 6000, server(PORT))?;
    let (mut served, from) = accept(&listener)?;
    exchange(&mut client, &mut served)?;
    let old = lab.uplinks[0].addresses.gateway4;
    ensure!(from.ip() == IpAddr::from(old), "{from}");
    // The provider has a route for one more address, and now that is leased.
    let new = Ipv4Addr::new(192, 0, 2, 129);
    let isp = lab.uplinks[0].addresses;
    lab.uplinks[0]
        .isp
        .batch(&format!("route add {new} dev gw\n"))?;
    lab.internet
        .batch(&format!("route add {new} via {}\n", isp.transit4))?;
    lab.gateway.batch(&format!(
        "addr add {new}/32 dev wan0\naddr del {old}/30 dev wan0\n\
         route add {}/32 dev wan0\nroute replace default via {} dev wan0 metric 100\n",
        isp.isp4, isp.isp4
    ))?;
    gateway.wait_for("on the new address", PATIENCE, |status| {
        let family = status.uplinks[0].families.get("ipv4").cloned().flatten();
        family.is_some_and(|family| family.outside == [new.to_string()])
    })?;
    client.write_all(b"is anybody there?")?;
    let error = client.read(&mut [0; 1]).err().context("something came")?;
    ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
    thread::sleep(Duration::from_millis(200));
    let mut client = connect(host, 6001, server(PORT))?;
    let (mut served, from) = accept(&listener)?;
    ensure!(from.ip() == IpAddr::from(new), "{from}");
    exchange(&mut client, &mut served)?;
    Ok(())
}
