//! The file in the run directory that keeps the last events for the next controller, and for whoever
//! asks after this one has crashed: one JSON object a line.
//!
//! It lies where the gateway's other state lies, so it outlives a restart of the controller and not
//! one of the machine, whose log has the rest. A line that is cut, because the controller was killed
//! or there was no room, costs that event alone.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{Record, ring::KEPT};

/// The file's name.
const FILE: &str = "events";
/// What is written, until it takes the file's place as a whole.
const NEW_FILE: &str = "events.new";
/// The largest file that is read, in bytes.
const MAX_READ: u64 = 8 * 1024 * 1024;
/// A file that has grown larger is written anew, with what is still kept.
const MAX_FILE: u64 = 1024 * 1024;

/// What a journal has.
#[derive(Debug, Default)]
pub struct Kept {
    /// The last events, oldest first.
    pub records: Vec<Record>,
    /// Lines that are none.
    pub damaged: usize,
}

/// Reads the journal of a run directory; nothing when there is none.
///
/// # Errors
/// When the file cannot be read.
pub fn read(run_dir: &Path) -> io::Result<Kept> {
    let opened = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(run_dir.join(FILE));
    let mut bytes = Vec::new();
    match opened {
        Ok(file) => file.take(MAX_READ).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kept::default()),
        Err(error) => return Err(error),
    };
    Ok(parse(&bytes))
}

/// Takes a journal's text apart. Numbers rise: what does not fit that is damaged.
fn parse(bytes: &[u8]) -> Kept {
    let mut kept = Kept::default();
    for line in bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let last = kept.records.last().map_or(0, |record: &Record| record.seq);
        match serde_json::from_slice::<Record>(line) {
            Ok(record) if record.seq > last && record.seq < u64::MAX / 2 => {
                kept.records.push(record);
            }
            Ok(_) | Err(_) => kept.damaged += 1,
        }
    }
    let excess = kept.records.len().saturating_sub(KEPT);
    kept.records.drain(..excess);
    kept
}

/// Forgets the journal of a run directory.
///
/// # Errors
/// When the kernel refuses it.
pub fn remove(run_dir: &Path) -> io::Result<()> {
    for name in [NEW_FILE, FILE] {
        match fs::remove_file(run_dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Writes the journal.
#[derive(Debug)]
pub struct Journal {
    run_dir: PathBuf,
    /// None before the first event, and after something failed: then all is written anew.
    file: Option<File>,
    size: u64,
    /// That it cannot be written was said.
    said: bool,
}

impl Journal {
    /// The journal of a run directory that this process holds. Nothing is written yet.
    pub fn new(run_dir: &Path) -> Self {
        Self {
            run_dir: run_dir.into(),
            file: None,
            size: 0,
            said: false,
        }
    }

    /// Adds an event. `kept` gives all that is to be kept, this one included, oldest first, for when
    /// the file is written anew. What fails is said in the log, once until it works again.
    pub fn add<'r>(&mut self, record: &Record, kept: impl Iterator<Item = &'r Record>) {
        let line = line(record);
        let appended = match &mut self.file {
            Some(file) if self.size + line.len() as u64 <= MAX_FILE => {
                self.size += line.len() as u64;
                file.write_all(&line)
            }
            Some(_) | None => self.write_anew(kept),
        };
        match appended {
            Ok(()) => self.said = false,
            Err(error) => {
                // What was written of the line may be half of it.
                self.file = None;
                if !std::mem::replace(&mut self.said, true) {
                    let path = self.run_dir.join(FILE);
                    tracing::warn!(
                        "events cannot be kept for a restart in {}: {error}",
                        path.display()
                    );
                }
            }
        }
    }

    fn write_anew<'r>(&mut self, kept: impl Iterator<Item = &'r Record>) -> io::Result<()> {
        let text: Vec<u8> = kept.flat_map(line).collect();
        let new = self.run_dir.join(NEW_FILE);
        let written = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&new)
            .and_then(|mut file| {
                file.set_len(0)?;
                file.write_all(&text)?;
                fs::rename(&new, self.run_dir.join(FILE))?;
                Ok(file)
            });
        match written {
            Ok(file) => {
                self.file = Some(file);
                self.size = text.len() as u64;
                Ok(())
            }
            Err(error) => {
                // A half-written file takes room.
                let _ = fs::remove_file(&new);
                Err(error)
            }
        }
    }
}

fn line(record: &Record) -> Vec<u8> {
    let mut line = serde_json::to_vec(record).expect("maps with text keys are always JSON");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;
