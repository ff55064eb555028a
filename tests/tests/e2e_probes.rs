//! Probes of services by the whole gateway, whose uplinks translate addresses: the prober's connections
//! share the outside addresses with the LAN's.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        topology::{GatewayLab, Plan, SERVER4, SERVER6},
    },
    traffic::{flows::Family, peers},
};

const PATIENCE: Duration = Duration::from_secs(15);
/// Where the LAN's connections go.
const PORT: u16 = 7000;

/// A lab whose LAN has private addresses, and how its gateway is started.
fn private_lan() -> Result<(GatewayLab, Settings)> {
    let lab = GatewayLab::new(&Plan::private())?;
    let settings = Settings {
        mode: "auto",
        ..Settings::from_environment()?
    };
    Ok((lab, settings))
}

/// One target of each kind of service for each family.
fn services() -> Vec<String> {
    let mut targets = Vec::new();
    for address in [IpAddr::from(SERVER4), IpAddr::from(SERVER6)] {
        let host = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        targets.extend([
            format!("tcp://{host}:80"),
            format!("http://{host}/204 status=204"),
            format!("https://probe.test/ address={address}"),
            format!("dns://{host}/small.test"),
        ]);
    }
    targets
}

/// Has the gateway trust who vouches for the lab's nginx.
fn trust(lab: &GatewayLab, nginx: &peers::Peer, settings: &mut Settings) -> Result<()> {
    let script = lab.lab.dir().join("multihome-that-trusts");
    let (authority, binary) = (nginx.dir.join("authority"), &settings.binary);
    let text = format!(
        "#!/bin/sh\nSSL_CERT_FILE={} exec {} \"$@\"\n",
        authority.display(),
        binary.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    settings.binary = script;
    Ok(())
}

/// The sum of all samples of a metric that have these labels.
fn sum(gateway: &Gateway<'_>, name: &str, labels: &[&str]) -> Result<f64> {
    let (_, metrics) = gateway.fetch("/metrics")?;
    let wanted = |line: &&str| {
        line.split(['{', ' ']).next() == Some(name)
            && labels.iter().all(|label| line.contains(label))
    };
    let mut total = 0.0;
    for line in metrics.lines().filter(wanted) {
        let value = line.rsplit(' ').next().context("a sample has a value")?;
        total += value.parse::<f64>()?;
    }
    Ok(total)
}

/// Waits until a metric has grown by so much.
fn wait_for_growth(gateway: &Gateway<'_>, name: &str, labels: &[&str], by: f64) -> Result<()> {
    let (before, until) = (sum(gateway, name, labels)?, Instant::now() + PATIENCE * 2);
    while sum(gateway, name, labels)? < before + by {
        ensure!(Instant::now() < until, "{name} {labels:?} does not grow");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Connects a LAN host to the server and sends something to and fro.
fn connect(lab: &GatewayLab, listener: &TcpListener) -> Result<()> {
    let to = SocketAddr::from((SERVER4, PORT));
    let host = &lab.hosts[0].namespace;
    let mut client = host.enter(|| TcpStream::connect_timeout(&to, PATIENCE))??;
    client.set_read_timeout(Some(PATIENCE))?;
    let (mut served, _) = listener.accept()?;
    served.write_all(b"hello")?;
    client.read_exact(&mut [0; 5])?;
    Ok(())
}

/// A provider that filters ICMP makes pings fail, and nothing else: who probes by TCP, HTTP, HTTPS or DNS
/// stays up, and the LAN's connections go on beside the prober's own on the same addresses
/// (opnsense/plugins 810).
#[test]
fn an_uplink_whose_provider_filters_icmp_is_up_by_other_probes() -> Result<()> {
    let (lab, mut settings) = private_lan()?;
    let nginx = peers::nginx_of_statuses(&lab.lab, &lab.server)?;
    let _dns = peers::dnsmasq(&lab)?;
    trust(&lab, &nginx, &mut settings)?;
    let option = |name: &str, device: &str, probes: &[String]| {
        let probes: String = probes
            .iter()
            .map(|probe| format!(",probe={probe}"))
            .collect();
        format!("{name}={device},mode=auto{probes}")
    };
    let pings = [SERVER4.to_string(), SERVER6.to_string()];
    let fiber = option("fiber", &lab.uplinks[0].device, &services());
    let cable = option("cable", &lab.uplinks[1].device, &pings);
    settings.leave_out = vec!["fiber", "cable"];
    for uplink in [fiber, cable] {
        settings.options.extend([String::from("--uplink"), uplink]);
    }
    let gateway = Gateway::start(&lab, settings)?;
    let listener = lab
        .server
        .enter(|| TcpListener::bind(("0.0.0.0", PORT)))??;
    for uplink in &lab.uplinks {
        uplink.isp.nft(
            "table inet filtered {\n chain forward {\n type filter hook forward priority 0;\n\
             icmp type { echo-request, echo-reply } drop\n\
             icmpv6 type { echo-request, echo-reply } drop\n }\n}\n",
        )?;
    }
    gateway.wait_for_state(1, "down")?;
    for kind in ["tcp://", "http://", "https://", "dns://"] {
        let target = format!("target=\"{kind}");
        let labels = ["uplink=\"fiber\"", target.as_str()];
        wait_for_growth(&gateway, "multihome_probe_rtt_seconds_count", &labels, 20.0)?;
        for _ in 0..5 {
            connect(&lab, &listener)?;
        }
    }
    let fiber = &gateway.status()?.uplinks[0];
    ensure!(fiber.is_up(), "{fiber:?}");
    let downs = ["uplink=\"fiber\"", "to=\"down\""];
    ensure!(sum(&gateway, "multihome_uplink_transitions_total", &downs)? == 0.0);
    Ok(())
}

/// One dead target of three does not decide, two do, and the log says so (opnsense/core 7163).
#[test]
fn one_dead_target_of_three_does_not_decide_and_two_do() -> Result<()> {
    let (lab, mut settings) = private_lan()?;
    let _nginx = peers::nginx_of_statuses(&lab.lab, &lab.server)?;
    let mut dns = peers::dnsmasq(&lab)?;
    settings.probe = vec![
        format!("http://{SERVER4}/"),
        format!("dns://{SERVER4}/small.test"),
        SERVER4.to_string(),
    ];
    settings
        .options
        .extend(["--probe-quorum", "2"].map(String::from));
    let mut gateway = Gateway::start(&lab, settings)?;
    dns.process.kill()?;
    let lost = ["uplink=\"fiber\"", "target=\"dns://"];
    wait_for_growth(&gateway, "multihome_probe_lost_total", &lost, 10.0)?;
    ensure!(gateway.status()?.is(&["up", "up"]), "one target decided");
    lab.server.nft(
        "table inet filtered {\n chain in {\n type filter hook input priority 0;\n\
         icmp type echo-request drop\n }\n}\n",
    )?;
    gateway.wait_for_state(0, "down")?;
    gateway.wait_for_state(1, "down")?;
    let said = "1 target is left, 2 must answer";
    let process = gateway.process()?;
    process.wait_until("saying why", PATIENCE, |process| {
        (process.stdout() + &process.stderr()).contains(said)
    })?;
    let _dns = peers::dnsmasq(&lab)?;
    gateway.wait_until_all_up()?;
    Ok(())
}

/// A portal that answers HTTP in the server's place takes its uplink down, and no other, although pings
/// would be answered as ever.
#[test]
fn a_captive_portal_takes_its_uplink_down() -> Result<()> {
    let (lab, mut settings) = private_lan()?;
    let _nginx = peers::nginx_of_statuses(&lab.lab, &lab.server)?;
    settings.probe = vec![format!("http://{SERVER4}/204 status=204")];
    let mut gateway = Gateway::start(&lab, settings)?;
    let isp = &lab.uplinks[0].isp;
    let portal = isp.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)))??;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for stream in portal.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { return };
                let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(
                    b"HTTP/1.1 511 Network Authentication Required\r\nContent-Length: 0\r\n\r\n",
                );
            }
        });
        let result = (|| {
            isp.nft(
                "table ip portal {\n chain in {\n type nat hook prerouting priority dstnat;\n\
                 iifname gw tcp dport 80 redirect to :8080\n }\n}\n",
            )?;
            gateway.wait_for_state(0, "down")?;
            ensure!(gateway.status()?.is(&["down", "up"]), "the other one, too");
            let process = gateway.process()?;
            process.wait_until("saying why", PATIENCE, |process| {
                (process.stdout() + &process.stderr()).contains("the HTTP status is 511")
            })?;
            isp.nft("delete table ip portal\n")?;
            gateway.wait_for_state(0, "up")?;
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        // A connection wakes the thread up.
        drop(isp.enter(|| TcpStream::connect((Ipv4Addr::LOCALHOST, 8080))));
        result
    })
}

