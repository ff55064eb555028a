//! The mirror's content: links, addresses, routes, neighbours, and how an event changes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
};

/// The routing table that packets without a rule of their own take.
pub const MAIN_TABLE: u32 = libc::RT_TABLE_MAIN as u32;

/// The hardware type of devices whose frames have an Ethernet header: ARPHRD_ETHER of linux/if_arp.h.
pub const ETHERNET: u16 = 1;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number, unique in the network namespace as long as the device exists.
    pub ifindex: u32,
    /// Its present name.
    pub name: String,
    /// Its MAC address; `None` for tunnels and others without one.
    pub mac: Option<[u8; 6]>,
    /// The largest IP packet it takes, in bytes.
    pub mtu: u32,
    /// It is switched on (`ip link set up`).
    pub admin_up: bool,
    /// The driver sees a peer (IFF_LOWER_UP) and nothing keeps the device from carrying data:
    /// a lower device that is down, 802.1X that has not finished (operational state, RFC 2863).
    pub carrier: bool,
    /// For a VLAN device of the kernel, where its tagged frames come in.
    pub vlan_of: Option<VlanOf>,
    /// What its frames begin with: a hardware type of linux/if_arp.h, [`ETHERNET`] or another.
    pub hardware: u16,
}

/// What a VLAN device of the kernel stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanOf {
    /// The index of the device below.
    pub parent: u32,
    /// The id of its tag.
    pub id: u16,
    /// The EtherType of its tag: 0x8100 or 0x88a8.
    pub kind: u16,
}

/// An address of this machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The address itself, on point-to-point links too.
    pub address: IpAddr,
    /// Length of the prefix that is on the link.
    pub prefix_len: u8,
    /// It may be the source of packets: not tentative, unless optimistic, and not a duplicate of another
    /// host's.
    pub usable: bool,
    /// Its preferred lifetime is over: it is the source of new packets only where there is no other
    /// (RFC 4862 section 5.5.4).
    pub deprecated: bool,
    /// The broadcast address, if there is one.
    pub broadcast: Option<Ipv4Addr>,
    /// The other end's address, on a point-to-point link.
    pub peer: Option<IpAddr>,
}

/// A unicast route over one next hop. A multipath route is as many of these as it has next hops.
/// Routes for one type of service or one source prefix are left out: they are not general.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// First address of the destination prefix.
    pub destination: IpAddr,
    /// Length of the destination prefix.
    pub prefix_len: u8,
    /// The routing table; see [`MAIN_TABLE`]. The local table is left out.
    pub table: u32,
    /// The lower, the better.
    pub metric: u32,
    /// The next hop; `None` when the destination is on the link. May be of the other family.
    pub gateway: Option<IpAddr>,
    /// The device.
    pub ifindex: u32,
    /// It was learned from a router's advertisements (RTPROT_RA), by the kernel or by a network manager: that it
    /// is gone says that the router withdrew it, or fell silent for its lifetime.
    pub advertised: bool,
}

/// What the kernel knows of a neighbour (linux/neighbour.h, NUD_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NeighbourState {
    /// Just made.
    None,
    /// Being asked for, without an answer yet.
    Incomplete,
    /// Confirmed a short time ago.
    Reachable,
    /// Was right once; will be checked when used.
    Stale,
    /// Used while stale; will be checked in a few seconds.
    Delay,
    /// Being checked.
    Probe,
    /// Did not answer.
    Failed,
    /// Needs no resolution.
    NoArp,
    /// Set by hand.
    Permanent,
}

impl NeighbourState {
    /// From the kernel's bits; unknown ones mean that nothing is known.
    pub fn from_bits(bits: u16) -> Self {
        match bits {
            libc::NUD_INCOMPLETE => Self::Incomplete,
            libc::NUD_REACHABLE => Self::Reachable,
            libc::NUD_STALE => Self::Stale,
            libc::NUD_DELAY => Self::Delay,
            libc::NUD_PROBE => Self::Probe,
            libc::NUD_FAILED => Self::Failed,
            libc::NUD_NOARP => Self::NoArp,
            libc::NUD_PERMANENT => Self::Permanent,
            _ => Self::None,
        }
    }

