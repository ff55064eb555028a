//! The state directory: what must outlive a reboot, for root alone, one gateway at a time.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::unistd::Uid;
use thiserror::Error;

use crate::exit::{Classify, ExitClass};

/// Why a state directory cannot be used.
#[derive(Debug, Error)]
pub enum StateDirError {
    /// It cannot be made or looked at.
    #[error("cannot use the state directory {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something else than a directory stands there.
    #[error("the state directory {} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// Somebody else could put files there.
    #[error("the state directory {} can be written to by others (mode {mode:03o}, owner {owner})", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The user id of its owner.
        owner: u32,
    },
    /// Another gateway has it.
    #[error("another gateway keeps its state in {}", .0.display())]
    Taken(PathBuf),
}

impl Classify for StateDirError {
    fn exit_class(&self) -> ExitClass {
        // Also of an error of the system: most often a parent that does not exist.
        ExitClass::Input
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Taken(_) => Some("give this one its own --state-dir".into()),
            Self::NotPrivate { path, .. } => {
                Some(format!("chown root {0} && chmod 700 {0}", path.display()))
            }
            Self::Io { .. } | Self::NotADirectory(_) => None,
        }
    }
}

/// A state directory that no other gateway has, until this value is dropped or the process ends.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    // The lock goes with the open directory.
    _lock: File,
}

impl StateDir {
    /// Makes the directory if it is not there, with mode 0700, and takes it.
    ///
    /// # Errors
    /// When it cannot be made, others can write to it, or another gateway has it.
    pub fn take(path: &Path) -> Result<Self, StateDirError> {
        let failed = |source| StateDirError::Io {
            path: path.into(),
            source,
        };
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let metadata = fs::metadata(path).map_err(failed)?;
        if !metadata.is_dir() {
            return Err(StateDirError::NotADirectory(path.into()));
        }
        let (mode, owner) = (metadata.mode() & 0o777, metadata.uid());
        if mode & 0o022 != 0 || owner != Uid::effective().as_raw() {
            return Err(StateDirError::NotPrivate {
                path: path.into(),
                mode,
                owner,
            });
        }
        let lock = File::open(path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.into(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(StateDirError::Taken(path.into())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn is_private_and_taken_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("state");
        let first = StateDir::take(&path).expect("nobody has it");
        let mode = fs::metadata(&path).expect("it is there").mode() & 0o777;
        assert_eq!(mode, 0o700);
        let second = StateDir::take(&path).expect_err("it is taken");
        assert!(matches!(second, StateDirError::Taken(_)), "{second}");
        drop(first);
        StateDir::take(&path).expect("it is free again");
    }

    #[test]
    fn what_others_can_write_to_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("state");
        fs::create_dir(&path).expect("room for a folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("it is ours");
        let error = StateDir::take(&path).expect_err("others could write there");
        assert!(matches!(error, StateDirError::NotPrivate { .. }), "{error}");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("room for a file");
        let error = StateDir::take(&file).expect_err("it is a file");
        assert!(matches!(error, StateDirError::NotADirectory(_)), "{error}");
        let error = StateDir::take(&folder.path().join("none/state")).expect_err("no parent");
        assert!(matches!(error, StateDirError::Io { .. }), "{error}");
    }
}
