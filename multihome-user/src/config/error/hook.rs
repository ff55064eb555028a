//! What can be wrong with a hook.

use thiserror::Error;

use super::super::{MAX_HOOKS, origin::Origin};
use crate::{events::Kind, probe::exchange::AuthoritiesError};

/// Why a hook cannot be used.
#[derive(Debug, Error)]
pub enum HookError {
    /// More hooks than there can be.
    #[error("{origin}: more than {MAX_HOOKS} hooks")]
    TooMany {
        /// Where the first one too many stands.
        origin: Origin,
    },
    /// Two hooks of one name.
    #[error("{origin}: there is already a hook {name:?} ({first})")]
    SameName {
        /// Where the second stands.
        origin: Origin,
        /// The name.
        name: Box<str>,
        /// Where the first stands.
        first: Origin,
    },
    /// A hook that does nothing.
    #[error("{origin}: hook {name:?} has neither a command nor a url")]
    Nothing {
        /// Where the hook stands.
        origin: Origin,
        /// Its name.
        name: Box<str>,
    },
    /// A program that would have to be searched for.
    #[error(
        "{origin}: the program {program:?} of a hook is no absolute path, such as \
         \"/usr/local/sbin/notify\"; arguments are further elements of the list"
    )]
    NotAbsolute {
        /// Where the program stands.
        origin: Origin,
        /// It.
        program: Box<str>,
    },
    /// A kind of events twice.
    #[error("{origin}: the event {kind} is named twice")]
    SameEvent {
        /// Where the second stands.
        origin: Origin,
        /// The kind.
        kind: Kind,
    },
    /// A server that could not be told from another.
    #[error("{origin}: the https server of hook {name:?} could not be told from another")]
    NoAuthorities {
        /// Where the hook's command stands, or its name if it has none.
        origin: Origin,
        /// Its name.
        name: Box<str>,
        /// Why.
        source: AuthoritiesError,
    },
    /// A program that cannot be run, or not with trust.
    #[error("{origin}: the program {program:?} of a hook {reason}")]
    Unfit {
        /// Where the program stands.
        origin: Origin,
        /// It.
        program: Box<str>,
        /// What speaks against it.
        reason: String,
    },
}
