//! From what there should be and what the kernel has to what is to be done: no I/O.

use std::collections::BTreeSet;

use super::{
    desired::Desired,
    model::{Listing, Route, Rule},
};

/// One request to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Have this route, in the place of one with the same key.
    SetRoute(Route),
    /// Have this rule.
    AddRule(Rule),
    /// Remove the rule that the kernel describes so.
    RemoveRule(Vec<u8>),
    /// Remove the route that the kernel describes so.
    RemoveRoute(Vec<u8>),
}

/// What is to be done, in this order: no rule leads to a table before its routes are there, and none
/// still does when they go. Of the rules, those that keep the main table's own routes in force come
/// first and go last.
pub fn plan(desired: &Desired, listing: &Listing) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rules_there = BTreeSet::new();
    let mut rules_gone = Vec::new();
    for found in &listing.rules {
        match &found.is {
            // The second of two that are alike is one too many.
            Some(rule) if desired.rules.contains(rule) && rules_there.insert(rule.clone()) => {}
            _ => rules_gone.push(found),
        }
    }
    let mut routes_there = BTreeSet::new();
    let mut routes_gone = Vec::new();
    for found in &listing.routes {
        match &found.is {
            Some(route) if desired.routes.contains(route) && routes_there.insert(route.clone()) => {
            }
            // It is replaced, not removed, by the one with the same key.
            Some(route) if desired.routes.iter().any(|it| it.key() == route.key()) => {}
            _ => routes_gone.push(found),
        }
    }
    let routes_new = desired.routes.difference(&routes_there);
    steps.extend(routes_new.cloned().map(Step::SetRoute));
    let rules_new = desired.rules.difference(&rules_there);
    steps.extend(rules_new.cloned().map(Step::AddRule));
    // Unknown ones, without a priority that could be known, go first.
    rules_gone.sort_by_key(|found| {
        std::cmp::Reverse(found.is.as_ref().map_or(u32::MAX, |rule| rule.priority))
    });
    steps.extend(
        rules_gone
            .into_iter()
            .map(|found| Step::RemoveRule(found.raw.clone())),
    );
    steps.extend(
        routes_gone
            .into_iter()
            .map(|found| Step::RemoveRoute(found.raw.clone())),
    );
    steps
}

#[cfg(test)]
mod tests;
