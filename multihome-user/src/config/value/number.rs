//! Whole numbers and durations of the configuration, each with its range.

use std::{fmt, marker::PhantomData, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de};

use super::{super::duration::TextDuration, ValueError};

/// A share of traffic relative to the other uplinks of the same tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight(pub u32);

/// Failover priority: tier 2 carries traffic only when no uplink of tier 1 can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier(pub u8);

/// A number of probes in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeCount(pub u32);

/// A number of targets that must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum(pub u32);

/// How many BFD packets in a row may be missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdMultiplier(pub u8);

/// A number of translated flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowCount(pub u32);

/// A day that each month has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonthDay(pub u8);

/// The seed of the flow hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedValue(pub u64);

/// Reads a whole number of an allowed range, and keeps what was written for the error.
trait Ranged: Sized {
    const WHAT: &'static str;
    const MIN: u64;
    const MAX: u64;

    fn new(number: u64) -> Self;

    fn read(number: Option<u64>, given: impl fmt::Display) -> Result<Self, ValueError> {
        number
            .filter(|number| (Self::MIN..=Self::MAX).contains(number))
            .map(Self::new)
            .ok_or_else(|| ValueError::Range {
                what: Self::WHAT,
                given: given.to_string(),
                min: Self::MIN,
                max: Self::MAX,
            })
    }
}

/// Reads an integer of the file; everything else is a mistake to explain.
struct RangedVisitor<T>(PhantomData<T>);

impl<T: Ranged> de::Visitor<'_> for RangedVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {} to {}", T::MIN, T::MAX)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        T::read(u64::try_from(number).ok(), number).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::read(Some(number), number).map_err(E::custom)
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<T, E> {
        T::read(u64::try_from(number).ok(), number).map_err(E::custom)
    }
}

macro_rules! ranged {
    ($type:ident($inner:ty), $what:literal, $min:literal, $max:expr) => {
        impl Ranged for $type {
            const WHAT: &'static str = $what;
            const MIN: u64 = $min;
            const MAX: u64 = $max;

            fn new(number: u64) -> Self {
                Self(<$inner>::try_from(number).expect("the range above fits the type"))
            }
        }

        impl FromStr for $type {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::read(text.parse().ok(), text)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(RangedVisitor::<Self>(PhantomData))
            }
        }
    };
}

ranged!(Weight(u32), "the weight", 1, 1_000_000);
ranged!(Tier(u8), "the tier", 1, 16);
ranged!(ProbeCount(u32), "the number of probes", 1, 100);
ranged!(
    Quorum(u32),
    "the quorum",
    1,
    super::super::MAX_PROBES as u64
);

ranged!(BfdMultiplier(u8), "the BFD multiplier", 1, 255);
ranged!(FlowCount(u32), "the number of flows", 1024, 16_777_216);
ranged!(MonthDay(u8), "quota_from", 1, 28);
ranged!(SeedValue(u64), "the seed", 0, u64::MAX);

/// The time from one probe of a target to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval(pub Duration);

/// The time from one BFD packet to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdInterval(pub Duration);

/// How long a probe's answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(pub Duration);

/// How long an established TCP connection without packets is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpEstablished(pub Duration);

/// How long any other flow without packets is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatTimeout(pub Duration);

/// How long an uplink must be up before flows go back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailbackAfter(pub Duration);

/// How long a path that has come back is held back at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold(pub Duration);

/// How long a path that has come back is held back at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxHold(pub Duration);

/// After how long without a failure one is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forget(pub Duration);
/// How far back loss, latency and jitter look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QualityWindow(pub Duration);

/// A round-trip time, or its variation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency(pub Duration);

/// How long an uplink must be worse or better before it is judged so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgeAfter(pub Duration);

/// How long a hook may take for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookTimeout(pub Duration);

/// For how long an uplink is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainTime(pub Duration);

macro_rules! ranged_duration {
    ($type:ident, $what:literal, $min:expr, $max:expr) => {
        impl TryFrom<TextDuration> for $type {
            type Error = ValueError;

            fn try_from(given: TextDuration) -> Result<Self, Self::Error> {
                let min = TextDuration($min);
                let max = TextDuration($max);
                if (min..=max).contains(&given) {
                    Ok(Self(given.0))
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

        impl FromStr for $type {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse::<TextDuration>()?.try_into()
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                TextDuration::deserialize(deserializer)?
                    .try_into()
                    .map_err(de::Error::custom)
            }
        }
    };
}

const MILLISECOND: Duration = Duration::from_millis(1);
const TEN_MS: Duration = Duration::from_millis(10);
const TENTH: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const TEN_MINUTES: Duration = Duration::from_secs(10 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);

ranged_duration!(Interval, "the probe interval", TEN_MS, MINUTE);
ranged_duration!(BfdInterval, "the BFD interval", TEN_MS, MINUTE);
ranged_duration!(Timeout, "the probe timeout", TEN_MS, MINUTE);
ranged_duration!(TcpEstablished, "the timeout", MINUTE, DAY);
ranged_duration!(NatTimeout, "the timeout", SECOND, DAY);
ranged_duration!(FailbackAfter, "failback_after", Duration::ZERO, HOUR);
ranged_duration!(Hold, "the hold", Duration::ZERO, HOUR);
ranged_duration!(DrainTime, "the time to drain", SECOND, YEAR);
ranged_duration!(MaxHold, "the longest hold", Duration::ZERO, DAY);
ranged_duration!(
    Forget,
    "the time after which a failure is forgotten",
    SECOND,
    DAY
);
ranged_duration!(HookTimeout, "the hook's timeout", TENTH, TEN_MINUTES);

ranged_duration!(
    QualityWindow,
    "the window",
    SECOND,
    Duration::from_secs(5 * 60)
);
ranged_duration!(Latency, "the limit", MILLISECOND, MINUTE);
ranged_duration!(JudgeAfter, "the time", Duration::ZERO, HOUR);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_ends() {
        assert_eq!("1".parse(), Ok(Weight(1)));
        assert_eq!("1000000".parse(), Ok(Weight(1_000_000)));
        for bad in [
            "0",
            "1000001",
            "-1",
            "1.5",
            "",
            "x",
            "99999999999999999999999",
        ] {
            let error = bad.parse::<Weight>().expect_err(bad);
            assert!(error.to_string().contains("from 1 to 1000000"), "{error}");
        }
        assert_eq!("16".parse(), Ok(Tier(16)));
        assert!("17".parse::<Tier>().is_err());
        assert_eq!("18446744073709551615".parse(), Ok(SeedValue(u64::MAX)));
    }

    #[test]
    fn durations_have_ends() {
        assert_eq!("24h".parse(), Ok(NatTimeout(DAY)));
        assert_eq!("0s".parse(), Ok(FailbackAfter(Duration::ZERO)));
        assert_eq!("60m".parse(), Ok(FailbackAfter(HOUR)));
        assert!("61m".parse::<FailbackAfter>().is_err());
        assert_eq!("1s".parse(), Ok(NatTimeout(SECOND)));
        assert_eq!("60s".parse(), Ok(TcpEstablished(MINUTE)));
        for bad in ["0s", "999ms", "25h"] {
            let error = bad.parse::<NatTimeout>().expect_err(bad);
            assert!(error.to_string().contains("from 1s to 1d"), "{error}");
        }
        let error = "59s".parse::<TcpEstablished>().expect_err("too short");
        assert_eq!(
            error.to_string(),
            "the timeout is 59s; it must be from 1m to 1d"
        );
    }
}
