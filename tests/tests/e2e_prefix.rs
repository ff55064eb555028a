//! An uplink whose provider delegates another IPv6 prefix while connections run.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::lab::{
    controller::Gateway,
    topology::{GatewayLab, Plan, SERVER6, UplinkPlan},
    translated::{Translated, is_under},
};
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(3);
/// What uplink 0 is given instead of its first prefix.
const NEW: &str = "2001:db8:c0::/48";

/// A connection from the LAN to the server, and the address that the server sees.
fn opened(lab: &GatewayLab, port: u16) -> Result<(TcpStream, TcpStream, Ipv6Addr)> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener = lab.server.enter(|| TcpListener::bind(any))??;
    let to = SocketAddr::from((SERVER6, port));
    let client = lab.hosts[0]
        .namespace
        .enter(|| TcpStream::connect_timeout(&to, PATIENCE))??;
    let (served, from) = listener.accept()?;
    for stream in [&client, &served] {
        stream.set_read_timeout(Some(PATIENCE))?;
    }
    let IpAddr::V6(from) = from.ip() else {
        anyhow::bail!("{from} is not IPv6");
    };
    Ok((client, served, from))
}

fn exchange(client: &mut TcpStream, served: &mut TcpStream) -> Result<()> {
    client.write_all(b"to")?;
    served.read_exact(&mut [0; 2])?;
    served.write_all(b"fro")?;
    client.read_exact(&mut [0; 3])?;
    Ok(())
}

fn is_new(address: Ipv6Addr) -> bool {
    address.segments()[..3] == [0x2001, 0xdb8, 0xc0]
}

#[test]
fn a_new_prefix_is_used_at_once_and_after_a_restart() -> Result<()> {
    let plan = Plan {
        uplinks: vec![UplinkPlan::new("fiber", 1)],
        ..Plan::private()
    };
    let Translated { lab, settings } = Translated::new(&plan, "")?;
    let mut gateway = Gateway::start(&lab, settings)?;
    let addresses = &lab.uplinks[0].addresses;
    let to_gateway = format!("route add {NEW} via {} dev gw\n", addresses.gateway6);
    lab.uplinks[0].isp.batch(&to_gateway)?;
    let to_isp = format!("route add {NEW} via {}\n", addresses.transit6);
    lab.internet.batch(&to_isp)?;

    let (_, _, from) = opened(&lab, 7000)?;
    ensure!(is_under(from, 0), "{from}");
    let told = gateway.run("prefix", &["fiber", NEW])?;
    ensure!(told.status.success(), "{told:?}");
    let (mut client, mut served, from) = opened(&lab, 7001)?;
    ensure!(is_new(from), "{from} is not under {NEW}");
    exchange(&mut client, &mut served)?;

    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        gateway.process()?.signal(signal)?;
        gateway.process()?.wait(PATIENCE)?;
        gateway.launch()?;
        gateway.wait_until_all_up()?;
        exchange(&mut client, &mut served).context("after a restart")?;
        let (_, _, from) = opened(&lab, 7002)?;
        ensure!(is_new(from), "{from} is not under {NEW} after a restart");
    }
    let told = gateway.run("prefix", &["fiber", "none"])?;
    ensure!(told.status.success(), "{told:?}");
    let (_, _, from) = opened(&lab, 7003)?;
    ensure!(is_under(from, 0), "{from} is not as configured");

    for (words, said) in [
        (["cable", NEW], "there is no uplink cable; there are fiber"),
        (["fiber", "2001:db8::1/48"], "2001:db8::1/48"),
        (["fiber", "ff02::/48"], "multicast"),
    ] {
        let refused = gateway.run("prefix", &words)?;
        let stderr = String::from_utf8_lossy(&refused.stderr);
        ensure!(
            refused.status.code() == Some(2) && stderr.contains(said),
            "{words:?}: {refused:?}"
        );
    }
    Ok(())
}
