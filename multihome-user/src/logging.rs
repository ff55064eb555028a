//! Logs for people and for the journal: to standard error, one line an event.

use std::env;

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
        .with_writer(std::io::stderr)
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
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
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
    let Some(stream) = env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    nix::sys::stat::fstat(std::io::stderr())
        .is_ok_and(|stat| stream.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino)))
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
}
