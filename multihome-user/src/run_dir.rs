//! The run directory: all that a gateway keeps on disk, for root alone, one controller at a time.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process,
};

use nix::unistd::Uid;
use thiserror::Error;

use crate::exit::{Classify, ExitClass};

pub mod kept;

/// The file in the run directory that a controller keeps locked while it runs.
const LOCK: &str = "lock";

/// Why a run directory cannot be used.
#[derive(Debug, Error)]
pub enum RunDirError {
    /// It cannot be made or looked at.
    #[error("cannot use the run directory {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something else than a directory stands there.
    #[error("the run directory {} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// Somebody else could put files there.
    #[error("the run directory {} can be written to by others (mode {mode:03o}, owner {owner})", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The user id of its owner.
        owner: u32,
    },
    /// Another controller has it.
    #[error("a controller is already running with {}{}", path.display(), process_id(*.pid))]
    AlreadyRunning {
        /// The directory.
        path: PathBuf,
        /// The process id of the controller, where it is known.
        pid: Option<u32>,
    },
}

fn process_id(pid: Option<u32>) -> String {
    pid.map(|pid| format!(", process {pid}"))
        .unwrap_or_default()
}

impl Classify for RunDirError {
    fn exit_class(&self) -> ExitClass {
        // Also of an error of the system: most often a parent that does not exist, or a path where
        // this user may not write.
        ExitClass::Input
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::AlreadyRunning { .. } => Some(
                "stop it first; a second gateway on this machine needs its own --run-dir".into(),
            ),
            Self::NotPrivate { path, .. } => {
                Some(format!("chown root {0} && chmod 700 {0}", path.display()))
            }
            Self::Io { .. } | Self::NotADirectory(_) => None,
        }
    }
}

/// A run directory that no other controller has, until this value is dropped or the process ends,
/// however it ends.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    // The lock goes with the open file.
    _lock: File,
}

impl RunDir {
    /// Makes the directory if it is not there, and takes it.
    pub fn take(path: &Path) -> Result<Self, RunDirError> {
        let failed = |source| RunDirError::Io {
            path: path.into(),
            source,
        };
        let file = path.join(LOCK);
        loop {
            prepare(path)?;
            let opened = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&file);
            let mut lock = match opened {
                Ok(lock) => lock,
                // The last holder has removed the directory in this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let pid = holder(&mut lock);
                    return Err(RunDirError::AlreadyRunning {
                        path: path.into(),
                        pid,
                    });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            // Between opening and locking, the last holder may have removed the file; then this is
            // the lock of nothing.
            let ours = lock.metadata().map_err(failed)?.ino();
            if fs::symlink_metadata(&file).is_ok_and(|metadata| metadata.ino() == ours) {
                // The content only serves the message above.
                lock.set_len(0)
                    .and_then(|()| writeln!(lock, "{}", process::id()))
                    .map_err(failed)?;
                return Ok(Self {
                    path: path.into(),
                    _lock: lock,
                });
            }
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory, unless something else than the lock is left in it. Dropping does so
    /// too, without telling what went wrong.
    ///
    /// # Errors
    /// When the directory cannot be read, or a removal is refused.
    pub fn remove(self) -> io::Result<()> {
        self.remove_unused()
    }

    fn remove_unused(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            if entry?.file_name() != LOCK {
                return Ok(());
            }
        }
        fs::remove_file(self.path.join(LOCK))?;
        fs::remove_dir(&self.path)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // A start that came to nothing leaves nothing. The lock is still held here.
        let _ = self.remove_unused();
    }
}

/// Who holds the lock, by what it wrote there.
fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

/// Makes the directory, with mode 0700, unless it is there; refuses one that others can write to,
/// since they could put a socket of their own in it.
fn prepare(path: &Path) -> Result<(), RunDirError> {
    let failed = |source| RunDirError::Io {
        path: path.into(),
        source,
    };
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        // The last holder has removed it in this moment, and maybe the next one has made it again;
        // opening the lock tells. Only a link that leads nowhere stays what it is.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_link(path) => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !metadata.is_dir() {
        return Err(RunDirError::NotADirectory(path.into()));
    }
    let (mode, owner) = (metadata.mode() & 0o777, metadata.uid());
    if mode & 0o022 != 0 || owner != Uid::effective().as_raw() {
        return Err(RunDirError::NotPrivate {
            path: path.into(),
            mode,
            owner,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it exists").mode() & 0o777
    }

    #[test]
    fn is_private_and_taken_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("gw");
        let first = RunDir::take(&path).expect("nobody has it");
        fs::write(path.join("kept"), "something of value").expect("room for a file");
        assert_eq!((mode(&path), mode(&path.join(LOCK))), (0o700, 0o600));

        let error = RunDir::take(&path).expect_err("somebody has it");
        let pid = process::id();
        assert_eq!(
            error.to_string(),
            format!(
                "a controller is already running with {}, process {pid}",
                path.display()
            )
        );
        drop(first);
        RunDir::take(&path).expect("nobody has it any more");
    }

    #[test]
    fn is_removed_when_nothing_is_left() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("gw");
        let kept = path.join("kept");
        let run_dir = RunDir::take(&path).expect("nobody has it");
        fs::write(&kept, "something of value").expect("room for a file");
        run_dir.remove().expect("there is nothing to remove");
        assert!(kept.exists());

        fs::remove_file(&kept).expect("it is there");
        drop(RunDir::take(&path).expect("nobody has it"));
        assert!(!path.exists());
    }

    #[test]
    fn many_at_once_have_it_one_after_the_other() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("gw");
        let holders = std::sync::atomic::AtomicU32::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let run_dir = loop {
                            match RunDir::take(&path) {
                                Ok(run_dir) => break run_dir,
                                Err(RunDirError::AlreadyRunning { .. }) => std::thread::yield_now(),
                                Err(error) => panic!("{}", crate::exit::message(&error)),
                            }
                        };
                        assert_eq!(holders.fetch_add(1, order), 0, "two have it");
                        std::thread::yield_now();
                        holders.fetch_sub(1, order);
                        drop(run_dir);
                    }
                });
            }
        });
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_of_others_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
        let error = RunDir::take(folder.path()).expect_err("others can write there");
        assert!(
            matches!(error, RunDirError::NotPrivate { mode: 0o777, .. }),
            "{error}"
        );
    }

    #[test]
    fn something_else_than_a_directory_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let error = RunDir::take(file.path()).expect_err("it is a file");
        assert!(matches!(error, RunDirError::NotADirectory(_)), "{error}");
        let error = RunDir::take(&file.path().join("x")).expect_err("it lies below a file");
        assert!(matches!(error, RunDirError::Io { .. }), "{error}");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).expect("room for a link");
        let error = RunDir::take(&link).expect_err("the link leads nowhere");
        assert!(matches!(error, RunDirError::Io { .. }), "{error}");
        let error = RunDir::take(Path::new("/nonexistent/x/y")).expect_err("no such parent");
        assert!(
            crate::exit::message(&error).ends_with("No such file or directory (os error 2)"),
            "{error}"
        );
    }
}
