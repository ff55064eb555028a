//! `cargo xtask bench`: measures speed, and fail-over over as many trials as the project's promises speak
//! of.

use std::{ffi::OsString, path::PathBuf};

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    build, privilege, run,
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
    #[arg(long, value_name = "FOLDER", conflicts_with = "quick")]
    write_docs: Option<PathBuf>,
}

impl Options {
    /// A run that shows that all can be measured.
    pub fn quick() -> Self {
        Self {
            quick: true,
            ..Self::default()
        }
    }

    /// What the program that measures fail-over is told.
    fn failover_words(&self) -> Vec<OsString> {
        let trials = if self.quick { 1 } else { self.trials };
        let mut words: Vec<OsString> = vec!["--trials".into(), trials.to_string().into()];
        if self.quick {
            words.extend(["--peer-trials", "0", "--load", "3"].map(OsString::from));
        }
        if self.json {
            words.push("--json".into());
        }
        if let Some(folder) = &self.write_docs {
            words.extend(["--write-docs".into(), folder.into()]);
        }
        words
    }

    /// What the program that measures speed is told.
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
    if let Some(folder) = &options.write_docs {
        ensure!(
            options.only.iter().all(|text| text == FAILOVER),
            "--write-docs {} needs all figures: of --only it goes with failover alone",
            folder.display()
        );
    }
    let failover = options.only.iter().any(|text| text == FAILOVER);
    if failover || options.only.is_empty() {
        measure_failover(options)?;
    }
    // Last, since with --json its last line is the result.
    if options.only.is_empty() || options.only.iter().any(|text| text != FAILOVER) {
        measure(options)?;
    }
    Ok(())
}

/// Measures fail-over, as root.
pub fn measure_failover(options: &Options) -> Result<()> {
    run_program("failover", options.failover_words())
}

/// Measures speed, as root.
pub fn measure(options: &Options) -> Result<()> {
    run_program("bench", options.words())
}

/// Runs one of the measurements' programs, as root, with the gateway's binary.
fn run_program(name: &str, words: Vec<OsString>) -> Result<()> {
    let gateway = build::compile("multihome", true)?;
    let program = build::compile(name, true)?;
    let mut command = privilege::root_command(program.as_os_str())?;
    command
        .current_dir(run::workspace())
        .env("PATH", run::tool_path());
    run::step(command.arg("--binary").arg(gateway).args(words))
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
        let words = [
            "--trials",
            "1",
            "--peer-trials",
            "0",
            "--load",
            "3",
            "--json",
        ];
        assert_eq!(options.failover_words(), words.map(OsString::from));
    }
}
