//! The values of BFD's keys.

use std::str::FromStr;

use super::{BfdInterval, BfdMultiplier, ValueError};

/// The value of the key `bfd` of `--uplink`: `true`, `false`, an interval, or an interval and a
/// multiplier such as `10msx3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BfdWord {
    /// No BFD.
    Off,
    /// BFD, with what else is said or the defaults.
    On {
        /// The interval.
        interval: Option<BfdInterval>,
        /// The multiplier.
        multiplier: Option<BfdMultiplier>,
    },
}

impl FromStr for BfdWord {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (interval, multiplier) = match text {
            "true" => (None, None),
            "false" => return Ok(Self::Off),
            _ if !text.starts_with(|c: char| c.is_ascii_digit()) => {
                return Err(ValueError::Bfd(text.into()));
            }
            _ => match text.split_once('x') {
                Some((interval, multiplier)) => {
                    (Some(interval.parse()?), Some(multiplier.parse()?))
                }
                None => (Some(text.parse()?), None),
            },
        };
        Ok(Self::On {
            interval,
            multiplier,
        })
    }
}

/// An address family, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyWord {
    /// `ipv4`
    Ipv4,
    /// `ipv6`
    Ipv6,
}

impl FamilyWord {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_word_says_whether_and_how_fast() {
        let on = |interval: Option<u64>, multiplier: Option<u8>| BfdWord::On {
            interval: interval.map(|ms| BfdInterval(Duration::from_millis(ms))),
            multiplier: multiplier.map(BfdMultiplier),
        };
        for (text, word) in [
            ("true", on(None, None)),
            ("false", BfdWord::Off),
            ("10ms", on(Some(10), None)),
            ("10msx3", on(Some(10), Some(3))),
            ("1sx255", on(Some(1000), Some(255))),
        ] {
            assert_eq!(text.parse(), Ok(word), "{text}");
        }
        for (text, why) in [
            ("", "\"\" does not say how BFD is to run"),
            ("yes", "\"yes\" does not say how BFD is to run"),
            ("9ms", "the BFD interval is 9ms; it must be from 10ms to 1m"),
            ("10", "a duration needs a unit"),
            ("10msx0", "from 1 to 255"),
            ("10msx256", "from 1 to 255"),
            ("10msx", "from 1 to 255"),
        ] {
            let error = text.parse::<BfdWord>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
