//! The controller: events in, actions out. No I/O and no clock of its own, so a test can replay any
//! story; the loop that runs it is [`crate::run`].

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::{Duration, Instant},
};

use multihome_common::{
    limits::MAX_UPLINKS,
    port::{PORT_VLAN_DEVICES, PortEntry},
    state::{IPV4, IPV6},
    uplink::{Hop, HostEntry, UplinkEntry},
};

use crate::{
    config::UplinkConfig,
    health::HealthSettings,
    netlink::{Link, NeighbourState, NetEvent, NetState},
    probe::{Outcome, ProbeEvent, ProbePlan, TargetId, TargetKind},
    segments::{self, Segments},
};

pub mod path;
#[cfg(test)]
mod tests;
pub mod words;

use path::{Path, Sight};
use words::{Health, Words};

/// The families, in the order of every pair of words.
pub const FAMILIES: [usize; 2] = [IPV4, IPV6];
/// How often [`Event::Tick`] is expected.
pub const TICK: Duration = Duration::from_millis(500);
/// Stale LAN neighbours that are checked at each tick, at most.
const HOST_CHECKS: usize = 128;

/// What the controller is to look after.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The uplinks with their ids.
    pub uplinks: Vec<(u8, UplinkConfig)>,
    /// The LAN ports with their slots.
    pub lan: Vec<(u32, String)>,
    /// When a path's state changes.
    pub health: HealthSettings,
    /// How long an eligible word must hold to be remembered as good.
    pub settle: Duration,
    /// What an earlier controller left, if one did.
    pub adopted: Option<Adopted>,
}

/// The words that an earlier controller left, by family.
#[derive(Clone, Copy, Debug, Default)]
pub struct Adopted {
    /// Paths that were alive.
    pub alive: [u64; 2],
    /// The eligible words.
    pub eligible: [u64; 2],
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The kernel's tables changed.
    Net(NetEvent),
    /// A probe was sent.
    ProbeSent(TargetId),
    /// A probe's fate is known.
    Probe(ProbeEvent),
    /// Time passed.
    Tick,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Store a family's eligible word: this moves flows.
    SetEligible(usize, u64),
    /// Store which uplinks of a family serve when none is eligible.
    SetLastGood(usize, u64),
    /// Store which paths of a family are alive.
    SetAlive(usize, u64),
    /// Replace an uplink's entry.
    SetUplink(u8, UplinkEntry),
    /// Make a device run its program, and send to it for its slot.
    Attach {
        /// The slot.
        slot: u32,
        /// The device's name.
        device: String,
        /// Its ifindex.
        ifindex: u32,
        /// The program of a LAN port, not of an uplink.
        lan: bool,
    },
    /// Enter a device into the port table.
    SetPort(String, PortEntry),
    /// Remove a device that is gone from the port table.
    RemovePort(u32),
    /// Replace the address classes of a family.
    SetSegments(usize, Segments),
    /// Enter or remove a LAN host.
    SetHost(IpAddr, Option<HostEntry>),
    /// Probe these and nothing else.
    Probe(Vec<ProbePlan>),
    /// Have the kernel resolve a neighbour, or check one that is stale.
    Resolve(u32, IpAddr),
    /// Have the kernel ask a neighbour now, whatever it knows.
    Confirm(u32, IpAddr),
    /// Tell that a path went up or down.
    PathChanged(PathChange),
    /// Tell that an uplink went up or down: its last path down, or its first up.
    UplinkChanged(UplinkChange),
}

/// A path went up or down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathChange {
    /// The uplink.
    pub id: u8,
    /// The family's index.
    pub family: usize,
    /// The new state.
    pub up: bool,
    /// Why, for people.
    pub cause: String,
}

/// An uplink went up or down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkChange {
    /// The uplink.
    pub id: u8,
    /// The new state.
    pub up: bool,
    /// Why, for people.
    pub cause: String,
    /// The first state that is found after the start, not a change of one.
    pub first: bool,
}

