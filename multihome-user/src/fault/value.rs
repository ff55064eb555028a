//! The values of `multihome fault`: how each is written, and what it may be.

use std::{fmt, str::FromStr, time::Duration};

use multihome_common::fault::Share;
use thiserror::Error;

use crate::config::{TextDuration, ValueError};

/// How long a fault may last at most: one that is forgotten must not cost a night's traffic.
const LONGEST: Duration = Duration::from_secs(3600);
/// How long at least.
const SHORTEST: Duration = Duration::from_millis(1);

/// How much is lost, as a percentage such as `30%` or `0.5%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss(pub Share);

/// Why a text is no loss.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a loss; it must be from \"0.0001%\" to \"100%\"")]
pub struct LossError(String);

impl FromStr for Loss {
    type Err = LossError;

    fn from_str(text: &str) -> Result<Self, LossError> {
        let wrong = || LossError(text.to_owned());
        let number = text.strip_suffix('%').ok_or_else(wrong)?.trim_end();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // A percent has 10 000 millionths.
        if !digits(whole) || !digits(fraction) || fraction.len() > 4 {
            return Err(wrong());
        }
        let whole: u32 = whole.parse().map_err(|_| wrong())?;
        let part: u32 = format!("{fraction:0<4}").parse().map_err(|_| wrong())?;
        let parts = whole
            .checked_mul(10_000)
            .and_then(|whole| whole.checked_add(part));
        parts
            .and_then(Share::of_million)
            .map(Self)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.0.per_million();
        let (whole, part) = (parts / 10_000, parts % 10_000);
        if part == 0 {
            return write!(f, "{whole} %");
        }
        let part = format!("{part:04}");
        write!(f, "{whole}.{} %", part.trim_end_matches('0'))
    }
}

/// How long a fault lasts: 1 ms to 1 h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultTime(pub Duration);

impl FromStr for FaultTime {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let given: TextDuration = text.parse()?;
        if (SHORTEST..=LONGEST).contains(&given.0) {
            return Ok(Self(given.0));
        }
        Err(ValueError::DurationRange {
            what: "the time of the fault",
            given,
            min: TextDuration(SHORTEST),
            max: TextDuration(LONGEST),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_read_and_print_as_percentages() {
        for (text, parts, printed) in [
            ("30%", 300_000, "30 %"),
            ("100%", 1_000_000, "100 %"),
            ("0.5%", 5_000, "0.5 %"),
            ("0.0001%", 1, "0.0001 %"),
            ("2.50 %", 25_000, "2.5 %"),
        ] {
            let loss: Loss = text.parse().expect(text);
            assert_eq!(loss.0.per_million(), parts, "{text}");
            assert_eq!(loss.to_string(), printed);
        }
        for text in [
            "",
            "%",
            "30",
            "0%",
            "0.00001%",
            "101%",
            "100.1%",
            "-1%",
            "1e1%",
            ".5%",
            "5.%",
            "99999999999%",
            "+3%",
        ] {
            let error = text.parse::<Loss>().expect_err(text);
            assert!(error.to_string().contains("0.0001%"), "{error}");
        }
    }

    #[test]
    fn a_fault_lasts_for_an_hour_at_most() {
        for (text, seconds) in [("10s", 10), ("1h", 3600)] {
            let time: FaultTime = text.parse().expect(text);
            assert_eq!(time.0.as_secs(), seconds);
        }
        for text in ["0s", "0ms", "61m", "1d"] {
            let error = text.parse::<FaultTime>().expect_err(text).to_string();
            assert!(error.contains("from 1ms to 1h"), "{error}");
        }
        assert!("10".parse::<FaultTime>().is_err());
    }
}
