//! Builds the XDP programs of the measurements: while this package compiles, `BENCH_OBJECT` is the path
//! of those that make traffic, `PARTS_OBJECT` of those that cut multihome's packet path short.

use std::process;

#[path = "../xtask/src/bpf_build.rs"]
mod bpf_build;
#[path = "../xtask/src/bpf_linker.rs"]
mod bpf_linker;

fn main() {
    match bpf_build::build("multihome-bench-ebpf", "tests/ebpf") {
        Ok(object) => {
            let parts = object.with_file_name("multihome-bench-parts");
            println!("cargo:rustc-env=BENCH_OBJECT={}", object.display());
            println!("cargo:rustc-env=PARTS_OBJECT={}", parts.display());
            // The parts are made of multihome's own code.
            println!("cargo:rerun-if-changed=../multihome-ebpf");
        }
        Err(message) => {
            // Cargo shows what a failed build script wrote; a panic's backtrace would hide it.
            eprintln!("error: {message}");
            process::exit(1);
        }
    }
}
