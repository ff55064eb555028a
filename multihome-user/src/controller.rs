//! The controller: events in, actions out. No I/O and no clock of its own, so a test can replay any
//! story; the loop that runs it is [`crate::run`].

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use multihome_common::{
    framing::Framing,
    port::PortEntry,
    state::{IPV4, IPV6},
    uplink::{HostEntry, UplinkEntry},
};

use crate::{
    bfd::{BfdPlan, SessionReport},
    config::{Ipv6Prefix, LanConfig, UplinkConfig},
    dataplane::{Runs, Tags},
    domains::{Answer, Domains},
    events::Occurrence,
    netlink::{Link, NeighbourState, NetEvent, NetState},
    policy::Rule,
    pppoe::Session,
    probe::{ProbeEvent, ProbePlan, TargetId},
    segments::Segments,
};

mod action;
pub mod bfd;
pub mod damping;
mod delegated;
mod drain;
pub mod eligible;
mod forwards;
pub mod group;
mod hosts;
mod mss;
mod neighbours;
mod own;
pub mod path;
mod ports;
pub mod quality;
mod refresh;
mod rules;
mod settings;
pub mod settled;
mod suspicions;
#[cfg(test)]
mod tests;
mod translation;
mod uplinks;
pub mod words;

pub use action::Action;
use damping::Damping;
use eligible::Common;
use forwards::Forwards;
use group::Group;
use path::Path;
pub use ports::Ground;
use ports::PortKey;
pub use quality::{Quality, Readings};
pub use settings::{Adopted, GroupSettings, LeftWords, Settings, Translation};
pub use suspicions::Samples;
use suspicions::Suspicions;
pub use translation::{Treatment, translation};
use uplinks::Uplinks;

/// The families, in the order of every pair of words.
pub const FAMILIES: [usize; 2] = [IPV4, IPV6];
/// How often [`Event::Tick`] is expected.
pub const TICK: Duration = Duration::from_millis(500);

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The kernel's tables changed. What moves flows is acted on at once, the rest noted until
    /// [`Event::CaughtUp`] and [`Event::Tables`].
    Net(NetEvent),
    /// No more changes wait, or so many were told that it is time to act on them.
    CaughtUp,
    /// It is time to compare the address tables with what was told: much work, so not after each
    /// of many changes. See [`Controller::wants_tables`].
    Tables,
    /// A probe was sent.
    ProbeSent(TargetId),
    /// A probe of this target is not answered yet although others were by then: it may be lost, or late.
    ProbeOverdue(TargetId),
    /// A probe's fate is known.
    Probe(ProbeEvent),
    /// What has passed by the uplinks so far. See [`Controller::next_sample`].
    Sampled(Samples),
    /// The dataplane has counted so much for the uplinks of [`Quality::counted`].
    Carried(Readings),
    /// A BFD session changed.
    Bfd(SessionReport),
    /// All of the flow table was swept, and so many flows are left in it.
    Swept(u64),
    /// The PPPoE sessions that there are now.
    Sessions(Vec<Session>),
    /// The provider of an uplink delegates this prefix to it now, or none any more.
    Delegated(u8, Option<Ipv6Prefix>),
    /// An uplink is to be drained from now on, or no longer, and what is told of that.
    Drain(u8, bool, String),
    /// A LAN host was told the addresses of a name.
    Resolved(Answer),
    /// Time passed.
    Tick,
}

/// One uplink as the controller sees it now.
#[derive(Debug)]
pub struct Uplink {
    /// Its id: its bit in the words.
    pub id: u8,
    /// What the operator said of it.
    pub config: UplinkConfig,
    /// The part of the port table of its first outside address; the others' follow. Meaningless
    /// for an uplink that cannot translate IPv4.
    pub pool: u16,
    /// The prefix that is delegated to it, as was told.
    pub delegated: Option<Ipv6Prefix>,
    /// What it does with addresses, by family.
    pub treatments: [Treatment; 2],
    /// What was told of that.
    treatments_told: [Option<Treatment>; 2],
    /// Its paths, by family.
    pub paths: [Path; 2],
    /// The device that has its addresses, if it is there.
    pub link: Option<Link>,
    /// Where its frames come in, if that device is there.
    pub ground: Option<Ground>,
    /// Its PPPoE session, if it is one and there is one.
    pub session: Option<Session>,
    /// One of its paths is up.
    pub up: bool,
    /// When that changed.
    pub since: Instant,
    /// Why it changed.
    pub cause: String,
}