/// One uplink as the controller sees it now.
#[derive(Debug)]
pub struct Uplink {
    /// Its id: its bit in the words.
    pub id: u8,
    /// What the operator said of it.
    pub config: UplinkConfig,
    /// Its paths, by family.
    pub paths: [Path; 2],
    /// The device, if it is there.
    pub link: Option<Link>,
    /// One of its paths is up.
    pub up: bool,
    /// When that changed.
    pub since: Instant,
    /// Why it changed.
    pub cause: String,
    /// Its state was told once.
    told: bool,
}

/// The controller's state.
#[derive(Debug)]
pub struct Controller {
    net: NetState,
    uplinks: Vec<Uplink>,
    lan: Vec<(u32, String)>,
    tiers: Vec<u64>,
    words: [Words; 2],
    applied: Applied,
}

/// What was told to the kernel side, to tell it only what changes.
#[derive(Debug, Default)]
struct Applied {
    alive: [u64; 2],
    uplinks: BTreeMap<u8, UplinkEntry>,
    attached: BTreeMap<u32, u32>,
    ports: BTreeMap<u32, PortEntry>,
    segments: [Segments; 2],
    hosts: HashMap<IpAddr, HostEntry>,
    plans: Vec<ProbePlan>,
}

impl Controller {
    /// A controller that knows the kernel's tables, and has done nothing yet.
    pub fn new(settings: Settings, net: NetState, now: Instant) -> Self {
        let adopted = settings.adopted;
        let initially =
            |id: u8, family: usize| adopted.is_none_or(|a| a.alive[family] >> id & 1 == 1);
        let uplinks: Vec<Uplink> = settings
            .uplinks
            .into_iter()
            .map(|(id, config)| Uplink {
                id,
                paths: FAMILIES.map(|family| {
                    Path::new(
                        id,
                        family,
                        &config,
                        settings.health,
                        initially(id, family),
                        now,
                    )
                }),
                config,
                link: None,
                up: false,
                since: now,
                cause: "starting".to_owned(),
                told: false,
            })
            .collect();
        let eligible = adopted.unwrap_or_default().eligible;
        Self {
            tiers: tiers(&uplinks),
            uplinks,
            lan: settings.lan,
            words: FAMILIES.map(|f| Words::new(eligible[f], 0, settings.settle, now)),
            applied: Applied {
                alive: adopted.unwrap_or_default().alive,
                ..Applied::default()
            },
            net,
        }
    }

    /// Whether every path that has a next hop knows its MAC, or has been told that there is none.
    pub fn resolved(&self) -> bool {
        self.uplinks
            .iter()
            .flat_map(|uplink| &uplink.paths)
            .all(Path::is_resolved)
    }

    /// The uplinks.
    pub fn uplinks(&self) -> &[Uplink] {
        &self.uplinks
    }

    /// The LAN ports' slots, names and present ifindexes.
    pub fn lan_ports(&self) -> impl Iterator<Item = (u32, &str, Option<u32>)> {
        self.lan.iter().map(|(slot, name)| {
            (
                *slot,
                name.as_str(),
                self.net.link_by_name(name).map(|link| link.ifindex),
            )
        })
    }

    /// The eligible word of a family.
    pub fn eligible(&self, family: usize) -> u64 {
        self.words[family].eligible
    }

    /// The ifindexes of all devices of the gateway that are there.
    pub fn ports(&self) -> impl Iterator<Item = u32> {
        self.applied.ports.keys().copied()
    }

    /// Whether a LAN host is entered.
    pub fn knows_host(&self, address: IpAddr) -> bool {
        self.applied.hosts.contains_key(&address)
    }

    /// How many LAN hosts of each family are entered.
    pub fn hosts(&self) -> [usize; 2] {
        let v4 = self
            .applied
            .hosts
            .keys()
            .filter(|address| address.is_ipv4())
            .count();
        [v4, self.applied.hosts.len() - v4]
    }

    /// Everything that must be told to a kernel side that knows nothing yet.
    pub fn begin(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = self.refresh(true, now);
        actions.extend(self.refresh_hosts());
        actions.extend(self.resolve_next_hops(true));
        actions
    }

