//! What a provider gives its customers: addresses by DHCP (dnsmasq), router advertisements (radvd) and
//! delegated prefixes (Kea); and the customer's programs that take them, on the gateway: udhcpc and dhcpcd.
//!
//! The programs are those of the distribution, with the scripts that they come with. Such a script writes
//! `/etc/resolv.conf` and other files of the machine, so the customer's programs get a copy of `/etc`, and
//! directories of their own where they keep what they know.

use std::{fs, net::Ipv4Addr, path::Path, time::Duration};

use anyhow::{Context as _, Result};

use super::{Process, topology::GatewayLab};

/// How long a program may take to be ready.
const START: Duration = Duration::from_secs(10);

/// Runs a program with a copy of `/etc` and empty directories for its state. The first word is the directory
/// of the copy, the others are the program's.
const WITH_OWN_FILES: &str = "mkdir -p \"$1\" && cp -a /etc \"$1/etc\" && mount --bind \"$1/etc\" /etc || exit 1\n\
     for place in /run /var/lib/dhcpcd /var/lib/dhcp; do\n\
     if [ -d $place ]; then mount -t tmpfs none $place || exit 1; fi; done\n\
     shift; exec \"$@\"";

/// What a DHCP server leases: one address, and the router.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// The customer's address.
    pub address: Ipv4Addr,
    /// The provider's router on the link, which runs the server too.
    pub router: Ipv4Addr,
    /// The length of their prefix.
    pub prefix_len: u8,
}

impl Lease {
    fn netmask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX << (32 - u32::from(self.prefix_len)))
    }
}

/// Starts the DHCP server of an uplink's provider. Without a lease it has none to give, and refuses each that is
/// asked for.
pub fn lease(lab: &GatewayLab, uplink: usize, lease: Option<Lease>) -> Result<Process> {
    let isp = &lab.uplinks[uplink].isp;
    let pool = match lease {
        Some(lease) => {
            let (address, router, mask) = (lease.address, lease.router, lease.netmask());
            isp.batch(&format!(
                "addr replace {router}/{} dev gw\n",
                lease.prefix_len
            ))?;
            let transit = lab.uplinks[uplink].addresses.transit4;
            lab.internet
                .batch(&format!("route replace {address}/32 via {transit}\n"))?;
            format!("--dhcp-range={address},{address},{mask},2m")
        }
        None => "--dhcp-range=192.0.2.240,static,255.255.255.240,2m".to_owned(),
    };
    if lease.is_none() {
        isp.batch("addr replace 192.0.2.241/28 dev gw\n")?;
    }
    let mut command = isp.command("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--user=root",
        "--port=0",
        "--interface=gw",
        "--bind-interfaces",
        "--no-hosts",
        "--no-ping",
        "--dhcp-authoritative",
        "--dhcp-sequential-ip",
        "--leasefile-ro",
        "--log-dhcp",
        "--log-facility=-",
        "--pid-file=",
        &pool,
    ]);
    let mut server = lab.lab.spawn("dnsmasq", command)?;
    server.wait_until("serving", START, |server| {
        (server.stdout() + &server.stderr()).contains("IP range")
            || (server.stdout() + &server.stderr()).contains("static leases only")
    })?;
    Ok(server)
}

/// Starts udhcpc on an uplink's device, as Debian runs it, in the foreground.
pub fn udhcpc(lab: &GatewayLab, uplink: usize) -> Result<Process> {
    let device = &lab.uplinks[uplink].device;
    let gateway = &lab.gateway;
    gateway.output(&["ip", "-4", "addr", "flush", "dev", device])?;
    let words = [
        "udhcpc",
        "-f",
        "-i",
        device,
        "-t",
        "3",
        "-T",
        "1",
        "-A",
        "1",
        "-s",
        "/etc/udhcpc/default.script",
    ];
    with_own_files(lab, "udhcpc", &words)
}

/// Starts dhcpcd on an uplink's device with this configuration, which may name `hook` as its exit hook.
pub fn dhcpcd(lab: &GatewayLab, uplink: usize, config: &str, hook: &Path) -> Result<Process> {
    let device = &lab.uplinks[uplink].device;
    let path = lab.lab.dir().join("dhcpcd.conf");
    fs::write(&path, config)?;
    // The place that dhcpcd(8) names for the administrator's own hook.
    let script = "cp \"$1\" /etc/dhcpcd.exit-hook && shift && exec \"$@\"";
    let (path, hook) = (text(&path)?, text(hook)?);
    let words = [
        "sh",
        "-c",
        script,
        "sh",
        hook,
        "dhcpcd",
        "--nobackground",
        "--config",
        path,
        device,
    ];
    with_own_files(lab, "dhcpcd", &words)
}

