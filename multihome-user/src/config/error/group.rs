//! What can be wrong with a group.

use multihome_common::limits;
use thiserror::Error;

use super::super::{origin::Origin, suggest};

/// Why a group cannot be used.
#[derive(Debug, Error)]
pub enum GroupError {
    /// More groups than there can be, with the one that is always there.
    #[error(
        "{origin}: more than {} groups (\"default\" is one of them, also when it is not named)",
        limits::MAX_GROUPS
    )]
    TooMany {
        /// Where the first one too many stands.
        origin: Origin,
    },
    /// Two groups of one name.
    #[error("{origin}: there is already a group {name:?} ({first})")]
    SameName {
        /// Where the second stands.
        origin: Origin,
        /// The name.
        name: Box<str>,
        /// Where the first stands.
        first: Origin,
    },
    /// A group without members.
    #[error(
        "{origin}: group {name:?} has no members; without the key, all uplinks are its members"
    )]
    Empty {
        /// Where the group stands.
        origin: Origin,
        /// Its name.
        name: Box<str>,
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
    /// An uplink twice in one group.
    #[error("{origin}: uplink {name:?} is named twice")]
    SameUplink {
        /// Where the second stands.
        origin: Origin,
        /// The uplink's name.
        name: Box<str>,
    },
}
