//! Real clients reach real servers through the gateway, and find it on their way: ping, curl,
//! iperf3, traceroute, tracepath, fragments.

use std::{collections::BTreeMap, net::IpAddr, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        topology::{GatewayLab, Plan},
    },
    traffic::{
        capture::{Capture, Point},
        flows::{DISCARD_PORT, Family},
        http::{self, Download, Size},
        iperf, payload, ping,
    },
};

const BOTH: [Family; 2] = [Family::V4, Family::V6];

/// The gateway's address on a host's LAN.
fn gateway_address(lab: &GatewayLab, host: usize, family: Family) -> IpAddr {
    let addresses = lab.hosts[host].addresses;
    match family {
        Family::V4 => addresses.gateway4.into(),
        Family::V6 => addresses.gateway6.into(),
    }
}

/// A plan whose uplinks all have a smaller MTU than the LAN.
fn narrow(mtu: u32) -> Plan {
    let mut plan = Plan::default();
    plan.uplinks.iter_mut().for_each(|uplink| uplink.mtu = mtu);
    plan
}

/// Hosts ping the server, the gateway and each other: the first is steered, the others are left
/// to the kernel.
#[test]
fn ping_reaches_server_gateway_and_other_hosts() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let _gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    for host in 0..lab.hosts.len() {
        for family in BOTH {
            ping::ping(&lab, host, family.server(), &[])?;
            ping::ping(&lab, host, gateway_address(&lab, host, family), &[])?;
        }
    }
    ping::ping(&lab, 0, lab.hosts[1].addresses.host4.into(), &[])?;
    ping::ping(&lab, 1, lab.hosts[0].addresses.host6.into(), &[])?;
    Ok(())
}

/// Steered packets do not pass the kernel's forwarding: with the kernel's own switched off, all
/// goes on.
#[test]
fn transit_does_not_need_the_kernels_forwarding() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let _gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    lab.gateway.nft(
        "table inet none {\n chain forward {\n  type filter hook forward priority 0; policy drop;\n \
         counter\n }\n}\n",
    )?;
    for family in BOTH {
        ping::ping(&lab, 0, family.server(), &[])?;
    }
    let counted = lab.gateway.output(&["nft", "list", "ruleset"])?;
    ensure!(
        counted.contains("counter packets 0 "),
        "the kernel forwarded:\n{counted}"
    );
    Ok(())
}

/// Downloads by curl arrive complete and unchanged, by both families, from both LANs.
#[test]
fn downloads_arrive_unchanged() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let _gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let _server = http::Server::start(&lab)?;
    for host in 0..lab.hosts.len() {
        for (port, family) in (6000..).zip(BOTH) {
            let download = Download::start(&lab, host, family, port, Size::Bytes(20_000_000))?;
            download.finish(Duration::from_secs(20))?;
        }
    }
    Ok(())
}

/// iperf3 moves data in both directions, by both families, over TCP and UDP.
#[test]
fn iperf_moves_data_in_both_directions() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let _gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let _server = iperf::Server::start(&lab)?;
    for family in BOTH {
        for options in [&["-P", "4"][..], &["-R", "-P", "4"]] {
            let client = iperf::Client::start(&lab, 0, family, Duration::from_secs(1), options)?;
            let throughput = client.finish()?;
            ensure!(
                throughput.mbit_per_second > 50.0,
                "{family:?} {options:?}: {throughput:?}"
            );
        }
        let udp = ["-u", "-b", "20M", "-l", "1200"];
        let client = iperf::Client::start(&lab, 0, family, Duration::from_secs(1), &udp)?;
        let throughput = client.finish()?;
        ensure!(
            throughput.mbit_per_second > 19.0,
            "{family:?} UDP: {throughput:?}"
        );
    }
    Ok(())
}

/// traceroute by UDP, ICMP and TCP shows the gateway as the first hop, then an ISP, the internet
/// and the server.
#[test]
fn traceroute_shows_the_gateway_as_a_hop() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let _gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    for family in BOTH {
        for method in ["--udp", "--icmp", "--tcp"] {
            let server = family.server().to_string();
            let output = lab.hosts[0].namespace.output(&[
                "traceroute",
                method,
                "-n",
                "-q",
                "1",
                "-w",
                "2",
                "-m",
                "6",
                &server,
            ])?;
            let hops: Vec<&str> = output
                .lines()
                .skip(1)
                .filter_map(|line| line.split_whitespace().nth(1))
                .collect();
            let context = || format!("{family:?} {method}:\n{output}");
            ensure!(hops.len() == 4, "{}", context());
            ensure!(
                hops[0] == gateway_address(&lab, 0, family).to_string(),
                "{}",
                context()
            );
            let isps: Vec<String> = lab
                .uplinks
                .iter()
                .map(|uplink| match family {
                    Family::V4 => uplink.addresses.isp4.to_string(),
                    Family::V6 => uplink.addresses.isp6.to_string(),
                })
                .collect();
            ensure!(isps.iter().any(|isp| isp == hops[1]), "{}", context());
            ensure!(hops[3] == server, "{}", context());
        }
    }
    Ok(())
}

