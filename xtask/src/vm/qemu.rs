//! One run of a virtual machine, with its console read line by line and a limit on its time.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::run;

/// A machine to be booted.
pub struct Machine<'a> {
    /// The kernel's image.
    pub kernel: &'a Path,
    /// Its first file system.
    pub initramfs: &'a Path,
    /// Its memory, in MiB.
    pub memory: u32,
    /// How many CPUs it has.
    pub cpus: u32,
    /// The name under which it finds all files of this machine, read only, by 9p; `None` when it does not.
    pub share: Option<&'a str>,
}

/// Boots a machine, hands each line of its console to `line`, and returns when it has switched itself off or
/// `limit` has passed; then it is stopped.
pub fn boot(machine: &Machine<'_>, limit: Duration, mut line: impl FnMut(&str)) -> Result<()> {
    let mut running = Running(
        command(machine)?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start qemu-system-x86_64")?,
    );
    let console = running.0.stdout.take().context("qemu has no console")?;
    let (sender, lines) = mpsc::channel();
    // Reading blocks, and a machine that hangs writes nothing: only another thread can wait for it.
    let reader = thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + limit;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(text) => line(&text),
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if reader.join().is_err() {
        bail!("reading qemu's console failed");
    }
    let status = running.0.wait().context("waiting for qemu")?;
    if !status.success() {
        bail!("qemu failed ({status})");
    }
    Ok(())
}

/// The command that boots the machine.
fn command(machine: &Machine<'_>) -> Result<Command> {
    let qemu = run::find_tool("qemu-system-x86_64").context("qemu-system-x86_64 is not on PATH")?;
    let mut command = Command::new(qemu);
    command
        // qemu 7.2, Debian 12's, emulates cmpxchg16b so that flags may be garbage after it, and a
        // third of boots ends in an oops. A kernel does without that instruction.
        .args(["-accel", "tcg", "-cpu", "max,-cx16"])
        .args(["-m", &machine.memory.to_string()])
        .args(["-smp", &machine.cpus.to_string()])
        .args([
            "-nodefaults",
            "-display",
            "none",
            "-serial",
            "stdio",
            "-no-reboot",
        ])
        // A panic restarts the machine at once, which -no-reboot makes its end. On a busy host
        // the emulated timer may tick too late for the kernel's check of it.
        .args([
            "-append",
            "console=ttyS0 loglevel=4 panic=-1 no_timer_check",
        ])
        .arg("-kernel")
        .arg(machine.kernel)
        .arg("-initrd")
        .arg(machine.initramfs);
    if let Some(name) = machine.share {
        command.arg("-virtfs").arg(format!(
            "local,path=/,mount_tag={name},security_model=none,readonly=on,multidevs=remap"
        ));
    }
    Ok(command)
}

/// A running machine, stopped when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless its time was over; both calls then do nothing.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
