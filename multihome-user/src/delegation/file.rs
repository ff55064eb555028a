//! The file in the run directory that keeps told prefixes for the next controller: a line for each
//! uplink, its name and its prefix.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use multihome_common::limits::MAX_UPLINKS;
use thiserror::Error;

use crate::{
    config::{Ipv6Prefix, UplinkName},
    exit::{Classify, ExitClass},
    run_dir::{
        RunDir,
        kept::{Kept, KeptError, MAX_FILE},
    },
};

const FILE: Kept = Kept {
    name: "prefixes",
    new: "prefixes.new",
};

/// The prefixes that were told, by the uplink's name.
pub type Prefixes = BTreeMap<String, Ipv6Prefix>;

/// Why the told prefixes cannot be kept, or not be read.
#[derive(Debug, Error)]
pub enum PrefixFileError {
    /// The kernel refused it.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// It is none of ours.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// There are as many prefixes as there can be uplinks.
    #[error("{} has prefixes of {MAX_UPLINKS} uplinks already", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
}

impl Classify for PrefixFileError {
    fn exit_class(&self) -> ExitClass {
        match self {
            Self::Kept(_) | Self::Damaged { .. } => ExitClass::Runtime,
            Self::Full { .. } => ExitClass::Input,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Damaged { path, .. } | Self::Full { path } => Some(format!(
                "remove {} and tell the prefixes anew",
                path.display()
            )),
            Self::Kept(_) => None,
        }
    }
}

/// Reads the prefixes that were told; none when nothing was.
///
/// # Errors
/// When the file cannot be read, or is not one that [`write`] has written.
pub fn read(run_dir: &Path) -> Result<Prefixes, PrefixFileError> {
    let Some(text) = FILE.read(run_dir)? else {
        return Ok(Prefixes::new());
    };
    parse(&text).map_err(|reason| PrefixFileError::Damaged {
        path: FILE.path(run_dir),
        reason,
    })
}

/// Writes the prefixes in place of those that are there, all or none of them.
///
/// The disk is not waited for: after the end of the machine, the provider is asked anew.
///
/// # Errors
/// When the kernel refuses it; then the file is as it was.
pub fn write(run_dir: &RunDir, prefixes: &Prefixes) -> Result<(), PrefixFileError> {
    let mut text = String::new();
    for (uplink, prefix) in prefixes {
        text.push_str(&format!("{uplink} {prefix}\n"));
    }
    Ok(FILE.write(run_dir, &text)?)
}

/// Enters one uplink's prefix, or takes it out, while no controller has the run directory.
///
/// # Errors
/// See [`read`] and [`write`]; and when there are prefixes of too many uplinks.
pub fn change(
    run_dir: &RunDir,
    uplink: &UplinkName,
    prefix: Option<Ipv6Prefix>,
) -> Result<(), PrefixFileError> {
    let mut prefixes = read(run_dir.path())?;
    match prefix {
        Some(prefix) => prefixes.insert(uplink.0.clone(), prefix),
        None => prefixes.remove(&uplink.0),
    };
    if prefixes.len() > MAX_UPLINKS {
        return Err(PrefixFileError::Full {
            path: FILE.path(run_dir.path()),
        });
    }
    write(run_dir, &prefixes)
}

/// Forgets all that was told.
///
/// # Errors
/// When the kernel refuses it.
pub fn remove(run_dir: &RunDir) -> Result<(), PrefixFileError> {
    Ok(FILE.remove(run_dir)?)
}