/// Starts radvd at an uplink's provider with this text between the braces of its interface.
pub fn advertise(lab: &GatewayLab, uplink: usize, text_of: &str) -> Result<Process> {
    let config = lab.lab.dir().join(format!("radvd-{uplink}.conf"));
    fs::write(
        &config,
        format!(
            "interface gw {{\n AdvSendAdvert on;\n MinRtrAdvInterval 3;\n MaxRtrAdvInterval 4;\n{text_of}\n}};\n"
        ),
    )?;
    let pid = lab.lab.dir().join(format!("radvd-{uplink}.pid"));
    let mut command = lab.uplinks[uplink].isp.command("radvd");
    command.args(["--nodaemon", "--logmethod", "stderr", "--config"]);
    command.arg(&config).arg("--pidfile").arg(&pid);
    lab.lab.spawn("radvd", command)
}

/// Starts Kea at an uplink's provider: it delegates this one prefix, and has it renewed every three seconds.
pub fn delegate(lab: &GatewayLab, uplink: usize, prefix: &str) -> Result<Process> {
    let (network, length) = prefix.split_once('/').context("a prefix has a length")?;
    let isp = &lab.uplinks[uplink].isp;
    let on_link = lab.uplinks[uplink].addresses.isp6;
    let config = lab.lab.dir().join(format!("kea-{uplink}.json"));
    fs::write(
        &config,
        format!(
            r#"{{"Dhcp6": {{
                "interfaces-config": {{"interfaces": ["gw"]}},
                "lease-database": {{"type": "memfile", "persist": false}},
                "server-id": {{"type": "LL", "persist": false}},
                "renew-timer": 3, "rebind-timer": 6, "preferred-lifetime": 60, "valid-lifetime": 120,
                "subnet6": [{{"id": 1, "subnet": "{on_link}/64", "interface": "gw",
                    "pd-pools": [{{"prefix": "{network}", "prefix-len": {length}, "delegated-len": {length}}}]}}],
                "loggers": [{{"name": "kea-dhcp6", "severity": "INFO",
                    "output_options": [{{"output": "stdout"}}]}}]
            }}}}"#
        ),
    )?;
    let program = find("kea-dhcp6")?;
    let mut command = isp.command(&program);
    command
        .arg("-c")
        .arg(&config)
        .env("KEA_PIDFILE_DIR", lab.lab.dir())
        .env("KEA_LOCKFILE_DIR", "none");
    if let Some(libraries) = program.parent() {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    let mut server = lab.lab.spawn("kea", command)?;
    server.wait_until("serving", START, |server| {
        server.stdout().contains("DHCP6_STARTED")
    })?;
    Ok(server)
}

/// Has an uplink's provider lead a prefix to his customer, as his router would that has delegated it: by the
/// link-local address of the customer's device.
pub fn lead(lab: &GatewayLab, uplink: usize, prefix: &str) -> Result<()> {
    let device = &lab.uplinks[uplink].device;
    let own = lab.gateway.output(&[
        "ip", "-6", "-o", "addr", "show", "dev", device, "scope", "link",
    ])?;
    let own = own
        .split_whitespace()
        .nth(3)
        .and_then(|own| own.split('/').next());
    let own = own.context("the device has no link-local address")?;
    lab.uplinks[uplink]
        .isp
        .batch(&format!("route replace {prefix} via {own} dev gw\n"))
}

/// Takes what the lab gave to an uplink's device: its global IPv6 addresses and default routes.
pub fn take_away(lab: &GatewayLab, uplink: usize) -> Result<()> {
    let device = &lab.uplinks[uplink].device;
    for words in [
        [
            "ip", "-6", "addr", "flush", "dev", device, "scope", "global",
        ],
        [
            "ip", "-6", "route", "flush", "dev", device, "exact", "default",
        ],
    ] {
        lab.gateway.output(&words)?;
    }
    Ok(())
}

/// Where a program lies in PATH.
fn find(name: &str) -> Result<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|dir| dir.join(name));
    places
        .find(|place| place.is_file())
        .with_context(|| format!("{name} is not on PATH; `cargo xtask setup` provides it"))
}

fn with_own_files(lab: &GatewayLab, label: &str, words: &[&str]) -> Result<Process> {
    let copy = lab.lab.dir().join(format!("files-{label}"));
    let mut command = lab.gateway.command("unshare");
    command
        .args(["--mount", "sh", "-c", WITH_OWN_FILES, "sh"])
        .arg(copy)
        .args(words);
    lab.lab.spawn(label, command)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path of the lab's own")
}
