//! The project's own commands: `cargo xtask setup`, `build`, `test`, `demo`, `bench`, `vm`, `fuzz`, `ci`.
//!
//! This package depends on as little as possible, so that `cargo xtask setup` starts within seconds
//! on a fresh machine.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod bpf_linker;
mod build;
mod ci;
mod debian;
mod demo;
mod fuzz;
mod privilege;
mod run;
mod setup;
mod test;
mod vm;

/// The project's own commands. On a fresh machine, start with `demo` or `test`: they run `setup`.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs what building and testing need, and says each thing it does
    Setup(setup::Options),
    /// Builds the gateway with its XDP programs inside: target/release/multihome
    Build(build::Options),
    /// Runs the tests: all of them, or the kinds that are named
    Test(test::Options),
    /// Shows the gateway at work in a lab of network namespaces
    Demo(demo::Options),
    /// Measures speed side by side with the kernel's, and fail-over over many trials
    Bench(bench::Options),
    /// Runs the XDP programs' golden tables on Debian's kernels, in virtual machines
    Vm(vm::Options),
    /// Runs one program in a virtual machine: what cargo starts the tests of `vm --test` through
    #[command(hide = true)]
    VmRun(vm::userland::Options),
    /// Fuzzes the packet path on this machine, without privilege
    Fuzz(fuzz::Options),
    /// Runs what CI runs, on a fresh clone of the last commit
    Ci(ci::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup(options) => setup::run(&options),
        Command::Build(options) => build::run(&options).map(drop),
        Command::Test(options) => test::run(&options),
        Command::Demo(options) => demo::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Vm(options) => vm::run(&options),
        Command::VmRun(options) => vm::userland::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Ci(options) => ci::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not anyhow's own form, which adds a backtrace where RUST_BACKTRACE is set.
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}
