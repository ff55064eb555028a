//! What `multihome prefix` does: it asks the running controller, or keeps what is told for the next
//! one.

use std::{
    fmt::Write as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use thiserror::Error;

use super::{
    Delegation,
    file::{self, PrefixFileError},
};
use crate::{
    config::UplinkName,
    control::{
        client::{self, ControlError},
        protocol::{PrefixInForce, Request, Response},
        socket_path,
    },
    exit::{Classify, ExitClass},
    run_dir::{RunDir, RunDirError},
};

/// How long a controller may have its run directory without answering: while it starts and ends.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked meanwhile.
const AGAIN: Duration = Duration::from_millis(100);

/// Why a prefix was not told or shown.
#[derive(Debug, Error)]
pub enum PrefixError {
    /// The controller did not do it.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// There is no controller, and no place for the next one either.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// What is told cannot be kept for the next controller.
    #[error(transparent)]
    File(#[from] PrefixFileError),
}

impl Classify for PrefixError {
    fn exit_class(&self) -> ExitClass {
        match self {
            Self::Control(error) => error.exit_class(),
            Self::RunDir(error) => error.exit_class(),
            Self::File(error) => error.exit_class(),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Control(error) => error.help(),
            Self::RunDir(error) => error.help(),
            Self::File(error) => error.help(),
        }
    }
}

/// The prefixes in force of all uplinks, or of one, as people read them.
///
/// # Errors
/// When no controller answers, or it knows no such uplink.
pub fn show(run_dir: &Path, uplink: Option<&UplinkName>) -> Result<String, PrefixError> {
    let uplink = uplink.map(|name| name.0.clone());
    Ok(render(&ask(run_dir, &Request::Prefixes { uplink })?))
}

/// Tells what is delegated to an uplink, and what came of that.
///
/// # Errors
/// When the controller refuses it or, without one, it cannot be kept.
pub fn tell(
    run_dir: &Path,
    uplink: &UplinkName,
    delegation: Delegation,
) -> Result<String, PrefixError> {
    let request = Request::SetPrefix {
        uplink: uplink.0.clone(),
        prefix: delegation,
    };
    let began = Instant::now();
    loop {
        match ask(run_dir, &request) {
            Ok(prefixes) => return Ok(told(&prefixes)),
            // The second: it ended while it was asked. Telling the same twice changes nothing.
            Err(ControlError::NotRunning(_) | ControlError::NoAnswer(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match RunDir::take(run_dir) {
            Ok(run_dir) => {
                file::change(&run_dir, uplink, delegation.prefix())?;
                return Ok(format!(
                    "{}: no controller runs; {delegation} is kept for the next one\n",
                    uplink.0
                ));
            }
            Err(RunDirError::AlreadyRunning { .. }) if began.elapsed() < PATIENCE => {
                thread::sleep(AGAIN);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn ask(run_dir: &Path, request: &Request) -> Result<Vec<PrefixInForce>, ControlError> {
    match client::request(run_dir, request)? {
        Response::Prefixes(prefixes) => Ok(prefixes),
        Response::Status(_)
        | Response::Event(_)
        | Response::Skipped(_)
        | Response::End
        | Response::Drain(_)
        | Response::Detached
        | Response::Refused(_)
        | Response::Error(_) => Err(ControlError::NoAnswer(socket_path(run_dir))),
    }
}

fn told(prefixes: &[PrefixInForce]) -> String {
    let mut text = String::new();
    for PrefixInForce {
        uplink,
        prefix,
        delegated: _,
        remark,
    } in prefixes
    {
        // Writing to a string does not fail.
        let _ = match prefix {
            Some(prefix) => writeln!(text, "{uplink}: {prefix} is in force"),
            None => writeln!(text, "{uplink}: no prefix; its IPv6 is not used"),
        };
        if let Some(remark) = remark {
            let _ = writeln!(text, "{uplink}: {remark}");
        }
    }
    text
}

fn render(prefixes: &[PrefixInForce]) -> String {
    let rows: Vec<[&str; 3]> = prefixes
        .iter()
        .map(|row| {
            let from = if row.delegated {
                "delegated"
            } else {
                "configured"
            };
            [&row.uplink, row.prefix.as_deref().unwrap_or("none"), from]
        })
        .collect();
    if rows.is_empty() {
        return "no uplink translates IPv6 prefixes\n".to_owned();
    }
    let headings = ["UPLINK", "PREFIX", "FROM"];
    let width = |column: usize| {
        let cells = rows.iter().chain([&headings]).map(|row| row[column].len());
        cells.max().unwrap_or_default()
    };
    let (name, prefix) = (width(0), width(1));
    let mut text = String::new();
    for row in [headings].iter().chain(&rows) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:name$}  {:prefix$}  {}", row[0], row[1], row[2]);
    }
    for row in prefixes {
        if let Some(remark) = &row.remark {
            let _ = writeln!(text, "{}: {remark}", row.uplink);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(uplink: &str, prefix: Option<&str>, delegated: bool) -> PrefixInForce {
        PrefixInForce {
            uplink: uplink.into(),
            prefix: prefix.map(str::to_owned),
            delegated,
            remark: None,
        }
    }

    #[test]
    fn the_table_lines_up() {
        let rows = [
            row("fibre", Some("2001:db8:1::/48"), true),
            row("lte", None, true),
            row("cable", Some("2001:db8:2:300::/56"), false),
        ];
        assert_eq!(
            render(&rows),
            "UPLINK  PREFIX               FROM\n\
             fibre   2001:db8:1::/48      delegated\n\
             lte     none                 delegated\n\
             cable   2001:db8:2:300::/56  configured\n"
        );
        assert_eq!(render(&[]), "no uplink translates IPv6 prefixes\n");
        assert_eq!(told(&rows[1..2]), "lte: no prefix; its IPv6 is not used\n");
    }

    #[test]
    fn without_a_controller_it_is_kept_for_the_next_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("run");
        let uplink: UplinkName = "fibre".parse().expect("a name");
        let prefix = "2001:db8:1::/48".parse().expect("a prefix");
        let said = tell(&path, &uplink, Delegation::Prefix(prefix)).expect("it is kept");
        assert_eq!(
            said,
            "fibre: no controller runs; 2001:db8:1::/48 is kept for the next one\n"
        );
        let kept = file::read(&path).expect("it reads back");
        assert_eq!(kept, [("fibre".to_owned(), prefix)].into());
        tell(&path, &uplink, Delegation::Withdrawn).expect("it is taken out");
        assert!(!path.exists(), "something was left");
        let error = show(&path, None).expect_err("nobody is there to be asked");
        assert_eq!(error.exit_class(), ExitClass::Runtime);
    }
}
