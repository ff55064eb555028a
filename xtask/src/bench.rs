//! `cargo xtask bench`: measures speed, and fail-over over as many trials as the project's promises speak
//! of.

use std::{ffi::OsString, path::PathBuf};

use anyhow::Result;
use clap::Args;

use crate::{
    build, demo, privilege, run,
    setup::{self, Need},
};

/// What `--only` calls the trials of fail-over.
const FAILOVER: &str = "failover";

/// Options of `cargo xtask bench`.
#[derive(Args, Default)]
pub struct Options {
    /// Short windows, one round and one trial: shows that it works, and gives no figures to rely on
    #[arg(long)]
    quick: bool,
    /// End with one line of JSON: targets, and all figures with their spread
    #[arg(long)]
    json: bool,
    /// How often each figure is taken
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// How often each kind of fail-over is measured
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    trials: u32,
    /// Only what has this in its name, such as throughput_nat44, cost_ or failover
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Put the figures and the plot into the documents of this folder
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["quick", "only"])]
    write_docs: Option<PathBuf>,
}

impl Options {
    /// A run that shows that all works but the trials of fail-over, which have a test of their own.
    pub fn quick() -> Self {
        Self {
            quick: true,
            ..Self::default()
        }
    }

    /// What the measurements' program is told.
    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        for (given, word) in [(self.quick, "--quick"), (self.json, "--json")] {
            if given {
                words.push(word.into());
            }
        }
        if let Some(rounds) = self.rounds {
            words.extend(["--rounds".into(), rounds.to_string().into()]);
        }
        for text in self.only.iter().filter(|text| *text != FAILOVER) {
            words.extend(["--only".into(), text.into()]);
        }
        if let Some(folder) = &self.write_docs {
            words.extend(["--write-docs".into(), folder.into()]);
        }
        words
    }
}

/// Runs `cargo xtask bench`.
pub fn run(options: &Options) -> Result<()> {
    privilege::check_for_xdp()?;
    setup::ensure(Need::Lab)?;
    let gateway = build::compile("multihome", true)?;
    let failover = options.only.iter().any(|text| text == FAILOVER);
    if failover || options.only.is_empty() {
        let trials = if options.quick { 1 } else { options.trials };
        let lab = build::compile("demo", true)?;
        let words = ["--trials".into(), OsString::from(trials.to_string())];
        demo::show(&lab, &gateway, &words)?;
    }
    // Last, since with --json its last line is the result.
    if options.only.is_empty() || options.only.iter().any(|text| text != FAILOVER) {
        measure(options)?;
    }
    Ok(())
}

/// Measures speed, as root.
pub fn measure(options: &Options) -> Result<()> {
    let gateway = build::compile("multihome", true)?;
    let bench = build::compile("bench", true)?;
    let mut command = privilege::root_command(bench.as_os_str())?;
    command
        .current_dir(run::workspace())
        .env("PATH", run::tool_path());
    run::step(command.arg("--binary").arg(gateway).args(options.words()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measurements_are_told_all_but_what_is_of_the_trials() {
        let options = Options {
            json: true,
            rounds: Some(3),
            only: vec!["cost_".to_owned(), FAILOVER.to_owned()],
            ..Options::quick()
        };
        let words = ["--quick", "--json", "--rounds", "3", "--only", "cost_"];
        assert_eq!(options.words(), words.map(OsString::from));
    }
}
