//! Durations of the configuration that may also be "off".

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de};

use super::{super::duration::TextDuration, ValueError};

/// For how long packets of the traffic must go unanswered to raise a suspicion; `None` is "off".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion(pub Option<Duration>);

/// The time from one probe of a target to the next in a burst; `None` is "off".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst(pub Option<Duration>);

macro_rules! optional_duration {
    ($type:ident, $what:literal, $min:expr, $max:expr) => {
        impl FromStr for $type {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if text == "off" {
                    return Ok(Self(None));
                }
                let given: TextDuration = text.parse()?;
                let (min, max) = (TextDuration($min), TextDuration($max));
                if (min..=max).contains(&given) {
                    Ok(Self(Some(given.0)))
                } else {
                    Err(ValueError::DurationRange {
                        what: $what,
                        given,
                        min,
                        max,
                    })
                }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(de::Error::custom)
            }
        }
    };
}

optional_duration!(
    Suspicion,
    "suspicion, where it is not \"off\",",
    Duration::from_millis(50),
    Duration::from_secs(10)
);
optional_duration!(
    Burst,
    "burst, where it is not \"off\",",
    Duration::from_millis(10),
    Duration::from_secs(1)
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_in_its_range_or_off() {
        assert_eq!("off".parse(), Ok(Suspicion(None)));
        assert_eq!(
            "200ms".parse(),
            Ok(Suspicion(Some(Duration::from_millis(200))))
        );
        assert_eq!("10ms".parse(), Ok(Burst(Some(Duration::from_millis(10)))));
        for bad in ["Off", "no", "", "200"] {
            assert!(bad.parse::<Suspicion>().is_err(), "{bad}");
        }
        let error = "49ms".parse::<Suspicion>().expect_err("too short");
        assert_eq!(
            error.to_string(),
            "suspicion, where it is not \"off\", is 49ms; it must be from 50ms to 10s"
        );
        assert!("10.1s".parse::<Suspicion>().is_err());
        assert!("1001ms".parse::<Burst>().is_err());
    }
}
