//! Why a question cannot be answered.

use std::net::IpAddr;

use multihome_common::framing::Framing;
use thiserror::Error;

use super::query;
use crate::{
    config::suggest,
    dataplane::PinnedError,
    exit::{Classify, ExitClass},
};

/// Why a question cannot be answered.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// There is nothing to look at.
    #[error(transparent)]
    Pinned(#[from] PinnedError),
    /// One address of each family.
    #[error("{source_address} and {destination} are of two address families")]
    Families {
        /// The source.
        source_address: IpAddr,
        /// The destination.
        destination: IpAddr,
    },
    /// A protocol of the other family.
    #[error("{protocol} is not what {address} speaks; {instead} is")]
    OtherFamily {
        /// The protocol.
        protocol: query::Protocol,
        /// An address of the family.
        address: IpAddr,
        /// The protocol of its family.
        instead: query::Protocol,
    },
    /// A port, and a protocol without.
    #[error("{0} has no ports")]
    NoPorts(query::Protocol),
    /// No uplink of this name.
    #[error(
        "there is no uplink {name:?}{}; there are: {}",
        suggest::hint(.suggestion.as_deref()),
        known.join(", ")
    )]
    UnknownUplink {
        /// The name.
        name: String,
        /// The uplink that was probably meant.
        suggestion: Option<String>,
        /// Those that there are.
        known: Vec<String>,
    },
    /// No LAN port of this device.
    #[error(
        "{name:?} is no LAN device of the gateway{}; there are: {}",
        suggest::hint(.suggestion.as_deref()),
        known.join(", ")
    )]
    UnknownLan {
        /// The device.
        name: String,
        /// The device that was probably meant.
        suggestion: Option<String>,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A VLAN, and a LAN port whose frames have another one's tag.
    #[error("frames of {lan} are of {framing}, not of VLAN {vlan}")]
    OtherVlan {
        /// The port.
        lan: String,
        /// The tags of its frames.
        framing: Framing,
        /// The VLAN.
        vlan: u16,
    },
    /// The gateway has no LAN port at the moment.
    #[error("none of the LAN's devices is there at the moment")]
    NoLan,
}

impl Classify for ExplainError {
    fn exit_class(&self) -> ExitClass {
        match self {
            Self::Pinned(error) => error.exit_class(),
            Self::Families { .. }
            | Self::OtherFamily { .. }
            | Self::NoPorts(_)
            | Self::UnknownUplink { .. }
            | Self::UnknownLan { .. }
            | Self::OtherVlan { .. } => ExitClass::Input,
            Self::NoLan => ExitClass::Runtime,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Pinned(error) => error.help(),
            Self::Families { .. }
            | Self::OtherFamily { .. }
            | Self::NoPorts(_)
            | Self::UnknownUplink { .. }
            | Self::UnknownLan { .. }
            | Self::OtherVlan { .. }
            | Self::NoLan => None,
        }
    }
}
