//! The real gateway speaks BFD with FRR's bfdd and with BIRD: sessions come up, what fails is noticed by
//! both ends, what is held down is no failure, and nobody off the link has a say.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{BfdStatus, Gateway, Settings, Status},
        topology::{GatewayLab, NEXT_HOP6, Plan, UplinkPlan},
    },
    traffic::bfd::{Program, Seen, Setup, Speaker, link_local},
};
use nix::sys::signal::Signal;

/// What happens by itself takes a second or two, in which packets are slow; a busy machine takes longer.
const SOON: Duration = Duration::from_secs(20);
const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];
const BOTH: [Program; 2] = [Program::Frr, Program::Bird];

fn plan() -> Plan {
    Plan {
        hosts: 1,
        uplinks: [("fiber", 1), ("cable", 1)]
            .map(|(name, weight)| UplinkPlan::new(name, weight))
            .into(),
        private: false,
    }
}

/// Settings of a gateway whose uplinks speak BFD so, and whose probes are slow to notice anything.
fn settings(bfd: &str) -> Result<Settings> {
    let mut settings = Settings::from_environment()?;
    settings.more = format!(",bfd={bfd}");
    settings.options = [
        "--probe-interval",
        "2s",
        "--fall",
        "10",
        "--failback",
        "immediate",
    ]
    .map(String::from)
    .into();
    Ok(settings)
}

/// The session of the first uplink in a family.
fn session<'s>(status: &'s Status, family: &str) -> Option<&'s BfdStatus> {
    let family = status.uplinks.first()?.families.get(family)?;
    family.as_ref()?.bfd.as_ref()
}

fn sessions_are(
    gateway: &Gateway<'_>,
    what: &str,
    wanted: impl Fn(&BfdStatus) -> bool,
) -> Result<()> {
    gateway.wait_for(what, SOON, |status| {
        FAMILIES
            .iter()
            .all(|family| session(status, family).is_some_and(&wanted))
    })?;
    Ok(())
}

/// Both ends say of both families that the session is up, and of the first uplink that it is.
fn wait_until_up(gateway: &Gateway<'_>, speaker: &Speaker<'_>) -> Result<()> {
    sessions_are(gateway, "sessions up", |session| session.state == "up")?;
    speaker.wait_for("up", SOON, |seen| seen.state == "up")?;
    gateway.wait_for_state(0, "up")?;
    Ok(())
}

fn first(status: &Status) -> Result<&str> {
    let uplink = status.uplinks.first().context("an uplink")?;
    Ok(&uplink.state)
}

/// Waits until the first uplink is down in both families, and the log says why.
fn wait_until_down(gateway: &mut Gateway<'_>, cause: &str) -> Result<()> {
    gateway.wait_for("the first uplink down", SOON, |status| {
        let uplink = status.uplinks.first();
        uplink.is_some_and(|uplink| FAMILIES.iter().all(|family| !uplink.family_is_up(family)))
    })?;
    // The other uplink has no session, and carries on.
    ensure!(
        gateway.status()?.uplinks[1].is_up(),
        "{:#?}",
        gateway.status()?
    );
    logged(gateway, cause)
}

fn logged(gateway: &mut Gateway<'_>, text: &str) -> Result<()> {
    gateway
        .process()?
        .wait_until(&format!("telling {text:?}"), SOON, |process| {
            process.stderr().contains(text) || process.stdout().contains(text)
        })
}

/// Sessions of both families come up at 10 ms x3 with the neighbour active or waiting; its death, its
/// silence and its return are noticed.
fn a_neighbour_dies_falls_silent_and_returns(program: Program) -> Result<()> {
    let lab = GatewayLab::new(&plan())?;
    let mut gateway = Gateway::start(&lab, settings("10msx3")?)?;
    for passive in [false, true] {
        let mut speaker = Speaker::start(
            &lab,
            0,
            Setup {
                passive,
                ..Setup::fast(program)
            },
        )?;
        wait_until_up(&gateway, &speaker)?;
        sessions_are(&gateway, "at 10 ms x3", |session| {
            session.transmit_interval_ms == Some(10.0) && session.detection_time_ms == Some(30.0)
        })?;
        // It gets no CPU any more.
        speaker.freeze(true)?;
        let expired = "BFD session to 192.0.2.1: control detection time expired";
        wait_until_down(&mut gateway, expired)?;
        speaker.freeze(false)?;
        wait_until_up(&gateway, &speaker)?;
        // It dies, and is born again with other discriminators.
        speaker.process()?.kill()?;
        wait_until_down(
            &mut gateway,
            &format!("BFD session to {NEXT_HOP6}: control"),
        )?;
        speaker.launch()?;
        wait_until_up(&gateway, &speaker)?;
        speaker.process()?.kill()?;
        gateway.wait_for_state(0, "down")?;
    }
    Ok(())
}

