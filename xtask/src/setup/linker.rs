//! bpf-linker, built against the LLVM that rustc itself brings.
//!
//! rustc hands it LLVM bitcode, which only the same major version of LLVM is sure to read. rustc
//! carries that library, so no LLVM has to be installed: bpf-linker is linked to rustc's own.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{rust_src::rustc, say};
use crate::{bpf_linker, run};

const THING: &str = "bpf-linker";
/// The LLVM versions that this version of bpf-linker has a feature for.
const LLVM_VERSIONS: std::ops::RangeInclusive<u32> = 21..=23;

/// Makes sure that bpf-linker for this rustc lies in the project's cache, and starts.
pub fn ensure() -> Result<()> {
    let version = bpf_linker::VERSION;
    let root = bpf_linker::cached_root().context("neither XDG_CACHE_HOME nor HOME is set")?;
    let about = run::output(rustc().arg("-vV"))?;
    let sysroot = PathBuf::from(run::output(rustc().args(["--print", "sysroot"]))?);

    // Another rustc, or the same one moved, leaves a linker that does not start or cannot read
    // what rustc writes.
    let built_for = root.join("built-for");
    let wanted = format!("{about}\nsysroot: {}\n", sysroot.display());
    let recorded = fs::read_to_string(&built_for).unwrap_or_default();
    let starts = |linker: &Path| run::output(Command::new(linker).arg("--version")).is_ok();
    if let Some(linker) = bpf_linker::find(None).filter(|linker| starts(linker))
        && recorded == wanted
    {
        say(THING, &format!("already there ({})", linker.display()));
        return Ok(());
    }

    let llvm = llvm_of(&sysroot)?;
    let major = llvm_major(&about)?;
    if !LLVM_VERSIONS.contains(&major) {
        bail!(
            "bpf-linker {version} works with LLVM {} to {}, and this rustc has LLVM {major}; \
             install the rustc that rust-toolchain.toml names",
            LLVM_VERSIONS.start(),
            LLVM_VERSIONS.end(),
        );
    }
    say(
        THING,
        &format!("building {version} against rustc's own LLVM {major}, a matter of minutes"),
    );
    build(&root, &llvm, major).with_context(|| {
        format!(
            "bpf-linker could not be built. By hand: make sure that crates can be downloaded and \
             that a C linker is installed (Debian: apt-get install build-essential), then run \
             `cargo xtask setup` again; or install bpf-linker {version} with LLVM {major} on PATH \
             and build with cargo itself"
        )
    })?;
    let linker = bpf_linker::find(None).filter(|linker| starts(linker));
    let linker = linker.with_context(|| format!("the new linker in {} fails", root.display()))?;
    fs::write(&built_for, wanted).with_context(|| built_for.display().to_string())?;
    say(THING, &format!("is now {}", linker.display()));
    Ok(())
}

/// Installs bpf-linker under `root`, linked to the library `llvm`.
fn build(root: &Path, llvm: &Path, major: u32) -> Result<()> {
    // bpf-linker's build script looks for libLLVM.so below LLVM_PREFIX; rustc's has another name.
    let prefix = root.join("llvm");
    let link = prefix.join("lib/libLLVM.so");
    fs::create_dir_all(prefix.join("lib"))?;
    if link.is_symlink() {
        fs::remove_file(&link)?;
    }
    symlink(llvm, &link).with_context(|| format!("cannot link {}", link.display()))?;

    let library_dir = llvm.parent().context("libLLVM lies in no directory")?;
    let mut rpath = OsString::from("-Clink-arg=-Wl,-rpath,");
    rpath.push(library_dir);
    let mut cargo = run::cargo("install");
    cargo
        .args([
            "bpf-linker",
            "--version",
            bpf_linker::VERSION,
            "--locked",
            "--force",
        ])
        .args([
            "--no-default-features",
            "--features",
            &format!("llvm-{major}"),
            "--root",
        ])
        .arg(root)
        .env("LLVM_PREFIX", &prefix)
        .env("CARGO_ENCODED_RUSTFLAGS", rpath)
        // Its own release profile has all of them, which doubles the time that building takes.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        // Only where it is asked to, and with cargo's own temporary directory for building.
        .env_remove("CARGO_INSTALL_ROOT")
        .env_remove("CARGO_TARGET_DIR");
    for (name, _) in env::vars_os() {
        // A prefix for another version of llvm-sys would win over LLVM_PREFIX.
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("LLVM_SYS_"))
        {
            cargo.env_remove(name);
        }
    }
    run::step(&mut cargo)
}

/// The LLVM library that rustc loads.
fn llvm_of(sysroot: &Path) -> Result<PathBuf> {
    let rustc = sysroot.join("bin/rustc");
    let libraries = run::output(Command::new("ldd").arg(&rustc))?;
    library(&libraries, "libLLVM").with_context(|| {
        format!(
            "{} has LLVM built in, so bpf-linker cannot share it; use a rustc of the Rust project \
             (rustup) or of Debian",
            rustc.display()
        )
    })
}

/// The path of the library whose name starts with `name`, from what ldd prints.
fn library(ldd: &str, name: &str) -> Option<PathBuf> {
    let (_, path) = ldd
        .lines()
        .map(str::trim)
        .find(|l| l.starts_with(name))?
        .split_once(" => ")?;
    let (path, _address) = path.rsplit_once(" (")?;
    Some(path.into())
}

/// The major version of rustc's LLVM, from `rustc -vV`.
fn llvm_major(about: &str) -> Result<u32> {
    let version = about
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "));
    let major = version.and_then(|version| version.split('.').next()?.parse().ok());
    major.with_context(|| format!("rustc -vV names no version of LLVM:\n{about}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_in_what_ldd_prints() {
        let ldd = "\tlinux-vdso.so.1 (0x00007f7877c19000)\n\
                   \tlibLLVM.so.22.1-rust => /opt/a b/lib/libLLVM.so.22.1-rust (0x00007f786d000000)\n\
                   \tlibz.so.1 => /lib/libz.so.1 (0x0)\n";
        assert_eq!(
            library(ldd, "libLLVM"),
            Some("/opt/a b/lib/libLLVM.so.22.1-rust".into())
        );
        assert_eq!(library(ldd, "libclang"), None);
        assert_eq!(library("\tlibLLVM.so.22 => not found\n", "libLLVM"), None);
    }

    #[test]
    fn the_major_version_of_llvm_is_read() {
        let major = llvm_major("rustc 1.95.0\nLLVM version: 22.1.2").expect("a version is named");
        assert_eq!(major, 22);
        assert!(llvm_major("rustc 1.95.0").is_err());
    }
}
