//! Single values of the configuration: how each is written, and what it may be.
//!
//! The command line and the file share these types, so both accept the same values and complain
//! in the same words. [`FromStr`] reads text; `serde` reads the file's strings and integers.

use std::{net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, de};
use thiserror::Error;

use super::{
    Failback, Filtering, HashPolicy, OnUplinkLoss, OuterTag, Protocol, QuotaConfig, Unasked,
    XdpMode,
    duration::{DurationError, TextDuration},
    suggest,
};

mod address;
mod amount;
mod bfd;
mod domain;
mod hook;
mod ip_prefix;
mod mss;
mod number;
mod optional;
mod port;
mod prefix;
mod rate;
mod rule;
mod uplink_prefix;
mod vlan;
mod word;

pub use address::{BfdNeighbour, Gateway, Inside, Listen, Outside, host_address};
pub use amount::{Rate, Ratio, Volume};
pub use bfd::{BfdWord, FamilyWord};
pub use domain::DomainPattern;
pub use hook::{CommandWord, EventName, HookName, HookUrl};
pub use ip_prefix::IpPrefix;
pub use number::{
    BfdInterval, BfdMultiplier, DrainTime, FailbackAfter, FlowCount, Forget, Hold, HookTimeout,
    Interval, JudgeAfter, Latency, MaxHold, MonthDay, NatTimeout, ProbeCount, QualityWindow,
    Quorum, SeedValue, TcpEstablished, Tier, Timeout, Weight,
};
pub use optional::{Burst, Suspicion};
pub use port::PortRange;
pub use prefix::Ipv6Prefix;
pub use rate::ProbeRate;
pub use rule::{Dscp, RuleName, RuleProtocol};
pub use uplink_prefix::UplinkPrefix;
pub use vlan::{LanPort, Vlan};

