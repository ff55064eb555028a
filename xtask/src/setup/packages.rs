//! System packages that tests need, and promtool.
//!
//! What is on PATH already is not installed. No package here starts a daemon; the one that would,
//! Debian's prometheus, is unpacked into the project's cache instead of being installed.

use std::{fs, path::Path, process::Command, sync::OnceLock};

use anyhow::{Context as _, Result, bail};

use super::say;
use crate::{bpf_linker, debian, privilege, run};

/// Tools that the labs use, and Debian's and Ubuntu's package for each.
const LAB: [(&str, &str); 11] = [
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
];

/// Tools that the kernel matrix uses. xz unpacks kernel modules.
const VM: [(&str, &str); 2] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("xz", "xz-utils"),
];

/// Makes sure that labs of network namespaces can run.
pub fn ensure_lab() -> Result<()> {
    install("tools for tests", &LAB)?;
    ensure_promtool()
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

/// promtool checks the metrics. Debian has it in the package prometheus, whose server is not
/// wanted on a machine that only runs tests.
fn ensure_promtool() -> Result<()> {
    if let Some(tool) = run::find_tool("promtool") {
        say("promtool", &format!("already there ({})", tool.display()));
        return Ok(());
    }
    let by_hand = "promtool could not be had. By hand: put it on PATH; Debian has it in the package \
                   prometheus";
    let cache = bpf_linker::cache_dir().context("neither XDG_CACHE_HOME nor HOME is set")?;
    say(
        "promtool",
        "taking it out of the package prometheus, which is not installed",
    );
    update().context(by_hand)?;
    let work = cache.join("prometheus");
    fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
    let package = debian::download_here(&work, "prometheus").context(by_hand)?;
    let unpacked = work.join("unpacked");
    debian::unpack(&package, &unpacked)?;
    let place = cache.join("bin/promtool");
    fs::create_dir_all(cache.join("bin"))?;
    move_file(&unpacked.join("usr/bin/promtool"), &place)?;
    fs::remove_dir_all(&work).with_context(|| work.display().to_string())?;
    say("promtool", &format!("is now {}", place.display()));
    Ok(())
}

fn move_file(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
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
