//! What can be wrong with a configuration, said with the place where it was written.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use multihome_common::limits;
use thiserror::Error;

use super::{
    MAX_NAT_PORTS, MAX_OUTSIDE, MAX_PROBES, MAX_RUN_DIR,
    duration::TextDuration,
    origin::Origin,
    suggest,
    value::{Ipv6Prefix, PortRange},
};
use crate::exit::{Classify, ExitClass};

mod forward;
mod framing;
mod group;
mod hook;
mod quality;
mod rule;

pub use forward::ForwardError;
pub use framing::FramingError;
pub use group::GroupError;
pub use hook::HookError;
pub use quality::QualityError;
pub use rule::RuleError;

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file as it was named.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file is larger than any configuration.
    #[error("the configuration file {} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file as it was named.
        path: PathBuf,
        /// The largest that is read, in bytes.
        limit: u64,
    },
    /// The file is not TOML, or a value is not what its key takes.
    #[error("{origin}: {message}")]
    File {
        /// Where.
        origin: Origin,
        /// What the reader says.
        message: String,
    },
    /// The file has a key that does not exist.
    #[error(
        "{origin}: unknown key {key:?}{}; the keys here are {}",
        suggest::hint(.suggestion.as_deref()),
        known.join(", ")
    )]
    UnknownKey {
        /// Where.
        origin: Origin,
        /// The key.
        key: String,
        /// The key that was probably meant.
        suggestion: Option<String>,
        /// The keys that may stand there.
        known: Vec<String>,
    },
    /// No LAN device.
    #[error("no LAN device is given")]
    NoLan,
    /// No uplink.
    #[error("no uplink is given")]
    NoUplink,
    /// More LAN devices than there can be.
    #[error("{origin}: more than {} LAN devices", limits::MAX_LAN_PORTS)]
    TooManyLan {
        /// Where the first one too many stands.
        origin: Origin,
    },
    /// More uplinks than there can be.
    #[error("{origin}: more than {} uplinks", limits::MAX_UPLINKS)]
    TooManyUplinks {
        /// Where the first one too many stands.
        origin: Origin,
    },
    /// Two uplinks of one name.
    #[error("{origin}: there is already an uplink {name:?} ({first})")]
    SameName {
        /// Where the second stands.
        origin: Origin,
        /// The name.
        name: String,
        /// Where the first stands.
        first: Origin,
    },
    /// One device with two tasks.
    #[error("{origin}: device {device:?} is already {user} ({first})")]
    SameDevice {
        /// Where the second stands.
        origin: Origin,
        /// The device.
        device: Box<str>,
        /// What the first is.
        user: Box<str>,
        /// Where the first stands.
        first: Origin,
    },
    /// An uplink without device.
    #[error("{origin}: uplink {name:?} has no device")]
    NoDevice {
        /// Where the uplink stands.
        origin: Origin,
        /// Its name.
        name: String,
    },
    /// Two next hops of one family.
    #[error(
        "{origin}: uplink {name:?} has two {family} gateways, {first} and {second}; one of each \
         family is possible"
    )]
    TwoGateways {
        /// Where the second stands.
        origin: Origin,
        /// The uplink's name.
        name: String,
        /// IPv4 or IPv6.
        family: &'static str,
        /// The first.
        first: IpAddr,
        /// The second.
        second: IpAddr,
    },
    /// Modes in one list that exclude each other.
    #[error(
        "{origin}: uplink {name:?} has the modes {first} and {second}; only nat44 and nptv6 go \
         together"
    )]
    ModesApart {
        /// Where the second stands.
        origin: Origin,
        /// The uplink's name.
        name: String,
        /// The first, or the first two.
        first: &'static str,
        /// The second.
        second: &'static str,
    },
    /// The outside address of one uplink in another, or twice in one.
    #[error("{origin}: {address} is already an outside address of uplink {user:?} ({first})")]
    SameOutside {
        /// Where the second stands.
        origin: Origin,
        /// The address.
        address: Ipv4Addr,
        /// The uplink that has it.
        user: Box<str>,
        /// Where the first stands.
        first: Origin,
    },
    /// Too many outside addresses.
    #[error("{origin}: uplink {name:?} has more than {MAX_OUTSIDE} outside addresses")]
    TooManyOutside {
        /// Where the first one too many stands.
        origin: Origin,
        /// The uplink's name.
        name: String,
    },
    /// Prefixes are to be translated to nothing.
    #[error("{origin}: uplink {name:?} has mode nptv6 and no prefix")]
    NoPrefix {
        /// Where its mode stands.
        origin: Origin,
        /// The uplink's name.
        name: String,
    },
    /// Prefixes are to be translated from nothing.
    #[error("{origin}: uplink {name:?} has a prefix, but the LAN's own prefix is not given")]
    NoInsidePrefix {
        /// Where the uplink's prefix stands.
        origin: Origin,
        /// The uplink's name.
        name: String,
    },
    /// An address would be one of two prefixes.
    #[error("{origin}: the prefix {prefix} of uplink {name:?} overlaps {other}")]
    PrefixesOverlap {
        /// Where the prefix stands.
        origin: Origin,
        /// It.
        prefix: Ipv6Prefix,
        /// The uplink's name.
        name: String,
        /// The other one, in words.
        other: String,
    },
    /// BFD cannot run so.
    #[error("{origin}: BFD of uplink {name:?}: {mistake}")]
    Bfd {
        /// Where.
        origin: Origin,
        /// The uplink's name.
        name: Box<str>,
        /// What is wrong.
        mistake: BfdMistake,
    },
    /// A probe target twice in one uplink.
    #[error("{origin}: uplink {name:?} has the probe target {target} twice")]
    SameTarget {
        /// Where the second stands.
        origin: Origin,
        /// The uplink's name.
        name: String,
        /// The target.
        target: String,
    },
    /// More targets must answer than there are.
    #[error(
        "{origin}: a quorum of {quorum} cannot be met by uplink {name:?}, which has {targets} probe \
         target{} of one address family at most", if *.targets == 1 { "" } else { "s" }
    )]
    Quorum {
        /// Where the quorum stands.
        origin: Origin,
        /// It.
        quorum: u32,
        /// The uplink's name.
        name: String,
        /// The targets of the family that has more of them.
        targets: usize,
    },
    /// Too many probe targets.
    #[error("{origin}: uplink {name:?} has more than {MAX_PROBES} probe targets")]
    TooManyTargets {
        /// Where the first one too many stands.
        origin: Origin,
        /// The uplink's name.
        name: String,
    },
    /// More ranges of ports than there can be.
    #[error("{origin}: more than {MAX_NAT_PORTS} ranges of ports")]
    TooManyPortRanges {
        /// Where the first one too many stands.
        origin: Origin,
    },
    /// Two ranges of ports for translated flows overlap.
    #[error("{origin}: the ports {ports} overlap {first}")]
    PortsTwice {
        /// Where the second range stands.
        origin: Origin,
        /// The second range.
        ports: PortRange,
        /// The first range.
        first: PortRange,
    },
    /// Ports that the kernel gives to its own sockets.
    #[error(
        "{origin}: the ports {ports} overlap {kernel}, which the kernel gives to the gateway's own \
         connections"
    )]
    KernelPorts {
        /// Where they stand.
        origin: Origin,
        /// The ports.
        ports: PortRange,
        /// The kernel's.
        kernel: PortRange,
    },
    /// A forward cannot be used.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// The longest hold is shorter than the first.
    #[error("{origin}: the longest hold, {max_hold}, is shorter than the hold, {hold}")]
    MaxHold {
        /// Where it stands.
        origin: Origin,
        /// It.
        max_hold: TextDuration,
        /// The first.
        hold: TextDuration,
    },
    /// Tags or a session cannot be used.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// A group cannot be used.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// A rule cannot be used.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A hook cannot be used.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// An SLA, a capacity or a quota that cannot be.
    #[error(transparent)]
    Quality(#[from] QualityError),
    /// A state directory that cannot be.
    #[error("{origin}: the state directory {path:?} {reason}")]
    StateDir {
        /// Where.
        origin: Origin,
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong with it.
        reason: RunDirProblem,
    },
    /// The run directory cannot be used.
    #[error("{origin}: the run directory {path:?} {reason}")]
    RunDir {
        /// Where it was named.
        origin: Origin,
        /// The directory.
        path: PathBuf,
        /// What speaks against it.
        reason: RunDirProblem,
    },
}

