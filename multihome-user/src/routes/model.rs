//! One route and one rule of ours, as plain data.

use std::{fmt, net::IpAddr};

use multihome_common::state::IPV4;

use super::{DEFAULT_TABLE, PROTOCOL};
use crate::netlink::MAIN_TABLE;

/// A default route of one of our tables.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The family's index.
    pub family: usize,
    /// The table, one of [`super::TABLES`].
    pub table: u32,
    /// The lower, the better; 1 or more.
    pub metric: u32,
    /// Where it leads; `None` says that there is no way.
    pub hop: Option<Hop>,
}

/// A next hop on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hop {
    /// The device.
    pub ifindex: u32,
    /// The router, of the route's family.
    pub gateway: IpAddr,
}

/// A rule that leads to a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// The family's index.
    pub family: usize,
    /// When it is asked, one of [`super::priority`].
    pub priority: u32,
    /// For which packets.
    pub selector: Selector,
    /// The table.
    pub table: u32,
    /// Routes with at most so long a prefix are passed over.
    pub suppress: Option<u32>,
}

/// Which packets a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// All.
    All,
    /// Those with exactly this mark.
    Mark(u32),
    /// Those of sockets that are bound to this device.
    Device(String),
    /// Those from an address of this prefix.
    Source(IpAddr, u8),
}

/// What tells a route from others of the kernel's: one takes the place of another with the same.
pub type RouteKey = (usize, u32, u32);

impl Route {
    /// What tells it from others.
    pub fn key(&self) -> RouteKey {
        (self.family, self.table, self.metric)
    }
}

/// As `ip route` writes it.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            table, metric, hop, ..
        } = self;
        match hop {
            Some(Hop { ifindex, gateway }) => write!(
                f,
                "default via {gateway} on the device with index {ifindex} table {table} metric {metric}"
            ),
            None => write!(
                f,
                "unreachable default table {table} metric {metric} ({})",
                family(self.family)
            ),
        }
    }
}

/// As `ip rule` writes it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.priority)?;
        match &self.selector {
            Selector::All => f.write_str("from all"),
            Selector::Mark(mark) => write!(f, "from all fwmark {mark:#x}"),
            Selector::Device(device) => write!(f, "from all oif {device}"),
            Selector::Source(address, length) => write!(f, "from {address}/{length}"),
        }?;
        match self.table {
            MAIN_TABLE => f.write_str(" lookup main"),
            table => write!(f, " lookup {table}"),
        }?;
        if let Some(length) = self.suppress {
            write!(f, " suppress_prefixlength {length}")?;
        }
        write!(f, " ({})", family(self.family))
    }
}

fn family(family: usize) -> &'static str {
    if family == IPV4 { "IPv4" } else { "IPv6" }
}

/// A route or rule that the kernel has and that bears our number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// What it is; `None` if it is of no form that this version makes.
    pub is: Option<T>,
    /// The kernel's own description of it, by which it can be removed.
    pub raw: Vec<u8>,
}

/// What the kernel has of ours, and what stands in its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Rules that bear our number.
    pub rules: Vec<Found<Rule>>,
    /// Routes of our tables that bear our number.
    pub routes: Vec<Found<Route>>,
    /// Others' rules at our priorities, and others' routes in our tables, for people.
    pub strangers: Vec<String>,
}

impl Listing {
    /// The device that the gateway's default route of a family leads to.
    pub fn default_device(&self, family: usize) -> Option<u32> {
        let routes = self.routes.iter().filter_map(|found| found.is.as_ref());
        routes
            .filter(|route| route.family == family && route.table == DEFAULT_TABLE)
            .find_map(|route| Some(route.hop?.ifindex))
    }

    /// The next hops of all uplinks.
    pub fn next_hops(&self) -> impl Iterator<Item = Hop> {
        let routes = self.routes.iter().filter_map(|found| found.is.as_ref());
        routes
            .filter(|route| route.table != DEFAULT_TABLE)
            .filter_map(|route| route.hop)
    }

    /// How much of ours there is.
    pub fn len(&self) -> usize {
        self.rules.len() + self.routes.len()
    }

    /// Whether there is nothing of ours.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes a rule of somebody else's at one of our priorities.
    pub fn strange_rule(&mut self, family_index: usize, priority: u32) {
        self.strangers.push(format!(
            "the {} rule with priority {priority} is not multihome's (protocol {PROTOCOL}), and which \
             of the two is asked first is not certain; give it another priority",
            family(family_index)
        ));
    }

    /// Notes a route of somebody else's in one of our tables.
    pub fn strange_route(&mut self, family_index: usize, table: u32) {
        self.strangers.push(format!(
            "the {} table {table} has a route that is not multihome's (protocol {PROTOCOL}); move it to \
             another table",
            family(family_index)
        ));
    }
}
