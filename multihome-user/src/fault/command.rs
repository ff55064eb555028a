//! What `multihome fault` does: it writes to the pinned maps itself, so it needs no controller.

use std::{fmt::Write as _, path::Path, time::Duration};

use multihome_common::fault::Effect;
use thiserror::Error;

use super::describe;
use crate::{
    config::{TextDuration, UplinkName},
    dataplane::{FaultInForce, PinnedError, PinnedFaults},
    exit::{Classify, ExitClass},
    flows::UnknownUplink,
    heartbeat::monotonic_nanoseconds,
};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// The faults that are in force, of all uplinks or of one.
    Show(Option<&'a UplinkName>),
    /// A fault for so long.
    Set(&'a UplinkName, Effect, Duration),
    /// The end of one.
    Clear(&'a UplinkName),
}

/// Why a fault was not set, ended or shown.
#[derive(Debug, Error)]
pub enum FaultError {
    /// There is no gateway, or it may not be touched.
    #[error(transparent)]
    Pinned(#[from] PinnedError),
    /// No uplink has the name that was given.
    #[error(transparent)]
    UnknownUplink(#[from] UnknownUplink),
}

impl Classify for FaultError {
    fn exit_class(&self) -> ExitClass {
        match self {
            Self::Pinned(error) => error.exit_class(),
            Self::UnknownUplink(error) => error.exit_class(),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Pinned(error) => error.help(),
            Self::UnknownUplink(error) => error.help(),
        }
    }
}

/// Does what is asked on the gateway of this run directory, and says what came of it.
///
/// # Errors
/// See [`FaultError`]; nothing was changed then.
pub fn run(run_dir: &Path, asked: Asked<'_>) -> Result<String, FaultError> {
    let pinned = PinnedFaults::open(run_dir)?;
    let id = |name: &UplinkName| UnknownUplink::find(&name.0, &pinned.uplinks);
    let now = monotonic_nanoseconds();
    Ok(match asked {
        Asked::Show(uplink) => {
            let only = uplink.map(id).transpose()?;
            let mut faults = pinned.faults.in_force(now);
            faults.retain(|fault| only.is_none_or(|id| id == fault.id));
            shown(&faults, &pinned.uplinks, now)
        }
        Asked::Set(uplink, effect, time) => {
            let until = now.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
            pinned.faults.set(id(uplink)?, effect, until);
            let (what, time) = (describe(effect), TextDuration(time));
            format!("{}: {what} for {time}\n", uplink.0)
        }
        Asked::Clear(uplink) => {
            let id = id(uplink)?;
            let was = pinned
                .faults
                .in_force(now)
                .iter()
                .any(|fault| fault.id == id);
            pinned.faults.clear(id);
            let said = if was {
                "the fault is over"
            } else {
                "there was no fault"
            };
            format!("{}: {said}\n", uplink.0)
        }
    })
}

fn shown(faults: &[FaultInForce], names: &[Option<String>], now: u64) -> String {
    let mut text = String::new();
    for fault in faults {
        let name = names.get(usize::from(fault.id)).and_then(Option::as_deref);
        let left = Duration::from_nanos(fault.until.saturating_sub(now)).as_secs_f64();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{}: {} for another {left:.1} s",
            name.unwrap_or("unknown"),
            describe(fault.effect)
        );
    }
    if text.is_empty() {
        text.push_str("no faults\n");
    }
    text
}
