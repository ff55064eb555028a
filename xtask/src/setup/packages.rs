//! System packages that tests need.
//!
//! What is on PATH already is not installed. No package here starts a daemon; those that would are
//! unpacked into the project's cache instead of being installed, and only their libraries are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context as _, Result, bail};

use super::say;
use crate::{bpf_linker, debian, privilege, run};

/// Tools that the labs use, and Debian's and Ubuntu's package for each.
const LAB: [(&str, &str); 20] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("ethtool", "ethtool"),
    ("iperf3", "iperf3"),
    ("curl", "curl"),
    ("ping", "iputils-ping"),
    ("tracepath", "iputils-tracepath"),
    ("traceroute", "traceroute"),
    ("tcpdump", "tcpdump"),
    ("ps", "procps"),
    ("mount", "mount"),
    ("dig", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("dropbear", "dropbear-bin"),
    ("dropbearkey", "dropbear-bin"),
    ("mtr", "mtr-tiny"),
    ("openssl", "openssl"),
    ("ssh", "openssh-client"),
    ("udhcpc", "udhcpc"),
    ("dhcpcd", "dhcpcd-base"),
];

/// The library that FRR's programs share, which no other package has.
const FRR_LIBRARY: &str = if cfg!(target_arch = "aarch64") {
    "usr/lib/aarch64-linux-gnu/frr/libfrr.so.0"
} else {
    "usr/lib/x86_64-linux-gnu/frr/libfrr.so.0"
};

/// The libraries that Kea's programs share, which no other package has.
const KEA_LIBRARIES: &str = if cfg!(target_arch = "aarch64") {
    "usr/lib/aarch64-linux-gnu/libkea-*"
} else {
    "usr/lib/x86_64-linux-gnu/libkea-*"
};

/// Programs that are taken out of packages which are not installed: Debian's and Ubuntu's package, and
/// where it has them. A name that ends with `*` is of all files that begin so.
const TAKEN: [(&str, &[&str]); 9] = [
    // Checks the metrics.
    ("prometheus", &["usr/bin/promtool"]),
    ("nginx", &["usr/sbin/nginx"]),
    ("vsftpd", &["usr/sbin/vsftpd"]),
    (
        "coturn",
        &["usr/bin/turnserver", "usr/bin/turnutils_natdiscovery"],
    ),
    // Both speak BFD; FRR's daemons need their own library beside them.
    (
        "frr",
        &["usr/lib/frr/bfdd", "usr/lib/frr/zebra", FRR_LIBRARY],
    ),
    ("bird2", &["usr/sbin/bird", "usr/sbin/birdc"]),
    ("radvd", &["usr/sbin/radvd"]),
    // Delegates prefixes; it needs its own libraries beside it.
    ("kea-common", &[KEA_LIBRARIES]),
    ("kea-dhcp6-server", &["usr/sbin/kea-dhcp6"]),
];

/// Tools that the kernel matrix uses, and what runs only there: kmod and xz are for kernel modules.
const VM: [(&str, &str); 7] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("xz", "xz-utils"),
    ("depmod", "kmod"),
    ("modprobe", "kmod"),
    ("pppd", "ppp"),
    ("pppoe-server", "pppoe"),
    ("wg", "wireguard-tools"),
];

/// Makes sure that labs of network namespaces can run.
pub fn ensure_lab() -> Result<()> {
    install("tools for tests", &LAB)?;
    TAKEN
        .iter()
        .try_for_each(|(package, files)| take_out(package, files))
}

/// Makes sure that virtual machines can be started.
pub fn ensure_vm() -> Result<()> {
    install("tools for virtual machines", &VM)
}

