//! Small text files in the run directory, by which one controller leaves something to the next.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::RunDir;

/// The most that is read of a file, in bytes: what 64 uplinks need fits ten times over.
pub const MAX_FILE: usize = 64 * 1024;

/// Why a file cannot be kept, or not be read.
#[derive(Debug, Error)]
#[error("cannot {action} {}", path.display())]
pub struct KeptError {
    /// What was tried.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

/// A file of the run directory.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Its name.
    pub name: &'static str,
    /// The name of what is written, until it takes the file's place as a whole.
    pub new: &'static str,
}

impl Kept {
    /// Where it lies.
    pub fn path(&self, run_dir: &Path) -> PathBuf {
        run_dir.join(self.name)
    }

    /// Its text; none when it is not there. One that is larger than [`MAX_FILE`] is cut one byte behind that.
    ///
    /// # Errors
    /// When it cannot be read, or is no text, or a link.
    pub fn read(&self, run_dir: &Path) -> Result<Option<String>, KeptError> {
        self.read_up_to(run_dir, MAX_FILE)
    }

    /// The same with another largest size, in bytes.
    ///
    /// # Errors
    /// See [`Self::read`].
    pub fn read_up_to(&self, run_dir: &Path, most: usize) -> Result<Option<String>, KeptError> {
        let path = self.path(run_dir);
        let mut text = String::new();
        let read = File::options()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .and_then(|file| file.take(most as u64 + 1).read_to_string(&mut text));
        match read {
            Ok(_) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(KeptError {
                action: "read",
                path,
                source,
            }),
        }
    }

    /// Puts a text in place of the one that is there, as a whole; an empty one removes the file.
    ///
    /// The disk is not waited for: what must survive is the end of a controller, not that of the machine,
    /// and the control loop must not stand still for a disk.
    ///
    /// # Errors
    /// When the kernel refuses it; then the file is as it was.
    pub fn write(&self, run_dir: &RunDir, text: &str) -> Result<(), KeptError> {
        if text.is_empty() {
            return self.remove(run_dir);
        }
        let (path, new) = (self.path(run_dir.path()), run_dir.path().join(self.new));
        File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&new)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|source| {
                // Most likely there is no room, and a half-written file takes some of it.
                let _ = fs::remove_file(&new);
                KeptError {
                    action: "write",
                    path,
                    source,
                }
            })
    }

    /// Removes it.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn remove(&self, run_dir: &RunDir) -> Result<(), KeptError> {
        for name in [self.new, self.name] {
            let path = run_dir.path().join(name);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(KeptError {
                        action: "remove",
                        path,
                        source,
                    });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}