#[test]
fn frr_dies_falls_silent_and_returns() -> Result<()> {
    a_neighbour_dies_falls_silent_and_returns(Program::Frr)
}

#[test]
fn bird_dies_falls_silent_and_returns() -> Result<()> {
    a_neighbour_dies_falls_silent_and_returns(Program::Bird)
}

/// The gateway waits for the neighbour's first packet, its crash is noticed by the neighbour, its stop is
/// told as administrative, and after each it is met again.
#[test]
fn the_gateways_end_is_noticed_or_told_and_its_passive_role_kept() -> Result<()> {
    for program in BOTH {
        let lab = GatewayLab::new(&plan())?;
        let mut settings = settings("50ms")?;
        let file = lab.lab.dir().join("passive.toml");
        std::fs::write(
            &file,
            "[[uplink]]\nname = \"fiber\"\nbfd = { passive = true }\n",
        )?;
        let path = file.to_str().context("a path")?;
        settings.options.extend(["--config".into(), path.into()]);
        let mut gateway = Gateway::start(&lab, settings)?;
        let speaker = Speaker::start(
            &lab,
            0,
            Setup {
                interval: 50,
                ..Setup::fast(program)
            },
        )?;
        wait_until_up(&gateway, &speaker)?;
        gateway.process()?.kill()?;
        let is_down = |seen: &Seen| seen.state == "down";
        speaker.wait_for("down after a crash", SOON, is_down)?;
        gateway.launch()?;
        wait_until_up(&gateway, &speaker)?;

        gateway.process()?.signal(Signal::SIGTERM)?;
        gateway.process()?.wait(SOON)?;
        speaker.wait_for("down after a stop", SOON, is_down)?;
        if program == Program::Frr {
            let told = |seen: &Seen| seen.text.contains("neighbor signaled session down");
            speaker.wait_for("told so", SOON, told)?;
        }
        gateway.launch()?;
        wait_until_up(&gateway, &speaker)?;
    }
    Ok(())
}

/// RFC 5882 section 3.2: a session that the neighbour holds down is no failure of the path. (BIRD has no
/// such thing: when its protocol is disabled, it falls silent.)
#[test]
fn a_session_that_the_neighbour_holds_down_is_no_failure() -> Result<()> {
    let lab = GatewayLab::new(&plan())?;
    let mut gateway = Gateway::start(&lab, settings("50ms")?)?;
    let setup = Setup {
        interval: 50,
        ..Setup::fast(Program::Frr)
    };
    let speaker = Speaker::start(&lab, 0, setup)?;
    wait_until_up(&gateway, &speaker)?;
    speaker.hold_down(true)?;
    sessions_are(&gateway, "held down", |session| {
        session.state == "down" && session.cause.contains("administratively")
    })?;
    for family in FAMILIES {
        let told = format!("{family}: BFD session down");
        logged(&mut gateway, &told)?;
    }
    ensure!(first(&gateway.status()?)? == "up");
    let log = gateway.process()?.stderr() + &gateway.process()?.stdout();
    ensure!(
        !log.contains("ipv4 down") && !log.contains("ipv6 down"),
        "{log}"
    );
    speaker.hold_down(false)?;
    wait_until_up(&gateway, &speaker)
}

/// Packets are lost in one direction alone: the end that hears nothing tells the other.
#[test]
fn a_loss_in_one_direction_is_noticed_by_both_ends() -> Result<()> {
    let lab = GatewayLab::new(&plan())?;
    let mut gateway = Gateway::start(&lab, settings("50ms")?)?;
    let speaker = Speaker::start(
        &lab,
        0,
        Setup {
            interval: 50,
            ..Setup::fast(Program::Frr)
        },
    )?;
    for (hook, cause) in [
        (
            "input",
            "neighbor signaled session down: control detection time expired",
        ),
        ("output", "192.0.2.1: control detection time expired"),
    ] {
        wait_until_up(&gateway, &speaker)?;
        let isp = &lab.uplinks[0].isp;
        isp.nft(&format!(
            "table inet cut {{\nchain cut {{\ntype filter hook {hook} priority 0;\nudp dport 3784 drop\n}}\n}}\n"
        ))?;
        wait_until_down(&mut gateway, cause)?;
        speaker.wait_for("not up", SOON, |seen| seen.state != "up")?;
        isp.nft("delete table inet cut")?;
    }
    wait_until_up(&gateway, &speaker)
}

