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

/// Boots a kernel, hands each line of its console to `line`, and returns when the machine has
/// switched itself off or `limit` has passed; then it is stopped.
pub fn boot(
    kernel: &Path,
    initramfs: &Path,
    limit: Duration,
    mut line: impl FnMut(&str),
) -> Result<()> {
    let qemu = run::find_tool("qemu-system-x86_64").context("qemu-system-x86_64 is not on PATH")?;
    let mut machine = Machine(
        Command::new(qemu)
            // qemu 7.2, Debian 12's, emulates cmpxchg16b so that flags may be garbage after it, and a
            // third of boots ends in an oops. A kernel does without that instruction.
            .args(["-accel", "tcg", "-cpu", "max,-cx16", "-m", "1024"])
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
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start qemu-system-x86_64")?,
    );
    let console = machine.0.stdout.take().context("qemu has no console")?;
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
    let status = machine.0.wait().context("waiting for qemu")?;
    if !status.success() {
        bail!("qemu failed ({status})");
    }
    Ok(())
}

/// A running machine, stopped when it is dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It has ended already, unless its time was over; both calls then do nothing.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
