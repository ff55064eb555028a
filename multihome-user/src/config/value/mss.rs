//! What connections by an uplink may open with.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use serde::{Deserialize, Deserializer, de};

use super::{super::MssClamp, ValueError};

/// RFC 9293 section 3.7.1: what a sender assumes without being told; and the largest packet's.
const RANGE: RangeInclusive<u16> = 536..=65_495;

impl FromStr for MssClamp {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            number => number
                .parse()
                .ok()
                .filter(|mss| RANGE.contains(mss))
                .map(Self::At)
                .ok_or_else(|| ValueError::MssClamp(number.into())),
        }
    }
}

impl<'de> Deserialize<'de> for MssClamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MssVisitor)
    }
}

struct MssVisitor;

impl de::Visitor<'_> for MssVisitor {
    type Value = MssClamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = (RANGE.start(), RANGE.end());
        write!(
            f,
            "\"auto\", \"off\" or a whole number from {least} to {most}"
        )
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<MssClamp, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<MssClamp, E> {
        match text {
            "auto" => Ok(MssClamp::Auto),
            "off" => Ok(MssClamp::Off),
            _ => Err(E::custom(ValueError::MssClamp(text.into()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_number_or_one_of_two_words() {
        for (text, clamp) in [
            ("auto", MssClamp::Auto),
            ("off", MssClamp::Off),
            ("536", MssClamp::At(536)),
            ("65495", MssClamp::At(65_495)),
        ] {
            assert_eq!(text.parse(), Ok(clamp));
        }
        for bad in ["", "535", "65496", "1400 bytes", "-1", "Auto", "none"] {
            assert_eq!(
                bad.parse::<MssClamp>(),
                Err(ValueError::MssClamp(bad.into()))
            );
        }
    }
}