/// Installs the packages of those tools that are not on PATH.
fn install(thing: &str, tools: &[(&str, &'static str)]) -> Result<()> {
    let missing = || -> Vec<&'static str> {
        let missing = tools
            .iter()
            .filter(|(tool, _)| run::find_tool(tool).is_none());
        missing.map(|(_, package)| *package).collect()
    };
    let packages = missing();
    if packages.is_empty() {
        say(thing, "already there");
        return Ok(());
    }
    say(thing, &format!("installing {}", packages.join(" ")));
    let installed = update().and_then(|()| {
        let mut apt = apt_get()?;
        apt.args(["install", "--yes", "--no-install-recommends"])
            .args(&packages);
        run::step(&mut apt)
    });
    installed.with_context(|| {
        format!(
            "{thing} could not be installed. By hand: install {}",
            packages.join(" ")
        )
    })?;
    let still = missing();
    if !still.is_empty() {
        bail!(
            "{} is installed, and its tool is still not on PATH",
            still.join(" ")
        );
    }
    Ok(())
}

/// Takes programs out of a package whose daemon is not wanted on a machine that only runs tests.
fn take_out(package: &'static str, files: &[&str]) -> Result<()> {
    let name = |file: &str| file.rsplit('/').next().unwrap_or_default().to_owned();
    let tools: Vec<String> = files.iter().map(|file| name(file)).collect();
    let thing = tools.join(", ");
    let is_there = |tool: &String| match tool.strip_suffix('*') {
        Some(start) => !beginning_with(&bin_dir(), start).is_empty(),
        None => run::find_tool(tool).is_some(),
    };
    if tools.iter().all(is_there) {
        say(&thing, "already there");
        return Ok(());
    }
    let by_hand = format!(
        "{thing} could not be had. By hand: put it on PATH; Debian has it in the package {package}"
    );
    let cache = bpf_linker::cache_dir().context("neither XDG_CACHE_HOME nor HOME is set")?;
    say(
        &thing,
        &format!("taking it out of the package {package}, which is not installed"),
    );
    update().context(by_hand.clone())?;
    let work = cache.join(package);
    fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
    let archive = debian::download_here(&work, package).context(by_hand)?;
    let libraries = debian::libraries_of(&archive)?;
    if !libraries.is_empty() {
        let mut apt = apt_get()?;
        // What is there already stays as it is.
        apt.args([
            "install",
            "--yes",
            "--no-install-recommends",
            "--no-upgrade",
        ])
        .args(&libraries);
        run::step(&mut apt)?;
    }
    let unpacked = work.join("unpacked");
    debian::unpack(&archive, &unpacked)?;
    fs::create_dir_all(cache.join("bin"))?;
    for file in files {
        let file = unpacked.join(file);
        let start = file.to_str().and_then(|file| file.strip_suffix('*'));
        let files = match start.map(Path::new) {
            Some(start) => {
                let start_of_name = start.file_name().and_then(|name| name.to_str());
                let dir = start.parent().unwrap_or(&unpacked);
                beginning_with(dir, start_of_name.unwrap_or_default())
            }
            None => vec![file],
        };
        for file in files {
            let name = file.file_name().unwrap_or_default();
            let place = cache.join("bin").join(name);
            copy_file(&file, &place)?;
            say(
                &name.to_string_lossy(),
                &format!("is now {}", place.display()),
            );
        }
    }
    fs::remove_dir_all(&work).with_context(|| work.display().to_string())
}

/// Where what is taken out of packages lies.
fn bin_dir() -> PathBuf {
    bpf_linker::cache_dir().unwrap_or_default().join("bin")
}

/// The files of a directory whose names begin so; none when there is no such directory.
fn beginning_with(dir: &Path, start: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let named = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(start))
    };
    entries.map(|entry| entry.path()).filter(named).collect()
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    // A library's name may be a link to the file, which has another name there too.
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// Renews the package lists, once in a run: a fresh machine has none.
fn update() -> Result<()> {
    static DONE: OnceLock<()> = OnceLock::new();
    if DONE.get().is_none() {
        run::step(apt_get()?.arg("update"))?;
        DONE.get_or_init(|| ());
    }
    Ok(())
}

/// apt-get as root, asking nothing.
fn apt_get() -> Result<Command> {
    if run::find_tool("apt-get").is_none() {
        bail!("this machine has no apt-get; use your own package manager");
    }
    let mut apt = privilege::root_command("env")?;
    // Passed as words: sudo may be set up to drop the environment.
    apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"]);
    Ok(apt)
}
