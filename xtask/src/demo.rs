//! `cargo xtask demo`: shows the gateway at work in a lab of network namespaces.

use std::{ffi::OsString, path::Path};

use anyhow::Result;
use clap::Args;

use crate::{
    build, privilege, run,
    setup::{self, Need},
};

/// Options of `cargo xtask demo`.
#[derive(Args)]
pub struct Options {
    /// Passed to the demo, such as --json and --trials N; --help lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    demo: Vec<OsString>,
}

/// Runs `cargo xtask demo`.
pub fn run(options: &Options) -> Result<()> {
    // Before anything is built: the build takes minutes, and would be for nothing.
    privilege::check_for_xdp()?;
    setup::ensure(Need::Lab)?;
    let gateway = build::compile("multihome", true)?;
    let demo = build::compile("demo", true)?;
    show(&demo, &gateway, &options.demo)
}

/// Starts the demo as root, with the gateway's binary.
pub fn show(demo: &Path, gateway: &Path, options: &[OsString]) -> Result<()> {
    let mut command = privilege::root_command(demo.as_os_str())?;
    command
        .current_dir(run::workspace())
        .env("PATH", run::tool_path());
    run::step(command.arg("--binary").arg(gateway).args(options))
}
