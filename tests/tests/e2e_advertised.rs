//! An uplink whose IPv6 address and router come by router advertisements: a real radvd, the kernel's own
//! autoconfiguration, and a gateway that follows what comes of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use multihome_tests::{
    lab::{
        Process,
        controller::{Gateway, Settings},
        provider,
        topology::{GatewayLab, LAN6, NEXT_HOP6, Plan},
    },
    traffic::{
        flows::{self, Family},
        stream::{ECHO_PORT, Stream},
    },
};

/// How long it takes until an advertisement has come and is in force.
const ADVERTISED: Duration = Duration::from_secs(20);

const FIRST: &str = "2001:db8:f000::/64";
const SECOND: &str = "2001:db8:f0f0::/64";
const OTHER_ROUTER: &str = "fe80::99";

/// A line whose provider advertises, and what it advertises with.
struct Line {
    radvd: Process,
}

impl Line {
    /// The provider advertises its first prefix, and the gateway has an address of it.
    fn new(lab: &GatewayLab) -> Result<Self> {
        provider::take_away(lab, 0)?;
        lab.gateway.sysctl(&[
            "net.ipv6.conf.wan0.accept_ra=2",
            "net.ipv6.conf.wan0.autoconf=1",
            // As quick as a test has to be: a neighbour that does not answer is found out in seconds.
            "net.ipv6.neigh.wan0.base_reachable_time_ms=2000",
            "net.ipv6.neigh.wan0.delay_first_probe_time=1",
            "net.ipv6.neigh.wan0.retrans_time_ms=200",
        ])?;
        provider::lead(lab, 0, LAN6)?;
        let mut line = Self {
            radvd: provider::advertise(lab, 0, &format!("prefix {FIRST} {{ }};"))?,
        };
        line.wait_until("an address", || {
            Ok(addresses(lab)?.contains("2001:db8:f000:"))
        })?;
        Ok(line)
    }

    /// The provider advertises something else from now on.
    fn advertise(&mut self, lab: &GatewayLab, what: &str) -> Result<()> {
        // Killed, it cannot say goodbye: with a signal radvd would withdraw itself.
        self.radvd.kill()?;
        self.radvd = provider::advertise(lab, 0, what)?;
        Ok(())
    }

