//! A WireGuard tunnel as an uplink, in a network namespace of its own that a veth pair joins to the gateway, by the
//! commands of the guide. `cargo xtask vm --test vm_tunnel` runs it.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use multihome_tests::{
    lab::{
        controller::{Gateway, Settings},
        topology::{GatewayLab, Plan, SERVER4},
    },
    traffic::ping,
};

/// The guide, whose commands are run as they stand there.
const GUIDE: &str = include_str!("../../docs/guide.md");
/// The customer's address in the tunnel, as the guide has it, and the provider's port.
const INSIDE: &str = "10.64.0.2";
const PORT: &str = "51820";

/// The lines of the first code block after a heading of the guide.
fn commands(heading: &str) -> Result<Vec<&'static str>> {
    let (_, section) = GUIDE
        .split_once(&format!("\n## {heading}\n"))
        .context("no such heading")?;
    let (_, block) = section.split_once("```sh\n").context("no commands")?;
    let (block, _) = block.split_once("```").context("the block has no end")?;
    Ok(block
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect())
}

fn key(of: &str) -> Result<[String; 2]> {
    let wg = |script: &str| -> Result<String> {
        let output = Command::new("sh")
            .args(["-c", script])
            .output()
            .context("wg")?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    let private = wg("wg genkey")?;
    let public = wg(&format!("echo {private} | wg pubkey"))?;
    ensure!(!private.is_empty() && !public.is_empty(), "no keys of {of}");
    Ok([private, public])
}

#[test]
fn wireguard_in_a_namespace_of_its_own_is_an_uplink() -> Result<()> {
    let lab = GatewayLab::new(&Plan {
        hosts: 1,
        ..Plan::private()
    })?;
    let ([own, own_public], [peer, peer_public]) = (key("the gateway")?, key("the provider")?);
    // The provider's end stands where the ISPs meet, and leads the customer's address into the tunnel.
    let key_file = lab.lab.dir().join("peer.key");
    fs::write(&key_file, peer)?;
    let path = key_file.to_str().context("a path of the lab's own")?;
    lab.internet.batch(&format!(
        "link add wg0 type wireguard\nlink set wg0 mtu 1420 up\nroute add {INSIDE}/32 dev wg0\n"
    ))?;
    lab.internet.output(&[
        "wg",
        "set",
        "wg0",
        "listen-port",
        PORT,
        "private-key",
        path,
        "peer",
        &own_public,
        "allowed-ips",
        &format!("{INSIDE}/32"),
    ])?;
    // The gateway's end, by the guide. The file is where the guide has it: the machine is ours.
    let endpoint = "203.0.113.1";
    fs::create_dir_all("/etc/wireguard")?;
    fs::write(
        "/etc/wireguard/wg0.conf",
        format!(
            "[Interface]\nPrivateKey = {own}\nFwMark = 7700\n[Peer]\nPublicKey = {peer_public}\n\
             Endpoint = {endpoint}:{PORT}\nAllowedIPs = 0.0.0.0/0\n"
        ),
    )?;
    for line in commands("Tunnels")? {
        lab.gateway.output(&["sh", "-c", line])?;
    }
    let mut settings = Settings::from_environment()?;
    settings.mode = "auto";
    settings.options = ["--probe-interval", "1s", "--uplink"]
        .map(String::from)
        .to_vec();
    settings.options.push(format!("vpn=vpn0,probe={SERVER4}"));
    settings.probe = vec![SERVER4.to_string()];
    settings.leave_out = vec!["fiber"];
    let gateway = Gateway::start_down(&lab, settings)?;
    gateway.wait_for("up by IPv4", Duration::from_secs(15), |status| {
        status
            .uplinks
            .iter()
            .all(|uplink| uplink.family_is_up("ipv4"))
    })?;
    // What is encrypted goes on by the cable, and all that hosts send by the tunnel.
    ensure!(
        gateway.run("drain", &["cable"])?.status.success(),
        "cable is not drained"
    );
    ping::ping(&lab, 0, SERVER4.into(), &[])?;
    let status = gateway.status()?;
    let vpn = status.uplinks.iter().find(|uplink| uplink.name == "vpn");
    let vpn = vpn.context("no such uplink")?;
    let outside = vpn.families["ipv4"]
        .as_ref()
        .map(|family| family.outside.clone());
    ensure!(outside == Some(vec![INSIDE.to_owned()]), "{status:?}");
    let transferred = lab.internet.output(&["wg", "show", "wg0", "transfer"])?;
    let received = transferred
        .split_whitespace()
        .nth(1)
        .and_then(|bytes| bytes.parse().ok());
    ensure!(
        received.is_some_and(|bytes: u64| bytes > 0),
        "{transferred}"
    );

    // A packet too large for the tunnel is answered with its MTU, so that full-size TCP goes through.
    let host = &lab.hosts[0].namespace;
    let traced = host.output(&["tracepath", "-4", "-n", "-m", "6", &SERVER4.to_string()])?;
    ensure!(traced.contains("pmtu 1420"), "{traced}");
    let _server = {
        let mut command = lab.server.command("iperf3");
        command.args(["--server", "--one-off"]);
        let mut server = lab.lab.spawn("iperf3", command)?;
        server.wait_until("listening", Duration::from_secs(5), |_| {
            lab.server
                .output(&["ss", "-Hltn", "sport = :5201"])
                .is_ok_and(|said| !said.is_empty())
        })?;
        server
    };
    let words = [
        "iperf3",
        "--client",
        &SERVER4.to_string(),
        "--bytes",
        "2M",
        "--reverse",
    ];
    host.output(&words)?;
    let flows = String::from_utf8(gateway.run("flows", &[])?.stdout)?;
    ensure!(flows.contains(&format!("{INSIDE}:")), "{flows}");
    drop(gateway);
    lab.gateway.output(&["ip", "netns", "del", "vpn"])?;
    Ok(())
}