    /// Whether a MAC address in this state is one to send to.
    pub fn is_valid(self) -> bool {
        match self {
            Self::Reachable
            | Self::Stale
            | Self::Delay
            | Self::Probe
            | Self::NoArp
            | Self::Permanent => true,
            Self::None | Self::Incomplete | Self::Failed => false,
        }
    }
}

/// An entry of the neighbour table (ARP, ND).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The MAC address, if known.
    pub mac: Option<[u8; 6]>,
    /// There is a MAC address, and it is one to send to.
    pub valid: bool,
    /// The entry's state.
    pub state: NeighbourState,
}

/// A mirror of the kernel's tables, kept by events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetState {
    /// Devices by index.
    pub links: BTreeMap<u32, Link>,
    /// Addresses by device.
    pub addresses: BTreeMap<u32, BTreeSet<Address>>,
    /// Unicast routes of all tables but the local one.
    pub routes: BTreeSet<Route>,
    /// Neighbours by device and address.
    pub neighbours: BTreeMap<(u32, IpAddr), Neighbour>,
}

/// A change of the kernel's tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// A device is new or changed: name, MAC address, MTU, up or down, carrier.
    Link(Link),
    /// A device was removed, or moved to another network namespace.
    LinkGone(u32),
    /// An address is new or changed on the device with this index.
    AddressAdded(u32, Address),
    /// An address was removed from the device with this index.
    AddressGone(u32, Address),
    /// A route is new.
    RouteAdded(Route),
    /// A route was removed or replaced.
    RouteGone(Route),
    /// A neighbour entry is new, changed, or was confirmed once more.
    Neighbour {
        /// The device.
        ifindex: u32,
        /// The neighbour.
        address: IpAddr,
        /// The entry.
        neighbour: Neighbour,
    },
    /// A neighbour entry was removed.
    NeighbourGone {
        /// The device.
        ifindex: u32,
        /// The neighbour.
        address: IpAddr,
    },
    /// Events were lost, so the tables were read anew. This is all of them.
    Resynced(Box<NetState>),
}

impl NetState {
    /// Applies an event; returns whether it changed anything.
    ///
    /// With a device that is removed goes all that hangs on it. With a device that is switched
    /// off, or that loses its last IPv4 address, go its routes: the kernel purges those without
    /// saying so.
    pub fn apply(&mut self, event: &NetEvent) -> bool {
        match event {
            NetEvent::Link(link) => {
                let purged =
                    !link.admin_up && self.remove_routes(|route| route.ifindex == link.ifindex);
                let before = self.links.insert(link.ifindex, link.clone());
                purged || before.as_ref() != Some(link)
            }
            NetEvent::LinkGone(ifindex) => self.remove_link(*ifindex),
            NetEvent::AddressAdded(ifindex, address) => {
                let addresses = self.addresses.entry(*ifindex).or_default();
                if addresses.contains(address) {
                    return false;
                }
                addresses.retain(|other| !other.is_same(address));
                addresses.insert(address.clone())
            }
            NetEvent::AddressGone(ifindex, address) => self.remove_address(*ifindex, address),
            NetEvent::RouteAdded(route) => self.routes.insert(route.clone()),
            NetEvent::RouteGone(route) => self.routes.remove(route),
            NetEvent::Neighbour {
                ifindex,
                address,
                neighbour,
            } => {
                let before = self
                    .neighbours
                    .insert((*ifindex, *address), neighbour.clone());
                before.as_ref() != Some(neighbour)
            }
            NetEvent::NeighbourGone { ifindex, address } => {
                self.neighbours.remove(&(*ifindex, *address)).is_some()
            }
            NetEvent::Resynced(state) => {
                let changed = *self != **state;
                self.clone_from(state);
                changed
            }
        }
    }

