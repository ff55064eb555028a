//! What network engineers look with, through translation of both families: traceroute, tracepath, mtr,
//! large pings, and datagrams and protocols that are no one's everyday traffic.

use std::{
    mem::MaybeUninit,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        Namespace,
        controller::Gateway,
        topology::{GatewayLab, Plan, SERVER4, UplinkPlan},
        translated::{Translated, is_under},
    },
    traffic::{flows::Family, iperf, ping},
};
use socket2::{Domain, Protocol, Socket, Type};

const BOTH: [Family; 2] = [Family::V4, Family::V6];
/// The longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

fn host(lab: &GatewayLab, words: &[&str]) -> Result<String> {
    lab.hosts[0].namespace.output(words)
}

fn gateway_address(lab: &GatewayLab, family: Family) -> String {
    let addresses = lab.hosts[0].addresses;
    match family {
        Family::V4 => addresses.gateway4.to_string(),
        Family::V6 => addresses.gateway6.to_string(),
    }
}

/// The ISPs' addresses, one of which is the second hop.
fn isps(lab: &GatewayLab, family: Family) -> Vec<String> {
    let address = |uplink: &multihome_tests::lab::topology::Uplink| match family {
        Family::V4 => uplink.addresses.isp4.to_string(),
        Family::V6 => uplink.addresses.isp6.to_string(),
    };
    lab.uplinks.iter().map(address).collect()
}

/// traceroute by UDP, ICMP and TCP, and mtr, show the gateway, an ISP, the internet and the server.
#[test]
fn traceroute_and_mtr_show_all_hops() -> Result<()> {
    let Translated { lab, settings } = Translated::new(&Plan::private(), "")?;
    let _gateway = Gateway::start(&lab, settings)?;
    for family in BOTH {
        let server = family.server().to_string();
        let mut traces = Vec::new();
        for method in ["--udp", "--icmp", "--tcp"] {
            let words = [
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
            ];
            let output = host(&lab, &words)?;
            let hops = output
                .lines()
                .skip(1)
                .filter_map(|line| line.split_whitespace().nth(1));
            traces.push((method, hops.map(String::from).collect(), output.clone()));
        }
        let words = [
            "mtr",
            "--json",
            "--no-dns",
            "--report-cycles",
            "2",
            "--interval",
            "0.2",
            &server,
        ];
        let output = host(&lab, &words)?;
        let report: serde_json::Value = serde_json::from_str(&output)?;
        let hubs = report["report"]["hubs"].as_array().context("no hops")?;
        let hops: Vec<String> = hubs
            .iter()
            .filter_map(|hub| hub["host"].as_str().map(String::from))
            .collect();
        traces.push(("mtr", hops, output));
        for (method, hops, output) in traces {
            let hops: Vec<String> = hops;
            ensure!(
                hops.len() == 4
                    && hops[0] == gateway_address(&lab, family)
                    && isps(&lab, family).contains(&hops[1])
                    && hops[3] == server,
                "{family:?} {method}: {hops:?}\n{output}"
            );
        }
    }
    Ok(())
}

/// The MTU of a path is found, of the uplink itself and of a link behind it, and TCP gets through.
#[test]
fn the_paths_mtu_is_found() -> Result<()> {
    for behind in [false, true] {
        let mut plan = Plan::private();
        plan.uplinks = vec![UplinkPlan {
            mtu: if behind { 1500 } else { 1400 },
            ..UplinkPlan::new("fiber", 1)
        }];
        let Translated { lab, settings } = Translated::new(&plan, "")?;
        if behind {
            for (namespace, device) in [(&lab.uplinks[0].isp, "inet"), (&lab.internet, "isp0")] {
                namespace.batch(&format!("link set {device} mtu 1400\n"))?;
            }
        }
        let _gateway = Gateway::start(&lab, settings)?;
        let _server = iperf::Server::start(&lab)?;
        for family in BOTH {
            let server = family.server().to_string();
            let output = host(&lab, &["tracepath", "-n", "-m", "8", &server])?;
            ensure!(
                output.contains("Resume: pmtu 1400 hops 4 back 4"),
                "{family:?}, behind the uplink: {behind}\n{output}"
            );
            for options in [&[][..], &["-R"]] {
                let second = Duration::from_secs(1);
                let client = iperf::Client::start(&lab, 0, family, second, options)?;
                let throughput = client.finish()?;
                ensure!(
                    throughput.mbit_per_second > 20.0,
                    "{family:?} {options:?}, behind the uplink: {behind}: {throughput:?}"
                );
            }
        }
    }
    Ok(())
}

