//! A program that runs in a lab, with its output in files, and that does not outlive its handle.

use std::{
    fs::{self, File},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{SigHandler, Signal, kill, signal},
    unistd::Pid,
};

use super::patience;

/// How often a condition is looked at again while waiting for it.
const POLL: Duration = Duration::from_millis(10);

/// A running or ended program. It is killed when the handle is dropped.
#[derive(Debug)]
pub struct Process {
    label: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    pub(super) fn spawn(dir: &Path, label: &str, mut command: Command) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let [stdout, stderr] =
            ["out", "err"].map(|stream| dir.join(format!("{number}-{label}.{stream}")));
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("creating {}", path.display()))
        };
        // A shell has what it starts in the background ignore Ctrl-C, and that is inherited: tests that run so would
        // start programs that no SIGINT ends.
        let heed = || {
            // SAFETY: the default action is no handler of ours.
            unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) }?;
            Ok(())
        };
        // SAFETY: between fork and exec only async-signal-safe functions may be called. The closure calls
        // signal(2) alone, and does not allocate: the error holds a number.
        unsafe { command.pre_exec(heed) };
        let child = command
            // Ctrl-C in a terminal is for the program that owns the lab; it ends these.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(create(&stdout)?)
            .stderr(create(&stderr)?)
            .spawn()
            .with_context(|| format!("starting {:?} (is it installed?)", command.get_program()))?;
        Ok(Self {
            label: label.to_owned(),
            child,
            stdout,
            stderr,
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stdout so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// True while it has not ended.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, signal).with_context(|| format!("sending {signal} to {}", self.label))
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it ends by itself. Fails, with its output, when that takes too long.
    pub fn wait(&mut self, at_most: Duration) -> Result<ExitStatus> {
        let at_most = patience(at_most);
        let deadline = Instant::now() + at_most;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!(
                    "{} did not end within {at_most:?}\n{}",
                    self.label,
                    self.said()
                );
            }
            thread::sleep(POLL);
        }
    }

    /// Waits until it ends by itself, and returns its stdout. Fails when it fails.
    pub fn finish(&mut self, at_most: Duration) -> Result<String> {
        let status = self.wait(at_most)?;
        if !status.success() {
            bail!("{}: {status}\n{}", self.label, self.said());
        }
        Ok(self.stdout())
    }

    /// Waits until the condition holds. Fails, with its output, when it ends before or when that
    /// takes too long.
    pub fn wait_until(
        &mut self,
        what: &str,
        at_most: Duration,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Result<()> {
        let at_most = patience(at_most);
        let deadline = Instant::now() + at_most;
        while !condition(self) {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended ({status}) before {what}\n{}",
                    self.label,
                    self.said()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "{}: not {what} within {at_most:?}\n{}",
                    self.label,
                    self.said()
                );
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// The last lines of its output, for a message.
    pub fn said(&self) -> String {
        let tail = |name: &str, text: String| {
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n  ");
            match last.is_empty() {
                true => String::new(),
                false => format!("{}, {name}:\n  {last}\n", self.label),
            }
        };
        tail("stdout", self.stdout()) + &tail("stderr", self.stderr())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        if ended.is_none() {
            // Errors mean that it has ended in this moment.
            drop(self.child.kill());
            drop(self.child.wait());
        }
        // A test has failed: what the programs said is the first thing to look at.
        if thread::panicking() {
            match ended {
                None => eprintln!("{} ran until the end", self.label),
                Some(status) => eprintln!(
                    "{} had ended: {status}, core dumped: {}",
                    self.label,
                    status.core_dumped()
                ),
            }
            eprint!("{}", self.said());
        }
    }
}

/// A file's text; empty when it cannot be read, as the process may have ended and gone.
fn read(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
