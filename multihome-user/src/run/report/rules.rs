//! The rules and what they have matched, for the status document and the metrics.

use std::collections::BTreeMap;

use multihome_common::rules::RuleCounts;

use super::Names;
use crate::{
    config::{Config, RuleAction},
    dataplane::RuleReader,
    status::RuleStatus,
};

/// A rule as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleName {
    /// Its name, or its number from 1.
    pub label: String,
    /// Its group; `None` when it drops.
    pub group: Option<String>,
}

impl RuleName {
    /// The rules of a configuration, in their order.
    pub fn all(config: &Config) -> Vec<Self> {
        let rules = config.rules.iter().enumerate();
        rules
            .map(|(at, rule)| Self {
                label: rule.label(at),
                group: match &rule.action {
                    RuleAction::Group(group) => Some(group.clone()),
                    RuleAction::Drop => None,
                },
            })
            .collect()
    }
}

impl Names {
    /// What rules have matched, by their labels, and under the empty one what none has; nothing when there are
    /// no rules.
    pub(super) fn matched(&self, reader: &RuleReader) -> BTreeMap<String, u64> {
        if self.rules.is_empty() {
            return BTreeMap::new();
        }
        let mut matched = BTreeMap::from([(String::new(), reader.matched(RuleCounts::NO_RULE))]);
        for (number, rule) in (0..).zip(&self.rules) {
            // A rule may bear the number of another as its name.
            *matched.entry(rule.label.clone()).or_default() += reader.matched(number);
        }
        matched
    }

    /// How the rules stand.
    pub(super) fn rule_statuses(&self, reader: &RuleReader) -> Vec<RuleStatus> {
        let rules = (0..).zip(&self.rules);
        rules
            .map(|(number, rule)| RuleStatus {
                name: rule.label.clone(),
                group: rule.group.clone(),
                packets: reader.matched(number),
            })
            .collect()
    }
}
