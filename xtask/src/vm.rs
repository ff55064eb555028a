//! `cargo xtask vm`: the kernel matrix. Debian's kernels boot in qemu, take both XDP programs and
//! run their golden tables; the result is a small table.
//!
//! KVM is not used: a kernel with an initramfs of a few megabytes boots in seconds without it, and
//! the same way on every machine.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    build, run,
    setup::{self, Need},
};

mod cpio;
mod initramfs;
mod kernels;
mod modules;
mod qemu;
#[path = "../../tests/src/vm/report.rs"]
mod report;
pub mod userland;

use kernels::{Kernel, Series};

/// A machine that has said nothing of its end by then has hung. It takes ten seconds; on a busy host,
/// minutes.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// Options of `cargo xtask vm`.
#[derive(Args)]
pub struct Options {
    /// Which kernels; each stays in the cache once it is downloaded
    #[arg(
        long = "kernel",
        value_enum,
        value_delimiter = ',',
        default_value = "all"
    )]
    series: Vec<Choice>,
    /// Instead of the matrix, runs this file of tests (tests/tests/NAME.rs) with Debian's full kernel, which
    /// has VLAN devices, PPP and WireGuard, and this machine's programs
    #[arg(long = "test", value_name = "NAME", conflicts_with = "series")]
    tests: Vec<String>,
    /// Builds without optimization
    #[arg(long)]
    debug: bool,
    /// With --test: words for the test program, such as a test's name
    #[arg(last = true, requires = "tests")]
    words: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Choice {
    /// Debian 12's, the oldest supported
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13's
    #[value(name = "6.12")]
    V6_12,
    /// The newest of Debian 13's backports
    Newest,
    /// All of these
    All,
}

/// Runs `cargo xtask vm`.
pub fn run(options: &Options) -> Result<()> {
    if !options.tests.is_empty() {
        return userland::test(&options.tests, &options.words, options.debug);
    }
    let chosen = |choice| options.series.contains(&choice) || options.series.contains(&Choice::All);
    let all = [
        (Choice::V6_1, Series::V6_1),
        (Choice::V6_12, Series::V6_12),
        (Choice::Newest, Series::Newest),
    ];
    let series: Vec<Series> = all
        .into_iter()
        .filter(|(choice, _)| chosen(*choice))
        .map(|(_, series)| series)
        .collect();
    matrix(&series, options.debug)
}

/// Runs the matrix on the oldest supported kernel alone, whose verifier accepts least.
pub fn run_oldest() -> Result<()> {
    matrix(&[Series::V6_1], false)
}

/// One row of the table.
struct Row {
    kernel: String,
    passed: u32,
    failed: u32,
    /// Each program's name and verified instructions.
    programs: Vec<(String, u32)>,
    /// Why the kernel does not count as passed.
    trouble: Option<String>,
}

fn matrix(series: &[Series], debug: bool) -> Result<()> {
    check_architecture()?;
    setup::ensure(Need::Vm)?;
    let init = build::compile("vm_init", !debug)?;
    let initramfs = run::target_dir().join("multihome-initramfs.cpio");
    initramfs::pack(&init, &[], &initramfs).context("packing the initramfs")?;
    let mut rows = Vec::new();
    let mut skipped = Vec::new();
    for series in series {
        match Kernel::get(*series) {
            Ok(kernel) => rows.push(boot(&kernel, &initramfs)),
            Err(error) => skipped.push(format!("kernel {}: {error:#}", series.name())),
        }
    }
    show(&rows, &skipped)
}

/// Fails on machines whose programs the kernels do not run.
fn check_architecture() -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the kernel matrix boots x86-64 kernels, and this machine builds for another CPU");
    }
    Ok(())
}

/// Boots a kernel and collects what it reports.
fn boot(kernel: &Kernel, initramfs: &Path) -> Row {
    println!("\nvm: booting {}", kernel.release);
    let mut row = Row {
        kernel: kernel.release.clone(),
        passed: 0,
        failed: 0,
        programs: Vec::new(),
        trouble: None,
    };
    let mut ended = false;
    let machine = qemu::Machine {
        kernel: &kernel.image,
        initramfs,
        memory: 1024,
        cpus: 1,
        share: None,
    };
    let run = qemu::boot(&machine, TIME_LIMIT, |console| {
        println!("{:>8} | {console}", kernel.series.name());
        match report::Line::read(console) {
            Some(report::Line::Kernel(release)) => row.kernel = release,
            Some(report::Line::Program { name, instructions }) => {
                row.programs.push((name, instructions));
            }
            Some(report::Line::Golden { passed, failed }) => {
                row.passed += passed;
                row.failed += failed;
            }
            Some(report::Line::Error(text)) => row.trouble = Some(text),
            Some(report::Line::End) => ended = true,
            Some(report::Line::Done(_)) | None => {}
        }
    });
    if let Err(error) = run {
        row.trouble.get_or_insert(format!("{error:#}"));
    } else if !ended {
        row.trouble.get_or_insert(format!(
            "the machine ended, or was stopped after {} s, before its report was complete",
            TIME_LIMIT.as_secs()
        ));
    } else if row.failed > 0 {
        row.trouble
            .get_or_insert(format!("{} golden rows failed", row.failed));
    } else if row.passed == 0 {
        row.trouble
            .get_or_insert("no golden row was run".to_owned());
    }
    row
}

/// Prints the table; fails when a kernel did, or when none could be had.
fn show(rows: &[Row], skipped: &[String]) -> Result<()> {
    println!(
        "\n{:32} {:>13} {:>13}   verified instructions",
        "kernel", "golden passed", "failed"
    );
    for row in rows {
        let programs = row
            .programs
            .iter()
            .map(|(name, count)| format!("{name} {count}"));
        let programs = programs.collect::<Vec<_>>().join(", ");
        println!(
            "{:32} {:>13} {:>13}   {programs}",
            row.kernel, row.passed, row.failed
        );
    }
    for row in rows {
        if let Some(trouble) = &row.trouble {
            println!("FAILED: kernel {}: {trouble}", row.kernel);
        }
    }
    for kernel in skipped {
        println!("SKIPPED, NOT TESTED: {kernel}");
    }
    let failed = rows.iter().filter(|row| row.trouble.is_some()).count();
    println!(
        "vm: {} passed, {failed} failed, {} skipped",
        rows.len() - failed,
        skipped.len()
    );
    if failed > 0 {
        bail!("{failed} of {} kernels failed", rows.len());
    }
    if rows.is_empty() {
        bail!("no kernel could be had, so nothing was tested");
    }
    Ok(())
}
