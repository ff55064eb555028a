//! Single values of the configuration: how each is written, and what it may be.
//!
//! The command line and the file share these types, so both accept the same values and complain
//! in the same words. [`FromStr`] reads text; `serde` reads the file's strings and integers.

use std::{net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, de};
use thiserror::Error;

use super::{
    Mode, XdpMode,
    duration::{DurationError, TextDuration},
    suggest,
};

mod address;
mod number;

pub use address::{Gateway, Listen, Target};
pub use number::{Interval, ProbeCount, SeedValue, Tier, Timeout, Weight};

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
