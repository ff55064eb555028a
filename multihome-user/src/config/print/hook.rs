//! Prints hooks.

use serde::Serialize;

use super::super::{HookConfig, HookUrl, duration::TextDuration};
use crate::events::Kind;

/// A table `[[hook]]`.
#[derive(Serialize)]
pub struct PrintedHook<'c> {
    name: &'c str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    command: &'c [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'c str>,
    #[serde(skip_serializing_if = "<[Kind]>::is_empty")]
    events: &'c [Kind],
    timeout: String,
}

impl<'c> PrintedHook<'c> {
    /// The table as it would be written.
    pub fn new(hook: &'c HookConfig) -> Self {
        Self {
            name: &hook.name,
            command: &hook.command,
            url: hook.url.as_ref().map(HookUrl::text),
            events: &hook.events,
            timeout: TextDuration(hook.timeout).to_string(),
        }
    }
}
