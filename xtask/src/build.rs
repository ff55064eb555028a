//! `cargo xtask build`: the gateway with its XDP programs inside, at `target/release/multihome`.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    run,
    setup::{self, Need},
};

/// Options of `cargo xtask build`.
#[derive(Args, Default)]
pub struct Options {
    /// Builds without optimization: target/debug/multihome (the XDP programs always have it)
    #[arg(long)]
    debug: bool,
}

/// Runs `cargo xtask build` and returns where the binary lies.
pub fn run(options: &Options) -> Result<PathBuf> {
    setup::ensure(Need::Build)?;
    let binary = compile("multihome", !options.debug)?;
    println!("build: {}", binary.display());
    Ok(binary)
}

/// Builds one binary of the workspace and returns where it lies.
pub fn compile(binary: &str, release: bool) -> Result<PathBuf> {
    let mut cargo = run::cargo("build");
    cargo.args(["--locked", "--bin", binary]);
    if release {
        cargo.arg("--release");
    }
    run::step(cargo.arg("--target-dir").arg(run::target_dir()))?;
    let built = run::target_dir()
        .join(if release { "release" } else { "debug" })
        .join(binary);
    ensure!(built.is_file(), "cargo left no {}", built.display());
    Ok(built)
}
