//! Single values of the configuration: how each is written, and what it may be.
//!
//! The command line and the file share these types, so both accept the same values and complain
//! in the same words. [`FromStr`] reads text; `serde` reads the file's strings and integers.

use std::{
    fmt,
    marker::PhantomData,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Deserializer, de};
use thiserror::Error;

use super::{
    Mode, XdpMode,
    duration::{DurationError, TextDuration},
    suggest,
};

/// Why a value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// An uplink's name is empty, too long or has other characters.
    #[error("uplink name {0:?} is not 1 to 32 letters, digits, '_', '.' or '-'")]
    UplinkName(String),
    /// The kernel would not take this as a device's name.
    #[error(
        "{0:?} cannot be a network device: a name has 1 to 15 bytes, no '/', no ':' and no space"
    )]
    Device(String),
    /// An integer outside of its range, or no integer at all.
    #[error("{what} is {given:?}; it must be a whole number from {min} to {max}")]
    Range {
        /// What the number is.
        what: &'static str,
        /// What was given.
        given: String,
        /// The smallest that is allowed.
        min: u64,
        /// The largest that is allowed.
        max: u64,
    },
    /// No duration.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// A duration outside of its range.
    #[error("{what} is {given}; it must be from {min} to {max}")]
    DurationRange {
        /// What the duration is.
        what: &'static str,
        /// What was given.
        given: TextDuration,
        /// The shortest that is allowed.
        min: TextDuration,
        /// The longest that is allowed.
        max: TextDuration,
    },
    /// Not an IP address.
    #[error("{0:?} is not an IPv4 or IPv6 address")]
    Address(String),
    /// An IP address that cannot be a next hop or a probe target.
    #[error("{address} cannot be a {what}: it is {reason}")]
    UnusableAddress {
        /// What it was meant to be.
        what: &'static str,
        /// The address.
        address: IpAddr,
        /// What speaks against it.
        reason: &'static str,
    },
    /// A mode that is planned but not there.
    #[error("mode {0:?} is not available in this version; use \"routed\"")]
    ModeNotAvailable(String),
    /// Not one of the words that may stand here.
    #[error("{what} is {given:?}; it must be one of: {allowed}{}", suggest::hint(.suggestion.as_deref()))]
    Word {
        /// What the word is.
        what: &'static str,
        /// What was given.
        given: String,
        /// The words that may stand here.
        allowed: &'static str,
        /// The word that was probably meant.
        suggestion: Option<String>,
    },
    /// Not an address with a port, nor "off".
    #[error("{given:?} is not an address with a port, nor \"off\"; {example}")]
    Listen {
        /// What was given.
        given: String,
        /// What may have been meant.
        example: String,
    },
}

/// An uplink's name: a label in metrics, a word in status and logs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UplinkName(pub String);

impl FromStr for UplinkName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=32).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(ValueError::UplinkName(text.into()))
        }
    }
}

/// The name of a network device, by the kernel's rule (`dev_valid_name`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device(pub String);

impl FromStr for Device {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=15).contains(&text.len())
            && text != "."
            && text != ".."
            && !text
                .chars()
                .any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(ValueError::Device(text.into()))
        }
    }
}

/// A share of traffic relative to the other uplinks of the same tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight(pub u32);

/// Failover priority: tier 2 carries traffic only when no uplink of tier 1 can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier(pub u8);

/// A number of probes in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeCount(pub u32);

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
ranged!(SeedValue(u64), "the seed", 0, u64::MAX);

/// The time from one probe of a target to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval(pub Duration);

/// How long a probe's answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(pub Duration);

macro_rules! ranged_duration {
    ($type:ident, $what:literal) => {
        impl TryFrom<TextDuration> for $type {
            type Error = ValueError;

            fn try_from(given: TextDuration) -> Result<Self, Self::Error> {
                let min = TextDuration(Duration::from_millis(10));
                let max = TextDuration(Duration::from_secs(60));
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

ranged_duration!(Interval, "the probe interval");
ranged_duration!(Timeout, "the probe timeout");

/// A next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway(pub IpAddr);

impl FromStr for Gateway {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        host_address("gateway", text).map(Self)
    }
}

/// An address beyond the next hop that is asked whether it can still be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target(pub IpAddr);

impl FromStr for Target {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = host_address("probe target", text)?;
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if link_local {
            return Err(ValueError::UnusableAddress {
                what: "probe target",
                address,
                reason: "link-local, which no router passes on (the next hop is probed anyway)",
            });
        }
        Ok(Self(address))
    }
}

/// An address that one host can have and that can be asked over an uplink.
fn host_address(what: &'static str, text: &str) -> Result<IpAddr, ValueError> {
    let address: IpAddr = text.parse().map_err(|_| ValueError::Address(text.into()))?;
    let reason = match address {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_multicast() => Some("a multicast address"),
        _ if address.is_loopback() => Some("a loopback address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("in 0.0.0.0/8, \"this network\""),
        IpAddr::V4(v4) if v4.octets()[0] >= 240 => Some("in the reserved 240.0.0.0/4"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Some("an IPv4 address in IPv6 form; write it as IPv4")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    };
    match reason {
        Some(reason) => Err(ValueError::UnusableAddress {
            what,
            address,
            reason,
        }),
        None => Ok(address),
    }
}

impl FromStr for Mode {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "routed" => Ok(Self::Routed),
            "nat44" | "nptv6" | "auto" => Err(ValueError::ModeNotAvailable(text.into())),
            _ => Err(ValueError::Word {
                what: "the mode",
                given: text.into(),
                allowed: "routed",
                suggestion: suggest::closest(text, ["routed"]),
            }),
        }
    }
}

impl FromStr for XdpMode {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "native" => Ok(Self::Native),
            "generic" => Ok(Self::Generic),
            _ => Err(ValueError::Word {
                what: "the XDP mode",
                given: text.into(),
                allowed: "native, generic",
                suggestion: suggest::closest(text, ["native", "generic"]),
            }),
        }
    }
}

