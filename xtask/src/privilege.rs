//! What needs root: whether this process is root, how to become it, and which privileges XDP needs.

use std::{
    ffi::OsString,
    fs,
    io::{self, IsTerminal as _},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::run;

/// The capabilities that loading XDP programs and making network namespaces need, by their number
/// in linux/capability.h.
const NEEDED: [(u32, &str); 4] = [
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
    (21, "CAP_SYS_ADMIN"),
    (39, "CAP_BPF"),
];

/// The command words that come before a program's own, so that it runs as root: none for root,
/// else sudo's. Fails when there is no way to become root.
pub fn as_root() -> Result<Vec<OsString>> {
    if is_root()? {
        return Ok(Vec::new());
    }
    if run::find_tool("sudo").is_none() {
        bail!("this needs root, and sudo is not installed; run the same command as root");
    }
    // Without a terminal sudo cannot ask for a password, and must not hang while it tries to.
    if !io::stdin().is_terminal()
        && !Command::new("sudo")
            .args(["-n", "true"])
            .status()
            .is_ok_and(|status| status.success())
    {
        bail!("this needs root, and sudo would ask for a password; run the same command as root");
    }
    // sudo's own PATH leaves out what setup keeps in the project's cache.
    let mut path = OsString::from("PATH=");
    path.push(run::tool_path());
    Ok(vec![
        "sudo".into(),
        "--preserve-env".into(),
        "env".into(),
        path,
    ])
}

/// A command that runs as root.
pub fn root_command(program: impl Into<OsString>) -> Result<Command> {
    let mut words = as_root()?;
    words.push(program.into());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    Ok(command)
}

/// Fails, with what is missing, where root may not load XDP programs or make network namespaces,
/// as in a container without those privileges.
pub fn check_for_xdp() -> Result<()> {
    as_root()?;
    // For sudo, that it works has to be enough: what it may do is not known before it runs.
    if !is_root()? {
        return Ok(());
    }
    let effective = status_field("CapEff")?;
    let effective = u64::from_str_radix(&effective, 16).context("/proc/self/status: CapEff")?;
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(bit, _)| effective >> bit & 1 == 0)
        .map(|(_, name)| *name)
        .collect();
    if !missing.is_empty() {
        bail!(
            "loading XDP programs and making network namespaces is not possible here: root lacks \
             {}; if this is a container, start it with --privileged",
            missing.join(", ")
        );
    }
    Ok(())
}

fn is_root() -> Result<bool> {
    let ids = status_field("Uid")?;
    // Real, effective, saved and file system id; the effective one decides.
    Ok(ids.split_whitespace().nth(1) == Some("0"))
}

/// A field of this process's /proc/self/status.
fn status_field(name: &str) -> Result<String> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let field = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(field
        .with_context(|| format!("/proc/self/status has no {name}"))?
        .trim()
        .to_owned())
}
