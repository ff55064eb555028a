//! Shares, rates and volumes of the configuration: a number and a unit, exact.

use std::{fmt, str::FromStr};

use super::ValueError;

/// A share of a whole, in millionths: `"2%"` or `"0.5%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio(pub u32);

/// The whole.
const ONE: u32 = 1_000_000;

impl Ratio {
    /// So many hundredths.
    pub const fn percent(percent: u32) -> Self {
        Self(percent * (ONE / 100))
    }

    /// 0 to 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(ONE)
    }

    /// The share of `part` in this share, rounded down.
    pub const fn times(self, part: Self) -> Self {
        // The product of two numbers up to a million fits, and its millionth is one again.
        Self((self.0 as u64 * part.0 as u64 / ONE as u64) as u32)
    }
}

impl FromStr for Ratio {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_suffix('%')
            .and_then(|number| exact(number.trim_end(), u64::from(ONE) / 100))
            .and_then(|millionths| u32::try_from(millionths).ok())
            .filter(|millionths| *millionths <= ONE)
            .map(Self)
            .ok_or_else(|| ValueError::Ratio(text.into()))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = ONE / 100;
        write!(f, "{}", self.0 / unit)?;
        let rest = format!("{:04}", self.0 % unit);
        match rest.trim_end_matches('0') {
            "" => {}
            digits => write!(f, ".{digits}")?,
        }
        f.write_str("%")
    }
}

/// How much a line carries, in bit/s: `"100mbit"`, `"1.5gbit"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

/// As `tc` has them, powers of a thousand.
const RATES: [(&str, u64); 4] = [
    ("gbit", 1_000_000_000),
    ("mbit", 1_000_000),
    ("kbit", 1_000),
    ("bit", 1),
];
/// The least and the most that an uplink's capacity can be.
const RATE_RANGE: (u64, u64) = (8_000, 10_000_000_000_000);

impl FromStr for Rate {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        read(&lower, &RATES)
            .filter(|rate| (RATE_RANGE.0..=RATE_RANGE.1).contains(rate))
            .map(Self)
            .ok_or_else(|| ValueError::Rate(text.into()))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, &RATES)
    }
}

/// An amount of data, in bytes: `"200GB"`, `"1.5TiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Volume(pub u64);

/// Powers of a thousand, and of 1024 with an i (IEC 80000-13); the largest that fits is printed.
const VOLUMES: [(&str, u64); 9] = [
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("B", 1),
];
/// The least and the most that a quota can be.
const VOLUME_RANGE: (u64, u64) = (1_000_000, 1_000_000_000_000_000);

impl FromStr for Volume {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(text, &VOLUMES)
            .filter(|bytes| (VOLUME_RANGE.0..=VOLUME_RANGE.1).contains(bytes))
            .map(Self)
            .ok_or_else(|| ValueError::Volume(text.into()))
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, &VOLUMES)
    }
}

/// A number with one of the units.
fn read(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    exact(number, *factor)
}

/// A number times a factor, if that is a whole number.
fn exact(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || number.ends_with('.') {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        return Some(whole);
    }
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = fraction.parse::<u64>().ok()?.checked_mul(factor)?;
    (part % scale == 0).then_some(whole.checked_add(part / scale)?)
}

/// Prints in the largest unit of which the number is a whole one.
fn print(f: &mut fmt::Formatter<'_>, number: u64, units: &[(&str, u64)]) -> fmt::Result {
    let (name, factor) = units
        .iter()
        .filter(|(_, factor)| number.is_multiple_of(*factor))
        .max_by_key(|(_, factor)| *factor)
        .copied()
        .unwrap_or(("", 1));
    write!(f, "{}{name}", number / factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_are_exact() {
        for (text, millionths) in [
            ("2%", 20_000),
            ("0.5%", 5_000),
            ("0.0001%", 1),
            ("100%", 1_000_000),
            ("0%", 0),
            ("12.50 %", 125_000),
        ] {
            assert_eq!(text.parse(), Ok(Ratio(millionths)), "{text}");
        }
        for bad in [
            "", "2", "101%", "-1%", "%", "1.%", ".5%", "0.00001%", "2 %%", "x%",
        ] {
            assert_eq!(bad.parse::<Ratio>(), Err(ValueError::Ratio(bad.into())));
        }
        assert_eq!(Ratio::percent(5).times(Ratio::percent(50)), Ratio(25_000));
        assert_eq!(Ratio::percent(5).fraction(), 0.05);
    }

    #[test]
    fn rates_and_volumes_have_units() {
        for (text, rate) in [
            ("100mbit", 100_000_000),
            ("1.5gbit", 1_500_000_000),
            ("64 kbit", 64_000),
            ("8000bit", 8_000),
            ("100Mbit", 100_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Rate(rate)), "{text}");
        }
        for bad in [
            "",
            "100",
            "100mb",
            "1bit",
            "0mbit",
            "11tbit",
            "-1mbit",
            "20000gbit",
            "1.2345bit",
        ] {
            assert_eq!(
                bad.parse::<Rate>(),
                Err(ValueError::Rate(bad.into())),
                "{bad}"
            );
        }
        for (text, bytes) in [
            ("200GB", 200_000_000_000),
            ("1.5TB", 1_500_000_000_000),
            ("1GiB", 1 << 30),
            ("1000000B", 1_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Volume(bytes)), "{text}");
        }
        for bad in ["", "200", "200gb", "1kB", "2000TB", "200Gbit"] {
            assert_eq!(
                bad.parse::<Volume>(),
                Err(ValueError::Volume(bad.into())),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(
            ratio in 0..=1_000_000_u32,
            rate in RATE_RANGE.0..=RATE_RANGE.1,
            volume in VOLUME_RANGE.0..=VOLUME_RANGE.1,
            count in 1..1000_u64,
        ) {
            prop_assert_eq!(Ratio(ratio).to_string().parse(), Ok(Ratio(ratio)));
            prop_assert_eq!(Rate(rate).to_string().parse(), Ok(Rate(rate)));
            prop_assert_eq!(Volume(volume).to_string().parse(), Ok(Volume(volume)));
            let round = Volume(count << 30);
            prop_assert_eq!(round.to_string().parse(), Ok(round));
        }

        #[test]
        fn no_text_makes_them_panic(text in ".*") {
            let _ = (text.parse::<Ratio>(), text.parse::<Rate>(), text.parse::<Volume>());
        }
    }
}
