//! Where bpf-linker lies: the one place that knows. `cargo xtask setup` puts it there, and the
//! build script of `multihome-user` includes this file to find it.

use std::{env, ffi::OsStr, path::PathBuf};

/// The version that [`cached`] names; it goes with the LLVM of the pinned rustc.
pub const VERSION: &str = "0.13.0";

/// The project's cache, `$XDG_CACHE_HOME/multihome`, by default `~/.cache/multihome`.
///
/// `None` when neither `XDG_CACHE_HOME` nor `HOME` says where that is.
pub fn cache_dir() -> Option<PathBuf> {
    // The XDG base directory specification: a relative path is invalid and must be ignored.
    let xdg = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute());
    let home = || {
        env::var_os("HOME")
            .filter(|home| !home.is_empty())
            .map(PathBuf::from)
    };
    xdg.or_else(|| Some(home()?.join(".cache")))
        .map(|dir| dir.join("multihome"))
}

/// The root that `cargo xtask setup` installs bpf-linker under, whether it is there or not.
pub fn cached_root() -> Option<PathBuf> {
    Some(cache_dir()?.join(format!("bpf-linker-{VERSION}")))
}

/// The bpf-linker to use: setup's own, else one in the directories of `path`, a value of `PATH`.
pub fn find(path: Option<&OsStr>) -> Option<PathBuf> {
    let cached = cached_root().map(|root| root.join("bin/bpf-linker"));
    let on_path = path
        .into_iter()
        .flat_map(env::split_paths)
        .map(|dir| dir.join("bpf-linker"));
    cached
        .into_iter()
        .chain(on_path)
        .find(|linker| linker.is_file())
}
