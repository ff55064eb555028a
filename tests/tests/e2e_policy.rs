//! Rules with real hosts: guests get the cheap line, calls their own, mail is refused, and a restart with
//! other rules moves new flows alone.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{CONFIG, Gateway, Settings},
        cut::Cut,
        topology::{GatewayLab, Plan},
    },
    traffic::{
        capture::Seen,
        flows::{self, Family, Flow},
        payload::Stamp,
        ping,
        stream::Stream,
    },
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// So many flows of one host, by both families.
fn of_host(host: usize, count: u16) -> Vec<Flow> {
    let families = [Family::V4, Family::V6].into_iter();
    let both = families.flat_map(|family| flows::many(count, 1, family));
    both.map(|flow| Flow { host, ..flow }).collect()
}

fn all_on(taken: &[Option<usize>], uplinks: &[usize]) -> bool {
    let is_one = |taken: &Option<usize>| taken.is_some_and(|uplink| uplinks.contains(&uplink));
    taken.iter().all(is_one)
}

const GUESTS: &str = r#"
[[group]]
name = "cheap"
members = ["cable", "mobile"]

[[group]]
name = "voice"
members = ["cable"]

[[rule]]
name = "no-mail"
protocol = "tcp"
port = 25
drop = true

[[rule]]
name = "calls"
dscp = "ef"
group = "voice"

[[rule]]
name = "guests"
source = ["10.1.1.0/24", "2001:db8:1:1::/64"]
group = "cheap"
"#;

/// A guest subnet gets the cheap lines and no other, also when one of them fails; what is marked as a call has a
/// line of its own; all else is spread over all lines.
#[test]
fn each_kind_of_traffic_gets_its_lines() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::with_file(&lab, GUESTS)?)?;
    let (staff, guests) = (of_host(0, 300), of_host(1, 300));
    let of_staff = flows::uplinks_of(&lab, &staff)?;
    ensure!(all_on(&of_staff, &[0, 1, 2]), "packets were lost");
    let shares = flows::shares(&of_staff, 3);
    ensure!(shares.iter().all(|share| *share > 0.1), "staff: {shares:?}");
    let of_guests = flows::uplinks_of(&lab, &guests)?;
    ensure!(
        all_on(&of_guests, &[1, 2]),
        "guests take {:?}",
        flows::shares(&of_guests, 3)
    );
    let shares = flows::shares(&of_guests, 3);
    ensure!(
        (shares[1] - 0.6).abs() < 0.1,
        "guests, of weights 3:2: {shares:?}"
    );
    for host in 0..2 {
        ensure!(all_on(&calls(&lab, host)?, &[1]), "calls of host {host}");
    }

    lab.cut(1, Cut::Carrier)?;
    gateway.wait_for_state(1, "down")?;
    let of_guests = flows::uplinks_of(&lab, &guests)?;
    ensure!(
        all_on(&of_guests, &[2]),
        "guests take {:?}",
        flows::shares(&of_guests, 3)
    );
    // A group without any uplink has no way: calls are refused and not sent by another line.
    ensure!(
        calls(&lab, 0)?.iter().all(Option::is_none),
        "calls went by another line"
    );
    lab.restore(1, Cut::Carrier)?;
    gateway.wait_until_all_up()?;
    ensure!(
        all_on(&calls(&lab, 0)?, &[1]),
        "calls after the line's return"
    );
    Ok(())
}

