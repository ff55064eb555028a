//! `cargo xtask setup`: makes a fresh Debian or Ubuntu machine with cargo able to build and test.
//!
//! Each part first looks whether its work is done, so a second run only says so. What has to be
//! downloaded goes to the project's cache, and to the system only by its own package manager.

use anyhow::Result;
use clap::Args;

mod linker;
mod packages;
mod rust_src;

/// What setup makes possible; each one includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Building everything.
    Build,
    /// Running labs of network namespaces: the tests, the demo, the measurements.
    Lab,
    /// Booting other kernels in virtual machines.
    Vm,
}

/// Options of `cargo xtask setup`.
#[derive(Args)]
pub struct Options {
    /// Only what building needs: no system packages
    #[arg(long, conflicts_with = "vm")]
    build_only: bool,
    /// Also what the kernel matrix needs: qemu
    #[arg(long)]
    vm: bool,
}

/// Runs `cargo xtask setup`.
pub fn run(options: &Options) -> Result<()> {
    ensure(match options {
        Options {
            build_only: true, ..
        } => Need::Build,
        Options { vm: true, .. } => Need::Vm,
        Options { .. } => Need::Lab,
    })
}

/// Makes sure that what is needed is there, and says what it finds and does.
pub fn ensure(need: Need) -> Result<()> {
    rust_src::ensure()?;
    linker::ensure()?;
    if need >= Need::Lab {
        packages::ensure_lab()?;
    }
    if need >= Need::Vm {
        packages::ensure_vm()?;
    }
    Ok(())
}

/// Says what setup found or does about one thing.
fn say(thing: &str, state: &str) {
    println!("setup: {thing}: {state}");
}
