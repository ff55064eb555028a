//! Durations as people write them: a number and a unit, such as `100ms`, `1.5s` or `1m`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de};
use thiserror::Error;

/// The units, longest first, with their nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DurationError {
    /// A number alone.
    #[error("a duration needs a unit: write \"{0}ms\" or \"{0}s\"")]
    NoUnit(String),
    /// A unit that is not known.
    #[error("{0:?} is no unit of time; the units are ms, s, m, h and d (also us and ns)")]
    UnknownUnit(String),
    /// No number in front of the unit.
    #[error("{0:?} is not a duration; examples are \"100ms\", \"1.5s\" and \"1m\"")]
    NoNumber(String),
    /// More than a century, or finer than a nanosecond.
    #[error("{0:?} is out of range for a duration")]
    OutOfRange(String),
}

/// A duration that reads and prints as text, exact to the nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TextDuration(pub Duration);

impl FromStr for TextDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'.')
            .count();
        let (number, unit) = text.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
            return Err(DurationError::NoNumber(text.into()));
        }
        let unit = unit.trim_start();
        if unit.is_empty() {
            return Err(DurationError::NoUnit(number.into()));
        }
        let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(DurationError::UnknownUnit(unit.into()));
        };
        exact(whole, fraction, *nanos)
            .map(Self)
            .ok_or(DurationError::OutOfRange(text.into()))
    }
}

/// `whole.fraction` times `unit` nanoseconds, if that is a whole number of nanoseconds.
fn exact(whole: &str, fraction: &str, unit: u64) -> Option<Duration> {
    let whole: u64 = whole.parse().ok()?;
    let fraction = fraction.trim_end_matches('0');
    let part = if fraction.is_empty() {
        0
    } else {
        let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let product = fraction.parse::<u64>().ok()?.checked_mul(unit)?;
        (product % scale == 0).then_some(product / scale)?
    };
    Some(Duration::from_nanos(
        whole.checked_mul(unit)?.checked_add(part)?,
    ))
}

impl fmt::Display for TextDuration {
    /// Prints in the longest unit of which it is a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        for (name, unit) in UNITS {
            let unit = u128::from(unit);
            // Zero is a whole number of anything; seconds are what people expect to read.
            if nanos.is_multiple_of(unit) && (nanos != 0 || name == "s") {
                return write!(f, "{}{name}", nanos / unit);
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for TextDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

/// Reads a string, and explains what a bare number lacks.
struct TextVisitor;

impl de::Visitor<'_> for TextVisitor {
    type Value = TextDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"100ms\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Err(E::custom(DurationError::NoUnit(number.to_string())))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Err(E::custom(DurationError::NoUnit(number.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, nanos) in [
            ("100ms", 100_000_000),
            ("2s", 2_000_000_000),
            ("1m", 60_000_000_000),
            ("1.5s", 1_500_000_000),
            ("0.5m", 30_000_000_000),
            ("124m", 7_440_000_000_000),
            ("2h", 7_200_000_000_000),
            ("1d", 86_400_000_000_000),
            ("1.50 s", 1_500_000_000),
            ("250us", 250_000),
            ("7ns", 7),
            ("0s", 0),
        ] {
            assert_eq!(
                text.parse(),
                Ok(TextDuration(Duration::from_nanos(nanos))),
                "{text}"
            );
        }
    }

    #[test]
    fn says_what_is_missing() {
        for (text, message) in [
            (
                "500",
                "a duration needs a unit: write \"500ms\" or \"500s\"",
            ),
            (
                "2w",
                "\"w\" is no unit of time; the units are ms, s, m, h and d (also us and ns)",
            ),
            (
                "1s500ms",
                "\"s500ms\" is no unit of time; the units are ms, s, m, h and d (also us and ns)",
            ),
            (
                "ms",
                "\"ms\" is not a duration; examples are \"100ms\", \"1.5s\" and \"1m\"",
            ),
            (
                "-1s",
                "\"-1s\" is not a duration; examples are \"100ms\", \"1.5s\" and \"1m\"",
            ),
            (
                "1.s",
                "\"1.s\" is not a duration; examples are \"100ms\", \"1.5s\" and \"1m\"",
            ),
            (
                "1.2.3s",
                "\"1.2.3s\" is not a duration; examples are \"100ms\", \"1.5s\" and \"1m\"",
            ),
            (
                "",
                "\"\" is not a duration; examples are \"100ms\", \"1.5s\" and \"1m\"",
            ),
            ("0.5ns", "\"0.5ns\" is out of range for a duration"),
            (
                "99999999999999999999s",
                "\"99999999999999999999s\" is out of range for a duration",
            ),
            (
                "18446744073m",
                "\"18446744073m\" is out of range for a duration",
            ),
        ] {
            assert_eq!(
                text.parse::<TextDuration>().unwrap_err().to_string(),
                message
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(nanos in 0..u64::MAX) {
            let duration = TextDuration(Duration::from_nanos(nanos));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn round_numbers_read_back(count in 0..100_000_u64, unit in 0..UNITS.len()) {
            let duration = TextDuration(Duration::from_nanos(count * UNITS[unit].1));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = text.parse::<TextDuration>();
        }
    }
}
