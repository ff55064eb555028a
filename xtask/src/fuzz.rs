//! `cargo xtask fuzz`: the packet path under libFuzzer, guided by coverage, on the pinned stable rustc.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::run;

/// Options of `cargo xtask fuzz`.
#[derive(Args)]
pub struct Options {
    /// For how long
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Puts what was found into the corpus of the project, and keeps of that only what is needed
    #[arg(long)]
    keep: bool,
}

/// What cargo-fuzz asks of rustc, but for the sanitizers, which only nightly has.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table --cfg fuzzing -Ccodegen-units=1";

/// Runs `cargo xtask fuzz`.
pub fn run(options: &Options) -> Result<()> {
    let package = run::workspace().join("fuzz");
    let target_dir = run::target_dir().join("fuzz");
    let host = host()?;
    run::step(
        run::cargo("build")
            .args(["--locked", "--release", "--target", &host])
            .arg("--manifest-path")
            .arg(package.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target_dir)
            .env("RUSTFLAGS", COVERAGE),
    )?;
    let fuzzer = target_dir.join(&host).join("release/packet_path");
    let kept = package.join("corpus/packet_path");
    let found = directory(target_dir.join("found"))?;
    run::step(
        Command::new(&fuzzer)
            .arg(format!("-max_total_time={}", options.seconds))
            .args(["-max_len=4096", "-timeout=10", "-print_final_stats=1"])
            .arg(format!("-artifact_prefix={}/", target_dir.display()))
            .arg(&found)
            .arg(&kept),
    )
    .context(
        "what it broke on is told above; the input lies in the directory that is named there",
    )?;
    if options.keep {
        let least = directory(target_dir.join("least"))?;
        fs::remove_dir_all(&least)?;
        fs::create_dir(&least)?;
        // Few and small inputs: the corpus is part of the project, and of each of its clones. One for
        // each edge, however often it is taken, will do.
        run::step(
            Command::new(&fuzzer)
                .args(["-set_cover_merge=1", "-use_counters=0", "-max_len=1024"])
                .args([&least, &kept, &found]),
        )?;
        fs::remove_dir_all(&kept)?;
        run::step(Command::new("cp").arg("-r").args([&least, &kept]))?;
    }
    Ok(())
}

fn directory(path: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// The target that rustc builds for by default: named, so that build scripts are not instrumented.
fn host() -> Result<String> {
    let version = run::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not tell its host")?.to_owned())
}