    /// The device with this name.
    pub fn link_by_name(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// The addresses of a device, IPv4 first.
    pub fn addresses_of(&self, ifindex: u32) -> impl Iterator<Item = &Address> {
        self.addresses.get(&ifindex).into_iter().flatten()
    }

    /// The usable addresses of a device, deprecated ones last, else IPv4 first.
    pub fn usable_addresses(&self, ifindex: u32) -> impl Iterator<Item = &Address> {
        let of = move |deprecated| {
            let wanted =
                move |address: &&Address| address.usable && address.deprecated == deprecated;
            self.addresses_of(ifindex).filter(wanted)
        };
        of(false).chain(of(true))
    }

    /// The default routes over a device: those of the main table first, then by metric.
    pub fn default_routes(&self, ifindex: u32) -> Vec<&Route> {
        let mut routes: Vec<&Route> = [IpAddr::from([0_u8; 4]), IpAddr::from([0_u8; 16])]
            .into_iter()
            .flat_map(|any| {
                self.routes
                    .range(Route::range(any, 0, 0..=u32::MAX, 0..=u32::MAX))
            })
            .filter(|route| route.ifindex == ifindex)
            .collect();
        routes.sort_by_key(|route| (route.table != MAIN_TABLE, route.metric));
        routes
    }

    /// A neighbour on a device.
    pub fn neighbour(&self, ifindex: u32, address: IpAddr) -> Option<&Neighbour> {
        self.neighbours.get(&(ifindex, address))
    }

    /// Removes what cannot be: routes over devices that are off, and whatever hangs on devices
    /// that are not there. A listing can have such things when the kernel changed meanwhile.
    pub(super) fn remove_impossible(&mut self) {
        let Self {
            links,
            addresses,
            routes,
            neighbours,
        } = self;
        addresses.retain(|ifindex, _| links.contains_key(ifindex));
        routes.retain(|route| links.get(&route.ifindex).is_some_and(|link| link.admin_up));
        neighbours.retain(|(ifindex, _), _| links.contains_key(ifindex));
    }

    fn remove_link(&mut self, ifindex: u32) -> bool {
        let mut changed = self.links.remove(&ifindex).is_some();
        changed |= self.addresses.remove(&ifindex).is_some();
        changed |= self.remove_routes(|route| route.ifindex == ifindex);
        let before = self.neighbours.len();
        self.neighbours.retain(|(on, _), _| *on != ifindex);
        changed | (before != self.neighbours.len())
    }

    fn remove_address(&mut self, ifindex: u32, address: &Address) -> bool {
        let Some(addresses) = self.addresses.get_mut(&ifindex) else {
            return false;
        };
        let before = addresses.len();
        addresses.retain(|other| !other.is_same(address));
        let changed = addresses.len() != before;
        let has_ipv4 = addresses.iter().any(|address| address.address.is_ipv4());
        if addresses.is_empty() {
            self.addresses.remove(&ifindex);
        }
        if changed && address.address.is_ipv4() && !has_ipv4 {
            self.remove_routes(|route| route.ifindex == ifindex && route.destination.is_ipv4());
        }
        changed
    }

    fn remove_routes(&mut self, doomed: impl Fn(&Route) -> bool) -> bool {
        let before = self.routes.len();
        self.routes.retain(|route| !doomed(route));
        self.routes.len() != before
    }
}

impl Address {
    /// The same address of the same prefix, whatever else is said of it.
    fn is_same(&self, other: &Self) -> bool {
        self.address == other.address && self.prefix_len == other.prefix_len
    }
}

impl Route {
    /// A range over all routes of one destination in some tables with some metrics.
    pub(super) fn range(
        destination: IpAddr,
        prefix_len: u8,
        tables: RangeInclusive<u32>,
        metrics: RangeInclusive<u32>,
    ) -> RangeInclusive<Self> {
        let route = |table: u32, metric: u32, gateway, ifindex, advertised| Self {
            destination,
            prefix_len,
            table,
            metric,
            gateway,
            ifindex,
            advertised,
        };
        let last = Some(IpAddr::from([u8::MAX; 16]));
        route(*tables.start(), *metrics.start(), None, 0, false)
            ..=route(*tables.end(), *metrics.end(), last, u32::MAX, true)
    }
}

#[cfg(test)]
mod tests;
