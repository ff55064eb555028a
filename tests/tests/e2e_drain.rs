//! An uplink is drained for planned work: new connections take other uplinks, those that are on it go on
//! until they end, and nobody has to remember to end it.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    process::Output,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, METRICS, Settings},
        topology::{GatewayLab, Plan},
        translated::{Translated, is_under},
    },
    traffic::flows::{self, Family, Flow},
};
use nix::sys::signal::Signal;

/// The longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The server's port.
const PORT: u16 = 7000;

/// A connection from a LAN host, both ends of it, and the uplink that it took.
struct Connection {
    host: TcpStream,
    server: TcpStream,
    uplink: usize,
}

/// The server of the translated lab: it sees connections come from the uplinks' addresses.
struct Server<'lab> {
    lab: &'lab GatewayLab,
    listener: TcpListener,
}

impl<'lab> Server<'lab> {
    fn start(lab: &'lab GatewayLab) -> Result<Self> {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
        let listener = lab.server.enter(|| TcpListener::bind(any))??;
        Ok(Self { lab, listener })
    }

    /// Connects a LAN host with the server.
    fn connect(&self, host: usize, family: Family) -> Result<Connection> {
        let to = SocketAddr::new(family.server(), PORT);
        let namespace = &self.lab.hosts[host].namespace;
        let stream = namespace.enter(|| TcpStream::connect_timeout(&to, PATIENCE))?;
        let host = stream.with_context(|| format!("connecting to {to}"))?;
        let (server, from) = self.listener.accept()?;
        for end in [&host, &server] {
            end.set_read_timeout(Some(PATIENCE))?;
            end.set_nodelay(true)?;
        }
        let from = from.ip().to_canonical();
        let is_of = |n: &usize| match from {
            IpAddr::V4(v4) => self.lab.uplinks[*n].addresses.gateway4 == v4,
            IpAddr::V6(v6) => is_under(v6, *n),
        };
        let uplink = (0..self.lab.uplinks.len()).find(is_of);
        Ok(Connection {
            host,
            server,
            uplink: uplink.with_context(|| format!("{from} is no uplink's"))?,
        })
    }
}

impl Connection {
    fn exchange(&mut self) -> Result<()> {
        self.host.write_all(b"to and fro")?;
        self.server.read_exact(&mut [0; 10])?;
        self.server.write_all(b"and back")?;
        self.host.read_exact(&mut [0; 8])?;
        Ok(())
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn done(gateway: &Gateway<'_>, command: &str, words: &[&str]) -> Result<String> {
    let output = gateway.run(command, words)?;
    ensure!(
        output.status.success(),
        "{command} {words:?}: {}",
        said(&output)
    );
    Ok(said(&output))
}

/// The two hosts' connections, of both families.
fn connect_all(server: &Server<'_>) -> Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for host in 0..2 {
        for family in [Family::V4, Family::V6] {
            connections.push(server.connect(host, family)?);
        }
    }
    Ok(connections)
}

fn stop(gateway: &mut Gateway<'_>) -> Result<()> {
    let process = gateway.process()?;
    process.signal(Signal::SIGTERM)?;
    process.wait(PATIENCE)?;
    Ok(())
}

/// Each uplink that has connections is drained in turn: they go on, over a restart of the controller too,
/// and new ones take others.
fn drain_under_connections(failback: &'static str) -> Result<()> {
    let plan = Plan {
        hosts: 2,
        ..Plan::private()
    };
    let Translated { lab, settings } = Translated::new(&plan, "")?;
    let mut gateway = Gateway::start(&lab, settings)?;
    if failback != "immediate" {
        stop(&mut gateway)?;
        gateway.set_option("--failback", failback)?;
        gateway.launch()?;
        gateway.wait_until_all_up()?;
    }
    let server = Server::start(&lab)?;
    let mut old = connect_all(&server)?;
    let drained = old[0].uplink;
    let name = lab.uplinks[drained].plan.name;
    let told = done(&gateway, "drain", &[name])?;
    ensure!(
        told.contains("until it is told to end") && !told.contains("WARNING"),
        "{told}"
    );
    let check = |gateway: &Gateway<'_>, old: &mut Vec<Connection>| -> Result<()> {
        let status = gateway.status()?;
        ensure!(status.uplinks[drained].state == "up", "{status:?}");
        ensure!(status.uplinks[drained].draining.is_some(), "{status:?}");
        let group = &status.groups[0];
        for family in [&group.ipv4, &group.ipv6] {
            ensure!(!family.eligible.iter().any(|it| it == name), "{group:?}");
            ensure!(family.alive.iter().any(|it| it == name), "{group:?}");
            ensure!(family.impediments[name] == ["draining"], "{group:?}");
        }
        for connection in old.iter_mut() {
            connection.exchange().context("a connection from before")?;
        }
        for connection in &mut connect_all(&server)? {
            ensure!(
                connection.uplink != drained,
                "a new connection takes {name}"
            );
            connection.exchange()?;
        }
        Ok(())
    };
    check(&gateway, &mut old)?;
    let metric = format!("multihome_uplink_draining{{uplink=\"{name}\"}} 1");
    let asked = Instant::now();
    while !gateway.fetch("/metrics")?.1.contains(&metric) {
        ensure!(asked.elapsed() < PATIENCE, "no {metric} on {METRICS}");
        thread::sleep(Duration::from_millis(50));
    }
    let table = done(&gateway, "status", &[])?;
    ensure!(
        table.contains(&format!("Draining: {name} (for ")),
        "{table}"
    );

