//! BFD of a path: which session it has, how that stands, and what it says of the path.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use multihome_common::state::{IPV4, IPV6};

use super::{Action, Controller, path, path::Path};
use crate::{
    bfd::{BfdPlan, BfdSettings, Cause, Evidence, SessionId, SessionReport, Snapshot, State},
    config::{BfdConfig, BfdPeer},
    events::{Kind, Occurrence},
    netlink::{Link, NetState},
    probe::Family,
};

/// How long a session may take to come up before that is remarked: slow packets both ways, a few of them
/// lost, and a peer that is being configured.
const PATIENCE: Duration = Duration::from_secs(10);

/// BFD of one path.
#[derive(Debug)]
pub struct PathBfd {
    id: SessionId,
    wanted: Option<(BfdSettings, BfdPeer<IpAddr>)>,
    generation: u64,
    way: Option<Way>,
    /// The peer's MAC address, as last known.
    mac: Option<[u8; 6]>,
    evidence: Evidence,
    held_up: Option<Duration>,
    session: Option<Snapshot>,
    /// Since when there is something to remark: the session could be there, and is not.
    odd_since: Instant,
    remarked: bool,
}

/// What makes a session the one that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    ifindex: u32,
    source: IpAddr,
    peer: IpAddr,
}

/// What became of a path's session.
#[derive(Debug, Default)]
pub struct Taken {
    /// Why the session does not speak against the path any more, if it did.
    pub recovered: Option<String>,
    /// What is to be told of the session itself.
    pub told: Option<Occurrence>,
}

impl PathBfd {
    /// The BFD of an uplink in a family; none when there is to be none.
    pub fn new(uplink: u8, family: usize, config: Option<&BfdConfig>, now: Instant) -> Self {
        let ipv4 = family == IPV4;
        let wanted = config.and_then(|config| {
            let settings = BfdSettings {
                interval: config.interval,
                multiplier: config.multiplier,
                passive: config.passive,
            };
            Some((settings, config.peer(ipv4)?))
        });
        Self {
            id: SessionId {
                uplink,
                family: if ipv4 { Family::Ipv4 } else { Family::Ipv6 },
            },
            wanted,
            generation: 0,
            way: None,
            mac: None,
            evidence: Evidence::None,
            held_up: None,
            session: None,
            odd_since: now,
            remarked: false,
        }
    }

    /// The neighbour that a session is wanted with, if the next hop is this one.
    pub fn peer(&self, next_hop: Option<IpAddr>) -> Option<IpAddr> {
        match self.wanted?.1 {
            BfdPeer::NextHop => next_hop,
            BfdPeer::Address(peer) => Some(peer),
        }
    }

    /// Looks at the kernel's tables anew: with whom a session is to be, and by which way.
    pub fn look(
        &mut self,
        net: &NetState,
        link: Option<&Link>,
        next_hop: (Option<IpAddr>, Option<[u8; 6]>),
        now: Instant,
    ) {
        let peer = self.peer(next_hop.0);
        let way = link.zip(peer).and_then(|(link, peer)| {
            let source = path::source(net, link, peer)?;
            let ifindex = link.ifindex;
            Some(Way {
                ifindex,
                source,
                peer,
            })
        });
        if way != self.way {
            self.way = way;
            self.generation += 1;
            self.mac = None;
            self.evidence = Evidence::None;
            self.held_up = None;
            self.session = None;
            self.odd_since = now;
            self.remarked = false;
        }
        let known = way.and_then(|way| {
            let neighbour = net.neighbour(way.ifindex, way.peer)?;
            neighbour.mac.filter(|_| neighbour.valid)
        });
        let of_next_hop = next_hop.1.filter(|_| peer == next_hop.0);
        self.mac = known.or(of_next_hop).or(self.mac);
    }

    /// The session to be held, if it can be.
    pub fn plan(&self) -> Option<BfdPlan> {
        let Way {
            ifindex,
            source,
            peer,
        } = self.way?;
        Some(BfdPlan {
            id: self.id,
            generation: self.generation,
            ifindex,
            source,
            peer,
            peer_mac: self.mac?,
            settings: self.wanted?.0,
        })
    }

    /// How the session stands, and with whom it is.
    pub fn session(&self) -> Option<(IpAddr, &Snapshot)> {
        Some((self.way?.peer, self.session.as_ref()?))
    }