impl Uplink {
    /// What stands between MACs and IP packets of its frames, if that is known now.
    pub fn framing(&self) -> Option<Framing> {
        let tags = self.ground.as_ref()?.tags;
        if self.config.pppoe.is_none() {
            return Some(tags);
        }
        let session = self.session.as_ref()?;
        Some(tags.in_session(session.id))
    }

    /// What keeps its paths from carrying packets now, in words.
    pub fn obstacles(&self) -> String {
        let mut obstacles = Vec::new();
        for obstacle in self.paths.iter().filter_map(Path::obstacle) {
            if !obstacles.contains(&obstacle) {
                obstacles.push(obstacle);
            }
        }
        if obstacles.is_empty() {
            "its probes have not been answered yet".to_owned()
        } else {
            obstacles.join("; ")
        }
    }

    /// Why it is as it is, and what is odd about it.
    pub fn story(&self) -> String {
        let mut story = self.cause.clone();
        // Both families may say the same, of different next hops.
        for remark in self.paths.iter().filter_map(Path::remark) {
            if !story.contains(&remark) {
                story.push_str("; ");
                story.push_str(&remark);
            }
        }
        story
    }
}

/// The controller's state.
#[derive(Debug)]
pub struct Controller {
    net: NetState,
    uplinks: Uplinks,
    lan: Vec<(u32, LanConfig)>,
    /// The PPPoE sessions that there are.
    sessions: Vec<Session>,
    groups: Vec<Group>,
    /// What speaks against uplinks in all groups, by family.
    common: [Common; 2],
    damping: [Damping; 2],
    /// What is to be told when the words are in force.
    occurred: Vec<Occurrence>,
    applied: Applied,
    behind: Behind,
    translation: Translation,
    /// The LAN's IPv4 addresses are private, or were when it last had any.
    lan_is_private: bool,
    forwards: Forwards,
    suspicions: Suspicions,
    quality: Quality,
    rules: Arc<[Rule]>,
    domains: Domains,
}

/// What changed in the kernel's tables and was not acted on yet.
#[derive(Clone, Copy, Debug, Default)]
struct Behind {
    /// Something that paths or ports depend on.
    paths: bool,
    /// Something that all hosts of a LAN port depend on.
    hosts: bool,
    /// Something that tells what an address is.
    tables: bool,
}

/// What was told to the kernel side, to tell it only what changes.
#[derive(Debug, Default)]
struct Applied {
    alive: [u64; 2],
    tracked: u64,
    outsides: BTreeMap<Ipv4Addr, u64>,
    uplinks: BTreeMap<u8, UplinkEntry>,
    /// Ifindex, program, and whose tags the device's frames have, by slot.
    attached: BTreeMap<u32, (u32, Runs, Tags)>,
    ports: BTreeMap<PortKey, PortEntry>,
    framings: BTreeMap<u32, Framing>,
    segments: [Segments; 2],
    /// A family has more ranges than the table holds; it was told.
    refused: [bool; 2],
    hosts: HashMap<IpAddr, HostEntry>,
    plans: Vec<ProbePlan>,
    sessions: Vec<BfdPlan>,
    /// What the rules were told with; `None` before they were told.
    rules: Option<rules::Basis>,
}

