//! The guest's side of the kernel matrix: what the first program of a virtual machine does.
//!
//! `cargo xtask vm` packs the program `vm_init` into an initramfs and boots a kernel with it. There
//! is nothing else in the machine: no shell, no other process, no disk. Where it finds a [`job`], it takes
//! the host's files instead, and runs that.

mod guest;
pub mod job;
pub mod report;

use std::{fs, io::Write as _, panic, path::Path};

use anyhow::{Context as _, Result};
use aya::programs::Xdp;
use multihome::{
    config::XdpMode,
    dataplane::{Dataplane, PROGRAM_LAN, PROGRAM_TRUNK, PROGRAM_UPLINK, Sizes},
};
use nix::{
    mount::{MsFlags, mount},
    sys::{
        reboot::{RebootMode, reboot},
        utsname::uname,
    },
};

use crate::prog_run::{self, differential, kernel::Kernel};
use job::Job;
use report::Line;

/// Packets at random: their seed, and how many an emulated machine runs in a few seconds.
const SEED: u64 = 6;
const PACKETS: usize = 500;
/// Tables that are large enough for that.
const SIZES: Sizes = Sizes {
    flows: 1024,
    pools: 1,
};
/// The gateway's run directory in the machine.
const RUN_DIR: &str = "/run/multihome";

/// Reports on this kernel over the console and switches the machine off.
///
/// Only the first process of a machine may call this. It returns only when the machine cannot be
/// switched off.
pub fn first_process() -> Result<()> {
    // A panic would end the first process, and with it the kernel, before its text is written.
    let outcome = panic::catch_unwind(examine);
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            // The verifier's log is in there, line by line; the report wants one line.
            println!("{error:?}");
            say(&Line::Error(error.to_string()));
        }
        // The panic's own text is on the console already.
        Err(_) => say(&Line::Error("the guest's program panicked".to_owned())),
    }
    say(&Line::End);
    reboot(RebootMode::RB_POWER_OFF).context("cannot switch the machine off")?;
    Ok(())
}

fn examine() -> Result<()> {
    let kernel = uname().context("uname")?;
    say(&Line::Kernel(
        kernel.release().to_string_lossy().into_owned(),
    ));
    match fs::read_to_string(job::PLACE) {
        Ok(job) => {
            let job: Job = job.parse()?;
            let code = guest::run(&job)?;
            say(&Line::Done(code));
            Ok(())
        }
        Err(_none) => {
            mount_all()?;
            verify()?;
            golden()
        }
    }
}

/// Loads the programs as the gateway does, and reports how much work the verifier had with each.
fn verify() -> Result<()> {
    let (mut dataplane, _undo) = Dataplane::open(Path::new(RUN_DIR), XdpMode::Native, SIZES)?;
    for name in [PROGRAM_LAN, PROGRAM_UPLINK, PROGRAM_TRUNK] {
        let program = dataplane.ebpf_mut().program(name);
        let program: &Xdp = program
            .with_context(|| format!("no program {name}"))?
            .try_into()?;
        let instructions = program.info()?.verified_instruction_count();
        let instructions = instructions.context("this kernel does not count instructions")?;
        say(&Line::Program {
            name: name.to_owned(),
            instructions,
        });
    }
    Ok(())
}

/// Runs the golden tables, and compares this kernel with the host's code on packets at random.
fn golden() -> Result<()> {
    let report = prog_run::run_all()?;
    for failure in &report.failures {
        println!("{failure}");
    }
    let (passed, failed) = (report.passed, u32::try_from(report.failures.len())?);
    say(&Line::Golden { passed, failed });
    let mut kernel = Kernel::load()?;
    differential::run(&mut kernel, SEED, PACKETS).context("kernel and host differ")
}

/// Mounts what the kernel offers; the initramfs has the directories only.
fn mount_all() -> Result<()> {
    for (kind, place) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
    ] {
        fs::create_dir_all(place).with_context(|| place.to_owned())?;
        mount(
            Some(kind),
            Path::new(place),
            Some(kind),
            MsFlags::empty(),
            None::<&str>,
        )
        .with_context(|| format!("mounting {kind} on {place}"))?;
    }
    Ok(())
}

fn say(line: &Line) {
    println!("{line}");
    // The console has no other reader to be told when it cannot be written.
    drop(std::io::stdout().flush());
}
