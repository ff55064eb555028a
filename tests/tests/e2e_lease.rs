//! An uplink whose address and router are leased by DHCP: a real client and a real server, and a gateway that
//! follows what comes of it.

use std::{
    net::{IpAddr, Ipv4Addr, TcpListener},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        Process,
        connection::Connection,
        controller::{Gateway, Settings},
        provider::{self, Lease},
        topology::{GatewayLab, Plan, SERVER4},
    },
    traffic::{
        flows,
        stream::{ECHO_PORT, Stream},
    },
};
use nix::sys::signal::Signal;

/// The longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a client may take to have what it asks for.
const LEASED: Duration = Duration::from_secs(20);
/// The server's port.
const PORT: u16 = 7000;
/// Connections that are opened at once: enough for some to take either uplink.
const CONNECTIONS: usize = 16;

/// What the provider leases at first.
const FIRST: Lease = Lease {
    address: Ipv4Addr::new(192, 0, 2, 2),
    router: Ipv4Addr::new(192, 0, 2, 1),
    prefix_len: 30,
};
/// And then: another network, with another router.
const SECOND: Lease = Lease {
    address: Ipv4Addr::new(192, 0, 2, 98),
    router: Ipv4Addr::new(192, 0, 2, 97),
    prefix_len: 28,
};

/// The server and the client of the first uplink's address; the other uplink's is fixed.
struct Line {
    server: Process,
    client: Process,
}

fn settings() -> Result<Settings> {
    let mut settings = Settings {
        mode: "auto",
        ..Settings::from_environment()?
    };
    // Else all that the host sends to the server takes one uplink.
    let by_port = ["--hash", "5-tuple"].map(String::from);
    settings.options.extend(by_port);
    Ok(settings)
}

impl Line {
    /// The provider serves, and the client has the first lease.
    fn new(lab: &GatewayLab) -> Result<Self> {
        let mut line = Self {
            server: provider::lease(lab, 0, Some(FIRST))?,
            client: provider::udhcpc(lab, 0)?,
        };
        line.wait_for(lab, Some(FIRST))?;
        Ok(line)
    }

    /// The provider has another lease for its customer from now on, who asks for his own again.
    fn change(&mut self, lab: &GatewayLab, lease: Option<Lease>) -> Result<()> {
        self.server.kill()?;
        self.server = provider::lease(lab, 0, lease)?;
        self.client.signal(Signal::SIGUSR1)?;
        self.wait_for(lab, lease)
    }

    /// Waits until the device has the lease's address and router, or none.
    fn wait_for(&mut self, lab: &GatewayLab, lease: Option<Lease>) -> Result<()> {
        let shown = |words: &[&str]| lab.gateway.output(words).unwrap_or_default();
        self.client.wait_until("leased", LEASED, |_| {
            let addresses = shown(&["ip", "-4", "-o", "addr", "show", "dev", "wan0"]);
            let routes = shown(&["ip", "-4", "route", "show", "default", "dev", "wan0"]);
            match lease {
                Some(Lease {
                    address, router, ..
                }) => {
                    addresses.contains(&format!("inet {address}/"))
                        && routes.contains(&format!("via {router} "))
                }
                None => addresses.is_empty(),
            }
        })
    }
}

fn listen(lab: &GatewayLab) -> Result<TcpListener> {
    let any = (Ipv4Addr::UNSPECIFIED, PORT);
    Ok(lab.server.enter(|| TcpListener::bind(any))??)
}

/// Connections: those from the leased address, and those from the other uplink's; from another there is none.
fn connections(
    lab: &GatewayLab,
    listener: &TcpListener,
    leased: Lease,
) -> Result<[Vec<Connection>; 2]> {
    let fixed = IpAddr::V4(lab.uplinks[1].addresses.gateway4);
    let leased = IpAddr::V4(leased.address);
    let mut of_both = [Vec::new(), Vec::new()];
    for _ in 0..CONNECTIONS {
        let connection = Connection::open(lab, listener, (SERVER4, PORT).into(), None)?;
        connection.exchange()?;
        let from = connection.from;
        ensure!(
            [leased, fixed].contains(&from),
            "a connection comes from {from}"
        );
        of_both[usize::from(from == fixed)].push(connection);
    }
    Ok(of_both)
}