impl Controller {
    /// A controller that knows the kernel's tables, and has done nothing yet.
    pub fn new(settings: Settings, net: NetState, now: Instant) -> Self {
        let adopted = settings.adopted;
        let quality = Quality::new(&settings);
        let initially = |id: u8, family: usize| {
            adopted.is_none_or(|a| (a.alive[family] | !a.known) >> id & 1 == 1)
        };
        let uplinks: Uplinks = settings
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
                pool: settings
                    .translation
                    .pools
                    .get(&id)
                    .copied()
                    .unwrap_or(u16::MAX),
                delegated: settings.translation.delegated.get(&id).copied(),
                treatments: Default::default(),
                treatments_told: Default::default(),
                config,
                link: None,
                ground: None,
                session: None,
                up: false,
                since: now,
                cause: "starting".to_owned(),
            })
            .collect();
        let left = adopted.unwrap_or_default();
        Self {
            uplinks,
            lan: settings.lan,
            sessions: settings.sessions,
            groups: settings
                .groups
                .into_iter()
                .map(|group| Group::new(group, settings.settle, now))
                .collect(),
            common: FAMILIES.map(|_| Common {
                draining: settings.draining.keys().fold(0, |word, id| word | 1 << id),
                held: 0,
            }),
            damping: FAMILIES.map(|family| {
                let failed = adopted.map_or(0, |a| a.known & !a.alive[family]);
                Damping::new(settings.damping, failed, left.alive[family] == 0, now)
            }),
            occurred: drain::found(settings.draining),
            applied: Applied {
                alive: left.alive,
                tracked: left.tracked,
                // An uplink whose next hop is not known yet goes on with the one that it had.
                uplinks: settings.entries,
                ..Applied::default()
            },
            behind: Behind::default(),
            translation: settings.translation,
            lan_is_private: false,
            forwards: Forwards::new(settings.forwards),
            suspicions: Suspicions::new(settings.suspicion, now),
            quality,
            domains: Domains::new(&settings.rules, &settings.known, now),
            rules: settings.rules,
            net,
        }
    }

    /// What was learned of the domains that rules ask for.
    pub fn domains(&self) -> &Domains {
        &self.domains
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

    /// The LAN ports' slots, names and the present ifindexes of the devices that have their addresses.
    pub fn lan_ports(&self) -> impl Iterator<Item = (u32, &str, Option<u32>)> {
        self.lan.iter().map(|(slot, port)| {
            let link = self.net.link_by_name(&port.device);
            (*slot, port.name.as_str(), link.map(|link| link.ifindex))
        })
    }

    /// The groups, in the order of the configuration.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The damping of a family's paths.
    pub fn damping(&self, family: usize) -> &Damping {
        &self.damping[family]
    }

    /// What speaks against uplinks in all groups.
    pub fn common(&self, family: usize) -> Common {
        self.common[family]
    }

    /// The ifindexes of all devices of the gateway that are there; one may come twice.
    pub fn ports(&self) -> impl Iterator<Item = u32> {
        self.applied.ports.keys().map(|key| key.0)
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
        let mut actions = self.impede(now);
        actions.extend(self.refresh(true, now));
        actions.extend(self.domains.begin().into_iter().map(Action::Domain));
        // The words of their groups are in place now.
        actions.extend(self.refresh_rules());
        actions.extend(self.refresh_segments());
        self.behind.tables = false;
        actions.extend(self.refresh_hosts());
        actions.extend(self.resolve_next_hops(true));
        actions.extend(self.find_forward_hosts(now));
        self.tell_occurred(&mut actions);
        actions
    }

    /// Whether [`Event::Tables`] would change something.
    pub fn wants_tables(&self) -> bool {
        self.behind.tables
    }

    /// Takes one event.
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut actions = self.react(event, now);
        self.tell_occurred(&mut actions);
        actions
    }

    /// Tells what has occurred when all else is done, since people can wait.
    fn tell_occurred(&mut self, actions: &mut Vec<Action>) {
        actions.extend(self.occurred.drain(..).map(Action::Event));
    }

    fn react(&mut self, event: Event, now: Instant) -> Vec<Action> {
        match event {
            Event::Net(event) => self.handle_net(event, now),
            Event::CaughtUp => self.catch_up(now),
            Event::Tables => {
                self.behind.tables = false;
                let mut actions = self.refresh_segments();
                actions.extend(self.resolve_next_hops(false));
                actions
            }
            Event::ProbeSent(id) => self.ask_silent_next_hop(id, now),
            Event::ProbeOverdue(id) => self.wonder(id, now),
            Event::Probe(event) => {
                let mut actions = Vec::new();
                if self.quality.tells_of_health(event) {
                    actions.extend(self.handle_probe(event, now));
                    actions.extend(self.weigh(event, now));
                }
                // What it wants to know takes more probes, which find out the other as well.
                actions.extend(self.judge_probe(event, now));
                actions
            }
            Event::Sampled(samples) => self.sampled(&samples, now),
            Event::Carried(readings) => self.carried(&readings, now),
            Event::Bfd(report) => self.handle_bfd(&report, now),
            Event::Sessions(sessions) => {
                if sessions == self.sessions {
                    return Vec::new();
                }
                self.sessions = sessions;
                self.refresh(true, now)
            }
            Event::Swept(live) => self.swept(live),
            Event::Delegated(id, prefix) => self.delegate(id, prefix, now),
            Event::Drain(id, draining, cause) => self.drain(id, draining, cause, now),
            Event::Resolved(answer) => {
                let changes = self.domains.learn(&answer, now).into_iter();
                changes.map(Action::Domain).collect()
            }
            Event::Tick => {
                let mut actions = self.refresh(false, now);
                actions.extend(self.domains.expire(now).into_iter().map(Action::Domain));
                actions.extend(self.judge_paths(now));
                actions.extend(self.resolve_next_hops(false));
                actions.extend(self.check_stale_hosts());
                actions.extend(self.find_forward_hosts(now));
                actions.extend(self.settle_old_doubts(now));
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
        let link = match &event {
            NetEvent::Link(link) => Some(link.ifindex),
            NetEvent::LinkGone(ifindex) => Some(*ifindex),
            NetEvent::AddressAdded(..)
            | NetEvent::AddressGone(..)
            | NetEvent::RouteAdded(_)
            | NetEvent::RouteGone(_)
            | NetEvent::Neighbour { .. }
            | NetEvent::NeighbourGone { .. }
            | NetEvent::Resynced(_) => None,
        };
        let was_ours = link.is_some_and(|ifindex| self.is_ours(ifindex));
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
                        && uplink.paths.iter().any(|path| path.needs(address))
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
            NetEvent::Link(Link { ifindex, .. }) | NetEvent::LinkGone(ifindex) => {
                // Its routes may have gone with it, without a word.
                self.behind.paths = true;
                self.behind.tables = true;
                if !was_ours && !self.is_ours(ifindex) {
                    return Vec::new();
                }
                self.behind.hosts = true;
                self.refresh(true, now)
            }
            NetEvent::AddressAdded(..) | NetEvent::AddressGone(..) => {
                self.behind.paths = true;
                self.behind.tables = true;
                Vec::new()
            }
            NetEvent::RouteAdded(route) | NetEvent::RouteGone(route) => {
                // A default route tells a next hop, any other what an address is.
                self.behind.paths |= route.prefix_len == 0;
                self.behind.tables |= route.prefix_len > 0;
                Vec::new()
            }
            NetEvent::Resynced(_) => {
                self.behind = Behind {
                    paths: true,
                    hosts: true,
                    tables: true,
                };
                self.refresh(true, now)
            }
        }
    }

    /// Acts on what was noted of the kernel's changes, but for the address tables.
    fn catch_up(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        if std::mem::take(&mut self.behind.paths) {
            actions.extend(self.refresh(true, now));
            // A next hop that is new must not wait for the next tick.
            actions.extend(self.resolve_next_hops(false));
        }
        if std::mem::take(&mut self.behind.hosts) {
            actions.extend(self.refresh_hosts());
        }
        actions
    }

    /// Whether this is a device of the gateway.
    fn is_ours(&self, ifindex: u32) -> bool {
        let named = |link: &Link| {
            let uplinks = self.uplinks.iter().map(|uplink| &uplink.config);
            let sessions = uplinks.clone().filter_map(|uplink| uplink.pppoe.as_ref());
            let lan = self.lan.iter().map(|(_, port)| &port.device);
            let mut devices = (uplinks.map(|uplink| &uplink.device))
                .chain(sessions)
                .chain(lan);
            devices.any(|device| *device == link.name)
        };
        let mut attached = self.applied.attached.values();
        attached.any(|(on, _, _)| *on == ifindex) || self.net.links.get(&ifindex).is_some_and(named)
    }

    fn handle_probe(&mut self, event: ProbeEvent, now: Instant) -> Vec<Action> {
        let Some(uplink) = self.uplinks.of_mut(event.id.uplink) else {
            return Vec::new();
        };
        let mut changed = false;
        for path in &mut uplink.paths {
            changed |= path.handle_probe(event, now);
        }
        if !changed {
            Vec::new()
        } else if self.behind.paths {
            self.refresh(false, now)
        } else {
            self.decide(event.id.uplink, now)
        }
    }
}
