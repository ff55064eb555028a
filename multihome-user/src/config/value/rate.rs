//! How many packets probes may send.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

use super::ValueError;

const MAX: u32 = 10_000;

/// Packets a second to the remote targets of one uplink; `None` is "off", no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeRate(pub Option<u32>);

impl FromStr for ProbeRate {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse()
            .ok()
            .filter(|rate| (1..=MAX).contains(rate))
            .map(|rate| Self(Some(rate)))
            .ok_or_else(|| ValueError::ProbeRate(text.into()))
    }
}

impl<'de> Deserialize<'de> for ProbeRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RateVisitor)
    }
}

struct RateVisitor;

impl de::Visitor<'_> for RateVisitor {
    type Value = ProbeRate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 1 to {MAX}, or \"off\"")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<ProbeRate, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ProbeRate, E> {
        match text {
            "off" => Ok(ProbeRate(None)),
            _ => Err(E::custom(ValueError::ProbeRate(text.into()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_or_off() {
        for (text, rate) in [("off", None), ("1", Some(1)), ("10000", Some(10_000))] {
            assert_eq!(text.parse(), Ok(ProbeRate(rate)));
        }
        for bad in ["", "0", "10001", "5/s", "-1", "Off"] {
            assert_eq!(
                bad.parse::<ProbeRate>(),
                Err(ValueError::ProbeRate(bad.into()))
            );
        }
    }
}
