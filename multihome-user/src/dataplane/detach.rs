//! Taking everything away: programs off the devices, maps, the BPF file system.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    DataplaneError,
    attach::{self, LINK_PREFIX},
    egress::{self, EGRESS_PREFIX},
    pins,
};

/// What was taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detached {
    /// Devices that ran a program.
    pub devices: usize,
    /// Maps.
    pub maps: usize,
}

/// Takes away all that any controller left attached below this run directory.
///
/// # Errors
/// When a link or pin cannot be removed; what comes after it stays.
pub fn detach(run_dir: &Path) -> Result<Detached, DataplaneError> {
    let root = pins::root(run_dir);
    let mut detached = Detached::default();
    if pins::is_bpf_fs(&root) {
        for directory in directories(&root)? {
            empty(&directory, &mut detached)?;
        }
    }
    remove_root(&root)?;
    Ok(detached)
}

/// Takes back what a start has made below a run directory, unless it is kept: a start that fails
/// leaves nothing that a later one would take for an earlier controller's.
#[derive(Debug)]
pub struct Undo {
    run_dir: PathBuf,
    pins: PathBuf,
    wanted: bool,
}

impl Undo {
    /// For a start with these pins; `wanted` unless they are an earlier controller's.
    pub(super) fn new(run_dir: &Path, pins: &Path, wanted: bool) -> Self {
        Self {
            run_dir: run_dir.to_path_buf(),
            pins: pins.to_path_buf(),
            wanted,
        }
    }

    /// The start has succeeded.
    pub fn keep(mut self) {
        self.wanted = false;
    }

    fn undo(&self) -> Result<(), DataplaneError> {
        empty(&self.pins, &mut Detached::default())?;
        let root = pins::root(&self.run_dir);
        // Another version's or network namespace's pins may lie beside.
        if directories(&root)?.is_empty() {
            remove_root(&root)?;
        }
        Ok(())
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if self.wanted
            && let Err(error) = self.undo()
        {
            tracing::error!("after a start that failed: {error}; run `multihome detach`");
        }
    }
}

/// Takes away the links and maps of a pin directory, and the directory itself.
fn empty(directory: &Path, detached: &mut Detached) -> Result<(), DataplaneError> {
    let (filters, others): (Vec<_>, Vec<_>) = entries(directory)?
        .into_iter()
        .partition(|path| begins(path, EGRESS_PREFIX));
    for filter in filters {
        egress::detach(&filter)?;
    }
    let (links, maps): (Vec<_>, Vec<_>) = others
        .into_iter()
        .partition(|path| begins(path, LINK_PREFIX));
    for link in links {
        attach::detach(&link)?;
        detached.devices += 1;
    }
    for map in maps {
        remove("remove the pin", &map, |path| fs::remove_file(path))?;
        detached.maps += 1;
    }
    remove("remove", directory, |path| fs::remove_dir(path))
}

/// Takes away the BPF file system, if there is one, and its place.
fn remove_root(root: &Path) -> Result<(), DataplaneError> {
    if pins::is_bpf_fs(root) {
        pins::unmount_everywhere(root);
    }
    if root.exists() {
        remove("remove", root, |path| fs::remove_dir(path))?;
    }
    Ok(())
}

/// The pin directories. The kernel puts files of its own (maps.debug, progs.debug) beside them.
fn directories(root: &Path) -> Result<Vec<PathBuf>, DataplaneError> {
    let mut found = entries(root)?;
    found.retain(|path| path.is_dir());
    Ok(found)
}

fn begins(path: &Path, prefix: &str) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, DataplaneError> {
    let unreadable = |source| DataplaneError::Path {
        action: "read",
        path: directory.into(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn remove(
    action: &'static str,
    path: &Path,
    how: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<(), DataplaneError> {
    how(path).map_err(|source| DataplaneError::Path {
        action,
        path: path.into(),
        source,
    })
}
