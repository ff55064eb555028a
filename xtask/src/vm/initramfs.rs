//! The first file system of a virtual machine: one program, the libraries it loads, and what it is given.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::cpio::Archive;
use crate::run;

/// A file that the first program is given.
pub struct Extra {
    place: PathBuf,
    content: Vec<u8>,
}

impl Extra {
    /// A file at an absolute path.
    pub fn new(place: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Self {
        Self {
            place: place.into(),
            content: content.into(),
        }
    }
}

/// Packs an initramfs whose first program is `init` into the file `place`.
pub fn pack(init: &Path, extras: &[Extra], place: &Path) -> Result<()> {
    let mut archive = Archive::default();
    for directory in ["/dev", "/proc", "/sys", "/run", "/tmp"] {
        archive.directory(Path::new(directory))?;
    }
    // The kernel opens it for the first program's input and output, before anything is mounted.
    archive.character_device(Path::new("/dev/console"), 5, 1)?;
    // Debug information would be most of the archive, and unpacking it most of the boot.
    let stripped = place.with_extension("init");
    run::output(Command::new("strip").arg("-o").arg(&stripped).arg(init))?;
    archive.program(Path::new("/init"), &read(&stripped)?)?;
    fs::remove_file(&stripped).with_context(|| stripped.display().to_string())?;
    for library in libraries(&run::output(Command::new("ldd").arg(init))?) {
        archive.program(&library, &read(&library)?)?;
    }
    for extra in extras {
        archive.program(&extra.place, &extra.content)?;
    }
    fs::write(place, archive.finish()?).with_context(|| place.display().to_string())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

/// The files that ldd names, the loader among them.
fn libraries(ldd: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let (file, _address) = line.trim().rsplit_once(" (")?;
        let file = file.split_once(" => ").map_or(file, |(_, file)| file);
        file.starts_with('/').then(|| PathBuf::from(file))
    };
    ldd.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found_in_what_ldd_prints() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffe7c5f6000)\n\
                   \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f6c3d61f000)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f6c3d91d000)\n";
        let found = libraries(ldd);
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }
}
