//! The file in the run directory that keeps what was learned of domains for the next controller: a line for each
//! domain of an address: the address, until when it belongs to it in seconds since 1970, and the domain as rules
//! have it.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use thiserror::Error;

use super::Known;
use crate::{
    exit::{Classify, ExitClass},
    run_dir::{
        RunDir,
        kept::{Kept, KeptError},
    },
};

const FILE: Kept = Kept {
    name: "domains",
    new: "domains.new",
};
/// The most that is kept, in bytes: some fifty for each address that there may be, and for as many domains again.
const MAX_FILE: usize = 4 * 1024 * 1024;

/// Why what was learned cannot be kept, or not be read.
#[derive(Debug, Error)]
pub enum DomainFileError {
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
}

impl Classify for DomainFileError {
    fn exit_class(&self) -> ExitClass {
        ExitClass::Runtime
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Damaged { path, .. } => Some(format!("remove {}", path.display())),
            Self::Kept(_) => None,
        }
    }
}

/// Reads what an earlier controller has learned, as far as it still holds.
///
/// # Errors
/// When the file cannot be read, or is not one that [`write`] has written.
pub fn read(run_dir: &Path, now: SystemTime) -> Result<Vec<Known>, DomainFileError> {
    let Some(text) = FILE.read_up_to(run_dir, MAX_FILE)? else {
        return Ok(Vec::new());
    };
    parse(&text, now).map_err(|reason| DomainFileError::Damaged {
        path: FILE.path(run_dir),
        reason,
    })
}

/// Writes what is known in place of what is there; what does not fit will be learned again.
///
/// # Errors
/// When the kernel refuses it; then the file is as it was.
pub fn write(run_dir: &RunDir, known: &[Known], now: SystemTime) -> Result<(), DomainFileError> {
    let mut text = String::new();
    for known in known {
        let until = since_1970(now) + known.left.as_secs();
        let line = format!("{} {until} {}\n", known.address, known.domain);
        if text.len() + line.len() > MAX_FILE {
            break;
        }
        text.push_str(&line);
    }
    Ok(FILE.write(run_dir, &text)?)
}

/// Forgets all.
///
/// # Errors
/// When the kernel refuses it.
pub fn remove(run_dir: &RunDir) -> Result<(), DomainFileError> {
    Ok(FILE.remove(run_dir)?)
}

fn parse(text: &str, now: SystemTime) -> Result<Vec<Known>, String> {
    if text.len() > MAX_FILE {
        return Err(format!("it is larger than {MAX_FILE} bytes"));
    }
    let mut known = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let mut words = text.split(' ');
        let mut word = || words.next().unwrap_or_default();
        let read = (word().parse().ok())
            .zip(word().parse::<u64>().ok())
            .zip(word().parse().ok())
            .filter(|_| words.next().is_none());
        let Some(((address, until), domain)) = read else {
            return Err(format!(
                "line {line} is not an address, a time and a domain"
            ));
        };
        let left = until.saturating_sub(since_1970(now));
        if left > 0 {
            known.push(Known {
                address,
                domain,
                left: Duration::from_secs(left),
            });
        }
    }
    Ok(known)
}

fn since_1970(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_written_reads_back_as_far_as_it_holds() {
        let dir = tempfile::tempdir().expect("a directory");
        let run_dir = RunDir::take(&dir.path().join("run")).expect("a run directory");
        let known = |address: &str, domain: &str, left| Known {
            address: address.parse().expect("an address"),
            domain: domain.parse().expect("a domain"),
            left: Duration::from_secs(left),
        };
        let all = [
            known("192.0.2.1", "*.example.net", 60),
            known("2001:db8::1", "example.org", 3600),
        ];
        assert_eq!(read(run_dir.path(), at(1000)).ok(), Some(Vec::new()));
        write(&run_dir, &all, at(1000)).expect("it is written");
        let later = read(run_dir.path(), at(1060)).expect("it is read");
        assert_eq!(later, [known("2001:db8::1", "example.org", 3540)]);
        remove(&run_dir).expect("it is removed");
        assert_eq!(read(run_dir.path(), at(1000)).ok(), Some(Vec::new()));
    }

    #[test]
    fn what_is_none_of_ours_is_refused_with_the_line() {
        for text in [
            "x",
            "192.0.2.1 5",
            "192.0.2.1 5 a.net b",
            "192.0.2.1 -5 a.net",
            "1 5 a.net",
        ] {
            let reason = parse(&format!("192.0.2.1 9 a.net\n{text}\n"), at(0));
            let reason = reason.expect_err(text);
            assert!(reason.starts_with("line 2 "), "{text}: {reason}");
        }
        assert!(parse(&"x".repeat(MAX_FILE + 1), at(0)).is_err());
    }
}
