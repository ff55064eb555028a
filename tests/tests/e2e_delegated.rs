//! A prefix that a provider delegates by DHCPv6: a real client with the hook of `deploy/dhcp`, a real server, and a
//! gateway that translates to whatever is delegated.

use std::{
    fs,
    net::{Ipv6Addr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::lab::{
    Process,
    controller::{Gateway, Settings},
    local::{self, ADDRESSES, INSIDE, is_in},
    provider,
    topology::{GatewayLab, Plan, SERVER6},
};

/// How long a client may take to have what it asks for, and to tell it.
const DELEGATED: Duration = Duration::from_secs(40);
/// What the provider delegates, one after the other.
const A: &str = "2001:db8:a::/48";
const B: &str = "2001:db8:b::/48";
/// The other uplink's, which stays.
const FIXED: &str = "2001:db8:f::/48";

/// The hooks as they are shipped.
fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/dhcp")
        .join(name)
}

/// What a hook reads from `/etc/multihome`: the shipped file, put there in the client's copy of `/etc`.
fn exit_hook(lab: &GatewayLab) -> Result<PathBuf> {
    let common = fs::read_to_string(deployed("prefix"))?;
    let hook = fs::read_to_string(deployed("dhcpcd.exit-hook"))?;
    let place = lab.lab.dir().join("prefix");
    fs::write(&place, common)?;
    let here = hook.replace("/etc/multihome/prefix", &place.display().to_string());
    ensure!(here != hook, "the hook does not read the common part");
    let hook = lab.lab.dir().join("dhcpcd.exit-hook");
    fs::write(&hook, here)?;
    Ok(hook)
}

/// Has the provider and the internet lead this prefix to the gateway.
fn lead(lab: &GatewayLab, prefix: &str) -> Result<()> {
    provider::lead(lab, 0, prefix)?;
    let transit = lab.uplinks[0].addresses.transit6;
    lab.internet
        .batch(&format!("route replace {prefix} via {transit}\n"))
}

fn start_client(lab: &GatewayLab, settings: &Settings) -> Result<Process> {
    provider::take_away(lab, 0)?;
    let config = format!(
        "duid\nipv6only\nnoipv6rs\nnohook resolv.conf, hostname\n\
         env MULTIHOME={}\nenv MULTIHOME_OPTIONS=--run-dir {}\nenv MULTIHOME_UPLINKS=wan0=fiber\n\
         interface wan0\n ipv6rs\n ia_pd 1\n",
        settings.binary.display(),
        lab.lab.dir().join("run").display(),
    );
    provider::dhcpcd(lab, 0, &config, &exit_hook(lab)?)
}

fn prefix_in_force(gateway: &Gateway<'_>) -> Result<Option<String>> {
    let status = gateway.status()?;
    let family = status.uplinks[0].families["ipv6"].clone();
    Ok(family.context("no IPv6")?.prefix)
}

/// New connections by the uplink bear the prefix that is delegated; when the provider delegates another one, the
/// client learns of it at its next renewal, and from then on they bear that. The other uplink's go on.
#[test]
fn a_prefix_that_is_delegated_anew_is_followed() -> Result<()> {
    let lab = GatewayLab::new(&Plan::private())?;
    local::give(&lab)?;
    for prefix in [A, B] {
        lead(&lab, prefix)?;
    }
    let cable = &lab.uplinks[1];
    lab.internet.batch(&format!(
        "route add {FIXED} via {}\n",
        cable.addresses.transit6
    ))?;
    cable.isp.batch(&format!(
        "route add {FIXED} via {}\n",
        cable.addresses.gateway6
    ))?;
    let mut settings = Settings::from_environment()?;
    settings.leave_out = vec!["fiber", "cable"];
    settings.options.extend([
        "--inside-prefix".to_owned(),
        INSIDE.to_owned(),
        "--uplink".to_owned(),
        format!("fiber=wan0,mode=nptv6,prefix=delegated,probe={SERVER6}"),
        "--uplink".to_owned(),
        format!("cable=wan1,mode=nptv6,prefix={FIXED},probe={SERVER6}"),
    ]);
    let _radvd = provider::advertise(
        &lab,
        0,
        "AdvOtherConfigFlag on;\nAdvManagedFlag on;\nprefix 2001:db8:f000::/64 { };",
    )?;
    let mut server = provider::delegate(&lab, 0, A)?;
    let mut client = start_client(&lab, &settings)?;
    // The client has the prefix before the gateway runs, and tells it then already.
    let kept = lab.lab.dir().join("run/prefixes");
    client.wait_until("delegated", DELEGATED, |_| kept.exists())?;
    let gateway = Gateway::start(&lab, settings)?;
    ensure!(
        prefix_in_force(&gateway)?.as_deref() == Some(A),
        "{:?}",
        prefix_in_force(&gateway)?
    );

    let listener = lab
        .server
        .enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 7000)))??;
    let (mut by_fiber, mut by_cable) = (Vec::new(), Vec::new());
    for n in 0..ADDRESSES {
        let connection = local::connect(&lab, &listener, n)?;
        connection.exchange()?;
        if is_in(connection.from, A) {
            by_fiber.push(n);
        } else {
            ensure!(is_in(connection.from, FIXED), "{}", connection.from);
            by_cable.push(connection);
        }
    }
    ensure!(
        !by_fiber.is_empty() && !by_cable.is_empty(),
        "all took one uplink"
    );

    server.kill()?;
    let _server = provider::delegate(&lab, 0, B)?;
    gateway
        .wait_for("translating to the other prefix", DELEGATED, |_| {
            prefix_in_force(&gateway).is_ok_and(|now| now.as_deref() == Some(B))
        })
        .with_context(|| client.said())?;
    gateway.wait_until_all_up()?;
    for connection in &by_cable {
        connection.exchange().context("by the other uplink")?;
    }
    for n in by_fiber {
        let connection = local::connect(&lab, &listener, n)?;
        connection.exchange()?;
        ensure!(is_in(connection.from, B), "{}", connection.from);
    }
    Ok(())
}