    /// Takes one event.
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Net(event) => self.handle_net(event, now),
            Event::ProbeSent(id) => self.ask_silent_next_hop(id),
            Event::Probe(event) => self.handle_probe(event, now),
            Event::Tick => {
                let mut actions = self.refresh(false, now);
                actions.extend(self.resolve_next_hops(false));
                actions.extend(self.check_stale_hosts());
                actions
            }
        }
    }

    fn handle_net(&mut self, event: NetEvent, now: Instant) -> Vec<Action> {
        if let NetEvent::Neighbour {
            ifindex,
            address,
            neighbour,
        } = &event
            && neighbour.state == NeighbourState::Reachable
        {
            self.confirm(*ifindex, *address, now);
        }
        if !self.net.apply(&event) {
            return Vec::new();
        }
        match event {
            NetEvent::Neighbour {
                ifindex, address, ..
            }
            | NetEvent::NeighbourGone { ifindex, address } => {
                if self.lan_slot(ifindex).is_some() {
                    return self.refresh_host(ifindex, address).into_iter().collect();
                }
                let is_next_hop = self.uplinks.iter().any(|uplink| {
                    uplink
                        .link
                        .as_ref()
                        .is_some_and(|link| link.ifindex == ifindex)
                        && uplink
                            .paths
                            .iter()
                            .any(|path| path.next_hop() == Some(address))
                });
                if !is_next_hop {
                    return Vec::new();
                }
                let mut actions = self.refresh(false, now);
                let stale = self
                    .net
                    .neighbour(ifindex, address)
                    .is_none_or(|neighbour| {
                        matches!(
                            neighbour.state,
                            NeighbourState::Stale | NeighbourState::None
                        )
                    });
                if stale {
                    actions.push(Action::Resolve(ifindex, address));
                }
                actions
            }
            NetEvent::Link(_)
            | NetEvent::LinkGone(_)
            | NetEvent::AddressAdded(..)
            | NetEvent::AddressGone(..)
            | NetEvent::RouteAdded(_)
            | NetEvent::RouteGone(_)
            | NetEvent::Resynced(_) => {
                let mut actions = self.refresh(true, now);
                actions.extend(self.refresh_hosts());
                actions.extend(self.resolve_next_hops(false));
                actions
            }
        }
    }

    fn handle_probe(&mut self, event: ProbeEvent, now: Instant) -> Vec<Action> {
        let Some(uplink) = self
            .uplinks
            .iter_mut()
            .find(|uplink| uplink.id == event.id.uplink)
        else {
            return Vec::new();
        };
        let mut changed = false;
        for path in &mut uplink.paths {
            changed |= path.handle_probe(event, now);
        }
        if changed {
            self.refresh(false, now)
        } else {
            Vec::new()
        }
    }

    /// Many next hops answer no pings: one that never did is asked by ARP or neighbour discovery
    /// along with each ping, and the kernel's confirmation counts as the answer.
    fn ask_silent_next_hop(&self, id: TargetId) -> Vec<Action> {
        let Some(uplink) = self.uplinks.iter().find(|uplink| uplink.id == id.uplink) else {
            return Vec::new();
        };
        let silent = |path: &&Path| path.next_hop() == Some(id.target) && path.is_silent();
        match (&uplink.link, uplink.paths.iter().find(silent)) {
            (Some(link), Some(_)) if id.kind == TargetKind::NextHop => {
                vec![Action::Confirm(link.ifindex, id.target)]
            }
            _ => Vec::new(),
        }
    }

    /// The kernel confirmed a neighbour.
    fn confirm(&mut self, ifindex: u32, address: IpAddr, now: Instant) {
        let on_device = |uplink: &&mut Uplink| {
            uplink
                .link
                .as_ref()
                .is_some_and(|link| link.ifindex == ifindex)
        };
        for path in self
            .uplinks
            .iter_mut()
            .filter(on_device)
            .flat_map(|uplink| &mut uplink.paths)
        {
            if path.next_hop() == Some(address) {
                path.confirm(now);
            }
        }
    }

    /// Compares what should be with what was told; `tables` also looks at addresses and routes.
    fn refresh(&mut self, tables: bool, now: Instant) -> Vec<Action> {
        let mut changes = Vec::new();
        for uplink in &mut self.uplinks {
            uplink.link = self.net.link_by_name(&uplink.config.device).cloned();
            let link = uplink.link.as_ref();
            for path in &mut uplink.paths {
                path.look(
                    Sight {
                        net: &self.net,
                        link,
                    },
                    now,
                );
            }
            changes.extend(judge(uplink, now));
        }
        let mut words = self.refresh_words(now);
        let mut actions = self.refresh_uplinks();
        let ready = actions.is_empty();
        if tables {
            actions.extend(self.refresh_ports());
            actions.extend(self.refresh_segments());
        }
        let plans = self.plans();
        if plans != self.applied.plans {
            self.applied.plans.clone_from(&plans);
            actions.push(Action::Probe(plans));
        }
        // Words that only name uplinks whose entries are in place go first, since they are what
        // moves flows; words that name a new entry follow it.
        if ready {
            words.append(&mut actions);
            actions = words;
        } else {
            actions.append(&mut words);
        }
        actions.append(&mut changes);
        actions
    }

    fn refresh_words(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        for family in FAMILIES {
            let word = |of: fn(&Path) -> bool| {
                self.uplinks
                    .iter()
                    .filter(|uplink| of(&uplink.paths[family]))
                    .fold(0u64, |word, uplink| word | 1 << uplink.id)
            };
            let health = Health {
                up: word(Path::is_up),
                usable: word(Path::is_usable),
            };
            let words = &mut self.words[family];
            let before = (words.eligible, words.last_good);
            words.update(health, &self.tiers, now);
            // Last-known-good before eligible: an eligible word of zero must find it in place.
            if words.last_good != before.1 {
                actions.push(Action::SetLastGood(family, words.last_good));
            }
            if words.eligible != before.0 {
                actions.push(Action::SetEligible(family, words.eligible));
            }
            if health.up != self.applied.alive[family] {
                self.applied.alive[family] = health.up;
                actions.push(Action::SetAlive(family, health.up));
            }
        }
        actions
    }

    fn refresh_uplinks(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for uplink in &self.uplinks {
            let (Some(link), before) = (&uplink.link, self.applied.uplinks.get(&uplink.id)) else {
                continue;
            };
            let mut entry = before.copied().unwrap_or_default();
            entry.mtu = link.mtu;
            for family in FAMILIES {
                // A path that lost its next hop keeps the last one: it may be all there is left.
                if let (Some(next), Some(own)) = (uplink.paths[family].mac(), link.mac) {
                    entry.next_hop[family] = Hop::new(next, own);
                }
            }
            if before != Some(&entry) {
                self.applied.uplinks.insert(uplink.id, entry);
                actions.push(Action::SetUplink(uplink.id, entry));
            }
        }
        actions
    }

    fn refresh_ports(&mut self) -> Vec<Action> {
        let uplinks = self
            .uplinks
            .iter()
            .map(|u| (u32::from(u.id), u.config.device.as_str()));
        let lan = self.lan.iter().map(|(slot, name)| (*slot, name.as_str()));
        let mut ports = BTreeMap::new();
        let mut actions = Vec::new();
        for (slot, device) in uplinks.chain(lan) {
            let Some(link) = self.net.link_by_name(device) else {
                continue;
            };
            let ifindex = link.ifindex;
            if self.applied.attached.insert(slot, ifindex) != Some(ifindex) {
                let lan = slot as usize >= MAX_UPLINKS;
                actions.push(Action::Attach {
                    slot,
                    device: device.to_owned(),
                    ifindex,
                    lan,
                });
            }
            let entry = port_entry(&self.net, link, slot);
            if self.applied.ports.get(&ifindex) != Some(&entry) {
                actions.push(Action::SetPort(device.to_owned(), entry));
            }
            ports.insert(ifindex, entry);
        }
        let gone = self
            .applied
            .ports
            .keys()
            .filter(|ifindex| !ports.contains_key(ifindex));
        actions.extend(gone.map(|&ifindex| Action::RemovePort(ifindex)));
        let present: Vec<u32> = ports.keys().copied().collect();
        self.applied
            .attached
            .retain(|_, ifindex| present.contains(ifindex));
        self.applied.ports = ports;
        actions
    }

    fn refresh_segments(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for family in FAMILIES {
            let bits = if family == IPV4 { 32 } else { 128 };
            let is_lan = |ifindex| self.lan_slot(ifindex).is_some();
            let segments = segments::segments(&self.net, is_lan, bits);
            if segments != self.applied.segments[family] {
                self.applied.segments[family].clone_from(&segments);
                actions.push(Action::SetSegments(family, segments));
            }
        }
        actions
    }

    fn plans(&self) -> Vec<ProbePlan> {
        self.uplinks
            .iter()
            .filter_map(|uplink| {
                let ifindex = uplink.link.as_ref()?.ifindex;
                let targets: Vec<_> = uplink.paths.iter().flat_map(Path::probes).collect();
                (!targets.is_empty()).then_some(ProbePlan {
                    uplink: uplink.id,
                    ifindex,
                    targets,
                })
            })
            .collect()
    }

    fn lan_slot(&self, ifindex: u32) -> Option<u32> {
        let link = self.net.links.get(&ifindex)?;
        self.lan
            .iter()
            .find(|(_, name)| *name == link.name)
            .map(|(slot, _)| *slot)
    }

    fn host_entry(&self, ifindex: u32, address: IpAddr) -> Option<HostEntry> {
        let neighbour = self.net.neighbour(ifindex, address).filter(|n| n.valid)?;
        let link = self.net.links.get(&ifindex)?;
        Some(HostEntry {
            hop: Hop::new(neighbour.mac?, link.mac?),
            mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
            slot: self.lan_slot(ifindex)? as u16,
        })
    }

    fn refresh_host(&mut self, ifindex: u32, address: IpAddr) -> Option<Action> {
        let entry = self.host_entry(ifindex, address).or_else(|| {
            // The host may have moved to another port, and this be the old one's farewell.
            let known = self.applied.hosts.get(&address)?;
            let other = self
                .lan
                .iter()
                .find(|(slot, _)| *slot == u32::from(known.slot))?;
            let other = self.net.link_by_name(&other.1)?.ifindex;
            if other == ifindex {
                None
            } else {
                self.host_entry(other, address)
            }
        });
        let changed = match entry {
            Some(entry) => self.applied.hosts.insert(address, entry) != Some(entry),
            None => self.applied.hosts.remove(&address).is_some(),
        };
        changed.then_some(Action::SetHost(address, entry))
    }

    fn refresh_hosts(&mut self) -> Vec<Action> {
        let mut wanted = HashMap::new();
        for &(ifindex, address) in self.net.neighbours.keys() {
            if let Some(entry) = self.host_entry(ifindex, address) {
                wanted.insert(address, entry);
            }
        }
        let gone = self
            .applied
            .hosts
            .keys()
            .filter(|address| !wanted.contains_key(address));
        let mut actions: Vec<Action> = gone
            .map(|&address| Action::SetHost(address, None))
            .collect();
        for (&address, &entry) in &wanted {
            if self.applied.hosts.get(&address) != Some(&entry) {
                actions.push(Action::SetHost(address, Some(entry)));
            }
        }
        self.applied.hosts = wanted;
        actions
    }

    /// The packets of the LAN's hosts no longer pass through the kernel, which therefore never
    /// finds out that a host is gone or has another MAC: it is asked to check.
    fn check_stale_hosts(&self) -> Vec<Action> {
        self.net
            .neighbours
            .iter()
            .filter(|((ifindex, _), neighbour)| {
                neighbour.state == NeighbourState::Stale && self.lan_slot(*ifindex).is_some()
            })
            .take(HOST_CHECKS)
            .map(|(&(ifindex, address), _)| Action::Resolve(ifindex, address))
            .collect()
    }

    /// Keeps the next hops' neighbour entries alive, for the same reason.
    fn resolve_next_hops(&self, all: bool) -> Vec<Action> {
        let mut actions = Vec::new();
        for uplink in &self.uplinks {
            let Some(link) = uplink.link.as_ref().filter(|link| link.admin_up) else {
                continue;
            };
            for next_hop in uplink.paths.iter().filter_map(Path::next_hop) {
                let fresh = self
                    .net
                    .neighbour(link.ifindex, next_hop)
                    .is_some_and(|neighbour| {
                        matches!(
                            neighbour.state,
                            NeighbourState::Reachable
                                | NeighbourState::Delay
                                | NeighbourState::Probe
                                | NeighbourState::Incomplete
                                | NeighbourState::NoArp
                                | NeighbourState::Permanent
                        )
                    });
                if all || !fresh {
                    actions.push(Action::Resolve(link.ifindex, next_hop));
                }
            }
        }
        actions
    }
}

