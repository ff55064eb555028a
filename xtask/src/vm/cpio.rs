//! The archive that the kernel unpacks into its first file system: cpio in its "newc" form, as the
//! kernel's Documentation/driver-api/early-userspace/buffer-format.rst describes it.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result, bail};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive in the making.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// Adds a directory and those above it, given by its absolute path.
    pub fn directory(&mut self, path: &Path) -> Result<()> {
        let name = name(path)?;
        let ends = name
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([name.len()]);
        for end in ends.filter(|end| *end > 0) {
            let above = &name[..end];
            if self.directories.insert(above.to_owned()) {
                self.entry(above, DIRECTORY, (0, 0), &[])?;
            }
        }
        Ok(())
    }

    /// Adds a file that may be executed, and the directories above it.
    pub fn program(&mut self, path: &Path, content: &[u8]) -> Result<()> {
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        self.entry(name(path)?, PROGRAM, (0, 0), content)
    }

    /// Adds a character device.
    pub fn character_device(&mut self, path: &Path, major: u32, minor: u32) -> Result<()> {
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        self.entry(name(path)?, CHARACTER_DEVICE, (major, minor), &[])
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.bytes)
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        let size = u32::try_from(content.len()).with_context(|| format!("{name} is too large"))?;
        let name_size = u32::try_from(name.len() + 1).context("a name is too long")?;
        // Files with the same inode number would be taken for links to one file.
        self.entries += 1;
        let fields = [
            self.entries, // inode
            mode,
            0, // owner: root
            0, // group: root
            1, // links
            0, // modification time
            size,
            0, // device of the file itself
            0,
            device.0,
            device.1,
            name_size,
            0, // checksum: not in this form
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The name in the archive of an absolute path.
fn name(path: &Path) -> Result<&str> {
    match path.to_str().and_then(|path| path.strip_prefix('/')) {
        Some(name) => Ok(name),
        None => bail!("{} is not absolute, or not UTF-8", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_each_directory_once_and_before_what_is_in_it() {
        let mut archive = Archive::default();
        archive
            .directory(Path::new("/lib/x"))
            .expect("the path is absolute");
        archive
            .program(Path::new("/lib/x/a.so"), b"12345")
            .expect("the path is absolute");
        archive
            .program(Path::new("/init"), b"")
            .expect("the path is absolute");
        let bytes = archive.finish().expect("the name is short");
        let mut names = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            assert_eq!(&rest[..6], b"070701");
            let field = |n: usize| -> usize {
                let hex = std::str::from_utf8(&rest[6 + 8 * n..14 + 8 * n]).expect("ASCII");
                usize::from_str_radix(hex, 16).expect("a number in hexadecimal")
            };
            let (size, name_size) = (field(6), field(11));
            let name = std::str::from_utf8(&rest[110..110 + name_size - 1]).expect("ASCII");
            names.push((name.to_owned(), field(1), size));
            let content = (110 + name_size).next_multiple_of(4);
            rest = &rest[(content + size).next_multiple_of(4)..];
        }
        let expected = [
            ("lib", 0o040_755, 0),
            ("lib/x", 0o040_755, 0),
            ("lib/x/a.so", 0o100_755, 5),
            ("init", 0o100_755, 0),
            ("TRAILER!!!", 0, 0),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(name, mode, size)| (name.to_owned(), mode, size))
            .collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_relative_path_is_refused() {
        assert!(Archive::default().program(Path::new("init"), b"").is_err());
    }
}