/// The uplinks of packets of a host that are marked as calls, of new flows.
fn calls(lab: &GatewayLab, host: usize) -> Result<Vec<Option<usize>>> {
    const PORT: u16 = 9011;
    let mut taken = vec![None; 20];
    let _open = flows::server_socket(lab, PORT)?;
    let capture = flows::at_internet(lab, PORT)?;
    lab.hosts[host].namespace.enter(|| -> Result<()> {
        for n in 0..20_u32 {
            let family = if n % 2 == 0 { Family::V4 } else { Family::V6 };
            let socket = UdpSocket::bind((family.any(), 0))?;
            let socket = socket2::Socket::from(socket);
            match family {
                Family::V4 => socket.set_tos_v4(46 << 2)?,
                Family::V6 => socket.set_tclass_v6(46 << 2)?,
            }
            let socket = UdpSocket::from(socket);
            let stamp = Stamp::now(n, 0).to_bytes(PORT);
            socket.send_to(&stamp, (family.server(), PORT))?;
        }
        Ok(())
    })??;
    thread::sleep(Duration::from_millis(200));
    for Seen { point, what, .. } in capture.stop()? {
        *taken
            .get_mut(what.flow as usize)
            .context("an unknown flow")? = Some(point);
    }
    Ok(taken)
}

/// What a rule drops is refused at once, in both families, and counted; all else passes, and `multihome explain`
/// names the rules.
#[test]
fn what_a_rule_drops_is_refused_at_once() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let gateway = Gateway::start(&lab, Settings::with_file(&lab, GUESTS)?)?;
    for family in [Family::V4, Family::V6] {
        let server = family.server();
        let started = Instant::now();
        let refused = lab.hosts[0].namespace.enter(|| {
            std::net::TcpStream::connect_timeout(&(server, 25).into(), Duration::from_secs(10))
        })?;
        let error = refused.err().context("mail got through")?;
        let prohibited = [libc::EHOSTUNREACH, libc::EACCES];
        ensure!(
            error
                .raw_os_error()
                .is_some_and(|code| prohibited.contains(&code)),
            "{family:?}: {error}"
        );
        ensure!(
            started.elapsed() < Duration::from_secs(5),
            "it was not told at once"
        );
        ping::ping(&lab, 0, server, &[])?;
        let said = explained(&gateway, &lab, 0, family, 25, &[])?;
        ensure!(
            said["verdict"] == "reply_prohibited"
                && said["rule"] == json!({ "number": 1, "name": "no-mail", "drop": true }),
            "{said:#}"
        );
    }
    let said = explained(&gateway, &lab, 1, Family::V6, 443, &["--dscp", "46"])?;
    ensure!(
        said["rule"]["name"] == "calls" && said["group"] == "voice" && said["uplink"] == "cable",
        "{said:#}"
    );
    let said = explained(&gateway, &lab, 1, Family::V4, 443, &[])?;
    ensure!(
        said["rule"]["name"] == "guests" && said["group"] == "cheap",
        "{said:#}"
    );
    let said = explained(&gateway, &lab, 0, Family::V4, 443, &[])?;
    ensure!(
        said["rule"].is_null() && said["group"] == "default",
        "{said:#}"
    );
    let (_, metrics) = gateway.fetch("/metrics")?;
    let counted = metrics.lines().find(|line| {
        line.starts_with("multihome_xdp_port_packets_total{port=\"lan0\"")
            && line.contains("reply_prohibited")
    });
    let counted = counted.context("drops are not counted")?;
    ensure!(!counted.ends_with(" 0"), "{counted}");
    Ok(())
}

/// What `multihome explain` says of a host's connection to a port of the server.
fn explained(
    gateway: &Gateway<'_>,
    lab: &GatewayLab,
    host: usize,
    family: Family,
    port: u16,
    options: &[&str],
) -> Result<Value> {
    let addresses = lab.hosts[host].addresses;
    let source = match family {
        Family::V4 => addresses.host4.to_string(),
        Family::V6 => addresses.host6.to_string(),
    };
    let destination = SocketAddr::new(family.server(), port).to_string();
    let mut words = vec![source.as_str(), &destination, "tcp"];
    words.extend(options);
    gateway.json("explain", &words)
}

