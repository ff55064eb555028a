//! Taking everything away: programs off the devices, maps, the BPF file system.

use std::{fs, path::Path};

use super::{
    DataplaneError,
    attach::{self, LINK_PREFIX},
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
        // The kernel puts files of its own (maps.debug, progs.debug) beside the directories.
        for directory in entries(&root)?.into_iter().filter(|path| path.is_dir()) {
            let (links, maps): (Vec<_>, Vec<_>) = entries(&directory)?
                .into_iter()
                .partition(|path| is_link(path));
            for link in links {
                attach::detach(&link)?;
                detached.devices += 1;
            }
            for map in maps {
                remove("remove the pin", &map, |path| fs::remove_file(path))?;
                detached.maps += 1;
            }
            remove("remove", &directory, |path| fs::remove_dir(path))?;
        }
        pins::unmount_everywhere(&root);
    }
    if root.exists() {
        remove("remove", &root, |path| fs::remove_dir(path))?;
    }
    Ok(detached)
}

fn is_link(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(LINK_PREFIX))
}

fn entries(directory: &Path) -> Result<Vec<std::path::PathBuf>, DataplaneError> {
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
