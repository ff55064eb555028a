//! `cargo xtask ci`: what CI does, on this machine: the last commit in a fresh clone, `.ci/run`.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::run;

/// Options of `cargo xtask ci`.
#[derive(Args)]
pub struct Options {
    /// Keeps the clone after a run that passed
    #[arg(long)]
    keep: bool,
}

/// Runs `cargo xtask ci`.
pub fn run(options: &Options) -> Result<()> {
    let clone = run::target_dir().join("ci");
    if clone.exists() {
        fs::remove_dir_all(&clone).with_context(|| clone.display().to_string())?;
    }
    run::step(
        Command::new("git")
            .args(["clone", "--quiet"])
            .arg(run::workspace())
            .arg(&clone),
    )?;
    let mut ci = Command::new("bash");
    ci.arg(".ci/run").current_dir(&clone).env("CI", "true");
    // Cargo's home and the like stay; what is about this checkout would mislead the clone's cargo.
    run::forget_package(&mut ci);
    ci.env_remove("CARGO").env_remove("CARGO_TARGET_DIR");
    run::step(&mut ci)?;
    if !options.keep {
        fs::remove_dir_all(&clone).with_context(|| clone.display().to_string())?;
    }
    Ok(())
}
