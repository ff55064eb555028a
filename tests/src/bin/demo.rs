//! The demo's program: see `multihome_tests::demo`. Exits with 0 when all that it shows was as
//! promised, with 1 when not, and with 130 when it was interrupted.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use multihome_tests::{demo, lab};

fn main() -> ExitCode {
    match show() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn show() -> Result<bool> {
    let options = demo::Options::parse();
    lab::clean_up_when_interrupted("demo")?;
    let report = demo::run(&options)?;
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(report.ok)
}
