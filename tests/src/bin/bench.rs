//! The measurements' program: see `multihome_tests::bench`. Exits with 0 when all was measured.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use multihome_tests::{bench, lab};

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<()> {
    let options = bench::Options::parse();
    lab::clean_up_when_interrupted("bench")?;
    let results = bench::run(&options)?;
    if options.json {
        println!("{}", serde_json::to_string(&results)?);
    } else {
        print!("{}", bench::targets::table(&results.targets));
    }
    Ok(())
}