fn parse(text: &str) -> Result<Prefixes, String> {
    if text.len() > MAX_FILE {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    let mut prefixes = Prefixes::new();
    for (number, line) in (1..).zip(text.lines()) {
        let (name, prefix) = line
            .split_once(' ')
            .ok_or_else(|| format!("line {number} is not a name and a prefix"))?;
        let name: UplinkName = name
            .parse()
            .map_err(|error| format!("line {number}: {error}"))?;
        let prefix = prefix
            .parse()
            .map_err(|error| format!("line {number}: {error}"))?;
        if prefixes.insert(name.0, prefix).is_some() {
            return Err(format!("line {number} is of the same uplink as another"));
        }
    }
    if prefixes.len() > MAX_UPLINKS {
        return Err(format!(
            "it has prefixes of more than {MAX_UPLINKS} uplinks"
        ));
    }
    Ok(prefixes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::MetadataExt as _};

    fn prefix(text: &str) -> Ipv6Prefix {
        text.parse().expect(text)
    }

    fn taken(folder: &tempfile::TempDir) -> RunDir {
        RunDir::take(&folder.path().join("run")).expect("nobody has it")
    }

    #[test]
    fn what_was_told_is_there_for_the_next_controller() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run_dir = taken(&folder);
        let path = run_dir.path().to_path_buf();
        assert_eq!(read(&path).expect("nothing was told"), Prefixes::new());
        let told = Prefixes::from([
            ("fibre".to_owned(), prefix("2001:db8:1::/48")),
            ("lte".to_owned(), prefix("2001:db8:2:300::/56")),
        ]);
        write(&run_dir, &told).expect("it is written");
        let metadata = fs::metadata(FILE.path(&path)).expect("it is there");
        assert_eq!(metadata.mode() & 0o777, 0o600);
        drop(run_dir);
        assert_eq!(read(&path).expect("it reads back"), told);
        let run_dir = taken(&folder);
        remove(&run_dir).expect("it is removed");
        run_dir.remove().expect("nothing else is there");
        assert!(!path.exists(), "something was left");
    }

    #[test]
    fn prefixes_are_changed_one_by_one_and_the_last_one_takes_the_file_along() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run_dir = taken(&folder);
        let name = |n: usize| UplinkName(format!("u{n}"));
        for n in 0..MAX_UPLINKS {
            change(&run_dir, &name(n), Some(prefix("2001:db8:1::/48"))).expect("there is room");
        }
        let error = change(&run_dir, &name(64), Some(prefix("2001:db8:1::/48")));
        assert!(
            matches!(error, Err(PrefixFileError::Full { .. })),
            "{error:?}"
        );
        change(&run_dir, &name(0), Some(prefix("2001:db8:2::/48"))).expect("it is replaced");
        let read = read(run_dir.path()).expect("it reads back");
        assert_eq!(read.get("u0"), Some(&prefix("2001:db8:2::/48")));
        for n in 0..=MAX_UPLINKS {
            change(&run_dir, &name(n), None).expect("it is taken out");
        }
        assert!(!FILE.path(run_dir.path()).exists());
    }

    #[test]
    fn what_nobody_of_ours_has_written_is_not_believed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run_dir = taken(&folder);
        let too_many: String = (0..65).map(|n| format!("u{n} 2001:db8::/48\n")).collect();
        for (text, said) in [
            ("fibre", "line 1 is not a name and a prefix"),
            ("a 2001:db8::/48\nb c 2001:db8::/48\n", "line 2"),
            ("fibre 2001:db8::1/48\n", "bits set beyond its length"),
            ("a\"b 2001:db8::/48\n", "uplink name"),
            ("a 2001:db8::/48\na 2001:db8::/48\n", "the same uplink"),
            (&too_many, "more than 64 uplinks"),
            (&"x".repeat(70_000), "larger than 65536 bytes"),
        ] {
            fs::write(FILE.path(run_dir.path()), text).expect("there is room");
            let error = read(run_dir.path()).expect_err(text);
            assert!(error.to_string().contains(said), "{error}");
        }
        fs::remove_file(FILE.path(run_dir.path())).expect("it is there");
        std::os::unix::fs::symlink("lock", FILE.path(run_dir.path())).expect("room for a link");
        let error = read(run_dir.path()).expect_err("it is a link");
        assert!(matches!(error, PrefixFileError::Kept(_)), "{error}");
    }
}
