//! Floods of openings from forged sources, as fast as one CPU sends them, against connections that are
//! translated: these go on, and no flow opens from outside.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use etherparse::PacketBuilder;
use multihome_tests::lab::{
    Namespace,
    controller::{Gateway, Settings},
    topology::{GatewayLab, Plan, SERVER4},
};
use socket2::{Domain, Protocol, Socket, Type};

/// How long a flood goes on.
const FLOOD: Duration = Duration::from_secs(2);
/// The longest time that an answer may take while one goes on.
const PATIENCE: Duration = Duration::from_secs(3);
/// The server's port.
const PORT: u16 = 7000;

/// A connection from the LAN to the server, both its ends.
fn connection(lab: &GatewayLab) -> Result<(TcpStream, TcpStream)> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let listener = lab.server.enter(|| TcpListener::bind(any))??;
    let server = SocketAddr::from((SERVER4, PORT));
    let client = lab.hosts[0]
        .namespace
        .enter(|| TcpStream::connect_timeout(&server, PATIENCE))??;
    let (served, _) = listener.accept()?;
    for stream in [&client, &served] {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
    }
    Ok((client, served))
}

/// Sends TCP openings from random sources until `stop`; how many.
fn flood(
    namespace: &Namespace,
    to: Ipv4Addr,
    sources: impl Fn(u32) -> Ipv4Addr + Sync,
    stop: &AtomicBool,
) -> Result<u64> {
    namespace.enter(|| -> Result<u64> {
        let raw = Socket::new(
            Domain::IPV4,
            Type::from(libc::SOCK_RAW),
            Some(Protocol::from(libc::IPPROTO_RAW)),
        )?;
        let destination = SocketAddr::from((to, 0)).into();
        let (mut random, mut sent) = (0x1234_5678_9abc_def0u64, 0);
        let mut packet = Vec::new();
        PacketBuilder::ipv4([0; 4], to.octets(), 64)
            .tcp(1, 1, 1, 1024)
            .syn()
            .write(&mut packet, &[])
            .context("it fits")?;
        while !stop.load(Ordering::Relaxed) {
            random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ random >> 29;
            // The kernel makes the header's checksum, and nobody on the way looks at TCP's.
            packet[12..16].copy_from_slice(&sources((random >> 32) as u32).octets());
            packet[20..22].copy_from_slice(&((random >> 16) as u16 | 1024).to_be_bytes());
            packet[22..24].copy_from_slice(&(random as u16).to_be_bytes());
            // A full queue is a flood as well.
            if raw.send_to(&packet, &destination).is_ok() {
                sent += 1;
            }
        }
        Ok(sent)
    })?
}

fn send(from: &mut TcpStream, to: &mut TcpStream) -> Result<()> {
    from.write_all(b"still there?")?;
    let mut read = [0; 12];
    to.read_exact(&mut read).context("no answer in the flood")
}

/// Sends there and back until the flood is over; how often.
fn talk(client: &mut TcpStream, served: &mut TcpStream) -> Result<u32> {
    let (start, mut rounds) = (Instant::now(), 0);
    while start.elapsed() < FLOOD {
        send(client, served)?;
        send(served, client)?;
        rounds += 1;
    }
    Ok(rounds)
}

/// Talks over a connection while a flood goes on.
fn talk_in_flood(
    lab: &GatewayLab,
    from: &Namespace,
    to: Ipv4Addr,
    sources: impl Fn(u32) -> Ipv4Addr + Sync,
) -> Result<()> {
    let (mut client, mut served) = connection(lab)?;
    let stop = AtomicBool::new(false);
    let (rounds, sent) = thread::scope(|scope| {
        let flood = scope.spawn(|| flood(from, to, &sources, &stop));
        let rounds = talk(&mut client, &mut served);
        stop.store(true, Ordering::Relaxed);
        let sent = flood.join().map_err(|_| anyhow::anyhow!("it panicked"));
        (rounds, sent)
    });
    let (rounds, sent) = (rounds?, sent??);
    println!("{rounds} rounds while {sent} openings came");
    ensure!(sent > 10_000 && rounds > 10, "{rounds} rounds, {sent} sent");
    Ok(())
}

fn flows(gateway: &Gateway) -> Result<usize> {
    let output = gateway.run("flows", &["--json"])?;
    ensure!(output.status.success(), "{output:?}");
    Ok(output.stdout.iter().filter(|&&byte| byte == b'\n').count())
}

fn private_lan() -> Result<(GatewayLab, Settings)> {
    let lab = GatewayLab::new(&Plan::private())?;
    let settings = Settings {
        mode: "auto",
        ..Settings::from_environment()?
    };
    Ok((lab, settings))
}

#[test]
fn a_flood_from_outside_opens_no_flow_and_ends_none() -> Result<()> {
    let (lab, settings) = private_lan()?;
    let gateway = Gateway::start(&lab, settings)?;
    let outside = lab.uplinks[0].addresses.gateway4;
    // None of these is any lab's own.
    let anybody = |random: u32| Ipv4Addr::from(0x1400_0000 | random & 0x00ff_ffff);
    talk_in_flood(&lab, &lab.server, outside, anybody)?;
    let open = flows(&gateway)?;
    ensure!(open <= 2, "{open} flows for one connection");
    Ok(())
}

#[test]
fn a_flood_from_the_lan_ends_no_connection() -> Result<()> {
    let (lab, settings) = private_lan()?;
    let gateway = Gateway::start(&lab, settings)?;
    let forged = |random: u32| Ipv4Addr::from(0x0a80_0000 | random & 0x007f_ffff);
    let host = &lab.hosts[0].namespace;
    talk_in_flood(&lab, host, SERVER4, forged)?;
    println!("{} flows afterwards", flows(&gateway)?);
    Ok(())
}
