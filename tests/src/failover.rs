//! How long until an uplink that is lost or sick carries nothing: each kind of loss many times, on the
//! defaults of `multihome run`, and the same losses in the same network under the kernel's own routes
//! with a script that pings and replaces them.

mod connection;
mod document;
mod kernel;
mod load;
mod loss;
mod own;
mod report;
mod watch;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::lab::topology::{GatewayLab, Plan};
use kernel::Kernel;
use loss::Loss;
use own::Own;
pub use report::Report;
use report::{Outcome, Row};

/// Measures how soon multihome moves traffic off a lost uplink, beside the kernel's routes and a script.
#[derive(Parser)]
#[command(name = "failover")]
pub struct Options {
    /// The gateway's program
    #[arg(long, value_name = "PATH", env = "MULTIHOME_BINARY")]
    binary: PathBuf,
    /// How often each kind of loss is tried
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    trials: u32,
    /// How often each kind of loss is tried with the kernel's routes and a script, which take minutes; 0
    /// leaves them out
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=1000))]
    peer_trials: u32,
    /// Seconds over which the work of a gateway with 64 uplinks is measured; 0 leaves it out
    #[arg(long, value_name = "S", default_value_t = 30)]
    load: u64,
    /// Only this kind of loss; may be repeated
    #[arg(long, value_enum, value_name = "LOSS")]
    only: Vec<Loss>,
    /// Print the results as one line of JSON to stdout, and all else to stderr
    #[arg(long)]
    pub json: bool,
    /// Put the figures into the documents of this folder, which has a failover.md; what is not measured stays
    #[arg(long, value_name = "FOLDER")]
    write_docs: Option<PathBuf>,
}

/// Measures all that is wanted.
///
/// # Errors
/// When something cannot be measured: a figure that misses its target is no error.
pub fn run(options: &Options) -> Result<Report> {
    let wanted = |loss: &Loss| options.only.is_empty() || options.only.contains(loss);
    let losses: Vec<Loss> = loss::ALL.into_iter().filter(wanted).collect();
    // What is a matter of milliseconds comes first: the others take minutes, and little of the machine.
    let mut own = Vec::new();
    for &loss in &losses {
        eprintln!("{}: {} trials", loss.name(), options.trials);
        let outcomes = Own::new(&options.binary, loss)?.trials(options.trials)?;
        eprintln!("{}", Row::new(loss, outcomes.clone(), None));
        own.push(outcomes);
    }
    let mut report = Report::default();
    if options.load > 0 && options.only.is_empty() {
        report.load = Some(load::measure(&options.binary, options.load)?);
    }
    for (loss, outcomes) in losses.into_iter().zip(own) {
        let peer = if options.peer_trials == 0 || !loss.concerns_kernel() {
            None
        } else {
            eprintln!(
                "{}, by the kernel's routes and a script: {} trials",
                loss.name(),
                options.peer_trials
            );
            Some(peer(loss, options.peer_trials)?)
        };
        report.rows.push(Row::new(loss, outcomes, peer));
    }
    if let Some(folder) = &options.write_docs {
        document::write(folder, &report)?;
    }
    Ok(report)
}

/// The same under the kernel's routes and a script.
fn peer(loss: Loss, trials: u32) -> Result<Vec<Outcome>> {
    let lab = GatewayLab::new(&Plan {
        private: loss.translates(),
        ..Plan::default()
    })?;
    let kernel = Kernel::start(&lab, loss.translates())?;
    let mut outcomes = Vec::new();
    for trial in 1..=trials {
        let outcome = kernel.trial(loss).with_context(|| {
            format!("trial {trial} of {} with the kernel's routes", loss.name())
        })?;
        outcomes.push(outcome);
    }
    drop(kernel);
    lab.lab.remove()?;
    Ok(outcomes)
}
