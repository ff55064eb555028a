//! Whatever the kernel has, the steps lead to what there should be, and no other step is taken.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::routes::{
    DEFAULT_TABLE, FIRST_TABLE,
    model::{Found, Hop, Selector},
    priority,
};

/// A kernel that does as it is told, and refuses what the real one refuses.
#[derive(Clone, Debug, Default)]
struct Kernel {
    rules: Vec<Found<Rule>>,
    routes: Vec<Found<Route>>,
    made: u8,
}

impl Kernel {
    fn raw(&mut self) -> Vec<u8> {
        self.made += 1;
        vec![self.made]
    }

    fn take(&mut self, step: Step) -> Result<(), &'static str> {
        match step {
            Step::SetRoute(route) => {
                let raw = self.raw();
                let same = |found: &Found<Route>| {
                    found.is.as_ref().is_some_and(|it| it.key() == route.key())
                };
                // The first one of the same key is replaced.
                if let Some(at) = self.routes.iter().position(same) {
                    self.routes.remove(at);
                }
                self.routes.push(Found {
                    is: Some(route),
                    raw,
                });
            }
            Step::AddRule(rule) => {
                if self
                    .rules
                    .iter()
                    .any(|found| found.is.as_ref() == Some(&rule))
                {
                    return Err("the rule exists");
                }
                if rule.table >= FIRST_TABLE && !self.has_routes_of(&rule) {
                    return Err("a rule leads to an empty table");
                }
                let raw = self.raw();
                self.rules.push(Found {
                    is: Some(rule),
                    raw,
                });
            }
            Step::RemoveRule(raw) => {
                let at = self.rules.iter().position(|found| found.raw == raw);
                self.rules.remove(at.ok_or("no such rule")?);
            }
            Step::RemoveRoute(raw) => {
                let at = self.routes.iter().position(|found| found.raw == raw);
                self.routes.remove(at.ok_or("no such route")?);
            }
        }
        Ok(())
    }

    /// The default table may be empty, others' have at least the route that says that there is no way.
    fn has_routes_of(&self, rule: &Rule) -> bool {
        let routes = self.routes.iter().filter_map(|found| found.is.as_ref());
        let mut tables = routes.map(|route| (route.family, route.table));
        rule.table == DEFAULT_TABLE || tables.any(|it| it == (rule.family, rule.table))
    }

    fn listing(&self) -> Listing {
        Listing {
            rules: self.rules.clone(),
            routes: self.routes.clone(),
            strangers: Vec::new(),
        }
    }
}

fn any_route() -> impl Strategy<Value = Route> {
    (
        0..2_usize,
        0..3_u32,
        1..3_u32,
        proptest::option::of((1..3_u32, 1..3_u8)),
    )
        .prop_map(|(family, table, metric, hop)| Route {
            family,
            table: FIRST_TABLE + table,
            metric,
            hop: hop.map(|(ifindex, last)| Hop {
                ifindex,
                gateway: IpAddr::from([192, 0, 2, last]),
            }),
        })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let selector = prop_oneof![
        Just(Selector::All),
        (0..3_u32).prop_map(|n| Selector::Mark(FIRST_TABLE + n)),
        (0..3_u8).prop_map(|n| Selector::Device(format!("wan{n}"))),
        (0..3_u8).prop_map(|n| Selector::Source(IpAddr::from([192, 0, 2, n]), 32)),
    ];
    (
        0..2_usize,
        priority::ALL,
        selector,
        0..3_u32,
        proptest::option::of(0..2_u32),
    )
        .prop_map(|(family, priority, selector, table, suppress)| Rule {
            family,
            priority,
            selector,
            table: FIRST_TABLE + table,
            suppress,
        })
}

prop_compose! {
    /// At most one route of a key, and a way out of each table that a rule leads to.
    fn any_desired()(
        rules in proptest::collection::btree_set(any_rule(), 0..12),
        routes in proptest::collection::vec(any_route(), 0..8),
    ) -> Desired {
        let mut desired = Desired { rules, ..Desired::default() };
        for rule in &desired.rules {
            let (family, table) = (rule.family, rule.table);
            desired.routes.insert(Route { family, table, metric: 9, hop: None });
        }
        for route in routes {
            if desired.routes.iter().all(|it| it.key() != route.key()) {
                desired.routes.insert(route);
            }
        }
        desired
    }
}

prop_compose! {
    /// What an earlier controller, a crash, an operator or another version may have left: ours, others
    /// of no known form, some twice.
    fn any_kernel()(
        rules in proptest::collection::vec(proptest::option::weighted(0.8, any_rule()), 0..12),
        routes in proptest::collection::vec(proptest::option::weighted(0.8, any_route()), 0..12),
    ) -> Kernel {
        let mut kernel = Kernel::default();
        for is in rules {
            let raw = kernel.raw();
            if is.is_none() || kernel.rules.iter().all(|found| found.is != is) {
                kernel.rules.push(Found { is, raw });
            }
        }
        for is in routes {
            let raw = kernel.raw();
            let key = is.as_ref().map(Route::key);
            let same = |found: &Found<Route>| found.is.as_ref().map(Route::key) == key;
            if key.is_none() || !kernel.routes.iter().any(same) {
                kernel.routes.push(Found { is, raw });
            }
        }
        kernel
    }
}

proptest! {
    #[test]
    fn whatever_there_is_becomes_what_there_should_be(desired in any_desired(), mut kernel in any_kernel()) {
        let steps = plan(&desired, &kernel.listing());
        for step in steps {
            let shown = format!("{step:?}");
            prop_assert_eq!(kernel.take(step), Ok(()), "{}", shown);
        }
        let rules: BTreeSet<Rule> = kernel.rules.iter().filter_map(|it| it.is.clone()).collect();
        let routes: BTreeSet<Route> = kernel.routes.iter().filter_map(|it| it.is.clone()).collect();
        prop_assert_eq!((kernel.rules.len(), kernel.routes.len()), (rules.len(), routes.len()));
        prop_assert_eq!((&rules, &routes), (&desired.rules, &desired.routes));
        prop_assert_eq!(plan(&desired, &kernel.listing()), [], "not at rest");
    }

    /// From one good state to the next, at no moment does a rule lead to an empty table.
    #[test]
    fn no_rule_is_left_without_its_routes(first in any_desired(), second in any_desired()) {
        let mut kernel = Kernel::default();
        for desired in [&first, &second, &Desired::default()] {
            for step in plan(desired, &kernel.listing()) {
                prop_assert_eq!(kernel.take(step), Ok(()));
                for found in &kernel.rules {
                    let rule = found.is.as_ref().expect("all are of ours");
                    prop_assert!(kernel.has_routes_of(rule), "{}", rule);
                }
            }
        }
        prop_assert!(kernel.listing().is_empty());
    }
}
