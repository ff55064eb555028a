//! What can be wrong with a forward.

use std::net::SocketAddrV4;

use thiserror::Error;

use super::super::{MAX_FORWARDS, Protocol, origin::Origin, suggest, value::PortRange};

/// Why a forward cannot be used.
#[derive(Debug, Error)]
pub enum ForwardError {
    /// More forwards than there can be.
    #[error("{origin}: more than {MAX_FORWARDS} forwards")]
    TooMany {
        /// Where the first one too many stands.
        origin: Origin,
    },
    /// The inside ports do not end in time.
    #[error("{origin}: {count} ports from {inside} on run past port 65535")]
    PastEnd {
        /// Where the inside stands.
        origin: Origin,
        /// How many ports are forwarded.
        count: u32,
        /// The host and its first port.
        inside: SocketAddrV4,
    },
    /// An uplink that does not exist.
    #[error("{origin}: there is no uplink {name:?}{}", suggest::hint(.suggestion.as_deref()))]
    UnknownUplink {
        /// Where it is named.
        origin: Origin,
        /// The name.
        name: Box<str>,
        /// The uplink that was probably meant.
        suggestion: Option<String>,
    },
    /// An uplink twice in one forward.
    #[error("{origin}: uplink {name:?} is named twice")]
    SameUplink {
        /// Where the second stands.
        origin: Origin,
        /// The uplink's name.
        name: Box<str>,
    },
    /// An uplink that does not translate IPv4.
    #[error(
        "{origin}: uplink {name:?} has mode {mode}; a forward needs one that translates IPv4, with \
         mode nat44 or auto"
    )]
    NotTranslated {
        /// Where it is named.
        origin: Origin,
        /// The uplink's name.
        name: Box<str>,
        /// Its mode.
        mode: &'static str,
    },
    /// No uplink translates IPv4.
    #[error("{origin}: no uplink translates IPv4, so nothing can be forwarded")]
    Nowhere {
        /// Where the outside ports stand.
        origin: Origin,
    },
    /// The port of BFD is to be forwarded on an uplink that speaks it.
    #[error(
        "{origin}: UDP ports {ports} include {}, which BFD of uplink {uplink:?} needs",
        crate::bfd::ports::CONTROL
    )]
    BfdPort {
        /// Where the outside ports stand.
        origin: Origin,
        /// They.
        ports: PortRange,
        /// The uplink.
        uplink: Box<str>,
    },
    /// A port is forwarded twice.
    #[error(
        "{origin}: {} ports {ports} of uplink {uplink:?} overlap another forward ({first})",
        protocol.name()
    )]
    Overlap {
        /// Where the second one's outside ports stand.
        origin: Origin,
        /// The protocol of both.
        protocol: Protocol,
        /// The second one's outside ports.
        ports: PortRange,
        /// An uplink that has both.
        uplink: Box<str>,
        /// Where the first one's outside ports stand.
        first: Origin,
    },
}