/// Settles whether an uplink's paths are up, and tells what changed.
fn judge(uplink: &mut Uplink, now: Instant) -> Vec<Action> {
    let mut actions = Vec::new();
    let health = FAMILIES.map(|family| uplink.paths[family].evidence());
    for family in FAMILIES {
        let path = &mut uplink.paths[family];
        // A family without remote targets of its own follows the other's, which see beyond the
        // first hop.
        let inherited = path.has_remote() || health[1 - family].remote != Some(false);
        if let Some(cause) = path.settle(inherited, now) {
            actions.push(Action::PathChanged(PathChange {
                id: uplink.id,
                family,
                up: path.is_up(),
                cause,
            }));
        }
    }
    let up = uplink.paths.iter().any(Path::is_up);
    if up != uplink.up {
        uplink.up = up;
        uplink.since = now;
        let cause = actions.iter().find_map(|action| {
            let Action::PathChanged(change) = action else {
                return None;
            };
            (change.up == up).then(|| change.cause.clone())
        });
        uplink.cause = cause.unwrap_or_default();
        let (id, cause, first) = (uplink.id, uplink.cause.clone(), !uplink.told);
        uplink.told = true;
        actions.push(Action::UplinkChanged(UplinkChange {
            id,
            up,
            cause,
            first,
        }));
    }
    actions
}

