//! The demo's program: see `multihome_tests::demo`. Exits with 0 when all that it shows was as
//! promised, with 1 when not, and with 130 when it was interrupted.

use std::{process::ExitCode, thread};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use multihome_tests::{demo, lab};
use nix::sys::signal::{SigSet, Signal};

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
    clean_up_when_interrupted()?;
    let report = demo::run(&options)?;
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(report.ok)
}

/// Has the lab removed before a signal ends this program.
fn clean_up_when_interrupted() -> Result<()> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect();
    // In all threads: those that are started later inherit it. Started programs do not.
    signals.thread_block().context("blocking signals")?;
    thread::spawn(move || {
        let signal = signals.wait();
        eprintln!("\ninterrupted ({signal:?}): removing the lab");
        if let Err(error) = lab::remove_all() {
            eprintln!("demo: the lab was not removed cleanly: {error:#}");
        }
        std::process::exit(130);
    });
    Ok(())
}