/// What speaks against a run directory's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RunDirProblem {
    /// Nothing is named.
    #[error("is empty")]
    Empty,
    /// Such a path cannot be written into a file or a message.
    #[error("is not UTF-8")]
    NotUtf8,
    /// The path of the socket in it would not fit the kernel's structure.
    #[error("has a path of more than {MAX_RUN_DIR} bytes, too long for a socket in it")]
    TooLong,
}

/// What is wrong with an uplink's BFD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BfdMistake {
    /// Two peers of one family.
    #[error("{first} and {second} are of one family; one peer of each family is possible")]
    TwoPeers {
        /// The first.
        first: IpAddr,
        /// The second.
        second: IpAddr,
    },
    /// A peer of a family that is not to have a session.
    #[error("the family of the peer {peer} is not among its families")]
    PeerOfOtherFamily {
        /// The peer.
        peer: IpAddr,
    },
}

impl Classify for ConfigError {
    fn exit_class(&self) -> ExitClass {
        ExitClass::Input
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::NoLan => {
                Some("give --lan DEV, or lan = [\"DEV\"] in the file of --config".into())
            }
            Self::NoUplink => {
                Some("give --uplink NAME=DEV, or an [[uplink]] in the file of --config".into())
            }
            Self::NoDevice { name, .. } => Some(format!(
                "give --uplink {name}=DEV, or device = \"DEV\" in its [[uplink]]"
            )),
            Self::NoPrefix { name, .. } => Some(format!(
                "give --uplink {name},prefix=PREFIX, or prefix = \"PREFIX\" in its [[uplink]]; \
                 PREFIX is what the provider delegates, such as 2001:db8:1::/48, or \"delegated\" when \
                 `multihome prefix` is to tell it"
            )),
            Self::NoInsidePrefix { .. } => Some(
                "give --inside-prefix PREFIX, or inside_prefix = \"PREFIX\" in the file of \
                 --config, such as fd12:3456:789a::/48"
                    .into(),
            ),
            Self::SameDevice { .. } => Some(
                "several VLANs of one device each need a VLAN device of the kernel, such as `ip link add link \
                 trunk0 name trunk0.20 type vlan id 20`, so that it can tell their addresses apart"
                    .into(),
            ),
            Self::KernelPorts { .. } => Some(
                "choose others, or give the kernel less by the sysctl \
                 net.ipv4.ip_local_port_range"
                    .into(),
            ),
            Self::Read { .. }
            | Self::TooLarge { .. }
            | Self::File { .. }
            | Self::UnknownKey { .. }
            | Self::TooManyLan { .. }
            | Self::TooManyUplinks { .. }
            | Self::SameName { .. }
            | Self::TwoGateways { .. }
            | Self::ModesApart { .. }
            | Self::SameOutside { .. }
            | Self::PrefixesOverlap { .. }
            | Self::TooManyOutside { .. }
            | Self::Bfd { .. }
            | Self::SameTarget { .. }
            | Self::Quorum { .. }
            | Self::TooManyTargets { .. }
            | Self::TooManyPortRanges { .. }
            | Self::PortsTwice { .. }
            | Self::Forward(_)
            | Self::Framing(_)
            | Self::Group(_)
            | Self::Rule(_)
            | Self::MaxHold { .. }
            | Self::Hook(_)
            | Self::Quality(_)
            | Self::StateDir { .. }
            | Self::RunDir { .. } => None,
        }
    }
}
