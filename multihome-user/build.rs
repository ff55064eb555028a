//! Builds the XDP programs, and tells the library where the object lies: `MULTIHOME_OBJECT` is its
//! path while this package compiles.

use std::process;

#[path = "../xtask/src/bpf_build.rs"]
mod bpf_build;
#[path = "../xtask/src/bpf_linker.rs"]
mod bpf_linker;

fn main() {
    match bpf_build::build("multihome-ebpf", "multihome-ebpf") {
        Ok(object) => println!("cargo:rustc-env=MULTIHOME_OBJECT={}", object.display()),
        Err(message) => {
            // Cargo shows what a failed build script wrote; a panic's backtrace would hide it.
            eprintln!("error: {message}");
            process::exit(1);
        }
    }
}
