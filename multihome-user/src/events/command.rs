//! `multihome events`: shows events, as lines for people or as JSON, one object a line.

use std::{
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::Path,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use thiserror::Error;

use super::{EventQuery, Record, SCHEMA_VERSION, journal};
use crate::{
    control::{
        client::{self, ControlError},
        protocol::{MAX_EVENT, Request, Response},
        socket_path,
    },
    exit::{Classify, ExitClass},
};

/// Why events cannot be shown.
#[derive(Debug, Error)]
pub enum EventsError {
    /// The controller does not tell them.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// No controller runs, and what the last one left cannot be read.
    #[error("no controller runs, and the events that the last one left cannot be read")]
    Left(#[source] io::Error),
    /// Nobody takes them.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl Classify for EventsError {
    fn exit_class(&self) -> ExitClass {
        match self {
            Self::Control(error) => error.exit_class(),
            Self::Left(_) | Self::Output(_) => ExitClass::Runtime,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Control(error) => error.help(),
            Self::Left(_) | Self::Output(_) => None,
        }
    }
}

/// How the showing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All that was asked for.
    All,
    /// The controller that was followed has ended.
    ControllerEnded,
    /// No controller runs; these were the events that the last one left.
    Left,
    /// Whoever reads the output has seen enough.
    OutputClosed,
}

/// Shows what is asked for on `out`.
///
/// # Errors
/// See [`EventsError`]; an output that was closed is none.
pub fn show(
    run_dir: &Path,
    query: &EventQuery,
    json: bool,
    out: impl Write + AsFd,
) -> Result<Shown, EventsError> {
    let out = &mut BufWriter::new(out);
    let shown = match client::open(run_dir, &Request::Events(query.clone())) {
        Ok(stream) => follow(run_dir, stream, query.follow, json, out),
        Err(ControlError::NotRunning(_)) if !query.follow && run_dir.exists() => {
            left(run_dir, query, json, out)
        }
        Err(error) => return Err(error.into()),
    };
    match shown {
        Err(EventsError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(Shown::OutputClosed)
        }
        shown => shown,
    }
}

fn follow(
    run_dir: &Path,
    stream: UnixStream,
    follow: bool,
    json: bool,
    out: &mut BufWriter<impl Write + AsFd>,
) -> Result<Shown, EventsError> {
    let path = socket_path(run_dir);
    let failed = |source| ControlError::Io {
        path: path.clone(),
        source,
    };
    if follow {
        stream.set_read_timeout(None).map_err(failed)?;
    }
    let mut reader = BufReader::new(stream);
    loop {
        if !reader.buffer().contains(&b'\n') {
            out.flush().map_err(EventsError::Output)?;
            if reader.buffer().is_empty()
                && is_closed(reader.get_ref().as_fd(), out.get_ref().as_fd())
            {
                return Ok(Shown::OutputClosed);
            }
        }
        let mut line = Vec::new();
        let mut bounded = io::Read::by_ref(&mut reader).take(MAX_EVENT as u64);
        bounded.read_until(b'\n', &mut line).map_err(failed)?;
        if line.last() != Some(&b'\n') {
            return Err(ControlError::NoAnswer(path).into());
        }
        let text = match client::parse(&path, &line)? {
            Response::Event(record) => shown(&record, json),
            Response::Skipped(skipped) => shown_gap(skipped, json),
            Response::End if follow => {
                out.flush().map_err(EventsError::Output)?;
                return Ok(Shown::ControllerEnded);
            }
            Response::End => {
                out.flush().map_err(EventsError::Output)?;
                return Ok(Shown::All);
            }
            Response::Status(_)
            | Response::Prefixes(_)
            | Response::Drain(_)
            | Response::Detached
            | Response::Refused(_)
            | Response::Error(_) => return Err(ControlError::NoAnswer(path).into()),
        };
        out.write_all(text.as_bytes())
            .map_err(EventsError::Output)?;
    }
}

/// Waits until there is something to read; whether nobody reads the output any more, which nothing
/// else would tell as long as nothing happens.
fn is_closed(input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> bool {
    let mut both = [
        PollFd::new(input, PollFlags::POLLIN),
        PollFd::new(output, PollFlags::empty()),
    ];
    let waited = poll(&mut both, PollTimeout::NONE);
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
    let [input, output] = both.map(|file| file.revents().unwrap_or_else(PollFlags::empty));
    waited.is_ok() && input.is_empty() && output.intersects(gone)
}

fn left(
    run_dir: &Path,
    query: &EventQuery,
    json: bool,
    out: &mut impl Write,
) -> Result<Shown, EventsError> {
    let kept = journal::read(run_dir).map_err(EventsError::Left)?;
    for record in query.of_kept(kept.records.iter()) {
        let text = shown(record, json);
        out.write_all(text.as_bytes())
            .map_err(EventsError::Output)?;
    }
    out.flush().map_err(EventsError::Output)?;
    Ok(Shown::Left)
}

fn shown(record: &Record, json: bool) -> String {
    if json {
        let text = serde_json::to_string(record).expect("maps with text keys are always JSON");
        return text + "\n";
    }
    format!(
        "{:.3} {:<18} {}\n",
        record.time,
        record.kind.name(),
        record.line()
    )
}

/// What stands for events that are left out.
#[derive(Serialize)]
struct Gap {
    schema_version: u32,
    skipped: u64,
}

fn shown_gap(skipped: u64, json: bool) -> String {
    if json {
        let gap = Gap {
            schema_version: SCHEMA_VERSION,
            skipped,
        };
        let text = serde_json::to_string(&gap).expect("numbers are always JSON");
        return text + "\n";
    }
    format!("({skipped} event(s) are left out: they came faster than they were read)\n")
}
