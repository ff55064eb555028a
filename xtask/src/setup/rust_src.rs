//! The standard library's source, of the very version of rustc that is used: `core` for the BPF
//! target is built from it.
//!
//! rustup has it as a component. Where rustup is not used or may not download, Debian's package
//! `rust-src` of the same version serves as well: it is the same for every architecture, so it
//! need not be of this machine's own release.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::say;
use crate::{
    bpf_linker,
    debian::{self, Archive},
    privilege, run,
};

const THING: &str = "standard library source";

/// Debian's suites, by how likely they have the version of rustc that the project pins, and how
/// small their lists are.
const SUITES: [&str; 6] = [
    "trixie-backports",
    "forky",
    "sid",
    "bookworm-backports",
    "trixie",
    "bookworm",
];

/// Makes sure that the source lies where `cargo build -Z build-std` looks for it.
pub fn ensure() -> Result<()> {
    let sysroot = PathBuf::from(run::output(rustc().args(["--print", "sysroot"]))?);
    let place = sysroot.join("lib/rustlib/src/rust");
    if is_source(&place) {
        say(THING, &format!("already there ({})", place.display()));
        return Ok(());
    }
    let version = rustc_version()?;
    let mut tried = String::new();
    for (way, attempt) in [
        (
            "rustup",
            from_rustup as fn(&str, &Path, &Path) -> Result<()>,
        ),
        ("Debian's package rust-src", from_debian),
    ] {
        match attempt(&version, &sysroot, &place) {
            Ok(()) if is_source(&place) => {
                say(
                    THING,
                    &format!("of rustc {version} is now in {}", place.display()),
                );
                return Ok(());
            }
            Ok(()) => tried += &format!("\n  {way}: left no source in {}", place.display()),
            Err(error) => tried += &format!("\n  {way}: {error:#}"),
        }
    }
    bail!(
        "the standard library's source of rustc {version} is not in {place}, and could not be \
         had:{tried}\nBy hand, one of:\n  \
         - rustup component add rust-src\n  \
         - get the package rust-src_{version}+*_all.deb from any Debian mirror; \
         `dpkg-deb -x` it somewhere, and link its usr/src/rustc-{version} as {place}\n  \
         - get the source release rustc-{version}-src of the Rust project, unpack it, and link it \
         as {place}",
        place = place.display()
    );
}

fn is_source(place: &Path) -> bool {
    place.join("library/core/Cargo.toml").is_file()
}

/// The rustc of the workspace.
pub fn rustc() -> Command {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.current_dir(run::workspace());
    rustc
}

/// rustc's version, such as `1.95.0`.
fn rustc_version() -> Result<String> {
    let about = run::output(rustc().arg("-vV"))?;
    let release = about
        .lines()
        .find_map(|line| line.strip_prefix("release: "));
    Ok(release.context("rustc -vV names no release")?.to_owned())
}

fn from_rustup(_version: &str, sysroot: &Path, _place: &Path) -> Result<()> {
    if run::find_tool("rustup").is_none() {
        bail!("not installed");
    }
    let managed = run::output(
        Command::new("rustup")
            .current_dir(run::workspace())
            .args(["which", "rustc"]),
    )?;
    let same = |a: &Path, b: &Path| Some(a.canonicalize().ok()? == b.canonicalize().ok()?);
    if same(Path::new(&managed), &sysroot.join("bin/rustc")) != Some(true) {
        bail!("does not manage the rustc in {}", sysroot.display());
    }
    say(THING, "adding rustup's component rust-src");
    run::step(Command::new("rustup").current_dir(run::workspace()).args([
        "component",
        "add",
        "rust-src",
    ]))
}

fn from_debian(version: &str, sysroot: &Path, place: &Path) -> Result<()> {
    let cache = bpf_linker::cache_dir().context("neither XDG_CACHE_HOME nor HOME is set")?;
    let unpacked = cache.join(format!("rust-src-{version}"));
    let source = unpacked.join(format!("usr/src/rustc-{version}"));
    if !is_source(&source) {
        say(THING, &format!("looking for Debian's rust-src {version}"));
        let archive = Archive::of_this_machine()?;
        let package = find(&archive, version)?;
        say(
            THING,
            &format!(
                "unpacking {} into {}",
                package.display(),
                unpacked.display()
            ),
        );
        debian::unpack(&package, &unpacked)?;
        fs::remove_file(&package).with_context(|| package.display().to_string())?;
        if !is_source(&source) {
            bail!("{} has no library/core/Cargo.toml", source.display());
        }
    }
    say(THING, &format!("linking it into {}", sysroot.display()));
    link(&source, place)
}

/// Downloads the package from the first suite that has the version, and says what each one has.
fn find(archive: &Archive, version: &str) -> Result<PathBuf> {
    for name in SUITES {
        let suite = archive.suite(name);
        match suite.and_then(|suite| Ok((suite.versions("rust-src")?, suite))) {
            Ok((versions, suite)) => {
                say(THING, &format!("{name} has {}", listed(&versions)));
                if let Some(same) = versions.iter().find(|offered| upstream(offered) == version) {
                    return suite.download("rust-src", same);
                }
            }
            Err(error) => say(THING, &format!("{error:#}")),
        }
    }
    bail!("no suite of this machine's mirror has version {version}, or the mirror is out of reach");
}

fn listed(versions: &[String]) -> String {
    if versions.is_empty() {
        "none".to_owned()
    } else {
        versions.join(", ")
    }
}

/// The upstream part of a Debian version: `1.95.0` of `1.95.0+dfsg1-2~bpo13+1`.
fn upstream(version: &str) -> &str {
    version.split(['+', '-', '~']).next().unwrap_or(version)
}

/// Makes `place` a link to the source, with root's help where the sysroot is root's.
fn link(source: &Path, place: &Path) -> Result<()> {
    let parent = place.parent().context("the sysroot has no parent")?;
    let own = fs::create_dir_all(parent).and_then(|()| {
        // A link whose target has gone is in the way; a real directory is not ours to remove.
        if place.is_symlink() {
            fs::remove_file(place)?;
        }
        symlink(source, place)
    });
    match own {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            run::step(privilege::root_command("mkdir")?.arg("-p").arg(parent))?;
            run::step(
                privilege::root_command("ln")?
                    .arg("-sfn")
                    .arg(source)
                    .arg(place),
            )
        }
        result => result.with_context(|| format!("cannot link {}", place.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::upstream;

    #[test]
    fn debian_versions_name_their_upstream_version() {
        assert_eq!(upstream("1.95.0+dfsg1-2~bpo13+1"), "1.95.0");
        assert_eq!(upstream("1.63.0-2"), "1.63.0");
        assert_eq!(upstream("1.96.0~beta.3-1"), "1.96.0");
        assert_eq!(upstream("1.95.0"), "1.95.0");
    }
}
