//! What can be wrong with a configuration, said with the place where it was written.

use std::{io, net::IpAddr, path::PathBuf};

use multihome_common::limits;
use thiserror::Error;

use super::{MAX_PROBES, MAX_RUN_DIR, origin::Origin, suggest};
use crate::exit::{Classify, ExitClass};

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
    /// A probe target twice in one uplink.
    #[error("{origin}: uplink {name:?} has the probe target {target} twice")]
    SameTarget {
        /// Where the second stands.
        origin: Origin,
        /// The uplink's name.
        name: String,
        /// The target.
        target: IpAddr,
    },
    /// Too many probe targets.
    #[error("{origin}: uplink {name:?} has more than {MAX_PROBES} probe targets")]
    TooManyTargets {
        /// Where the first one too many stands.
        origin: Origin,
        /// The uplink's name.
        name: String,
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
            Self::Read { .. }
            | Self::TooLarge { .. }
            | Self::File { .. }
            | Self::UnknownKey { .. }
            | Self::TooManyLan { .. }
            | Self::TooManyUplinks { .. }
            | Self::SameName { .. }
            | Self::SameDevice { .. }
            | Self::TwoGateways { .. }
            | Self::SameTarget { .. }
            | Self::TooManyTargets { .. }
            | Self::RunDir { .. } => None,
        }
    }
}
