//! The hooks of `deploy/dhcp`: what each client's variables make them tell the gateway.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/dhcp")
        .join(name)
}

/// What a hook tells `multihome`, one command a line, when a client starts it with these words and variables.
fn told(hook: &str, words: &[&str], variables: &[(&str, &str)]) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let here = |name: &str| dir.path().join(name);
    // What the hook has in common with the others lies here instead of in /etc.
    fs::copy(deployed("prefix"), here("prefix"))?;
    let text = fs::read_to_string(deployed(hook))?;
    let text = text.replace(
        "/etc/multihome/prefix",
        &here("prefix").display().to_string(),
    );
    fs::write(here("hook"), text)?;
    fs::write(here("multihome"), "#!/bin/sh\necho \"$@\" >> \"$0.told\"\n")?;
    fs::set_permissions(here("multihome"), fs::Permissions::from_mode(0o755))?;
    // The clients source theirs, and give odhcp6c's its words.
    let mut shell = Command::new("sh");
    shell
        .args(["-euc", ". \"$0\""])
        .arg(here("hook"))
        .args(words);
    shell
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("MULTIHOME", here("multihome"))
        .env("MULTIHOME_OPTIONS", "--run-dir /run/gw")
        .env("MULTIHOME_UPLINKS", "eth1=fibre eth2=cable")
        .envs(variables.iter().copied());
    let output = shell.output()?;
    ensure!(output.status.success(), "{hook}: {output:?}");
    ensure!(output.stderr.is_empty(), "{hook}: {output:?}");
    Ok(fs::read_to_string(here("multihome.told")).unwrap_or_default())
}

const FIBRE: &str = "prefix --run-dir /run/gw fibre 2001:db8:a::/48\n";
const NONE: &str = "prefix --run-dir /run/gw cable none\n";

#[test]
fn dhcpcd_tells_the_prefix_that_is_to_be_used() -> Result<()> {
    let bound = |reason| {
        vec![
            ("reason", reason),
            ("interface", "eth1"),
            ("new_dhcp6_ia_pd1_prefix1", "2001:db8:a::"),
            ("new_dhcp6_ia_pd1_prefix1_length", "48"),
            ("new_dhcp6_ia_pd1_prefix1_pltime", "3600"),
        ]
    };
    for reason in ["BOUND6", "RENEW6", "REBIND6", "REBOOT6"] {
        ensure!(
            told("dhcpcd.exit-hook", &[], &bound(reason))? == FIBRE,
            "{reason}"
        );
    }
    let mut renumbered = bound("RENEW6");
    renumbered.extend([
        ("new_dhcp6_ia_pd1_prefix2", "2001:db8:b::"),
        ("new_dhcp6_ia_pd1_prefix2_length", "48"),
        ("new_dhcp6_ia_pd1_prefix2_pltime", "0"),
    ]);
    ensure!(
        told("dhcpcd.exit-hook", &[], &renumbered)? == FIBRE,
        "an old prefix was told"
    );
    let expired = [("reason", "EXPIRE6"), ("interface", "eth2")];
    ensure!(told("dhcpcd.exit-hook", &[], &expired)? == NONE);
    // Other news, and other devices.
    for (reason, interface) in [
        ("ROUTERADVERT", "eth1"),
        ("BOUND", "eth1"),
        ("EXPIRE6", "eth3"),
    ] {
        let variables = [("reason", reason), ("interface", interface)];
        ensure!(
            told("dhcpcd.exit-hook", &[], &variables)?.is_empty(),
            "{reason} {interface}"
        );
    }
    Ok(())
}

#[test]
fn dhclient_tells_the_prefix_that_is_to_be_used() -> Result<()> {
    let new = ("new_ip6_prefix", "2001:db8:a::/48");
    for reason in ["BOUND6", "RENEW6", "REBIND6"] {
        let variables = [("reason", reason), ("interface", "eth1"), new];
        ensure!(
            told("dhclient-exit-hook", &[], &variables)? == FIBRE,
            "{reason}"
        );
    }
    let expired = [
        ("reason", "EXPIRE6"),
        ("interface", "eth2"),
        ("old_ip6_prefix", "2001:db8:a::/48"),
    ];
    ensure!(told("dhclient-exit-hook", &[], &expired)? == NONE);
    // An address alone has come or gone.
    for reason in ["BOUND6", "EXPIRE6", "PREINIT6"] {
        let variables = [("reason", reason), ("interface", "eth1")];
        ensure!(
            told("dhclient-exit-hook", &[], &variables)?.is_empty(),
            "{reason}"
        );
    }
    Ok(())
}

#[test]
fn odhcp6c_tells_the_first_prefix() -> Result<()> {
    let prefixes = (
        "PREFIXES",
        "2001:db8:a::/48,3600,7200 2001:db8:c::/56,60,120",
    );
    for event in ["bound", "rebound", "updated", "ra-updated"] {
        ensure!(
            told("odhcp6c-script", &["eth1", event], &[prefixes])? == FIBRE,
            "{event}"
        );
    }
    for event in ["unbound", "stopped"] {
        ensure!(
            told("odhcp6c-script", &["eth2", event], &[])? == NONE,
            "{event}"
        );
    }
    ensure!(told("odhcp6c-script", &["eth1", "started"], &[prefixes])?.is_empty());
    Ok(())
}
