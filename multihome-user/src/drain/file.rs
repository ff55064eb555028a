//! The file in the run directory that keeps drains for the next controller: a line for each uplink, its
//! name, since when it is drained, and until when (`-` without an end).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use multihome_common::limits::MAX_UPLINKS;
use thiserror::Error;

use super::Drain;
use crate::{
    config::UplinkName,
    exit::{Classify, ExitClass},
    run_dir::{
        RunDir,
        kept::{Kept, KeptError, MAX_FILE},
    },
};

const FILE: Kept = Kept {
    name: "drains",
    new: "drains.new",
};
/// What stands in place of the end of a drain that has none.
const NO_END: &str = "-";

/// The drains by the uplink's name.
pub type Drains = BTreeMap<String, Drain>;

/// Why drains cannot be kept, or not be read.
#[derive(Debug, Error)]
pub enum DrainFileError {
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
    /// There are as many drains as there can be uplinks.
    #[error("{} has drains of {MAX_UPLINKS} uplinks already", .0.display())]
    Full(PathBuf),
}

impl Classify for DrainFileError {
    fn exit_class(&self) -> ExitClass {
        match self {
            Self::Kept(_) | Self::Damaged { .. } => ExitClass::Runtime,
            Self::Full(_) => ExitClass::Input,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Damaged { path, .. } | Self::Full(path) => Some(format!(
                "remove {} and drain the uplinks anew",
                path.display()
            )),
            Self::Kept(_) => None,
        }
    }
}

/// Reads the drains; none when there are none.
///
/// # Errors
/// When the file cannot be read, or is not one that [`write`] has written.
pub fn read(run_dir: &Path) -> Result<Drains, DrainFileError> {
    let Some(text) = FILE.read(run_dir)? else {
        return Ok(Drains::new());
    };
    parse(&text).map_err(|reason| DrainFileError::Damaged {
        path: FILE.path(run_dir),
        reason,
    })
}

/// Writes the drains in place of those that are there, all or none of them.
///
/// # Errors
/// When the kernel refuses it; then the file is as it was.
pub fn write(run_dir: &RunDir, drains: &Drains) -> Result<(), DrainFileError> {
    let mut text = String::new();
    for (uplink, Drain { since, until }) in drains {
        let until = until.map_or(NO_END.to_owned(), |until| until.to_string());
        text.push_str(&format!("{uplink} {since} {until}\n"));
    }
    Ok(FILE.write(run_dir, &text)?)
}

/// Enters the drain of one uplink, or takes it out, while no controller has the run directory; what was
/// there before.
///
/// # Errors
/// See [`read`] and [`write`]; and when there are drains of too many uplinks.
pub fn change(
    run_dir: &RunDir,
    uplink: &UplinkName,
    drain: Option<Drain>,
) -> Result<Option<Drain>, DrainFileError> {
    let mut drains = read(run_dir.path())?;
    let before = match drain {
        Some(drain) => drains.insert(uplink.0.clone(), drain),
        None => drains.remove(&uplink.0),
    };
    if drains.len() > MAX_UPLINKS {
        return Err(DrainFileError::Full(FILE.path(run_dir.path())));
    }
    write(run_dir, &drains)?;
    Ok(before)
}

/// Forgets all drains.
///
/// # Errors
/// When the kernel refuses it.
pub fn remove(run_dir: &RunDir) -> Result<(), DrainFileError> {
    Ok(FILE.remove(run_dir)?)
}

fn parse(text: &str) -> Result<Drains, String> {
    if text.len() > MAX_FILE {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    let mut drains = Drains::new();
    for (number, line) in (1..).zip(text.lines()) {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, since, until] = words[..] else {
            return Err(format!("line {number} is not a name and two moments"));
        };
        let at = |error: &dyn std::fmt::Display| format!("line {number}: {error}");
        let name: UplinkName = name.parse().map_err(|error| at(&error))?;
        let since = since.parse().map_err(|error: jiff::Error| at(&error))?;
        let until = match until {
            NO_END => None,
            until => Some(until.parse().map_err(|error: jiff::Error| at(&error))?),
        };
        if drains.insert(name.0, Drain { since, until }).is_some() {
            return Err(format!("line {number} is of the same uplink as another"));
        }
    }
    if drains.len() > MAX_UPLINKS {
        return Err(format!("it has drains of more than {MAX_UPLINKS} uplinks"));
    }
    Ok(drains)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::MetadataExt as _};

    fn drain(since: &str, until: Option<&str>) -> Drain {
        let moment = |text: &str| text.parse().expect("it is RFC 3339");
        Drain {
            since: moment(since),
            until: until.map(moment),
        }
    }

    fn taken(folder: &tempfile::TempDir) -> RunDir {
        RunDir::take(&folder.path().join("run")).expect("nobody has it")
    }

    #[test]
    fn drains_are_there_for_the_next_controller() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run_dir = taken(&folder);
        let path = run_dir.path().to_path_buf();
        assert_eq!(read(&path).expect("nothing is drained"), Drains::new());
        let drains = Drains::from([
            ("fibre".to_owned(), drain("2026-01-02T03:04:05.678Z", None)),
            (
                "lte".to_owned(),
                drain("2026-01-02T03:04:05Z", Some("2026-01-02T03:34:05.25Z")),
            ),
        ]);
        write(&run_dir, &drains).expect("it is written");
        let metadata = fs::metadata(path.join("drains")).expect("it is there");
        assert_eq!(metadata.mode() & 0o777, 0o600);
        drop(run_dir);
        assert_eq!(read(&path).expect("it reads back"), drains);
        let run_dir = taken(&folder);
        let lte: UplinkName = "lte".parse().expect("a name");
        let before = change(&run_dir, &lte, None).expect("it is taken out");
        assert_eq!(before, drains.get("lte").copied());
        remove(&run_dir).expect("it is removed");
        run_dir.remove().expect("nothing else is there");
        assert!(!path.exists(), "something was left");
    }

    #[test]
    fn what_nobody_of_ours_has_written_is_not_believed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run_dir = taken(&folder);
        let good = "2026-01-02T03:04:05Z -";
        let too_many: String = (0..65).map(|n| format!("u{n} {good}\n")).collect();
        for (text, said) in [
            ("fibre", "line 1 is not a name and two moments"),
            ("fibre 2026-01-02T03:04:05Z", "line 1 is not"),
            ("fibre yesterday -", "line 1"),
            ("fibre 2026-01-02T03:04:05Z soon", "line 1"),
            (&format!("a {good}\na\"b {good}"), "line 2: uplink name"),
            (&format!("a {good}\na {good}"), "the same uplink"),
            (&too_many, "more than 64 uplinks"),
            (&"x".repeat(70_000), "larger than 65536 bytes"),
        ] {
            fs::write(run_dir.path().join("drains"), text).expect("there is room");
            let error = read(run_dir.path()).expect_err(text);
            assert!(error.to_string().contains(said), "{error}");
        }
        fs::remove_file(run_dir.path().join("drains")).expect("it is there");
        std::os::unix::fs::symlink("lock", run_dir.path().join("drains")).expect("room for a link");
        let error = read(run_dir.path()).expect_err("it is a link");
        assert!(matches!(error, DrainFileError::Kept(_)), "{error}");
    }
}
