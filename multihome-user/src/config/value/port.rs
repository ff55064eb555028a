//! Ports and ranges of ports.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

use super::ValueError;

/// One port or several that follow each other, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange {
    low: u16,
    high: u16,
}

impl PortRange {
    /// The ports from `low` to `high`, both included; `None` if there are none or 0 is one.
    pub const fn new(low: u16, high: u16) -> Option<Self> {
        if low >= 1 && low <= high {
            Some(Self { low, high })
        } else {
            None
        }
    }

    /// The lowest.
    pub const fn low(self) -> u16 {
        self.low
    }

    /// The highest.
    pub const fn high(self) -> u16 {
        self.high
    }

    /// Whether the two have a port in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.low <= other.high && other.low <= self.high
    }
}

impl FromStr for PortRange {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let (Some(low), Some(high)) = (port(low), port(high)) else {
            return Err(ValueError::Ports(text.into()));
        };
        Self::new(low, high).ok_or_else(|| ValueError::PortOrder {
            given: text.into(),
            turned: Self {
                low: high,
                high: low,
            },
        })
    }
}

/// A port in digits; a sign is none.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high {
            write!(f, "{}", self.low)
        } else {
            write!(f, "{}-{}", self.low, self.high)
        }
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortVisitor)
    }
}

/// Reads a number, or a text for a range.
struct PortVisitor;

impl de::Visitor<'_> for PortVisitor {
    type Value = PortRange;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port, or a range of ports such as \"8000-8010\"")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<PortRange, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PortRange, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_ports_and_ranges() {
        for (text, low, high) in [
            ("80", 80, 80),
            ("1-65535", 1, 65535),
            ("8000-8000", 8000, 8000),
        ] {
            assert_eq!(text.parse(), Ok(PortRange { low, high }), "{text}");
        }
        for bad in [
            "", "0", "65536", "http", "80-", "-80", "0-80", "1-2-3", "+80", "80 - 90", "80:90",
        ] {
            assert_eq!(bad.parse::<PortRange>(), Err(ValueError::Ports(bad.into())));
        }
        assert_eq!(
            "90-80".parse::<PortRange>().unwrap_err().to_string(),
            "\"90-80\" ends before it begins; did you mean \"80-90\"?"
        );
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(low in 1..=u16::MAX, high in 1..=u16::MAX) {
            prop_assert_eq!(PortRange::new(low, high).is_some(), low <= high);
            if let Some(range) = PortRange::new(low, high) {
                prop_assert_eq!(range.to_string().parse(), Ok(range));
            }
        }

        #[test]
        fn ranges_overlap_when_a_port_is_in_both(a in 1..20_u16, b in 0..20_u16, c in 1..20_u16, d in 0..20_u16) {
            let first = PortRange::new(a, a + b).expect("not turned");
            let second = PortRange::new(c, c + d).expect("not turned");
            let common = (a..=a + b).any(|port| (c..=c + d).contains(&port));
            prop_assert_eq!(first.overlaps(second), common);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9+ -]{0,12}") {
            let _ = text.parse::<PortRange>();
        }
    }
}
