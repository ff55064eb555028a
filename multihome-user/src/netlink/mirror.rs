//! Turns what the kernel says into events of a mirror that stays true: no I/O.
//!
//! The kernel does not say everything. What it purges silently is removed by
//! [`NetState::apply`]; where that may not be the whole truth, the mirror is in doubt, and the
//! tables have to be listed again. [`Mirror::merge`] makes one state of a listing and of the
//! changes that came in while it was made.

use super::{
    message::{Change, LinkChange, RouteChange, RouteKey},
    state::{Link, NetEvent, NetState, Route},
};

/// A state, and whether it can be trusted.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    state: NetState,
    doubt: bool,
}

impl Mirror {
    pub fn new(state: NetState) -> Self {
        Self {
            state,
            doubt: false,
        }
    }

    pub fn state(&self) -> &NetState {
        &self.state
    }

    pub fn into_state(self) -> NetState {
        self.state
    }

    /// Whether something may have changed that was not said; asked for once.
    pub fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.doubt)
    }

    /// Raises the doubt from outside: a message that cannot be read.
    pub fn raise_doubt(&mut self) {
        self.doubt = true;
    }

    /// Applies a change and appends the events that tell of it.
    pub fn absorb(&mut self, change: &Change, events: &mut Vec<NetEvent>) {
        match change {
            Change::Link(link) => self.absorb_link(link, events),
            Change::LinkGone(ifindex) => {
                self.doubt = true;
                self.tell(NetEvent::LinkGone(*ifindex), events);
            }
            Change::Address(ifindex, address) => {
                self.tell(NetEvent::AddressAdded(*ifindex, address.clone()), events);
            }
            Change::AddressGone(ifindex, address) => {
                // Before Linux 6.5 routes that preferred this source vanish without a word.
                self.doubt |= address.address.is_ipv4();
                self.tell(NetEvent::AddressGone(*ifindex, address.clone()), events);
            }
            Change::Routes { how, key, routes } => self.absorb_routes(*how, key, routes, events),
            Change::Neighbour {
                ifindex,
                address,
                neighbour,
            } => {
                let (ifindex, address, neighbour) = (*ifindex, *address, neighbour.clone());
                let event = NetEvent::Neighbour {
                    ifindex,
                    address,
                    neighbour,
                };
                // Told even if nothing changed: it may be a confirmation.
                self.state.apply(&event);
                events.push(event);
            }
            Change::NeighbourGone { ifindex, address } => {
                let event = NetEvent::NeighbourGone {
                    ifindex: *ifindex,
                    address: *address,
                };
                self.tell(event, events);
            }
            Change::NextHopObject => self.doubt = true,
        }
    }

    fn absorb_link(&mut self, change: &LinkChange, events: &mut Vec<NetEvent>) {
        let known = self.state.links.get(&change.ifindex);
        let Some(name) = change
            .name
            .clone()
            .or_else(|| known.map(|link| link.name.clone()))
        else {
            self.doubt = true;
            return;
        };
        // Devices that are switched on may bring back next hops, without a word too.
        self.doubt |= known.is_some_and(|link| link.admin_up != change.admin_up);
        let link = Link {
            ifindex: change.ifindex,
            name,
            mac: change
                .mac
                .unwrap_or_else(|| known.and_then(|link| link.mac)),
            mtu: change
                .mtu
                .or_else(|| known.map(|link| link.mtu))
                .unwrap_or_default(),
            admin_up: change.admin_up,
            carrier: change.carrier,
            vlan_of: change
                .vlan_of
                .unwrap_or_else(|| known.and_then(|link| link.vlan_of)),
            hardware: change.hardware,
        };
        self.tell(NetEvent::Link(link), events);
    }

    fn absorb_routes(
        &mut self,
        how: RouteChange,
        key: &RouteKey,
        routes: &[Route],
        events: &mut Vec<NetEvent>,
    ) {
        match how {
            RouteChange::Added => {}
            RouteChange::Replaced => {
                let RouteKey {
                    destination,
                    prefix_len,
                    table,
                    metric,
                } = *key;
                let range = Route::range(destination, prefix_len, table..=table, metric..=metric);
                let before: Vec<Route> = self.state.routes.range(range).cloned().collect();
                // Only the first of several routes is replaced, and here they look like next hops.
                self.doubt |= before.len() > 1;
                for route in before.into_iter().filter(|route| !routes.contains(route)) {
                    self.tell(NetEvent::RouteGone(route), events);
                }
            }
            RouteChange::Removed => {
                for route in routes {
                    self.tell(NetEvent::RouteGone(route.clone()), events);
                }
                return;
            }
        }
        for route in routes {
            self.tell(NetEvent::RouteAdded(route.clone()), events);
        }
    }

    /// Applies an event, and tells of it if it changed anything.
    fn tell(&mut self, event: NetEvent, events: &mut Vec<NetEvent>) {
        if self.state.apply(&event) {
            events.push(event);
        }
    }

    /// The state after a listing during which these changes came in.
    ///
    /// A change may be older than what was listed. Applying all of them in order still ends in
    /// the truth, because every change says what is there or not, whatever was before.
    pub fn merge(listing: NetState, changes: &[Change]) -> NetState {
        let mut mirror = Self::new(listing);
        let mut events = Vec::new();
        for change in changes {
            mirror.absorb(change, &mut events);
            events.clear();
        }
        mirror.state.remove_impossible();
        mirror.state
    }

    /// Makes this the state, and appends the events that lead to it.
    pub fn become_state(&mut self, new: NetState, events: &mut Vec<NetEvent>) {
        let old = &self.state;
        let mut story = Vec::new();
        story.extend(
            old.links
                .keys()
                .filter(|it| !new.links.contains_key(it))
                .map(|&it| NetEvent::LinkGone(it)),
        );
        story.extend(new.links.values().cloned().map(NetEvent::Link));
        for (&ifindex, addresses) in &old.addresses {
            let left = new.addresses.get(&ifindex);
            story.extend(
                addresses
                    .iter()
                    .filter(|it| left.is_none_or(|left| !left.contains(it)))
                    .map(|it| NetEvent::AddressGone(ifindex, it.clone())),
            );
        }
        for (&ifindex, addresses) in &new.addresses {
            story.extend(
                addresses
                    .iter()
                    .map(|it| NetEvent::AddressAdded(ifindex, it.clone())),
            );
        }
        story.extend(
            old.routes
                .difference(&new.routes)
                .cloned()
                .map(NetEvent::RouteGone),
        );
        // Not the difference: an event above may have taken routes with it that are still there.
        story.extend(new.routes.iter().cloned().map(NetEvent::RouteAdded));
        story.extend(
            old.neighbours
                .keys()
                .filter(|it| !new.neighbours.contains_key(it))
                .map(|&(ifindex, address)| NetEvent::NeighbourGone { ifindex, address }),
        );
        story.extend(
            new.neighbours
                .iter()
                .map(|(&(ifindex, address), neighbour)| NetEvent::Neighbour {
                    ifindex,
                    address,
                    neighbour: neighbour.clone(),
                }),
        );
        for event in story {
            self.tell(event, events);
        }
        debug_assert_eq!(self.state, new);
        self.state = new;
    }
}

#[cfg(test)]
mod tests;
