//! PPPoE sessions of the first uplink: pppoe-server at the provider's end, pppd at the gateway's.

use std::{fs, net::Ipv4Addr, time::Duration};

use anyhow::Result;

use super::{Process, topology::GatewayLab};

/// How long an emulated machine may take to bring a session up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the provider's end on this device: it gives the gateway this address.
///
/// # Errors
/// When it cannot be started.
pub fn server(lab: &GatewayLab, device: &str, remote: Ipv4Addr) -> Result<Process> {
    let uplink = &lab.uplinks[0];
    fs::create_dir_all("/etc/ppp")?;
    let options = lab.lab.dir().join("server-options");
    fs::write(
        &options,
        "noauth\nnoipdefault\n+ipv6\nlcp-echo-interval 1\nlcp-echo-failure 3\nnodetach\n",
    )?;
    let mut command = uplink.isp.command("pppoe-server");
    command
        .args(["-F", "-I", device, "-N", "1", "-L"])
        .arg(uplink.addresses.isp4.to_string())
        .args(["-R", &remote.to_string(), "-O"])
        .arg(&options);
    lab.lab.spawn("pppoe-server", command)
}

/// Starts the gateway's pppd on this device, which dials again when the session is lost.
///
/// # Errors
/// When it cannot be started.
pub fn client(lab: &GatewayLab, device: &str) -> Result<Process> {
    let mut command = lab.gateway.command("pppd");
    command.args(["plugin", "pppoe.so"]);
    command.arg(format!("nic-{device}"));
    command.args(["noauth", "nodetach", "noipdefault", "+ipv6", "unit", "0"]);
    command.args(["mtu", "1492", "mru", "1492"]);
    command.args(["lcp-echo-interval", "1", "lcp-echo-failure", "3"]);
    command.args(["persist", "maxfail", "0", "holdoff", "1", "user", "x"]);
    lab.lab.spawn("pppd", command)
}

/// Waits until the gateway's end has this address.
///
/// # Errors
/// When it does not get it for long, or pppd has ended.
pub fn wait_for_address(lab: &GatewayLab, client: &mut Process, address: Ipv4Addr) -> Result<()> {
    client.wait_until("connected", PATIENCE, |_| {
        lab.gateway
            .output(&["ip", "-4", "-oneline", "address", "show", "dev", "ppp0"])
            .is_ok_and(|said| said.contains(&format!("inet {address} ")))
    })
}
