//! Labs: networks made of namespaces of this machine's kernel, with everything in them removed
//! again, however the program that made them ends.
//!
//! A [`Lab`] owns a prefix, a directory and a guard. All namespaces have names that start with the
//! prefix, and the prefix holds the process id, so that what a killed run may have left can be
//! told from what a living one uses. The guard is a process that waits for the lab's owner to let
//! go or to die, and then removes processes, namespaces, mounts and the directory.
//!
//! [`GatewayLab`](topology::GatewayLab) is the network that the gateway's tests and the demo use.

pub mod connection;
pub mod controller;
pub mod cut;
mod guard;
pub mod link;
pub mod local;
pub mod namespace;
pub mod netlink;
pub mod pppoe;
pub mod process;
pub mod provider;
pub mod tagged;
pub mod topology;
pub mod translated;

use std::{
    fs::{self, File, TryLockError},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal};

use guard::{BASE_DIR, Guard};
pub use guard::{remove_all, sweep};
pub use namespace::Namespace;
pub use process::Process;

/// All prefixes start with this; a number, the owner's process id, follows.
pub const PREFIX: &str = "mh";

/// The capabilities that making a lab and loading XDP programs take, by bit in
/// linux/capability.h: CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN, CAP_BPF.
const CAPABILITIES: [u32; 4] = [12, 13, 21, 39];

/// Namespaces, a directory for files, and the guard that removes both.
///
/// Only one lab exists at a time on a machine, whichever program made it: labs measure time, and
/// two at once would measure each other. [`Lab::new`] waits for its turn.
pub struct Lab {
    prefix: String,
    dir: PathBuf,
    // In this order: the guard removes the lab, then the next one may be made.
    guard: Guard,
    _turn: File,
}

impl Lab {
    /// Makes an empty lab, after removing what dead runs have left.
    ///
    /// Fails, with what is missing, where the privilege or a tool is missing.
    pub fn new() -> Result<Self> {
        static LABS: AtomicU32 = AtomicU32::new(0);
        check_privilege()?;
        let turn = turn()?;
        sweep()?;
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}-", std::process::id());
        let dir = Path::new(BASE_DIR).join(format!("{prefix}lab"));
        let guard = Guard::start(&prefix, &dir)?;
        fs::create_dir(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(Self {
            prefix,
            dir,
            guard,
            _turn: turn,
        })
    }

    /// What the names of this lab's namespaces start with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A directory for the lab's files, removed with it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes namespaces with these names (without the prefix), and brings their loopback up.
    pub fn namespaces<const N: usize>(&self, names: [&str; N]) -> Result<[Namespace; N]> {
        let made = self.namespace_list(&names.map(String::from))?;
        Ok(made
            .try_into()
            .unwrap_or_else(|_| unreachable!("one namespace was made for each name")))
    }

    /// As [`Lab::namespaces`], for a number that is not known beforehand.
    pub fn namespace_list(&self, names: &[String]) -> Result<Vec<Namespace>> {
        let mut script = String::new();
        for name in names {
            script.push_str(&format!("netns add {}{name}\n", self.prefix));
        }
        ip_batch(&["-batch", "-"], &script)?;
        names
            .iter()
            .map(|name| Namespace::open(&self.prefix, name))
            .collect()
    }

    /// Starts a program in a namespace, with its output in files of the lab's directory.
    pub fn spawn(&self, label: &str, command: Command) -> Result<Process> {
        Process::spawn(&self.dir, label, command)
    }

    /// Removes the lab now, and says what could not be removed.
    pub fn remove(mut self) -> Result<()> {
        self.guard.release()
    }
}

/// How long a lab waits for what takes at most this long on a machine of the usual speed: as often as long as
/// `MULTIHOME_LAB_SLOWNESS` says, which a virtual machine with an emulated CPU sets.
pub fn patience(at_most: Duration) -> Duration {
    let slowness = std::env::var("MULTIHOME_LAB_SLOWNESS");
    at_most
        * slowness
            .ok()
            .and_then(|times| times.parse().ok())
            .unwrap_or(1)
}

/// Has this process's labs removed before a signal ends it; `program` says so.
pub fn clean_up_when_interrupted(program: &'static str) -> Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect();
    // In all threads: those that are started later inherit it. Started programs do not.
    signals.thread_block().context("blocking signals")?;
    thread::spawn(move || {
        let signal = signals.wait();
        eprintln!("\ninterrupted ({signal:?}): removing the lab");
        if let Err(error) = remove_all() {
            eprintln!("{program}: the lab was not removed cleanly: {error:#}");
        }
        std::process::exit(130);
    });
    Ok(())
}

/// Runs iproute2's `ip` once over many lines; `arguments` ends with `-batch -`.
pub(crate) fn ip_batch(arguments: &[&str], script: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting `ip` (package iproute2)")?;
    // The script is far smaller than a pipe's buffer, or ip reads while this writes.
    child
        .stdin
        .take()
        .context("ip has no stdin")?
        .write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "ip {}: {}\nof:\n{script}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Waits for this program's turn to have a lab.
///
/// The lock is one on the directory that all labs are in, so that no file is left of it.
fn turn() -> Result<File> {
    let dir = File::open(BASE_DIR).with_context(|| format!("opening {BASE_DIR}"))?;
    if let Err(TryLockError::WouldBlock) = dir.try_lock() {
        eprintln!("waiting for another lab on this machine to be removed");
        dir.lock().with_context(|| format!("locking {BASE_DIR}"))?;
    }
    Ok(dir)
}

fn check_privilege() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .context("/proc/self/status has no CapEff")?;
    if CAPABILITIES.iter().any(|bit| effective >> bit & 1 == 0) {
        bail!(
            "a lab of network namespaces needs root with CAP_NET_ADMIN, CAP_NET_RAW, \
             CAP_SYS_ADMIN and CAP_BPF (in a container: --privileged)"
        );
    }
    Ok(())
}
