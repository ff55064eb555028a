//! What can be wrong with tags and sessions.

use thiserror::Error;

use super::super::origin::Origin;

/// Why the framing of a port cannot be used.
#[derive(Debug, Error)]
pub enum FramingError {
    /// Two LAN ports of one name.
    #[error("{origin}: there is already a LAN port {name:?} ({first})")]
    SameLanName {
        /// Where the second stands.
        origin: Origin,
        /// The name.
        name: Box<str>,
        /// Where the first stands.
        first: Origin,
    },
    /// The kind of a tag that is not there.
    #[error("{origin}: outer_tag says what kind of tag a VLAN has, and no vlan is given")]
    OuterTagAlone {
        /// Where it stands.
        origin: Origin,
    },
    /// BFD in a PPPoE session.
    #[error(
        "{origin}: uplink {name:?} is a PPPoE session, which its provider watches by LCP; BFD has no \
         neighbour on it"
    )]
    SessionBfd {
        /// Where BFD was asked for.
        origin: Origin,
        /// The uplink's name.
        name: Box<str>,
    },
}