    /// Whether a session is up.
    pub fn is_up(&self) -> bool {
        self.session
            .is_some_and(|session| session.state == State::Up)
    }

    /// Whether a session is wanted.
    pub fn is_wanted(&self) -> bool {
        self.wanted.is_some()
    }

    /// Why the path cannot be used, if its session says so.
    pub fn failure(&self) -> Option<String> {
        let cause = self.evidence.failure()?;
        Some(format!("BFD session to {}", self.told(cause)))
    }

    /// When the first sign was there of what the session says.
    pub fn sign(&self) -> Option<Instant> {
        self.session.map(|session| session.sign)
    }

    /// Takes what became of the session.
    pub fn take(&mut self, report: &SessionReport) -> Taken {
        if report.generation != self.generation || self.way.is_none() {
            return Taken::default();
        }
        let (was_up, failure) = (self.is_up(), self.evidence.failure());
        let snapshot = report.snapshot;
        self.session = Some(snapshot);
        self.evidence = self.evidence.after(&snapshot);
        let is_up = self.is_up();
        let told = (was_up != is_up).then(|| {
            self.held_up = report.held_up;
            self.odd_since = report.at;
            self.remarked = false;
            let kind = if is_up { Kind::BfdUp } else { Kind::BfdDown };
            let cause = format!("to {}", self.told(snapshot.cause));
            Occurrence::new(kind, cause).sign(snapshot.sign)
        });
        let recovered = (failure.is_some() && self.evidence.failure().is_none())
            .then(|| format!("BFD session to {}", self.told(snapshot.cause)));
        Taken { recovered, told }
    }

    /// The peer and what happened.
    fn told(&self, cause: Cause) -> String {
        let peer = self
            .way
            .map_or_else(String::new, |way| way.peer.to_string());
        let held_up = self.held_up.map(|time| {
            let milliseconds = time.as_millis();
            format!("; this gateway was held up for {milliseconds} ms, and the neighbour missed its packets")
        });
        format!("{peer}: {cause}{}", held_up.unwrap_or_default())
    }

    /// What is odd: there could be a session, and there is none that says anything.
    pub fn remark(&self) -> Option<String> {
        self.remarked.then(|| self.oddity()).flatten()
    }

    /// The same, once, when it has been so for a while.
    pub fn take_remark(&mut self, now: Instant) -> Option<String> {
        let late = now.saturating_duration_since(self.odd_since) >= PATIENCE;
        if self.remarked || !late {
            return None;
        }
        let oddity = self.oddity()?;
        self.remarked = true;
        Some(oddity)
    }

    fn oddity(&self) -> Option<String> {
        let session = self.session.filter(|_| self.evidence == Evidence::None)?;
        let peer = self.way?.peer;
        let why = if session.remote_state == State::AdminDown {
            "the neighbour has taken it down administratively"
        } else if session.remote_discriminator != 0 {
            "the neighbour is heard, and does not hear this gateway"
        } else {
            "the neighbour does not answer"
        };
        Some(format!(
            "BFD session to {peer} is not up: {why}; the path is judged without it"
        ))
    }
}

impl Controller {
    /// Takes what became of a session.
    pub(super) fn handle_bfd(&mut self, report: &SessionReport, now: Instant) -> Vec<Action> {
        let id = report.id.uplink;
        let family = match report.id.family {
            Family::Ipv4 => IPV4,
            Family::Ipv6 => IPV6,
        };
        let Some(uplink) = self.uplinks.of_mut(id) else {
            return Vec::new();
        };
        let (changed, told) = uplink.paths[family].handle_bfd(report);
        if !changed && told.is_none() {
            return Vec::new();
        }
        let mut actions = if self.behind.paths {
            self.refresh(false, now)
        } else {
            self.decide(id, now)
        };
        // What moves flows goes first.
        let told = told.map(|occurrence| occurrence.uplink(id).family(family));
        actions.extend(told.map(Action::Event));
        actions
    }

    /// The sessions to be held.
    pub(super) fn bfd_plans(&self) -> Vec<BfdPlan> {
        let paths = self.uplinks.iter().flat_map(|uplink| &uplink.paths);
        paths.filter_map(|path: &Path| path.bfd().plan()).collect()
    }
}
