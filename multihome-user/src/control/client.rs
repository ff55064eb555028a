//! A client's end of the control socket.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;

use super::{
    protocol::{self, MAX_RESPONSE, Request, Response},
    socket_path,
};
use crate::exit::{Classify, ExitClass};

/// How long a client waits: longer than the controller itself takes to give up on an answer.
const PATIENCE: Duration = Duration::from_secs(40);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ControlError {
    /// No controller runs with this run directory.
    #[error("no controller answers on {}", .0.display())]
    NotRunning(PathBuf),
    /// The socket is root's.
    #[error("not enough privilege to open the control socket {}", .0.display())]
    Denied(PathBuf),
    /// The connection cannot be made, or broke.
    #[error("cannot talk to the controller over {}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The answer is not one; another version may be running.
    #[error("the answer from {} is not understood", path.display())]
    NotUnderstood {
        /// The socket.
        path: PathBuf,
        /// What the JSON reader says.
        source: serde_json::Error,
    },
    /// The controller ended, or the answer was cut.
    #[error("the controller closed {} without an answer", .0.display())]
    NoAnswer(PathBuf),
    /// The controller did not do it.
    #[error("the controller refused: {0}")]
    Refused(String),
    /// It cannot be done as it was asked.
    #[error("{0}")]
    Unfit(String),
}

impl Classify for ControlError {
    fn exit_class(&self) -> ExitClass {
        match self {
            Self::Denied(_) | Self::Unfit(_) => ExitClass::Input,
            Self::NotRunning(_)
            | Self::Io { .. }
            | Self::NotUnderstood { .. }
            | Self::NoAnswer(_)
            | Self::Refused(_) => ExitClass::Runtime,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::NotRunning(_) => {
                Some("is `multihome run` running, with the same --run-dir?".into())
            }
            Self::Denied(_) => Some("run as root".into()),
            Self::NotUnderstood { .. } => {
                Some("is the running controller of another version than this command?".into())
            }
            Self::Io { .. } | Self::NoAnswer(_) | Self::Refused(_) | Self::Unfit(_) => None,
        }
    }
}

/// Asks the controller of a run directory, and waits for the answer. [`Response::Error`] comes
/// back as [`ControlError::Refused`], [`Response::Refused`] as [`ControlError::Unfit`].
pub fn request(run_dir: &Path, request: &Request) -> Result<Response, ControlError> {
    let path = socket_path(run_dir);
    let stream = open(run_dir, request)?;
    let mut line = Vec::new();
    let limited = stream.take(MAX_RESPONSE as u64);
    let read = BufReader::new(limited).read_until(b'\n', &mut line);
    read.map_err(|source| ControlError::Io {
        path: path.clone(),
        source,
    })?;
    if line.last() != Some(&b'\n') {
        return Err(ControlError::NoAnswer(path));
    }
    parse(&path, &line)
}

/// Asks the controller of a run directory; what it answers is read from the connection, line by line.
pub(crate) fn open(run_dir: &Path, request: &Request) -> Result<UnixStream, ControlError> {
    let path = socket_path(run_dir);
    let mut stream = UnixStream::connect(&path).map_err(|source| no_connection(&path, source))?;
    let asked = stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
        .and_then(|()| stream.write_all(&protocol::line(request)));
    match asked {
        Ok(()) => Ok(stream),
        Err(source) => Err(ControlError::Io { path, source }),
    }
}

/// Reads one line of an answer from the socket of this path.
pub(crate) fn parse(path: &Path, line: &[u8]) -> Result<Response, ControlError> {
    match serde_json::from_slice(line) {
        Ok(Response::Refused(reason)) => Err(ControlError::Unfit(reason)),
        Ok(Response::Error(reason)) => Err(ControlError::Refused(reason)),
        Ok(response) => Ok(response),
        Err(source) => Err(ControlError::NotUnderstood {
            path: path.into(),
            source,
        }),
    }
}

fn no_connection(path: &Path, source: io::Error) -> ControlError {
    let kind = source.kind();
    if matches!(
        kind,
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    ) {
        ControlError::NotRunning(path.into())
    } else if kind == io::ErrorKind::PermissionDenied {
        ControlError::Denied(path.into())
    } else {
        ControlError::Io {
            path: path.into(),
            source,
        }
    }
}