/// A neighbour that does not speak BFD does no harm; the kernel refuses nothing in its name.
#[test]
fn a_neighbour_that_does_not_speak_bfd_is_judged_by_probes_and_remarked() -> Result<()> {
    let lab = GatewayLab::new(&plan())?;
    let mut gateway = Gateway::start(&lab, settings("10ms")?)?;
    logged(
        &mut gateway,
        "BFD session to 192.0.2.1 is not up: the neighbour does not answer",
    )?;
    ensure!(gateway.status()?.is(&["up", "up"]));
    // A speaker would hear "port unreachable" if nobody held the port.
    lab.uplinks[0].isp.nft(
        "table inet count {\nchain refused {\ntype filter hook input priority 0;\n\
         icmp type destination-unreachable counter\n\
         icmpv6 type destination-unreachable counter\n}\n}\n",
    )?;
    let speaker = Speaker::start(&lab, 0, Setup::fast(Program::Bird))?;
    wait_until_up(&gateway, &speaker)?;
    let counters = lab.uplinks[0]
        .isp
        .output(&["nft", "list", "table", "inet", "count"])?;
    ensure!(counters.matches("packets 0 ").count() == 2, "{counters}");
    Ok(())
}

/// A control packet of the ISP that would take an established session down if it were believed.
fn forged(authenticated: bool) -> Vec<u8> {
    let mut packet = vec![0x20, 0x40, 3, 24, 0, 0, 0, 9, 0, 0, 0, 0];
    for interval in [1_000_000_u32, 10_000, 0] {
        packet.extend(interval.to_be_bytes());
    }
    if authenticated {
        packet[1] |= 4;
        packet[3] = 26;
        packet.extend([1, 2]);
    }
    packet
}

