//! Builds a package of XDP programs for the kernel's own target: what the build scripts have in
//! common that put such programs into a library.
//!
//! The BPF target has no prebuilt `core`, so cargo runs once more inside a build script, with the
//! same compiler, and builds `core` from the standard library's source. Stable rustc does so with
//! `RUSTC_BOOTSTRAP=1`.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
};

use crate::bpf_linker;

/// The profile of the workspace's Cargo.toml that the programs are built with.
const PROFILE: &str = "ebpf";

/// Builds `package`, which lies in the folder `source` of the workspace, and returns where its
/// object lies. Cargo is told to run the script again when that folder changes, or what the programs
/// share with user space.
///
/// # Errors
/// What went wrong, and what to do.
pub fn build(package: &str, source: &str) -> Result<PathBuf, String> {
    let workspace = variable("CARGO_MANIFEST_DIR")
        .map(PathBuf::from)?
        .join("..");
    let out = variable("OUT_DIR").map(PathBuf::from)?;
    let target = match variable("CARGO_CFG_TARGET_ENDIAN")?.to_str() {
        Some("big") => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    for place in [source, "multihome-common", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", workspace.join(place).display());
    }
    println!("cargo:rerun-if-changed=../xtask/src/bpf_linker.rs");
    println!("cargo:rerun-if-changed=../xtask/src/bpf_build.rs");
    println!("cargo:rerun-if-changed=build.rs");

    let rustc = variable("RUSTC")?;
    check_standard_library_source(&rustc)?;
    let linker = bpf_linker::find(env::var_os("PATH").as_deref()).ok_or_else(|| {
        format!(
            "bpf-linker {} is neither in {} nor on PATH; run: cargo xtask setup",
            bpf_linker::VERSION,
            bpf_linker::cached_root().unwrap_or_default().display(),
        )
    })?;

    let target_dir = out.join("ebpf");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(&workspace)
        .args([
            "build",
            "--package",
            package,
            "--profile",
            PROFILE,
            "--target",
            target,
        ])
        .args(["-Z", "build-std=core", "--target-dir"])
        .arg(&target_dir)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&linker));
    // What the outer cargo, clippy or a coverage tool set for the host must not reach this build.
    // RUSTC stays: it names the very compiler that the rest of the workspace is built with.
    for name in [
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_RUSTC_WRAPPER",
        "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
        "CLIPPY_ARGS",
        "CARGO_BUILD_TARGET",
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET_DIR",
        "CARGO_BUILD_BUILD_DIR",
        "CARGO_INCREMENTAL",
        "CARGO_BUILD_INCREMENTAL",
    ] {
        cargo.env_remove(name);
    }
    let status = cargo
        .status()
        .map_err(|error| format!("cannot run {cargo:?}: {error}"))?;
    if !status.success() {
        return Err(format!(
            "building {package} for {target} failed ({status}); if the linker itself did not \
             start, run: cargo xtask setup"
        ));
    }
    Ok(target_dir.join(target).join(PROFILE).join(package))
}

/// Flags for the eBPF crate and for `core`, in the form of `CARGO_ENCODED_RUSTFLAGS`.
fn rustflags(linker: &Path) -> OsString {
    let mut link = OsString::from("linker=");
    link.push(linker);
    // BTF is made from debug information. The v3 instruction set has 32-bit arithmetic and atomics
    // that return the old value; every kernel since 5.12 takes it.
    //
    // Headers stand at odd places in a frame. Without the last feature each field would be put
    // together from single bytes; with it, a byte array is read by words, which every CPU that
    // the kernel calls "efficient unaligned" (x86-64, arm64) takes, and the verifier too.
    let flags: [&OsStr; 10] = [
        "-C".as_ref(),
        "debuginfo=2".as_ref(),
        "-C".as_ref(),
        "link-arg=--btf".as_ref(),
        "-C".as_ref(),
        "target-cpu=v3".as_ref(),
        "-C".as_ref(),
        "target-feature=+allows-misaligned-mem-access".as_ref(),
        "-C".as_ref(),
        &link,
    ];
    flags.join(OsStr::new("\x1f"))
}

/// Fails unless the standard library's source lies where cargo looks for it.
fn check_standard_library_source(rustc: &OsStr) -> Result<(), String> {
    let output = Command::new(rustc)
        .args(["--print", "sysroot"])
        .output()
        .map_err(|error| format!("cannot run {}: {error}", rustc.display()))?;
    let sysroot = String::from_utf8_lossy(&output.stdout);
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library");
    if source.join("core/Cargo.toml").is_file() {
        return Ok(());
    }
    Err(format!(
        "the standard library's source is not in {}, and the XDP programs need it to build `core`; \
         run: cargo xtask setup",
        source.display()
    ))
}

/// A variable that cargo sets for every build script.
fn variable(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("{name} is not set; this script is run by cargo"))
}