/// Datagrams of 8 kB, there and back, and pings of 4000 bytes.
#[test]
fn fragments_go_there_and_back() -> Result<()> {
    let Translated { lab, settings } = Translated::new(&Plan::private(), "")?;
    let _gateway = Gateway::start(&lab, settings)?;
    let bind = |namespace: &Namespace, address: SocketAddr| -> Result<UdpSocket> {
        let socket = namespace.enter(|| UdpSocket::bind(address))??;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    };
    let answering = bind(&lab.server, "[::]:7007".parse()?)?;
    for family in BOTH {
        for size in ["1472", "4000"] {
            ping::ping(&lab, 0, family.server(), &["-s", size])?;
        }
        for port in 7100..7110 {
            let asking = bind(&lab.hosts[0].namespace, (family.any(), port).into())?;
            let sent: Vec<u8> = (0..8000u32).map(|n| (n * u32::from(port)) as u8).collect();
            asking.send_to(&sent, (family.server(), 7007))?;
            let mut buffer = vec![0; 9000];
            let (length, from) = answering
                .recv_from(&mut buffer)
                .with_context(|| format!("8 kB of {family:?} from port {port}"))?;
            ensure!(buffer[..length] == sent, "{family:?}: not as it was sent");
            let outside = match from.ip().to_canonical() {
                IpAddr::V4(v4) => lab.uplinks.iter().any(|up| up.addresses.gateway4 == v4),
                IpAddr::V6(v6) => is_under(v6, 0) || is_under(v6, 1),
            };
            ensure!(outside, "{from} is no outside address");
            answering.send_to(&sent[..7000], from)?;
            let (length, _) = asking
                .recv_from(&mut buffer)
                .with_context(|| format!("7 kB of {family:?} back to port {port}"))?;
            ensure!(
                buffer[..length] == sent[..7000],
                "{family:?}: not as it was sent"
            );
        }
    }
    Ok(())
}

/// A socket for packets of a protocol without ports.
fn raw(namespace: &Namespace, protocol: i32) -> Result<Socket> {
    let kind = Type::from(libc::SOCK_RAW);
    let socket =
        namespace.enter(|| Socket::new(Domain::IPV4, kind, Some(Protocol::from(protocol))))??;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// The next packet's payload and sender.
fn receive(socket: &Socket) -> Result<(Vec<u8>, Ipv4Addr)> {
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let (length, from) = socket.recv_from(&mut buffer)?;
    // SAFETY: so many bytes were written.
    let packet: Vec<u8> = buffer[..length]
        .iter()
        .map(|byte| unsafe { byte.assume_init() })
        .collect();
    let from = from.as_socket_ipv4().context("no IPv4 address")?;
    Ok((packet[20..].to_vec(), *from.ip()))
}

/// ESP, GRE and a protocol like SCTP go out under the outside address, and back.
#[test]
fn protocols_without_ports_go_there_and_back() -> Result<()> {
    let Translated { lab, settings } = Translated::new(&Plan::private(), "")?;
    let _gateway = Gateway::start(&lab, settings)?;
    for protocol in [50, 47, 132] {
        let inside = raw(&lab.hosts[0].namespace, protocol)?;
        let outside = raw(&lab.server, protocol)?;
        for n in 0..3u8 {
            let sent = [n; 100];
            inside.send_to(&sent, &SocketAddr::from((SERVER4, 0)).into())?;
            let (got, from) = receive(&outside).with_context(|| format!("protocol {protocol}"))?;
            ensure!(got == sent, "protocol {protocol}: {got:02x?}");
            ensure!(
                lab.uplinks.iter().any(|up| up.addresses.gateway4 == from),
                "protocol {protocol} from {from}"
            );
            let back = [n + 100; 60];
            outside.send_to(&back, &SocketAddr::from((from, 0)).into())?;
            let (got, from) =
                receive(&inside).with_context(|| format!("protocol {protocol} back"))?;
            ensure!(
                got == back && from == SERVER4,
                "protocol {protocol} from {from}"
            );
        }
    }
    Ok(())
}

/// A flow of datagrams keeps its mapping for as long as it is used, and loses it when it is not.
#[test]
fn a_flow_of_datagrams_lives_while_it_is_used() -> Result<()> {
    let times = "[nat.timeout]\nudp = \"4s\"\nudp_unanswered = \"2s\"";
    let Translated { lab, settings } = Translated::new(&Plan::private(), times)?;
    let _gateway = Gateway::start(&lab, settings)?;
    let bind = |namespace: &Namespace, port: u16| -> Result<UdpSocket> {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let socket = namespace.enter(|| UdpSocket::bind(any))??;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    };
    let (tunnel, peer) = (
        bind(&lab.hosts[0].namespace, 51820)?,
        bind(&lab.server, 51821)?,
    );
    let mut buffer = [0; 64];
    let mut seen = None;
    for _ in 0..5 {
        tunnel.send_to(b"keepalive", (SERVER4, 51821))?;
        let (_, from) = peer.recv_from(&mut buffer)?;
        ensure!(
            *seen.get_or_insert(from) == from,
            "{from} is another mapping"
        );
        std::thread::sleep(Duration::from_millis(1500));
        peer.send_to(b"from outside", from)?;
        let (length, _) = tunnel.recv_from(&mut buffer)?;
        ensure!(&buffer[..length] == b"from outside");
    }
    std::thread::sleep(Duration::from_secs(8));
    tunnel.set_read_timeout(Some(Duration::from_millis(500)))?;
    peer.send_to(b"too late", seen.context("no mapping")?)?;
    ensure!(
        tunnel.recv_from(&mut buffer).is_err(),
        "a mapping that nobody used for 8 s"
    );
    Ok(())
}
