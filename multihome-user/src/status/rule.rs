//! What a rule has matched.

use serde::{Deserialize, Serialize};

/// What a rule has matched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleStatus {
    /// Its name, or its number from 1.
    pub name: String,
    /// The group that its packets belong to; `None` when they are dropped.
    pub group: Option<String>,
    /// Packets that it was asked about and was the first to match, since the controller began: those of
    /// new flows, and now and then one of each flow that goes on.
    pub packets: u64,
}