/// Why a value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueError {
    /// An uplink's name is empty, too long or has other characters.
    #[error("uplink name {0:?} is not 1 to 32 letters, digits, '_', '.' or '-'")]
    UplinkName(String),
    /// A group's name is empty, too long or has other characters.
    #[error("group name {0:?} is not 1 to 32 letters, digits, '_', '.' or '-'")]
    GroupName(String),
    /// A LAN port's name is empty, too long or has other characters.
    #[error("LAN port name {0:?} is not 1 to 32 letters, digits, '_', '.' or '-'")]
    LanName(String),
    /// Not the ids of one or two tags.
    #[error(
        "{0:?} is no VLAN: an id is 1 to 4094, and of two the outer one stands first, such as [200, 100] or \
         \"200.100\""
    )]
    Vlan(String),
    /// A hook's name is empty, too long or has other characters.
    #[error("hook name {0:?} is not 1 to 32 letters, digits, '_', '.' or '-'")]
    HookName(String),
    /// A part of a command that no program can be given.
    #[error("{0:?} cannot be a part of a command: it has a zero byte in it")]
    CommandWord(String),
    /// Not the URL of a web server.
    #[error(
        "{given:?} is not where events can be posted: {reason}; an example is \"https://alerts.example/hook\""
    )]
    Url {
        /// What was given.
        given: String,
        /// What speaks against it.
        reason: String,
    },
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
    /// Not an IPv4 address.
    #[error("{0:?} is not an IPv4 address")]
    Address4(String),
    /// An IP address that cannot be a next hop or a probe target.
    #[error("{address} cannot be {what}: it is {reason}")]
    UnusableAddress {
        /// What it was meant to be.
        what: &'static str,
        /// The address.
        address: IpAddr,
        /// What speaks against it.
        reason: &'static str,
    },
    /// Neither an address nor a URL that can be probed.
    #[error("{given:?} cannot be a probe target: {reason}")]
    Target {
        /// What was given.
        given: String,
        /// What speaks against it.
        reason: String,
    },
    /// Neither a number of packets nor the word that may stand in its place.
    #[error(
        "the probe rate is {0:?}; it must be a whole number of packets a second from 1 to 10000, or \"off\""
    )]
    ProbeRate(String),
    /// Neither a size of segments nor one of the words that may stand in its place.
    #[error(
        "mss_clamp is {0:?}; it must be \"auto\", \"off\" or a whole number of bytes from 536 to 65495"
    )]
    MssClamp(String),
    /// A rule's name is empty, too long or has other characters.
    #[error("rule name {0:?} is not 1 to 32 letters, digits, '_', '.' or '-'")]
    RuleName(String),
    /// Neither a protocol's name nor its number.
    #[error(
        "{given:?} is not a protocol: it is tcp, udp, icmp, or a number from 1 to 255{}",
        suggest::hint(.suggestion.as_deref())
    )]
    RuleProtocol {
        /// What was given.
        given: String,
        /// The name that was probably meant.
        suggestion: Option<String>,
    },
    /// Neither a codepoint's name nor its number.
    #[error(
        "{0:?} is not a DSCP: it is a name such as \"ef\", \"af41\" or \"cs1\", or a number from 0 to 63"
    )]
    Dscp(String),
    /// Not a domain.
    #[error(
        "{0:?} is not a domain, such as \"example.net\", or \"*.example.net\" for all names below it"
    )]
    Domain(String),
    /// Neither a prefix nor an address.
    #[error(
        "{0:?} is not an IPv4 or IPv6 prefix or address, such as \"10.1.0.0/16\" or \"2001:db8::/32\""
    )]
    IpPrefix(String),
    /// Not an IPv6 prefix.
    #[error(
        "{0:?} is not an IPv6 prefix of a network, such as \"2001:db8:1::/48\"; its length is 1 to 64"
    )]
    Prefix(String),
    /// Neither an IPv6 prefix nor the word that may stand in its place.
    #[error(
        "{0:?} is neither an IPv6 prefix of a network with a length of 1 to 64, such as \
         \"2001:db8:1::/48\", nor \"delegated\""
    )]
    UplinkPrefix(String),
    /// A prefix with bits set beyond its length.
    #[error("{given:?} has bits set beyond its length; the prefix is \"{network}/{length}\"")]
    HostBits {
        /// What was given.
        given: String,
        /// The address without those bits.
        network: IpAddr,
        /// The prefix length.
        length: u8,
    },
    /// A prefix that holds addresses no network can have.
    #[error("{given:?} cannot be a network's prefix: it has {reason} in it")]
    UnusablePrefix {
        /// What was given.
        given: String,
        /// What speaks against it.
        reason: &'static str,
    },
    /// Not an IPv4 address with a port.
    #[error("{0:?} is not an IPv4 address with a port, such as \"192.168.1.10:80\"")]
    Inside(String),
    /// Neither a port nor a range of ports.
    #[error("{0:?} is not a port from 1 to 65535, nor a range of ports such as \"8000-8010\"")]
    Ports(String),
    /// A range of ports that ends before it begins.
    #[error("{given:?} ends before it begins; did you mean \"{turned}\"?")]
    PortOrder {
        /// What was given.
        given: String,
        /// The other way round.
        turned: PortRange,
    },
    /// Not a share of a whole.
    #[error("{0:?} is not a share from 0% to 100%, such as \"2%\" or \"0.5%\"")]
    Ratio(String),
    /// Not a rate.
    #[error("{0:?} is not a rate from 8kbit to 10000gbit, such as \"100mbit\" or \"1.5gbit\"")]
    Rate(String),
    /// Not an amount of data.
    #[error("{0:?} is not an amount of data from 1MB to 1000TB, such as \"200GB\" or \"1.5TiB\"")]
    Volume(String),
    /// Not an amount of data for a period.
    #[error("{0:?} is not a quota, such as \"5GB/day\", \"50GB/week\" or \"200GB/month\"")]
    Quota(String),
    /// Not one of the words that may stand here.
    #[error("{what} is {given:?}; it must be one of: {allowed}{}", suggest::hint(.suggestion.as_deref()))]
    Word {
        /// What the word is.
        what: &'static str,
        /// What was given.
        given: String,
        /// The words that may stand here.
        allowed: String,
        /// The word that was probably meant.
        suggestion: Option<String>,
    },
    /// Not a word for how BFD is to run.
    #[error(
        "{0:?} does not say how BFD is to run; write \"true\", \"false\", an interval such as \
         \"300ms\", or an interval and a multiplier such as \"10msx3\""
    )]
    Bfd(String),
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
        if is_label(text) {
            Ok(Self(text.into()))
        } else {
            Err(ValueError::UplinkName(text.into()))
        }
    }
}

/// A group's name: 1 to 32 letters, digits, `_`, `.` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupName(pub String);

impl FromStr for GroupName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_label(text) {
            Ok(Self(text.into()))
        } else {
            Err(ValueError::GroupName(text.into()))
        }
    }
}

/// A LAN port's name: a word in rules, a label in metrics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LanName(pub String);

impl FromStr for LanName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_label(text) {
            Ok(Self(text.into()))
        } else {
            Err(ValueError::LanName(text.into()))
        }
    }
}

/// Whether a text can be a name in files, metrics and the kernel's map of names.
fn is_label(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    (1..=32).contains(&text.len()) && text.bytes().all(allowed)
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

macro_rules! deserialize_from_text {
    ($($type:ty),+) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )+};
}

deserialize_from_text!(
    UplinkName,
    LanName,
    OuterTag,
    GroupName,
    RuleName,
    HookName,
    HookUrl,
    Device,
    XdpMode,
    Listen,
    Ipv6Prefix,
    UplinkPrefix,
    Filtering,
    Unasked,
    Protocol,
    Inside,
    HashPolicy,
    OnUplinkLoss,
    Failback,
    Ratio,
    Rate,
    QuotaConfig
);

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
}