/// Where metrics are served; `None` is "off".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(pub Option<SocketAddr>);

impl FromStr for Listen {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse()
            .map(|address| Self(Some(address)))
            .map_err(|_| ValueError::Listen {
                given: text.into(),
                example: listen_example(text),
            })
    }
}

/// What somebody may have meant who wrote a port alone, or an address alone.
fn listen_example(text: &str) -> String {
    let address = text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let port = text.trim_start_matches(['*', ':']).parse::<u16>().ok();
    match (address, port) {
        (Some(address), _) => {
            format!(
                "with a port it is {:?}",
                SocketAddr::new(address, 9750).to_string()
            )
        }
        (None, Some(port)) => format!(
            "for this machine alone write \"127.0.0.1:{port}\", for all addresses \"[::]:{port}\""
        ),
        (None, None) => "an example is \"127.0.0.1:9750\"".into(),
    }
}

macro_rules! deserialize_from_text {
    ($($type:ty),+) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )+};
}

deserialize_from_text!(UplinkName, Device, Mode, XdpMode, Listen);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_characters_of_a_label() {
        for good in ["a", "isp-1", "LTE_backup.2", &"x".repeat(32)] {
            assert_eq!(good.parse(), Ok(UplinkName(good.into())));
        }
        for bad in ["", "a b", "a=b", "ä", "a,b", "a\"b", &"x".repeat(33)] {
            assert_eq!(
                bad.parse::<UplinkName>(),
                Err(ValueError::UplinkName(bad.into()))
            );
        }
    }

    #[test]
    fn devices_follow_the_kernel() {
        for good in ["eth0", "enp1s0f1np1", "wan.100", "br-lan", "a@b"] {
            assert_eq!(good.parse(), Ok(Device(good.into())));
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a:b",
            "a b",
            "a\tb",
            "sixteen_bytes_xx",
        ] {
            assert_eq!(bad.parse::<Device>(), Err(ValueError::Device(bad.into())));
        }
    }

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
    fn addresses_must_be_of_one_host() {
        for good in [
            "192.0.2.1",
            "10.0.0.1",
            "fe80::1",
            "2001:db8::1",
            "169.254.1.1",
        ] {
            assert!(good.parse::<Gateway>().is_ok(), "{good}");
        }
        for bad in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.5",
            "255.255.255.255",
            "250.0.0.1",
            "::",
            "::1",
            "ff02::1",
            "::ffff:192.0.2.1",
        ] {
            let error = bad.parse::<Gateway>().expect_err(bad).to_string();
            assert!(error.contains(" cannot be a gateway: it is "), "{error}");
        }
        for bad in ["", "192.0.2", "192.0.2.0/24", "gw.example", "fe80::1%eth0"] {
            assert_eq!(bad.parse::<Gateway>(), Err(ValueError::Address(bad.into())));
        }
    }

    #[test]
    fn a_link_local_target_lies_behind_no_router() {
        for bad in ["fe80::1", "169.254.1.1"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_metrics_address_needs_a_port() {
        assert_eq!("off".parse(), Ok(Listen(None)));
        assert_eq!(
            "[::1]:80".parse(),
            Ok(Listen(Some(([0, 0, 0, 0, 0, 0, 0, 1], 80).into())))
        );
        for (bad, help) in [
            ("127.0.0.1", "\"127.0.0.1:9750\""),
            ("::1", "\"[::1]:9750\""),
            ("[::]", "\"[::]:9750\""),
            (":9100", "\"127.0.0.1:9100\""),
            ("9100", "\"127.0.0.1:9100\""),
            ("localhost:9750", "\"127.0.0.1:9750\""),
            ("", "\"127.0.0.1:9750\""),
        ] {
            let error = bad.parse::<Listen>().expect_err(bad).to_string();
            assert!(error.contains(help), "{error}");
        }
    }

    #[test]
    fn words_that_are_close_are_suggested() {
        let error = "nativ".parse::<XdpMode>().unwrap_err().to_string();
        assert_eq!(
            error,
            "the XDP mode is \"nativ\"; it must be one of: native, generic (did you mean \
             \"native\"?)"
        );
        assert_eq!(
            "nat44".parse::<Mode>().unwrap_err().to_string(),
            "mode \"nat44\" is not available in this version; use \"routed\""
        );
    }
}
