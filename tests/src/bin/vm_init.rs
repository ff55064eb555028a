//! The first and only program of a virtual machine of the kernel matrix; `cargo xtask vm` packs it.

use std::process::{self, ExitCode};

fn main() -> ExitCode {
    if process::id() != 1 {
        eprintln!("error: vm_init is the first process of a virtual machine; run: cargo xtask vm");
        return ExitCode::from(2);
    }
    match multihome_tests::vm::first_process() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
