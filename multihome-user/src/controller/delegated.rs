//! Prefixes that providers delegate: taking a new one over while packets flow.

use std::time::Instant;

use super::{Action, Controller};
use crate::config::Ipv6Prefix;

impl Controller {
    /// Puts the prefix in force that is delegated to an uplink now.
    ///
    /// The address table goes before a new prefix, so that no answer to it is taken for a stranger's,
    /// and after one that is withdrawn, since then flows must move first.
    pub(super) fn delegate(
        &mut self,
        id: u8,
        prefix: Option<Ipv6Prefix>,
        now: Instant,
    ) -> Vec<Action> {
        let Some(uplink) = self.uplinks.of_mut(id) else {
            return Vec::new();
        };
        if uplink.delegated == prefix {
            return Vec::new();
        }
        uplink.delegated = prefix;
        let mut uplinks = self.refresh(false, now);
        uplinks.extend(self.refresh_rules());
        self.behind.tables = false;
        let mut tables = self.refresh_segments();
        if prefix.is_some() {
            tables.append(&mut uplinks);
            tables
        } else {
            uplinks.append(&mut tables);
            uplinks
        }
    }
}
