//! What `multihome drain` and `multihome undrain` do: they ask the running controller, or keep what is
//! asked for the next one.

use std::{
    fmt::Write as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use thiserror::Error;

use super::{
    Drain,
    file::{self, DrainFileError},
};
use crate::{
    config::UplinkName,
    control::{
        client::{self, ControlError},
        protocol::{DrainAnswer, Request, Response},
        socket_path,
    },
    exit::{Classify, ExitClass},
    run_dir::{RunDir, RunDirError},
};

/// How long a controller may have its run directory without answering: while it starts and ends.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked meanwhile.
const AGAIN: Duration = Duration::from_millis(100);

/// Why an uplink was not drained.
#[derive(Debug, Error)]
pub enum DrainError {
    /// The controller did not do it.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// There is no controller, and no place for the next one either.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// It cannot be kept for the next controller.
    #[error(transparent)]
    File(#[from] DrainFileError),
}

impl Classify for DrainError {
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

/// Has an uplink drained for this time, or until it is told to end; what to say about it.
///
/// # Errors
/// When the controller refuses it, or it cannot be kept.
pub fn drain(
    run_dir: &Path,
    uplink: &UplinkName,
    time: Option<Duration>,
) -> Result<String, DrainError> {
    let since = now();
    // The longest time that may be asked for is a year: it is in reach of the calendar.
    let until = time.and_then(|time| since.checked_add(time).ok());
    let drain = Drain { since, until };
    let request = Request::Drain {
        uplink: uplink.0.clone(),
        until,
    };
    either(run_dir, &request, |run_dir| {
        file::change(run_dir, uplink, Some(drain))?;
        Ok(format!(
            "{}: no controller runs; the next one drains it {drain}\n",
            uplink.0
        ))
    })
}

/// Has an uplink no longer drained; what to say about it.
///
/// # Errors
/// When the controller refuses it, or it cannot be kept.
pub fn undrain(run_dir: &Path, uplink: &UplinkName) -> Result<String, DrainError> {
    let request = Request::Undrain {
        uplink: uplink.0.clone(),
    };
    either(run_dir, &request, |run_dir| {
        let name = &uplink.0;
        Ok(match file::change(run_dir, uplink, None)? {
            Some(_) => format!("{name}: no controller runs; the next one does not drain it\n"),
            None => {
                format!("{name}: no controller runs, and the next one would not have drained it\n")
            }
        })
    })
}

/// Asks the controller, and without one has `kept` do it in the run directory.
fn either(
    run_dir: &Path,
    request: &Request,
    kept: impl Fn(&RunDir) -> Result<String, DrainFileError>,
) -> Result<String, DrainError> {
    let began = Instant::now();
    loop {
        match client::request(run_dir, request) {
            Ok(Response::Drain(answer)) => return Ok(said(&answer, now())),
            // Another controller's answer.
            Ok(_) => return Err(ControlError::NoAnswer(socket_path(run_dir)).into()),
            // The second: it ended while it was asked. Asking the same twice changes nothing.
            Err(ControlError::NotRunning(_) | ControlError::NoAnswer(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match RunDir::take(run_dir) {
            Ok(run_dir) => return Ok(kept(&run_dir)?),
            Err(RunDirError::AlreadyRunning { .. }) if began.elapsed() < PATIENCE => {
                thread::sleep(AGAIN);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn now() -> Timestamp {
    crate::status::timestamp(std::time::SystemTime::now())
}

fn said(answer: &DrainAnswer, now: Timestamp) -> String {
    let DrainAnswer {
        uplink,
        drain,
        before,
        remark,
    } = answer;
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = match (drain, before) {
        (Some(drain), before) => {
            let left = drain.until.map(|until| until.duration_since(now).as_secs());
            let left = left.and_then(|left| u64::try_from(left).ok());
            let left = left.map(|left| format!(" (for {})", crate::human::seconds(left + 1)));
            let before = before.filter(|before| before.until != drain.until);
            let before = before.map(|before| format!(", not {before} any more"));
            writeln!(
                text,
                "{uplink}: drained {drain}{}{}; new flows take other uplinks, old ones go on until they end",
                left.unwrap_or_default(),
                before.unwrap_or_default(),
            )
        }
        (None, Some(_)) => writeln!(text, "{uplink}: no longer drained"),
        (None, None) => writeln!(text, "{uplink}: it was not being drained"),
    };
    if let Some(remark) = remark {
        let _ = writeln!(text, "{uplink}: WARNING: {remark}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Timestamp {
        text.parse().expect("it is RFC 3339")
    }

    #[test]
    fn what_is_said_names_the_end_and_what_it_was_before() {
        let now = moment("2026-01-02T03:04:05Z");
        let drain = |until: Option<&str>| Drain {
            since: now,
            until: until.map(moment),
        };
        let answer = |drain, before| DrainAnswer {
            uplink: "fibre".into(),
            drain,
            before,
            remark: None,
        };
        let long = Some(drain(None));
        let short = Some(drain(Some("2026-01-02T03:34:04.5Z")));
        for (drain, before, expected) in [
            (
                long,
                None,
                "fibre: drained until it is told to end; new flows take other uplinks, old ones go on \
                 until they end\n",
            ),
            (
                short,
                long,
                "fibre: drained until 2026-01-02T03:34:04Z (for 30m 0s), not until it is told to end any \
                 more; new flows take other uplinks, old ones go on until they end\n",
            ),
            (None, short, "fibre: no longer drained\n"),
            (None, None, "fibre: it was not being drained\n"),
        ] {
            assert_eq!(said(&answer(drain, before), now), expected);
        }
        let warned = DrainAnswer {
            remark: Some("nothing else is up".into()),
            ..answer(None, None)
        };
        assert!(said(&warned, now).ends_with("\nfibre: WARNING: nothing else is up\n"));
    }

    #[test]
    fn without_a_controller_it_is_kept_for_the_next_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("run");
        let uplink: UplinkName = "fibre".parse().expect("a name");
        let text = drain(&path, &uplink, None).expect("it is kept");
        assert_eq!(
            text,
            "fibre: no controller runs; the next one drains it until it is told to end\n"
        );
        drain(&path, &uplink, Some(Duration::from_secs(1800))).expect("it is kept");
        let kept = file::read(&path).expect("it reads back")["fibre"];
        let until = kept.until.expect("it has an end");
        assert_eq!(until.duration_since(kept.since).as_secs(), 1800);
        let text = undrain(&path, &uplink).expect("it is taken out");
        assert_eq!(
            text,
            "fibre: no controller runs; the next one does not drain it\n"
        );
        assert!(!path.exists(), "something was left");
    }
}