/// How often an uplink's path of IPv4 has gone down.
fn failures(gateway: &Gateway<'_>, name: &str) -> Result<usize> {
    let words = ["--json", "--uplink", name, "--kind", "path_down"];
    let output = gateway.run("events", &words)?;
    let told = String::from_utf8(output.stdout)?;
    let of_ipv4 = |line: &&str| line.contains("\"ipv4\"");
    Ok(told.lines().filter(of_ipv4).count())
}

/// The provider leases another address of another network, with another router. New connections bear it, those
/// that bore the one before are reset, and the other uplink's lose no packet.
#[test]
fn a_lease_with_another_address_and_router_is_followed() -> Result<()> {
    let lab = GatewayLab::new(&Plan::private())?;
    let mut line = Line::new(&lab)?;
    let gateway = Gateway::start(&lab, settings()?)?;
    let listener = listen(&lab)?;
    let flows = flows::find_answered(&lab, 2, ECHO_PORT)?;
    let stream = Stream::start(&lab, &flows, Duration::from_millis(1))?;
    let [mut leased, mut others] = connections(&lab, &listener, FIRST)?;
    ensure!(
        !leased.is_empty() && !others.is_empty(),
        "all took one uplink"
    );
    for lease in [SECOND, FIRST] {
        line.change(&lab, Some(lease))?;
        gateway.wait_for("by the new lease", PATIENCE, |status| {
            let outside = status.uplinks[0].families["ipv4"].as_ref();
            let outside = outside.map(|family| family.outside.as_slice());
            outside == Some(&[lease.address.to_string()])
                && status.uplinks[0].next_hop == Some(lease.router.to_string())
        })?;
        gateway.wait_until_all_up()?;
        for connection in &others {
            connection.exchange().context("by the other uplink")?;
        }
        for connection in &leased {
            connection.ensure_ended()?;
        }
        let [new, more] = connections(&lab, &listener, lease)?;
        ensure!(!new.is_empty(), "no connection has the new address");
        for connection in &new {
            connection.exchange()?;
        }
        leased = new;
        others.extend(more);
    }
    ensure!(
        failures(&gateway, "cable")? == 0,
        "the other uplink went down"
    );
    for flow in stream.stop()?.not_started_on(0) {
        flow.ensure_undisturbed()?;
    }
    Ok(())
}

/// The provider takes the lease away and has no other: the uplink is down and says why, and its connections begin
/// anew by the other one. When there is a lease again, it is used again.
#[test]
fn a_lease_that_is_lost_takes_its_uplink_down_until_there_is_another() -> Result<()> {
    let lab = GatewayLab::new(&Plan::private())?;
    let mut line = Line::new(&lab)?;
    let gateway = Gateway::start(&lab, settings()?)?;
    let listener = listen(&lab)?;
    let [leased, others] = connections(&lab, &listener, FIRST)?;
    ensure!(
        !leased.is_empty() && !others.is_empty(),
        "all took one uplink"
    );
    line.change(&lab, None)?;
    gateway.wait_for("down by IPv4", Duration::from_secs(6), |status| {
        !status.uplinks[0].family_is_up("ipv4")
    })?;
    let shown = String::from_utf8(gateway.run("status", &[])?.stdout)?;
    ensure!(
        shown.contains("no address of ours on the device any more"),
        "{shown}"
    );
    for connection in &leased {
        connection.ensure_ended()?;
    }
    for connection in &others {
        connection.exchange().context("by the other uplink")?;
    }
    let [by_none, by_other] = connections(&lab, &listener, FIRST)?;
    ensure!(by_none.is_empty() && by_other.len() == CONNECTIONS);
    line.change(&lab, Some(SECOND))?;
    gateway.wait_until_all_up()?;
    let [new, _] = connections(&lab, &listener, SECOND)?;
    ensure!(!new.is_empty(), "the uplink is not used again");
    for connection in &others {
        connection.exchange().context("by the other uplink")?;
    }
    ensure!(
        failures(&gateway, "cable")? == 0,
        "the other uplink went down"
    );
    Ok(())
}
