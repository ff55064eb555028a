//! `cargo xtask bench`: measures fail-over over as many trials as the project's promises speak of.

use std::ffi::OsString;

use anyhow::Result;
use clap::Args;

use crate::{
    build, demo, privilege,
    setup::{self, Need},
};

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub struct Options {
    /// How often each kind of fail-over is measured
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    trials: u32,
}

/// Runs `cargo xtask bench`.
pub fn run(options: &Options) -> Result<()> {
    privilege::check_for_xdp()?;
    setup::ensure(Need::Lab)?;
    let gateway = build::compile("multihome", true)?;
    let lab = build::compile("demo", true)?;
    demo::show(
        &lab,
        &gateway,
        &[
            OsString::from("--trials"),
            options.trials.to_string().into(),
        ],
    )
}
