//! `cargo xtask test`: lint, unit, golden, e2e and vm, in this order, or those that are named.
//!
//! Cargo's output goes through as it is. The first kind that fails ends the run, so what broke is
//! the last thing on the screen.

use std::{
    ffi::OsString,
    fs, io,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};

use crate::{
    bench, build, privilege, run,
    setup::{self, Need},
    vm,
};

/// Where the tests lie that need root: those of [`in_golden`] need no network.
const INTEGRATION_TESTS: &str = "tests/tests";

/// Whether a file of tests runs packets through the programs alone, without a network.
fn in_golden(name: &str) -> bool {
    ["golden", "capacity", "model"]
        .iter()
        .any(|start| name.starts_with(start))
}

/// Whether a file of tests needs a kernel with all its modules, and runs in a virtual machine that has one.
fn in_vm(name: &str) -> bool {
    name.starts_with("vm_")
}

/// Options of `cargo xtask test`.
#[derive(Args)]
pub struct Options {
    /// Which tests; all of them by default
    #[arg(value_enum)]
    kinds: Vec<Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Formatting, and clippy with warnings denied, for the host and for the XDP programs
    Lint,
    /// Unit and property tests; they need no privilege
    Unit,
    /// Golden tables: the XDP programs in this machine's kernel, packet by packet
    Golden,
    /// The real gateway with real clients, in labs of network namespaces; and that all can be measured
    E2e,
    /// In virtual machines: the golden tables on the oldest supported kernel, and what needs VLAN devices or PPP
    Vm,
}

impl Kind {
    fn needs(self) -> Need {
        match self {
            Self::Lint | Self::Unit => Need::Build,
            Self::Golden | Self::E2e => Need::Lab,
            Self::Vm => Need::Vm,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Unit => "unit",
            Self::Golden => "golden",
            Self::E2e => "e2e",
            Self::Vm => "vm",
        }
    }

    fn run(self) -> Result<()> {
        match self {
            Self::Lint => lint(),
            Self::Unit => unit(),
            Self::Golden => as_root(in_golden),
            Self::E2e => {
                as_root(|name| !in_golden(name) && !in_vm(name))?;
                let quick = bench::Options::quick();
                bench::measure_failover(&quick)?;
                bench::measure(&quick)
            }
            Self::Vm => {
                vm::run_oldest()?;
                let mut names = integration_tests(INTEGRATION_TESTS)?;
                names.retain(|name| in_vm(name));
                vm::userland::test(&names, &[], false)
            }
        }
    }
}

/// Runs `cargo xtask test`.
pub fn run(options: &Options) -> Result<()> {
    let all = Kind::value_variants();
    let kinds: Vec<Kind> = all
        .iter()
        .filter(|k| options.kinds.is_empty() || options.kinds.contains(k))
        .copied()
        .collect();
    // Before anything is built: a run that cannot be completed should not take minutes to say so.
    if kinds
        .iter()
        .any(|kind| matches!(kind, Kind::Golden | Kind::E2e))
    {
        privilege::check_for_xdp().context(
            "the golden tables and the end-to-end tests cannot run (without privilege, \
             `cargo xtask test lint unit` can)",
        )?;
    }
    if let Some(need) = kinds.iter().map(|kind| kind.needs()).max() {
        setup::ensure(need)?;
    }
    let mut passed: Vec<(Kind, Duration)> = Vec::new();
    for kind in kinds {
        println!("\ntest: {}", kind.name());
        let started = Instant::now();
        kind.run()
            .with_context(|| format!("cargo xtask test {}", kind.name()))?;
        passed.push((kind, started.elapsed()));
    }
    println!();
    for (kind, took) in passed {
        println!("test: {:6} passed in {} s", kind.name(), took.as_secs());
    }
    Ok(())
}

fn lint() -> Result<()> {
    run::step(run::cargo("fmt").args(["--all", "--check"]))?;
    run::step(
        run::cargo("clippy")
            .args(["--locked", "--all-targets", "--"])
            .args(["--deny", "warnings"]),
    )?;
    // As the controller's build script builds it. A target directory of its own: with
    // RUSTC_BOOTSTRAP set, build scripts of shared dependencies decide otherwise, and would be
    // run again at each turn.
    run::step(
        run::cargo("clippy")
            .args([
                "--locked",
                "--package",
                "multihome-ebpf",
                "--profile",
                "ebpf",
            ])
            .args([
                "--target",
                "bpfel-unknown-none",
                "-Z",
                "build-std=core",
                "--target-dir",
            ])
            .arg(run::target_dir().join("ebpf-lint"))
            .args(["--", "--deny", "warnings"])
            .env("RUSTC_BOOTSTRAP", "1"),
    )
}

// All cargo commands here are for the workspace's default members, so that every dependency has
// the same features in each of them, and is built once.

fn unit() -> Result<()> {
    let mut cargo = run::cargo("test");
    cargo.args(["--locked", "--lib", "--bins"]);
    for package in ["multihome-common", "multihome-user", "xtask"] {
        for name in integration_tests(&format!("{package}/tests"))? {
            cargo.args(["--test", &name]);
        }
    }
    run::step(&mut cargo)?;
    run::step(run::cargo("test").args(["--locked", "--doc"]))
}

/// Runs those integration tests whose names are chosen, built as this user and run as root, with
/// the gateway's real binary in `MULTIHOME_BINARY`.
fn as_root(chosen: impl Fn(&str) -> bool) -> Result<()> {
    let mut names = integration_tests(INTEGRATION_TESTS)?;
    names.retain(|name| chosen(name));
    ensure!(
        !names.is_empty(),
        "there is no such test in {INTEGRATION_TESTS}"
    );
    let gateway = build::compile("multihome", true)?;
    let mut cargo = run::cargo("test");
    cargo.arg("--locked");
    for name in names {
        cargo.args(["--test", &name]);
    }
    let become_root = privilege::as_root()?;
    if !become_root.is_empty() {
        cargo.arg("--config").arg(runner(&become_root)?);
    }
    run::step(cargo.env("MULTIHOME_BINARY", gateway))
}

/// The names of all integration tests in a directory, so that none has to be listed anywhere.
fn integration_tests(directory: &str) -> Result<Vec<String>> {
    let path = run::workspace().join(directory);
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    let files = fs::read_dir(path).and_then(|files| files.collect::<io::Result<Vec<_>>>());
    for file in files.with_context(|| directory.to_owned())? {
        let path = file.path();
        // As cargo finds them: each file, and each directory with a main.rs.
        let is_test =
            path.extension().is_some_and(|kind| kind == "rs") || path.join("main.rs").is_file();
        if let Some(name) = path
            .file_stem()
            .and_then(|name| name.to_str())
            .filter(|_| is_test)
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The setting that makes cargo start test binaries through these words.
pub fn runner(words: &[OsString]) -> Result<String> {
    let quoted = words.iter().map(|word| {
        let word = word
            .to_str()
            .with_context(|| format!("{word:?} is not UTF-8"))?;
        // A TOML string in single quotes has no escapes.
        Ok(format!("'{word}'"))
    });
    let words = quoted.collect::<Result<Vec<String>>>()?.join(", ");
    Ok(format!("target.'cfg(unix)'.runner = [{words}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_binaries_are_started_through_sudo() {
        let words = ["sudo", "env", "PATH=/a b:/c"].map(OsString::from);
        assert_eq!(
            runner(&words).expect("the words are UTF-8"),
            "target.'cfg(unix)'.runner = ['sudo', 'env', 'PATH=/a b:/c']"
        );
    }
}