/// tracepath finds the path's MTU where an uplink has a smaller one than the LAN.
#[test]
fn tracepath_finds_the_mtu_of_the_uplink() -> Result<()> {
    let lab = GatewayLab::new(&narrow(1400))?;
    let _gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    for family in BOTH {
        let server = family.server().to_string();
        let output = lab.hosts[0]
            .namespace
            .output(&["tracepath", "-n", "-m", "8", &server])?;
        ensure!(
            output.contains("Resume: pmtu 1400 hops 4 back 4"),
            "{family:?}:\n{output}"
        );
    }
    Ok(())
}

/// What is too large for the uplink and may not be fragmented is answered with the MTU, and TCP
/// with a larger segment size gets through (cilium 29583 and 30903: a swallowed answer is a black
/// hole).
#[test]
fn packets_larger_than_the_uplinks_mtu_are_answered() -> Result<()> {
    let lab = GatewayLab::new(&narrow(1300))?;
    let _gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let _server = iperf::Server::start(&lab)?;
    for (family, said) in [(Family::V4, "mtu = 1300"), (Family::V6, "mtu=1300")] {
        let output = lab.hosts[0]
            .namespace
            .command("ping")
            .args(["-n", "-c", "2", "-i", "0.3", "-M", "do", "-s", "1400"])
            .arg(family.server().to_string())
            .output()?;
        let output = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
        let gateway = gateway_address(&lab, 0, family).to_string();
        ensure!(
            output.to_lowercase().contains(said) && output.contains(&gateway),
            "{family:?}: no answer with the MTU:\n{output}"
        );
        let client = iperf::Client::start(&lab, 1, family, Duration::from_secs(1), &[])?;
        let throughput = client.finish()?;
        ensure!(
            throughput.mbit_per_second > 20.0,
            "{family:?}: {throughput:?}"
        );
    }
    Ok(())
}

/// All fragments of a datagram take one uplink, and the datagram arrives: large pings and 8 kB of
/// UDP.
#[test]
fn fragments_of_a_datagram_take_one_uplink() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let _gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let devices: Vec<String> = (0..lab.uplinks.len()).map(|n| format!("isp{n}")).collect();
    let points: Vec<Point<'_>> = devices
        .iter()
        .map(|device| Point {
            namespace: &lab.internet,
            device,
        })
        .collect();
    // ICMP, UDP, and the header that IPv6 fragments have.
    let capture = Capture::start(&points, &[1, 17, 44], payload::fragment_of)?;

    for family in BOTH {
        for host in 0..lab.hosts.len() {
            ping::ping(&lab, host, family.server(), &["-s", "4000"])?;
        }
    }
    let received = lab
        .server
        .enter(|| std::net::UdpSocket::bind(("::", DISCARD_PORT)))??;
    received.set_read_timeout(Some(Duration::from_secs(2)))?;
    for family in BOTH {
        for port in 7000..7020 {
            let datagram = vec![u8::try_from(port % 256)?; 8000];
            let sender = lab.hosts[0]
                .namespace
                .enter(|| std::net::UdpSocket::bind((family.any(), port)))??;
            sender.send_to(&datagram, (family.server(), DISCARD_PORT))?;
            let mut buffer = vec![0; 9000];
            let (length, _) = received
                .recv_from(&mut buffer)
                .with_context(|| format!("8 kB of {family:?} UDP from port {port}"))?;
            ensure!(
                buffer[..length] == datagram[..],
                "the datagram is not as it was sent"
            );
        }
    }
    thread::sleep(Duration::from_millis(100));

    let mut uplinks: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for fragment in capture.stop()? {
        uplinks
            .entry(fragment.what)
            .or_default()
            .push(fragment.point);
    }
    // 12 pings of 3 fragments each, and 40 datagrams of 6.
    let count: usize = uplinks.values().map(Vec::len).sum();
    ensure!(count == 12 * 3 + 40 * 6, "{count} fragments: {uplinks:?}");
    for (id, taken) in &uplinks {
        ensure!(
            taken.iter().all(|uplink| *uplink == taken[0]),
            "datagram {id:x}: {taken:?}"
        );
    }
    Ok(())
}
