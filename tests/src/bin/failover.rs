//! The fail-over measurements' program: see `multihome_tests::failover`. Exits with 0 when all was
//! measured.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use multihome_tests::{failover, lab};

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failover: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<()> {
    let options = failover::Options::parse();
    lab::clean_up_when_interrupted("failover")?;
    let report = failover::run(&options)?;
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
