//! A LAN with unique local addresses behind two uplinks that translate its prefix, one of them to a
//! prefix that its provider delegates and changes.

use std::{
    net::{Ipv6Addr, TcpListener},
    process::Output,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::lab::{
    controller::{Gateway, Settings},
    local::{self, ADDRESSES, INSIDE, is_in},
    topology::{GatewayLab, Plan, SERVER6},
};
use nix::sys::signal::Signal;

/// The longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// The server's port.
const PORT: u16 = 7000;
/// What the LAN's prefix becomes.
const A: &str = "2001:db8:a::/48";
const B: &str = "2001:db8:b::/48";
const FIXED: &str = "2001:db8:f::/48";

/// A lab whose host has unique local addresses and whose first provider routes A and B to the
/// gateway, the other one FIXED; and how its gateway is started.
fn delegating() -> Result<(GatewayLab, Settings)> {
    let lab = GatewayLab::new(&Plan::private())?;
    local::give(&lab)?;
    for (prefix, uplink) in [(A, 0), (B, 0), (FIXED, 1)] {
        let uplink = &lab.uplinks[uplink];
        let (transit, gateway) = (uplink.addresses.transit6, uplink.addresses.gateway6);
        lab.internet
            .batch(&format!("route add {prefix} via {transit}\n"))?;
        uplink
            .isp
            .batch(&format!("route add {prefix} via {gateway}\n"))?;
    }
    let mut settings = Settings::from_environment()?;
    settings.leave_out = vec!["fiber", "cable"];
    let more = [
        "--inside-prefix".into(),
        INSIDE.into(),
        "--uplink".into(),
        format!("fiber=wan0,mode=nptv6,prefix=delegated,probe={SERVER6}"),
        "--uplink".into(),
        format!("cable=wan1,mode=nptv6,prefix={FIXED},probe={SERVER6}"),
    ];
    settings.options.extend(more);
    Ok((lab, settings))
}

/// What a command that must succeed says.
fn said(output: Output) -> Result<String> {
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn ensure_refused(output: &Output, culprit: &str) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2), "{output:?}");
    ensure!(stderr.contains(culprit), "{culprit:?} is not in: {stderr}");
    Ok(())
}

/// The IPv6 prefix of the first uplink, as the status has it.
fn prefix_in_force(gateway: &Gateway<'_>) -> Result<Option<String>> {
    let status = gateway.status()?;
    let family = status.uplinks[0].families["ipv6"].clone();
    let family = family.context("no IPv6")?;
    ensure!(family.mode == "nptv6", "{family:?}");
    Ok(family.prefix)
}