/// With the default group on mobile alone, each host has a line of its own; `swapped` exchanges them.
fn swapped(swapped: bool) -> String {
    let (names, members) = if swapped {
        (["new-a", "new-b"], ["cable", "fiber"])
    } else {
        (["old-a", "old-b"], ["fiber", "cable"])
    };
    let mut text = String::from("[[group]]\nname = \"default\"\nmembers = [\"mobile\"]\n");
    for (host, (name, member)) in names.iter().zip(members).enumerate() {
        text += &format!(
            "[[group]]\nname = \"{name}\"\nmembers = [\"{member}\"]\n[[rule]]\nsource = \
             [\"10.1.{host}.0/24\", \"2001:db8:1:{host}::/64\"]\ngroup = \"{name}\"\n"
        );
    }
    text
}

/// A restart with other rules and groups, while hosts open flows: each new flow takes the line that the old or
/// the new policy gives its host, and none the line that neither does; old flows stay where they are.
#[test]
fn a_restart_replaces_the_whole_policy_under_load() -> Result<()> {
    let lab = GatewayLab::new(&Plan::default())?;
    let mut settings = Settings::with_file(&lab, &swapped(false))?;
    // What is under way stays.
    for option in settings
        .options
        .iter_mut()
        .filter(|option| *option == "immediate")
    {
        *option = "sticky".to_owned();
    }
    let mut gateway = Gateway::start(&lab, settings)?;
    let under_way: Vec<Flow> = [Family::V4, Family::V6]
        .into_iter()
        .flat_map(|family| flows::many(6, 2, family))
        .map(|flow| Flow {
            port: flow.port + 30_000,
            ..flow
        })
        .collect();
    let stream = Stream::start(&lab, &under_way, Duration::from_millis(2))?;
    thread::sleep(Duration::from_millis(300));
    let before = stream.uplinks_now();

    fs::write(lab.lab.dir().join(CONFIG), swapped(true))?;
    let stop = AtomicBool::new(false);
    let (opened, restarted) = thread::scope(|scope| {
        let opening = scope.spawn(|| opening_flows(&lab, &stop));
        let restarted = restart(&mut gateway);
        thread::sleep(Duration::from_millis(500));
        stop.store(true, Relaxed);
        (opening.join().expect("it does not panic"), restarted)
    });
    restarted?;
    let opened = opened?;
    for (host, (old, new)) in [(0, 1), (1, 0)].into_iter().enumerate() {
        let taken: Vec<Option<usize>> = opened
            .iter()
            .filter(|(on, _)| *on == host)
            .map(|(_, taken)| *taken)
            .collect();
        ensure!(all_on(&taken, &[old, new]), "host {host}: {taken:?}");
        for line in [old, new] {
            ensure!(
                taken.contains(&Some(line)),
                "host {host} never took line {line}"
            );
        }
    }
    ensure!(
        stream.uplinks_now() == before,
        "flows that were under way moved"
    );
    for flow in &stream.stop()?.flows {
        flow.ensure_undisturbed()?;
    }
    Ok(())
}

fn restart(gateway: &mut Gateway<'_>) -> Result<()> {
    thread::sleep(Duration::from_millis(500));
    gateway.process()?.signal(Signal::SIGTERM)?;
    gateway.process()?.wait(Duration::from_secs(5))?;
    gateway.launch()?;
    gateway.wait_until_all_up()?;
    Ok(())
}

/// Opens flows until told to stop: the host of each, and the uplink that it took.
fn opening_flows(lab: &GatewayLab, stop: &AtomicBool) -> Result<Vec<(usize, Option<usize>)>> {
    let mut opened = Vec::new();
    let mut port = 2000;
    while !stop.load(Relaxed) {
        let ports = (port..port + 20).step_by(1);
        port += 20;
        let flows: Vec<Flow> = ports
            .flat_map(|port| {
                [0, 1].map(|host| Flow {
                    host,
                    family: Family::V4,
                    port,
                })
            })
            .collect();
        let taken = flows::uplinks_of(lab, &flows)?;
        opened.extend(flows.iter().map(|flow| flow.host).zip(taken));
    }
    Ok(opened)
}