/// The members of each tier, best tier first.
fn tiers(uplinks: &[Uplink]) -> Vec<u64> {
    let mut tiers: BTreeMap<u8, u64> = BTreeMap::new();
    for uplink in uplinks {
        *tiers.entry(uplink.config.tier).or_default() |= 1 << uplink.id;
    }
    tiers.into_values().collect()
}

fn port_entry(net: &NetState, link: &Link, slot: u32) -> PortEntry {
    let usable = || {
        net.addresses_of(link.ifindex)
            .filter(|address| address.usable)
    };
    let address4 = usable().find_map(|address| match address.address {
        IpAddr::V4(address) => Some(address.octets()),
        IpAddr::V6(_) => None,
    });
    let v6 = |link_local: bool| {
        usable().find_map(move |address| {
            let IpAddr::V6(address) = address.address else {
                return None;
            };
            (address.is_unicast_link_local() == link_local).then(|| address.octets())
        })
    };
    PortEntry {
        ifindex: link.ifindex,
        slot,
        mtu: link.mtu,
        flags: if net
            .links
            .values()
            .any(|other| other.vlan_of == Some(link.ifindex))
        {
            PORT_VLAN_DEVICES
        } else {
            0
        },
        mac: link.mac.unwrap_or_default(),
        reserved: [0; 6],
        address4: address4.unwrap_or_default(),
        address6: v6(false).or_else(|| v6(true)).unwrap_or_default(),
    }
}

/// Whether an outcome is a reply.
fn is_reply(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Reply { .. })
}