    stop(&mut gateway)?;
    gateway.launch()?;
    gateway.wait_until_all_up()?;
    check(&gateway, &mut old).context("after a restart")?;

    done(&gateway, "undrain", &[name])?;
    let all: Vec<&str> = lab.uplinks.iter().map(|uplink| uplink.plan.name).collect();
    gateway.wait_for("undrained", PATIENCE, |status| status.has_eligible(&all))?;
    for connection in &mut old {
        connection.exchange()?;
    }
    Ok(())
}

/// Translated connections would end with their uplink: they go on, and new ones avoid it.
#[test]
fn connections_end_on_a_draining_uplink_and_new_ones_avoid_it_also_after_a_restart() -> Result<()> {
    drain_under_connections("sticky")
}

/// Also where flows go back to uplinks that return: one that is drained is their home all the same.
#[test]
fn connections_stay_on_a_draining_uplink_where_flows_go_back() -> Result<()> {
    drain_under_connections("immediate")
}

/// Flows of routed uplinks: the draining one keeps its own and gets no others, those of other uplinks are
/// not touched. Then the drain ends by itself.
#[test]
fn a_drain_moves_no_flow_and_ends_by_itself() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let old = flows::many(300, 2, Family::V4);
    let before = flows::uplinks_of(&lab, &old)?;
    let name = lab.uplinks[0].plan.name;
    let told = done(&gateway, "drain", &[name, "--for", "1h"])?;
    ensure!(told.contains("(for 1h 0m)"), "{told}");
    ensure!(flows::uplinks_of(&lab, &old)? == before, "a flow has moved");
    let new = |first: u16| {
        let flow = |mut flow: Flow| {
            flow.port += first;
            flow
        };
        let many = flows::many(300, 2, Family::V4).into_iter().map(flow);
        many.collect::<Vec<_>>()
    };
    let during = flows::uplinks_of(&lab, &new(1000))?;
    ensure!(
        !during.contains(&Some(0)) && !during.contains(&None),
        "new flows take the draining uplink, or are lost"
    );
    // Drained once more, it has the new end.
    let told = done(&gateway, "drain", &[name, "--for", "1s"])?;
    ensure!(told.contains(" any more"), "{told}");
    gateway.wait_for("undrained", PATIENCE, |status| {
        status.uplinks[0].draining.is_none()
    })?;
    ensure!(flows::uplinks_of(&lab, &old)? == before, "a flow has moved");
    let after = flows::uplinks_of(&lab, &new(2000))?;
    ensure!(after.contains(&Some(0)), "no new flow takes it again");
    let log = done(&gateway, "events", &["--json"])?;
    for kind in ["draining", "undrained"] {
        ensure!(log.contains(&format!("\"kind\":\"{kind}\"")), "{log}");
    }
    Ok(())
}

/// The last healthy uplink is drained: it goes on to serve, and the command says so. What cannot be done
/// is refused and changes nothing; without a controller it is kept for the next one.
#[test]
fn the_last_uplink_serves_while_it_drains_and_what_cannot_be_drained_is_refused() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let names: Vec<&str> = lab.uplinks.iter().map(|uplink| uplink.plan.name).collect();
    let mistyped = format!("{}x", names[1]);
    for command in ["drain", "undrain"] {
        let output = gateway.run(command, &[&mistyped])?;
        let text = said(&output);
        ensure!(output.status.code() == Some(2), "{output:?}");
        let suggestion = format!("(did you mean {:?}?); the uplinks are", names[1]);
        ensure!(text.contains(&suggestion), "{text}");
    }
    let told = done(&gateway, "undrain", &[names[0]])?;
    ensure!(told.contains("was not being drained"), "{told}");
    for name in &names[..2] {
        let told = done(&gateway, "drain", &[name])?;
        ensure!(!told.contains("WARNING"), "{told}");
    }
    let flows = flows::many(200, 2, Family::V6);
    let on = flows::uplinks_of(&lab, &flows)?;
    ensure!(on.iter().all(|on| *on == Some(2)), "{on:?}");
    let told = done(&gateway, "drain", &[names[2]])?;
    ensure!(
        told.contains("WARNING") && told.contains("goes on to take new flows"),
        "{told}"
    );
    let status = gateway.status()?;
    ensure!(status.has_eligible(&names), "{status:?}");

    stop(&mut gateway)?;
    for name in &names[1..] {
        let told = done(&gateway, "undrain", &[name])?;
        ensure!(told.contains("no controller runs"), "{told}");
    }
    gateway.launch()?;
    gateway.wait_until_all_up()?;
    gateway.wait_for("two eligible", PATIENCE, |status| {
        status.has_eligible(&names[1..])
    })?;
    // Whoever takes the gateway off starts anew.
    done(&gateway, "detach", &[])?;
    gateway.process()?.wait(PATIENCE)?;
    gateway.launch()?;
    gateway.wait_for("all eligible", Duration::from_secs(15), |status| {
        status.has_eligible(&names)
    })?;
    Ok(())
}