    fn wait_until(&mut self, what: &str, condition: impl Fn() -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        while !condition()? {
            ensure!(
                self.radvd.is_running()?,
                "radvd has ended: {}",
                self.radvd.said()
            );
            if start.elapsed() > ADVERTISED {
                bail!("not {what} within {ADVERTISED:?}: {}", self.radvd.said());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

fn addresses(lab: &GatewayLab) -> Result<String> {
    lab.gateway.output(&[
        "ip", "-6", "-o", "addr", "show", "dev", "wan0", "scope", "global",
    ])
}

/// How often a path has gone down, of any uplink and family.
fn failures(gateway: &Gateway<'_>) -> Result<usize> {
    let output = gateway.run("events", &["--json", "--kind", "path_down"])?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?.lines().count())
}

/// The provider renumbers: the prefix of the line is deprecated and another one comes. Probes go on from the new
/// address, no path goes down, and no flow moves or loses a packet.
#[test]
fn a_new_prefix_of_the_line_is_followed_without_a_flow_noticing() -> Result<()> {
    let lab = GatewayLab::new(&Plan {
        hosts: 1,
        ..Plan::default()
    })?;
    let mut line = Line::new(&lab)?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let found = flows::find_answered(&lab, 1, ECHO_PORT)?;
    let stream = Stream::start(&lab, &found, Duration::from_millis(1))?;
    lab.internet.batch(&format!(
        "route add {SECOND} via {}\n",
        lab.uplinks[0].addresses.transit6
    ))?;
    lab.uplinks[0]
        .isp
        .batch(&format!("route add {SECOND} dev gw\n"))?;
    line.advertise(
        &lab,
        &format!("prefix {FIRST} {{ AdvPreferredLifetime 0; }};\nprefix {SECOND} {{ }};"),
    )?;
    line.wait_until("renumbered", || {
        let now = addresses(&lab)?;
        let of = |prefix: &str| {
            now.lines()
                .find(|line| line.contains(prefix))
                .map(str::to_owned)
        };
        let old = of("2001:db8:f000:").context("the old address has gone at once")?;
        Ok(
            of("2001:db8:f0f0:").is_some_and(|new| !new.contains("tentative"))
                && old.contains("deprecated"),
        )
    })?;
    // The provider no longer leads the old one: only probes from the new one are answered.
    lab.internet
        .batch(&format!("route replace blackhole {FIRST}\n"))?;
    let before = probes_answered(&gateway)?;
    gateway.wait_for("probed from the new address", ADVERTISED, |_| {
        probes_answered(&gateway).is_ok_and(|now| now > before + 10)
    })?;
    ensure!(
        gateway.status()?.uplinks[0].is_up(),
        "{:?}",
        gateway.status()?
    );
    ensure!(failures(&gateway)? == 0, "a path went down");
    for flow in stream.stop()?.not_started_on(usize::MAX) {
        flow.ensure_undisturbed()?;
    }
    Ok(())
}

/// Echo replies to the first uplink's IPv6 probes of the server.
fn probes_answered(gateway: &Gateway<'_>) -> Result<u64> {
    let (_, metrics) = gateway.fetch("/metrics")?;
    let of_ours = |line: &&str| {
        line.starts_with("multihome_probe_rtt_seconds_count{")
            && line.contains("uplink=\"fiber\"")
            && line.contains(&format!("\"{}", Family::V6.server()))
    };
    let line = metrics.lines().find(of_ours).context("no such metric")?;
    let (_, value) = line.rsplit_once(' ').context("a metric has a value")?;
    Ok(value.parse::<f64>()? as u64)
}

/// The provider's router changes its link-local address, and says nothing of the old one: the gateway finds out
/// that nobody answers for it, and goes on by the new one.
#[test]
fn a_new_link_local_address_of_the_router_is_followed() -> Result<()> {
    let lab = GatewayLab::new(&Plan {
        hosts: 1,
        ..Plan::default()
    })?;
    let mut line = Line::new(&lab)?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let flows = flows::many(200, 1, Family::V6);
    let before = flows::uplinks_of(&lab, &flows)?;
    lab.uplinks[0].isp.batch(&format!(
        "addr add {OTHER_ROUTER}/64 dev gw nodad\naddr del {NEXT_HOP6}/64 dev gw\n"
    ))?;
    line.advertise(&lab, &format!("prefix {FIRST} {{ }};"))?;
    gateway.wait_for("by the other router", Duration::from_secs(30), |_| {
        gateway
            .run("status", &["--json"])
            .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(OTHER_ROUTER))
    })?;
    gateway.wait_until_all_up()?;
    ensure!(
        flows::uplinks_of(&lab, &flows)? == before,
        "flows are not as before"
    );
    // The old one is in the kernel's table for its lifetime all the same.
    let routes = lab
        .gateway
        .output(&["ip", "-6", "route", "show", "default", "dev", "wan0"])?;
    ensure!(
        routes.contains(&NEXT_HOP6.to_string()) && routes.contains(OTHER_ROUTER),
        "{routes}"
    );
    Ok(())
}

/// The router advertises a lifetime of zero: it is no default router any more (RFC 4861 section 6.2.5). IPv6 leaves
/// the uplink, IPv4 stays, and no flow of the others is touched; and it comes back with the next advertisement.
#[test]
fn a_router_that_withdraws_itself_is_left_and_gone_back_to() -> Result<()> {
    let lab = GatewayLab::new(&Plan {
        hosts: 1,
        ..Plan::default()
    })?;
    let mut line = Line::new(&lab)?;
    let gateway = Gateway::start(&lab, Settings::from_environment()?)?;
    let found = flows::find_answered(&lab, 1, ECHO_PORT)?;
    let stream = Stream::start(&lab, &found, Duration::from_millis(1))?;
    let flows = flows::many(200, 1, Family::V6);
    let before = flows::uplinks_of(&lab, &flows)?;
    line.advertise(
        &lab,
        &format!("AdvDefaultLifetime 0;\nprefix {FIRST} {{ }};"),
    )?;
    gateway.wait_for("down by IPv6", ADVERTISED, |status| {
        let fiber = &status.uplinks[0];
        !fiber.family_is_up("ipv6") && fiber.family_is_up("ipv4")
    })?;
    let shown = String::from_utf8(gateway.run("status", &[])?.stdout)?;
    ensure!(shown.contains("no default router any more"), "{shown}");
    let during = flows::uplinks_of(&lab, &flows)?;
    for (before, during) in before.iter().zip(&during) {
        ensure!(
            during.is_some() && *during != Some(0),
            "a flow is lost or goes to the router"
        );
        ensure!(
            *before == Some(0) || before == during,
            "a flow of another uplink moved"
        );
    }
    line.advertise(&lab, &format!("prefix {FIRST} {{ }};"))?;
    gateway.wait_for("up again", ADVERTISED, |status| status.uplinks[0].is_up())?;
    ensure!(
        flows::uplinks_of(&lab, &flows)? == before,
        "flows are not as before"
    );
    for flow in stream.stop()?.not_started_on(0) {
        flow.ensure_undisturbed()?;
    }
    Ok(())
}
