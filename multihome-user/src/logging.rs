//! Logs for people and for the journal: to standard error, one line an event.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use thiserror::Error;
use tracing_subscriber::{EnvFilter, fmt::time::SystemTime, util::SubscriberInitExt as _};

use crate::exit::{Classify, ExitClass};

/// Why logging cannot begin.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The filter of `--log` is not one.
    #[error("--log {given:?} is not a log filter")]
    Filter {
        /// What was given.
        given: String,
        /// What the reader of filters says.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging was already set up.
    #[error("cannot set up logging")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

impl Classify for LoggingError {
    fn exit_class(&self) -> ExitClass {
        match self {
            Self::Filter { .. } => ExitClass::Input,
            Self::Twice(_) => ExitClass::Runtime,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Filter { .. } => Some(
                "examples are \"debug\" and \"info,multihome::probe=trace\"; the levels are \
                 error, warn, info, debug, trace"
                    .into(),
            ),
            Self::Twice(_) => None,
        }
    }
}

/// Begins to log. `filter` is what `--log` says; `verbose` counts `-v`.
pub fn init(filter: Option<&str>, verbose: u8) -> Result<(), LoggingError> {
    let directives = directives(filter, verbose);
    let filter = EnvFilter::builder()
        .parse(directives)
        .map_err(|source| LoggingError::Filter {
            given: directives.into(),
            source,
        })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .compact();
    if journal() {
        // The journal stamps each line itself, and shows escape codes as garbage.
        builder
            .without_time()
            .with_ansi(false)
            .finish()
            .try_init()?;
    } else {
        let colours = io::stderr().is_terminal();
        builder
            .with_timer(SystemTime)
            .with_ansi(colours)
            .finish()
            .try_init()?;
    }
    Ok(())
}

/// The filter in the words of `tracing`.
fn directives(filter: Option<&str>, verbose: u8) -> &str {
    match (filter, verbose) {
        (Some(filter), _) => filter,
        (None, 0) => "info",
        // What the libraries below say is worth reading only when one of them is suspected.
        (None, 1) => "info,multihome=debug",
        (None, 2) => "info,multihome=trace",
        (None, _) => "trace",
    }
}

/// Whether standard error is the journal's. systemd sets the variable for whatever it starts;
/// that the stream was redirected since shows in the device and inode numbers (systemd.exec(5)).
fn journal() -> bool {
    nix::sys::stat::fstat(io::stderr()).is_ok_and(|stat| {
        names_stream(
            env::var("JOURNAL_STREAM").ok().as_deref(),
            stat.st_dev,
            stat.st_ino,
        )
    })
}

/// Whether the value of `JOURNAL_STREAM` names the stream of this device and inode.
fn names_stream(variable: Option<&str>, device: u64, inode: u64) -> bool {
    variable == Some(&format!("{device}:{inode}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_filter() {
        for verbose in 0..5 {
            let directives = directives(None, verbose);
            assert!(
                EnvFilter::builder().parse(directives).is_ok(),
                "{directives}"
            );
        }
        assert_eq!(directives(Some("warn"), 3), "warn");
    }

    #[test]
    fn only_the_journals_own_stream_is_the_journal() {
        assert!(names_stream(Some("8:1234"), 8, 1234));
        for variable in [
            None,
            Some(""),
            Some("8:1235"),
            Some("9:1234"),
            Some("8:12345"),
        ] {
            assert!(!names_stream(variable, 8, 1234), "{variable:?}");
        }
    }
}