/// New connections of an uplink bear the prefix that was told last, also after a restart; none that
/// was withdrawn; and the other uplink's connections go on through all of it.
#[test]
fn a_prefix_that_changes_is_followed() -> Result<()> {
    let (lab, settings) = delegating()?;
    // The hook of a DHCPv6 client may come before the gateway does.
    let mut early = lab.gateway.command(&settings.binary);
    early.arg("prefix").arg("--run-dir");
    early.arg(lab.lab.dir().join("run")).args(["fiber", A]);
    let told = said(early.output()?)?;
    ensure!(told.contains("is kept for the next one"), "{told}");
    let mut gateway = Gateway::start(&lab, settings)?;
    let table = said(gateway.run("prefix", &[])?)?;
    ensure!(
        table.lines().count() == 3 && table.contains(A) && table.contains(FIXED),
        "{table}"
    );

    let listener = lab
        .server
        .enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)))??;
    let (mut by_fiber, mut by_cable) = (Vec::new(), Vec::new());
    for n in 0..ADDRESSES {
        let connection = local::connect(&lab, &listener, n)?;
        connection.exchange()?;
        if is_in(connection.from, A) {
            by_fiber.push((n, connection));
        } else {
            ensure!(is_in(connection.from, FIXED), "{}", connection.from);
            by_cable.push(connection);
        }
    }
    ensure!(
        !by_fiber.is_empty() && !by_cable.is_empty(),
        "all took one uplink"
    );

    let told = said(gateway.run("prefix", &["fiber", B])?)?;
    ensure!(told == format!("fiber: {B} is in force\n"), "{told}");
    ensure!(prefix_in_force(&gateway)?.as_deref() == Some(B));
    let (_, metrics) = gateway.fetch("/metrics")?;
    let changes = "multihome_uplink_prefix_changes_total{uplink=\"fiber\"} 1";
    ensure!(metrics.lines().any(|line| line == changes), "{metrics}");
    for connection in &by_cable {
        connection.exchange().context("by the other uplink")?;
    }
    for (n, _) in &by_fiber {
        let connection = local::connect(&lab, &listener, *n)?;
        connection.exchange()?;
        ensure!(is_in(connection.from, B), "{}", connection.from);
    }

    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        gateway.process()?.signal(signal)?;
        gateway.process()?.wait(PATIENCE)?;
        gateway.launch()?;
        gateway.wait_until_all_up()?;
        ensure!(prefix_in_force(&gateway)?.as_deref() == Some(B));
        let from = local::connect(&lab, &listener, by_fiber[0].0)?.from;
        ensure!(is_in(from, B), "{from} after {signal}");
    }

    let told = said(gateway.run("prefix", &["fiber", "none"])?)?;
    ensure!(told.contains("its IPv6 is not used"), "{told}");
    ensure!(prefix_in_force(&gateway)?.is_none());
    let status = gateway.status()?;
    ensure!(!status.uplinks[0].family_is_up("ipv6"), "{status:?}");
    ensure!(status.uplinks[0].family_is_up("ipv4"), "{status:?}");
    let shown = said(gateway.run("status", &[])?)?;
    ensure!(shown.contains("no IPv6 prefix is delegated"), "{shown}");
    let from = local::connect(&lab, &listener, by_fiber[0].0)?.from;
    ensure!(is_in(from, FIXED), "{from}");
    for connection in &by_cable {
        connection.exchange().context("by the other uplink")?;
    }
    said(gateway.run("detach", &[])?)?;
    gateway.process()?.wait(PATIENCE)?;
    ensure!(!lab.lab.dir().join("run").exists(), "something was left");
    Ok(())
}

/// What cannot be told is refused with exit code 2, and changes nothing.
#[test]
fn what_cannot_be_told_is_refused() -> Result<()> {
    let (lab, settings) = delegating()?;
    let mut early = lab.gateway.command(&settings.binary);
    early.arg("prefix").arg("--run-dir");
    early.arg(lab.lab.dir().join("run")).args(["fiber", A]);
    said(early.output()?)?;
    let gateway = Gateway::start(&lab, settings)?;
    for (words, culprit) in [
        (
            &["cable", B][..],
            "the prefix of uplink cable is fixed (--uplink cable=wan1,",
        ),
        (
            &["dsl", B],
            "there is no uplink \"dsl\"; the uplinks are cable, fiber",
        ),
        (&["dsl"], "there is no uplink \"dsl\""),
        (&["fiber", "fe80::/64"], "link-local addresses"),
        (&["fiber", "2001:db8:b::/72"], "its length is 1 to 64"),
        (&["fiber", "delegated"], "is not an IPv6 prefix"),
    ] {
        ensure_refused(&gateway.run("prefix", words)?, culprit)
            .with_context(|| format!("prefix {words:?}"))?;
    }
    ensure!(prefix_in_force(&gateway)?.as_deref() == Some(A));
    // A shorter or longer one than the LAN's is taken, and what it leaves out is said.
    let longer = "2001:db8:b::/56";
    let told = said(gateway.run("prefix", &["fiber", longer])?)?;
    ensure!(told.contains("only fd12:3456:789a::/56"), "{told}");
    ensure!(prefix_in_force(&gateway)?.as_deref() == Some(longer));
    Ok(())
}