/// Packets that came over a router, are authenticated, or name another session change nothing, and are
/// counted. The very same packet as it should be is believed: the others were not harmless by chance.
#[test]
fn forged_packets_change_nothing_and_are_counted() -> Result<()> {
    let lab = GatewayLab::new(&plan())?;
    let gateway = Gateway::start(&lab, settings("50ms")?)?;
    let speaker = Speaker::start(
        &lab,
        0,
        Setup {
            interval: 50,
            ..Setup::fast(Program::Bird)
        },
    )?;
    wait_until_up(&gateway, &speaker)?;
    let addresses = lab.uplinks[0].addresses;
    let to4 = SocketAddr::new(addresses.gateway4.into(), 3784);
    let to6 = std::net::SocketAddrV6::new(link_local(&lab, 0)?, 3784, 0, 200);
    let send = |ttl: u32, packet: &[u8]| -> Result<()> {
        lab.uplinks[0].isp.enter(|| -> Result<()> {
            let socket = std::net::UdpSocket::bind((addresses.isp4, 50_123))?;
            socket.set_ttl(ttl)?;
            socket.send_to(packet, to4)?;
            let from6 = std::net::SocketAddrV6::new(NEXT_HOP6, 50_123, 0, 200);
            let socket = socket2::SockRef::from(&std::net::UdpSocket::bind(from6)?).try_clone()?;
            socket.set_unicast_hops_v6(ttl)?;
            socket.send_to(packet, &to6.into())?;
            Ok(())
        })?
    };
    let downs = |gateway: &Gateway<'_>| -> Result<u64> {
        let (_, text) = gateway.fetch("/metrics")?;
        sum(&text, "multihome_bfd_transitions_total{", "to=\"down\"")
    };
    let discarded = |gateway: &Gateway<'_>, reason: &str| -> Result<u64> {
        let (_, text) = gateway.fetch("/metrics")?;
        let reason = format!("reason=\"{reason}\"");
        sum(&text, "multihome_bfd_discarded_total{", &reason)
    };
    let mut stranger = forged(false);
    stranger[1] = 0xc0;
    stranger[8..12].copy_from_slice(&[1, 2, 3, 4]);
    let before = downs(&gateway)?;
    for (ttl, packet, reason) in [
        (254, forged(false), "hop_limit"),
        (1, forged(false), "hop_limit"),
        (255, forged(true), "authentication"),
        (255, stranger, "unknown_session"),
    ] {
        let counted = discarded(&gateway, reason)?;
        send(ttl, &packet)?;
        let start = std::time::Instant::now();
        while discarded(&gateway, reason)? < counted + 2 {
            ensure!(start.elapsed() < SOON, "{reason} is not counted");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    ensure!(downs(&gateway)? == before, "a forged packet was believed");
    ensure!(first(&gateway.status()?)? == "up");
    send(255, &forged(false))?;
    let start = std::time::Instant::now();
    while downs(&gateway)? < before + 2 {
        ensure!(start.elapsed() < SOON, "the real packet was not believed");
        std::thread::sleep(Duration::from_millis(50));
    }
    wait_until_up(&gateway, &speaker)
}

/// The sum of the samples with this start and this label.
fn sum(text: &str, start: &str, label: &str) -> Result<u64> {
    let mut sum = 0;
    for line in text.lines() {
        if line.starts_with(start) && line.contains(label) {
            let (_, value) = line.rsplit_once(' ').context("a value")?;
            sum += value.parse::<u64>()?;
        }
    }
    Ok(sum)
}

/// A gateway that translates, and drops what nobody asked for, still gets the neighbour's packets; LAN
/// hosts that use port 3784 themselves do not get it outside.
#[test]
fn a_translated_uplink_keeps_the_port_of_bfd_for_itself() -> Result<()> {
    let lab = GatewayLab::new(&Plan::private())?;
    let mut settings = settings("50ms")?;
    settings.mode = "nat44";
    let file = lab.lab.dir().join("drop.toml");
    std::fs::write(&file, "[nat]\nunasked = \"drop\"\n")?;
    let path = file.to_str().context("a path")?;
    settings.options.extend(["--config".into(), path.into()]);
    let gateway = Gateway::start(&lab, settings)?;
    let speaker = Speaker::start(
        &lab,
        0,
        Setup {
            interval: 50,
            ..Setup::fast(Program::Bird)
        },
    )?;
    wait_until_up(&gateway, &speaker)?;
    let host = &lab.hosts[0];
    host.namespace.enter(|| -> Result<()> {
        let socket = std::net::UdpSocket::bind((host.addresses.host4, 3784))?;
        for port in 5000..5064 {
            socket.send_to(b"hello", (multihome_tests::lab::topology::SERVER4, port))?;
        }
        Ok(())
    })??;
    let flows = gateway.run("flows", &["--json"])?;
    let flows = String::from_utf8(flows.stdout)?;
    ensure!(
        flows.contains("3784"),
        "the host's packets made no flow: {flows}"
    );
    for flow in flows.lines() {
        let flow: serde_json::Value = serde_json::from_str(flow)?;
        let outside = flow["outside"].to_string();
        ensure!(!outside.contains(":3784"), "{flow}");
    }
    wait_until_up(&gateway, &speaker)
}

/// A process that gets no CPU for less than the neighbour's patience takes nothing for a failure,
/// although its own detection time has passed meanwhile.
#[test]
fn a_gateway_that_was_starved_raises_no_false_alarm() -> Result<()> {
    let lab = GatewayLab::new(&plan())?;
    // The neighbour sends every 50 ms and is heard no more for 150 ms; it has patience for 5 s.
    let mut gateway = Gateway::start(&lab, settings("50msx100")?)?;
    let speaker = Speaker::start(
        &lab,
        0,
        Setup {
            interval: 50,
            ..Setup::fast(Program::Frr)
        },
    )?;
    wait_until_up(&gateway, &speaker)?;
    sessions_are(&gateway, "at 150 ms", |session| {
        session.detection_time_ms == Some(150.0)
    })?;
    for _ in 0..5 {
        gateway.process()?.signal(Signal::SIGSTOP)?;
        std::thread::sleep(Duration::from_millis(300));
        gateway.process()?.signal(Signal::SIGCONT)?;
        std::thread::sleep(Duration::from_millis(200));
    }
    let (_, text) = gateway.fetch("/metrics")?;
    let downs = sum(&text, "multihome_bfd_transitions_total{", "to=\"down\"")?;
    ensure!(downs == 0, "{downs} false alarms");
    ensure!(first(&gateway.status()?)? == "up");
    Ok(())
}
