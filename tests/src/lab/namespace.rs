//! One network namespace: entering it, and running programs in it.
//!
//! Programs are started here by setns(2) in the child, not by `ip netns exec`, which would also
//! give them mounts of their own: /sys/fs/bpf and /run stay those of the machine, as they are for
//! a gateway that runs without namespaces.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};

use super::ip_batch;

/// A namespace of a lab. Clones are the same namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    full_name: String,
    file: Arc<File>,
}

impl Namespace {
    /// Opens a namespace that `ip netns add` made.
    pub(super) fn open(prefix: &str, name: &str) -> Result<Self> {
        let full_name = format!("{prefix}{name}");
        let path = Path::new("/run/netns").join(&full_name);
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        let namespace = Self {
            name: name.to_owned(),
            full_name,
            file: Arc::new(file),
        };
        namespace.batch("link set lo up")?;
        Ok(namespace)
    }

    /// The name without the lab's prefix.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name that `ip netns` knows.
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// Runs a function on a thread that is in this namespace, and waits for it. Sockets that it
    /// makes stay in the namespace, whichever thread uses them.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("entering the namespace {}", self.full_name))?;
                Ok(inside())
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A command that will run in this namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let file = Arc::clone(&self.file);
        let mut command = Command::new(program);
        let enter = move || setns(file.as_fd(), CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
        // SAFETY: between fork and exec only async-signal-safe functions may be called. The
        // closure calls setns(2) alone, and does not allocate: the error holds a number.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// Runs a program in this namespace, and returns what it wrote to stdout. Fails, with what it
    /// wrote to stderr, when it fails.
    pub fn output(&self, words: &[&str]) -> Result<String> {
        let output = self
            .command(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {} (is it installed?)", words[0]))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "in {}: {}: {}\n{}{stdout}",
                self.name,
                words.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr),
            );
        }
        Ok(stdout)
    }

    /// Runs lines of iproute2's batch language in this namespace, all or up to the first that
    /// fails.
    pub fn batch(&self, script: &str) -> Result<()> {
        ip_batch(&["-netns", &self.full_name, "-batch", "-"], script)
    }

    /// Loads an nftables ruleset.
    pub fn nft(&self, ruleset: &str) -> Result<()> {
        let mut child = self
            .command("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting nft (package nftables)")?;
        child
            .stdin
            .take()
            .context("nft has no stdin")?
            .write_all(ruleset.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "nft in {}: {}\nof:\n{ruleset}",
                self.name,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }

    /// Sets kernel parameters, named as below /proc/sys with dots, one `name=value` each. A name
    /// that starts with `-` may be missing in the running kernel.
    pub fn sysctl(&self, settings: &[&str]) -> Result<()> {
        self.enter(|| {
            for setting in settings {
                let (name, value) = setting.split_once('=').context("a setting has no `=`")?;
                let optional = name.starts_with('-');
                let name = name.trim_start_matches('-');
                let path = Path::new("/proc/sys").join(name.replace('.', "/"));
                if optional && !path.exists() {
                    continue;
                }
                fs::write(&path, value).with_context(|| format!("setting {name} to {value}"))?;
            }
            Ok(())
        })?
    }

    /// Switches offloads of a device with `ethtool -K`, such as `["gro", "on"]`.
    pub fn offloads(&self, device: &str, words: &[&str]) -> Result<()> {
        let mut command = vec!["ethtool", "-K", device];
        command.extend(words);
        self.output(&command).map(drop)
    }
}