/// With the command's defaults, all remote targets of an uplink together get five packets a second at
/// most while all is well, whatever their kinds.
#[test]
fn by_default_an_uplink_is_probed_with_five_packets_a_second_at_most() -> Result<()> {
    const SPAN: Duration = Duration::from_secs(8);
    let (lab, mut settings) = private_lan()?;
    let nginx = peers::nginx_of_statuses(&lab.lab, &lab.server)?;
    let _dns = peers::dnsmasq(&lab)?;
    trust(&lab, &nginx, &mut settings)?;
    settings.probe = services();
    settings.probe[4] = Family::V4.server().to_string();
    settings.options.clear();
    let gateway = Gateway::start(&lab, settings)?;
    let isp = &lab.uplinks[0].isp;
    isp.nft(&format!(
        "table inet seen {{\n counter probes {{ }}\n chain forward {{\n\
         type filter hook forward priority 0;\n\
         iifname gw ip daddr {SERVER4} counter name probes\n\
         iifname gw ip6 daddr {SERVER6} counter name probes\n }}\n}}\n"
    ))?;
    let seen = || -> Result<f64> {
        let text = isp.output(&["nft", "list", "counter", "inet", "seen", "probes"])?;
        let number = text.split("packets ").nth(1).context("no counter")?;
        Ok(number
            .split_whitespace()
            .next()
            .context("no number")?
            .parse()?)
    };
    let lost = || {
        sum(
            &gateway,
            "multihome_probe_lost_total",
            &["uplink=\"fiber\""],
        )
    };
    for _ in 0..5 {
        let (before, lost_before, began) = (seen()?, lost()?, Instant::now());
        thread::sleep(SPAN);
        let (packets, span) = (seen()? - before, began.elapsed().as_secs_f64());
        if lost()? > lost_before {
            // Not all was well: targets are asked faster when one does not answer.
            continue;
        }
        println!("{packets} packets in {span:.1} s");
        // One probe of each target more than the long run's share may fall into a span.
        let at_once = f64::from(2 + 4 + 7 + 1 + 1 + 4 + 7 + 1);
        ensure!(packets > 5.0, "{packets}: nobody was asked");
        ensure!(packets <= 5.0 * span + at_once, "{packets} in {span} s");
        return Ok(());
    }
    anyhow::bail!("this machine is too busy for answers in time")
}
