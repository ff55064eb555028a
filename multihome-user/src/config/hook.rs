//! Hooks: who is told of events.

use std::time::Duration;

use super::HookUrl;
use crate::events::Kind;

/// How long a hook may take for an event unless told otherwise.
pub const DEFAULT_HOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// A command, a web server, or both, that are told of events. It has at least one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookConfig {
    /// Its name in metrics and logs.
    pub name: String,
    /// A program by its absolute path, and its arguments; none is empty.
    pub command: Vec<String>,
    /// Where events are posted.
    pub url: Option<HookUrl>,
    /// The kinds of events that it is told of, each once; none are all.
    pub events: Vec<Kind>,
    /// How long a run of the command, or an attempt to post, may take: 100 ms to 10 minutes.
    pub timeout: Duration,
}
