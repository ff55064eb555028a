//! The file in the state directory that keeps the accounts over restarts and reboots.
//!
//! It is replaced as a whole, and reaches the disk before it takes the old one's place, so that no moment of
//! a power cut leaves half of it. Whoever writes it may have to wait for the disk.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::account::Kept;
use crate::{
    config::UplinkName,
    exit::{Classify, ExitClass},
};

/// The file's name.
pub const FILE: &str = "quotas.json";
/// What is written, until it takes the file's place.
const NEW_FILE: &str = "quotas.json.new";
/// Where one that cannot be read is put, for people to look at.
const DAMAGED_FILE: &str = "quotas.json.damaged";
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 256 * 1024;
/// The form of the file.
pub const VERSION: u32 = 1;
/// Uplinks that are kept, those of earlier configurations included.
pub const MAX_ENTRIES: usize = 256;

/// All that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// [`VERSION`]
    pub version: u32,
    /// Which counters were read.
    pub counters: String,
    /// The accounts, by the uplink's name.
    pub uplinks: BTreeMap<String, Row>,
}

/// What is kept of one uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The uplink's id, the place of its counters.
    pub slot: u8,
    /// Its account.
    #[serde(flatten)]
    pub account: Kept,
}

/// Why the accounts cannot be kept, or not be read.
#[derive(Debug, Error)]
pub enum QuotaFileError {
    /// The kernel refused it.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is none of ours.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Classify for QuotaFileError {
    fn exit_class(&self) -> ExitClass {
        ExitClass::Runtime
    }

    fn help(&self) -> Option<String> {
        None
    }
}

/// Reads what was kept; nothing when nothing was.
///
/// # Errors
/// When the file cannot be read, or is not one that [`write`] has written.
pub fn read(folder: &Path) -> Result<Document, QuotaFileError> {
    let path = folder.join(FILE);
    let mut text = String::new();
    let read = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    match read {
        Ok(_) => parse(&text).map_err(|reason| QuotaFileError::Damaged { path, reason }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Document::default()),
        Err(source) => Err(QuotaFileError::Io {
            action: "read",
            path,
            source,
        }),
    }
}

/// Puts a file that cannot be read aside, so that it is not lost.
///
/// # Errors
/// When the kernel refuses it.
pub fn put_aside(folder: &Path) -> io::Result<PathBuf> {
    let aside = folder.join(DAMAGED_FILE);
    fs::rename(folder.join(FILE), &aside)?;
    Ok(aside)
}

/// Writes all of it in place of what is there, and waits until it is on the disk.
///
/// # Errors
/// When the kernel refuses it; then the file is as it was.
pub fn write(folder: &Path, document: &Document) -> Result<(), QuotaFileError> {
    let (path, new) = (folder.join(FILE), folder.join(NEW_FILE));
    let put = || {
        let text = serde_json::to_vec(document)?;
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        // The new name is on the disk when its folder is.
        File::open(folder)?.sync_all()
    };
    put().map_err(|source| {
        // Most likely there is no room, and a half-written file takes some of it.
        let _ = fs::remove_file(&new);
        QuotaFileError::Io {
            action: "write",
            path: path.clone(),
            source,
        }
    })
}

fn parse(text: &str) -> Result<Document, String> {
    if text.len() as u64 > MAX_FILE {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if document.version != VERSION {
        return Err(format!("its version is {}", document.version));
    }
    if document.uplinks.len() > MAX_ENTRIES {
        return Err(format!("it has more than {MAX_ENTRIES} uplinks"));
    }
    if let Some(name) = document
        .uplinks
        .keys()
        .find(|name| name.parse::<UplinkName>().is_err())
    {
        return Err(format!("{name:?} is no uplink's name"));
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::quality::quota::account::Used;

    fn document() -> Document {
        let used = |begin: i64, bytes| Used {
            begin: jiff::Timestamp::from_second(begin).expect("in range"),
            end: jiff::Timestamp::from_second(begin + 86_400).expect("in range"),
            bytes,
        };
        let row = Row {
            slot: 3,
            account: Kept {
                now: used(86_400, 17),
                before: Some(used(0, 5)),
                seen: jiff::Timestamp::from_second(90_000).expect("in range"),
                counter: Some(u64::MAX),
            },
        };
        Document {
            version: VERSION,
            counters: "7".into(),
            uplinks: BTreeMap::from([("fibre".into(), row)]),
        }
    }

    #[test]
    fn what_is_written_reads_back_and_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(
            read(folder.path()).expect("nothing is there"),
            Document::default()
        );
        for _ in 0..2 {
            write(folder.path(), &document()).expect("it is written");
        }
        assert_eq!(read(folder.path()).expect("it reads back"), document());
        let mode = fs::metadata(folder.path().join(FILE))
            .expect("it is there")
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let left = fs::read_dir(folder.path()).expect("it is there").count();
        assert_eq!(left, 1, "only the file is left");
    }

    #[test]
    fn what_nobody_of_ours_has_written_is_not_believed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let good = serde_json::to_string(&document()).expect("it is plain");
        let many: Document = Document {
            uplinks: (0..300)
                .map(|n| (format!("u{n}"), document().uplinks["fibre"]))
                .collect(),
            ..document()
        };
        for (text, said) in [
            ("", "EOF"),
            ("{}", "missing field"),
            (
                &good.replace("\"version\":1", "\"version\":2"),
                "its version is 2",
            ),
            (&good.replace("fibre", "a b"), "no uplink's name"),
            (&good.replace("17", "-17"), "invalid"),
            (&"x".repeat(300_000), "larger than 262144 bytes"),
            (
                &serde_json::to_string(&many).expect("it is plain"),
                "more than 256 uplinks",
            ),
        ] {
            fs::write(folder.path().join(FILE), text).expect("room for a file");
            let error = read(folder.path()).expect_err(said);
            assert!(error.to_string().contains(said), "{error}");
        }
        put_aside(folder.path()).expect("it can be moved");
        assert_eq!(
            read(folder.path()).expect("nothing is there"),
            Document::default()
        );
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join(FILE))
            .expect("room for a link");
        let error = read(folder.path()).expect_err("it is a link");
        assert!(matches!(error, QuotaFileError::Io { .. }), "{error}");
    }
}
