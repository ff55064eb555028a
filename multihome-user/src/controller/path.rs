//! A path: one uplink in one family. What makes it usable, and what its probes say.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use multihome_common::state::IPV4;

use super::{
    Ground,
    bfd::{PathBfd, Taken},
};
use crate::{
    bfd::SessionReport,
    config::UplinkConfig,
    events::Occurrence,
    health::{HealthEvent, HealthSettings, PathHealth},
    netlink::{Link, Misfit, NeighbourState, NetState},
    pppoe::Session,
    probe::{Method, ProbeEvent, ProbeTarget, TargetId, service::Service},
};

mod doubt;
mod next_hop;
mod source;

pub(super) use doubt::Doubt;
use next_hop::{Routed, routed};
pub(super) use source::source;

/// What a path looks at.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// The kernel's tables.
    pub net: &'a NetState,
    /// The device that has the uplink's addresses, if it is there.
    pub link: Option<&'a Link>,
    /// Why the device that is there cannot serve, if it cannot.
    pub misfit: Option<Misfit>,
    /// What the uplink's session stands on, if it is a PPPoE session.
    pub session: Option<Line<'a>>,
    /// Packets may not leave untranslated, and there is no prefix to translate to.
    pub lacks_prefix: bool,
}

/// What a PPPoE session stands on.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    /// The session, if there is one.
    pub session: Option<&'a Session>,
    /// The device that its frames come in on, if it is there.
    pub ground: Option<&'a Ground>,
}

/// How long a device may take to get its addresses after its link came up, or after it lost them:
/// duplicate address detection takes a second for each (RFC 4862 section 5.4, RetransTimer), and
/// DHCP about as long. Also how long a default route may be away while it is set anew.
const ADDRESSES_APPEAR: Duration = Duration::from_secs(3);

/// What a path's probes say to the other family.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// Whether the remote targets answer; `None` when there are none that can be asked.
    pub remote: Option<bool>,
}

/// One uplink in one family.
#[derive(Debug)]
pub struct Path {
    uplink: u8,
    family: usize,
    configured: Option<IpAddr>,
    remote: Vec<Remote>,
    health: PathHealth,
    bfd: PathBfd,
    next_hop: Option<IpAddr>,
    /// A router's advertisements named it.
    advertised: bool,
    /// The next hop of a better route that does not serve now.
    sought: Option<IpAddr>,
    /// Where packets go.
    mac: Option<[u8; 6]>,
    /// Since when that is the former next hop's MAC, as the present one's is being asked for.
    handing_over: Option<Instant>,
    /// When the device last began to carry data.
    carries_since: Option<Instant>,
    sources: Sources,
    /// There was an address of ours to probe from.
    had_address: bool,
    /// When the last such address went.
    address_lost: Option<Instant>,
    /// Since when the next hop is only remembered: no default route names it any more.
    route_lost: Option<Instant>,
    /// That was told.
    route_lost_told: bool,
    /// Why the path cannot carry packets, if it cannot.
    obstacle: Option<String>,
    /// All that it lacks is the next hop's MAC, which is being asked for.
    resolving: bool,
    /// All that it lacks is a prefix to translate to.
    lacks_prefix: bool,
    /// When it last became usable.
    usable_since: Instant,
    /// Taken for good when it first becomes usable, before any probe was answered.
    optimistic: bool,
    /// The next hop has answered a ping.
    answered: bool,
    /// The suspicion that it is under.
    doubt: Option<Doubt>,
    up: bool,
    since: Instant,
    cause: String,
    /// When the first sign of its present state was there.
    sign: Option<Instant>,
}

/// Our own addresses for probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sources {
    next_hop: Option<IpAddr>,
    remote: Option<IpAddr>,
}

/// A remote target.
#[derive(Debug)]
struct Remote {
    id: TargetId,
    /// What it is asked; `None` is a ping.
    service: Option<Arc<Service>>,
}

impl Path {
    /// A path that is not usable yet; `initially_up` is what is believed of it once it is.
    pub fn new(
        uplink: u8,
        family: usize,
        config: &UplinkConfig,
        settings: HealthSettings,
        initially_up: bool,
        now: Instant,
    ) -> Self {
        let configured = if family == IPV4 {
            config.gateway4.map(IpAddr::V4)
        } else {
            config.gateway6.map(IpAddr::V6)
        };
        Self {
            uplink,
            family,
            configured,
            remote: (0..)
                .zip(&config.probe)
                .filter(|(_, target)| target.address().is_ipv4() == (family == IPV4))
                .map(|(number, target)| Remote {
                    id: target.id(uplink, number),
                    service: target.service().cloned(),
                })
                .collect(),
            health: PathHealth::new(
                HealthSettings {
                    quorum: config.quorum.unwrap_or(settings.quorum),
                    ..settings
                },
                false,
                now,
            ),
            bfd: PathBfd::new(uplink, family, config.bfd.as_ref(), now),
            next_hop: None,
            advertised: false,
            sought: None,
            mac: None,
            handing_over: None,
            carries_since: None,
            sources: Sources::default(),
            had_address: false,
            address_lost: None,
            route_lost: None,
            route_lost_told: false,
            obstacle: Some("starting".to_owned()),
            resolving: false,
            lacks_prefix: false,
            usable_since: now,
            optimistic: initially_up,
            answered: false,
            doubt: None,
            up: false,
            since: now,
            cause: "starting".to_owned(),
            sign: None,
        }
    }

    /// The next hop's address, as configured, routed, or last seen.
    pub fn next_hop(&self) -> Option<IpAddr> {
        self.next_hop
    }

    /// Takes this next hop as last seen, if none is known.
    pub fn remember(&mut self, next_hop: IpAddr) {
        self.next_hop.get_or_insert(next_hop);
    }

    /// The next hop's MAC, as last known.
    pub fn mac(&self) -> Option<[u8; 6]> {
        self.mac
    }

    /// Our own address towards the next hop.
    pub fn address(&self) -> Option<IpAddr> {
        self.sources.next_hop
    }

    /// What its probes have measured.
    pub fn health(&self) -> &PathHealth {
        &self.health
    }

    /// Its BFD session, if it has one.
    pub fn bfd(&self) -> &PathBfd {
        &self.bfd
    }

    /// Whether it can carry packets, its probes answer, and its BFD session, if one was up, still is.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Whether it can carry packets, whatever its probes say.
    pub fn is_usable(&self) -> bool {
        self.obstacle.is_none()
    }

    /// Whether it has a next hop at all: a path without one is no part of the gateway.
    pub fn exists(&self) -> bool {
        self.next_hop.is_some()
    }

    /// When it took its present state, and why.
    pub fn since(&self) -> (Instant, &str) {
        (self.since, &self.cause)
    }

    /// Why it cannot carry packets, if it cannot.
    pub fn obstacle(&self) -> Option<&str> {
        self.obstacle.as_deref()
    }

    /// When the first sign of its present state was there, such as when the first of the lost probes
    /// was sent.
    pub fn sign(&self) -> Option<Instant> {
        let doubted = self.doubt.map(|doubt| doubt.began);
        match (self.sign, doubted.filter(|_| !self.up)) {
            (Some(sign), Some(doubted)) => Some(sign.min(doubted)),
            (sign, _) => sign,
        }
    }

    /// Whether there is nothing to wait for: no next hop, one whose MAC is known, or one that cannot
    /// or does not answer.
    pub fn is_resolved(&self) -> bool {
        !self.resolving
    }

    /// Whether remote targets of this family can be asked.
    pub fn has_remote(&self) -> bool {
        !self.remote.is_empty() && self.sources.remote.is_some()
    }

    /// What its probes say to the other family.
    pub fn evidence(&self) -> Evidence {
        Evidence {
            remote: (self.has_remote() && self.is_usable()).then(|| self.health.is_up()),
        }
    }

    /// Whom to probe.
    pub fn probes(&self) -> Vec<ProbeTarget> {
        if self.mac.is_none() || self.next_hop.is_none() {
            return Vec::new();
        }
        let target = |id, service: Option<&Arc<Service>>, source: Option<IpAddr>| {
            Some(ProbeTarget {
                id,
                service: service.cloned(),
                source: source?,
                next_hop_mac: self.mac,
            })
        };
        let next_hop = self.next_hop.and_then(|address| {
            let id = TargetId::next_hop(self.uplink, address);
            target(id, None, self.sources.next_hop)
        });
        // The next hop is pinged anyway, and says nothing of what lies behind it; that one of its
        // services is to judge was meant so.
        let pinged =
            |remote: &&Remote| remote.service.is_some() || Some(remote.id.target) != self.next_hop;
        let remote = self.remote.iter().filter(pinged);
        let remote = remote
            .filter_map(|remote| target(remote.id, remote.service.as_ref(), self.sources.remote));
        next_hop.into_iter().chain(remote).collect()
    }

    /// Takes a probe's outcome; `true` when the probes' verdict changed.
    pub fn handle_probe(&mut self, event: ProbeEvent, now: Instant) -> bool {
        let of_next_hop = Some(event.id.target) == self.next_hop && event.id.method == Method::Echo;
        if of_next_hop && event.outcome.is_reply() {
            self.answered = true;
        }
        match self.health.handle(HealthEvent::Probe(event), now) {
            Some(transition) => {
                self.cause = transition.cause.to_string();
                self.sign = Some(transition.sign);
                true
            }
            None => false,
        }
    }

    /// Takes what became of its BFD session: whether that may change its state, and what is to be
    /// told of the session itself.
    pub fn handle_bfd(&mut self, report: &SessionReport) -> (bool, Option<Occurrence>) {
        let Taken { recovered, told } = self.bfd.take(report);
        let changed = recovered.is_some() || self.bfd.failure().is_some();
        if let Some(cause) = recovered {
            self.cause = cause;
            self.sign = self.bfd.sign();
        }
        (changed, told)
    }

    /// Whether packets are sent to this neighbour itself: the next hop, or the one that speaks BFD.
    pub fn needs(&self, neighbour: IpAddr) -> bool {
        self.neighbours().any(|needed| needed == neighbour)
    }

    /// The neighbours whose MAC addresses must be known.
    pub fn neighbours(&self) -> impl Iterator<Item = IpAddr> {
        let peer = self.bfd.peer(self.next_hop);
        let peer = peer.filter(|_| peer != self.next_hop);
        self.next_hop.into_iter().chain(peer).chain(self.sought)
    }

    /// Whether the next hop never answered a ping, so that another sign of life must do.
    pub fn is_silent(&self) -> bool {
        !self.answered
    }

    /// Takes the kernel's confirmation of the neighbour entry as an answer, if the next hop is
    /// silent: one that answers pings and stops has failed, whatever its ARP says.
    pub fn confirm(&mut self, now: Instant) {
        if self.is_silent() {
            self.health.handle(HealthEvent::NextHopConfirmed, now);
        }
    }

    /// Looks at the kernel's tables anew.
    pub fn look(&mut self, sight: Sight<'_>, now: Instant) {
        let (was_usable, lacked_prefix) = (self.is_usable(), self.lacks_prefix);
        self.obstacle = self.find_obstacle(sight, now);
        self.bfd
            .look(sight.net, sight.link, (self.next_hop, self.mac), now);
        let targets: Vec<TargetId> = self.probes().iter().map(|probe| probe.id).collect();
        if !self.health.targets().eq(targets.iter().copied()) {
            self.health.set_targets(targets);
        }
        match (was_usable, self.is_usable()) {
            // A path that was lost comes back when its probes have answered, not before.
            (true, false) => {
                let since_lost = self.address_lost.filter(|_| past(self.address_lost, now));
                self.sign = Some(since_lost.unwrap_or(now));
                self.health.reset(now, false);
            }
            (false, true) => {
                self.sign = Some(now);
                self.usable_since = now;
                let found = if lacked_prefix {
                    "a prefix is delegated"
                } else {
                    "next hop found"
                };
                found.clone_into(&mut self.cause);
                if self.optimistic {
                    self.optimistic = false;
                    self.health.reset(now, true);
                }
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Settles the state; the cause when it changed. `inherited` is whether the other family's
    /// targets, if this path follows them, answer.
    pub fn settle(&mut self, inherited: bool, now: Instant) -> Option<String> {
        let answers = self.health.is_up() || self.cannot_be_asked(now);
        let failure = self.bfd.failure();
        let up = self.is_usable() && answers && inherited && failure.is_none();
        if up == self.up {
            return None;
        }
        self.up = up;
        self.since = now;
        if let Some(obstacle) = &self.obstacle {
            self.cause.clone_from(obstacle);
        } else if let Some(failure) = failure.filter(|_| answers) {
            self.cause = failure;
            self.sign = self.bfd.sign();
        } else if answers && !inherited {
            "the targets of the other address family do not answer".clone_into(&mut self.cause);
        }
        Some(self.cause.clone())
    }

    /// What is odd about the path although it may be up, once: its default route is gone, or its BFD
    /// session does not come up.
    pub fn take_remark(&mut self, now: Instant) -> Option<String> {
        // A link that was down takes its route along, which is set again after it.
        let lost = self.route_lost.map(|lost| lost.max(self.usable_since));
        if !self.is_usable() {
            return None;
        }
        if self.route_lost_told || !past(lost, now) {
            return self.bfd.take_remark(now);
        }
        self.route_lost_told = true;
        self.route_remark()
    }

    /// What stands in its way now, or was remarked, as long as it holds.
    pub fn remark(&self) -> Option<String> {
        if self.exists() && !self.is_usable() {
            return self.obstacle.clone();
        }
        let remarks = [self.route_remark(), self.bfd.remark()];
        let remarks: Vec<String> = remarks.into_iter().flatten().collect();
        (!remarks.is_empty()).then(|| remarks.join("; "))
    }

    fn route_remark(&self) -> Option<String> {
        let next_hop = self.next_hop.filter(|_| self.route_lost_told)?;
        Some(format!(
            "default route gone; the last next hop {next_hop} is used on"
        ))
    }

    /// Whether there never was an address of ours to probe from, and none is only late: after its
    /// link came up, a device gets its IPv6 addresses one by one.
    fn cannot_be_asked(&self, now: Instant) -> bool {
        self.health.targets().next().is_none()
            && now.saturating_duration_since(self.usable_since) >= ADDRESSES_APPEAR
    }

    fn find_obstacle(
        &mut self,
        Sight {
            net,
            link,
            misfit,
            session,
            lacks_prefix,
        }: Sight<'_>,
        now: Instant,
    ) -> Option<String> {
        self.resolving = false;
        self.lacks_prefix = false;
        if let Some(line) = session {
            let gone = line.ground.is_none().then_some("the device is gone");
            let dark = line.ground.filter(|ground| !ground.carrier);
            if let Some(obstacle) = gone.or(dark.map(|_| "no carrier")) {
                self.carries_since = None;
                return Some(misfit.map_or(obstacle.to_owned(), |misfit| misfit.to_string()));
            }
        }
        let Some(link) = link else {
            self.carries_since = None;
            let gone = match session {
                Some(_) => "PPP is down",
                None => "the device is gone",
            };
            return Some(misfit.map_or(gone.to_owned(), |misfit| misfit.to_string()));
        };
        let carries = link.admin_up && link.carrier;
        self.carries_since = carries.then(|| self.carries_since.unwrap_or(now));
        self.find_next_hop(net, link, session.is_some(), now);
        let Some(next_hop) = self.next_hop else {
            return Some("no next hop: no default route and no gateway= given".to_owned());
        };
        self.sources = Sources {
            next_hop: source(net, link, next_hop),
            remote: self
                .remote
                .first()
                .and_then(|remote| source(net, link, remote.id.target)),
        };
        self.note_address(now);
        let neighbour = net.neighbour(link.ifindex, next_hop);
        let resolved = match session {
            Some(line) => line.session.map(|session| session.peer),
            None => neighbour.filter(|it| it.valid).and_then(|it| it.mac),
        };
        if let Some(mac) = resolved {
            self.mac = Some(mac);
            self.handing_over = None;
        }
        if past(self.handing_over, now) {
            self.mac = None;
            self.handing_over = None;
        }
        if !link.admin_up {
            return Some("the device is switched off".to_owned());
        }
        if !link.carrier {
            return Some("no carrier".to_owned());
        }
        if session.is_some_and(|line| line.session.is_none()) {
            return Some("no PPPoE session".to_owned());
        }
        if past(self.address_lost, now) {
            return Some("no address of ours on the device any more".to_owned());
        }
        // A link that was down takes its route along, which comes back with the next advertisement.
        if self.advertised
            && past(self.route_lost.max(self.carries_since), now)
            && self.route_lost.is_some()
        {
            return Some(format!(
                "{next_hop} is no default router any more: its router advertisements say so, or have ceased"
            ));
        }
        let failed = neighbour.is_some_and(|neighbour| neighbour.state == NeighbourState::Failed);
        if failed && session.is_none() && self.handing_over.is_none() {
            let protocol = if self.family == IPV4 {
                "ARP"
            } else {
                "neighbour discovery"
            };
            return Some(format!("next hop {next_hop} does not answer {protocol}"));
        }
        if self.mac.is_none() {
            self.resolving = true;
            return Some(format!("the MAC of next hop {next_hop} is not known yet"));
        }
        self.lacks_prefix = lacks_prefix;
        if lacks_prefix {
            return Some("no IPv6 prefix is delegated".to_owned());
        }
        None
    }

    /// Takes the next hop as it is configured or routed now.
    ///
    /// Packets go on to the former one until the MAC of the present one is known: it is the provider's too, and a
    /// gap would end connections that have lost nothing but their router.
    fn find_next_hop(&mut self, net: &NetState, link: &Link, in_session: bool, now: Instant) {
        let mut found = match self.configured {
            Some(configured) => Routed {
                next_hop: Some((configured, false)),
                sought: None,
            },
            None => routed(net, link, self.family == IPV4, self.next_hop),
        };
        if in_session && found.next_hop.is_none() {
            found.next_hop = self.peer(net, link).map(|peer| (peer, false));
        }
        self.sought = found.sought;
        if let Some((next_hop, advertised)) = found.next_hop {
            if self.next_hop != Some(next_hop) {
                self.answered = false;
                self.handing_over = self.mac.is_some().then_some(now);
            }
            self.next_hop = Some(next_hop);
            self.advertised = advertised;
            self.route_lost = None;
            self.route_lost_told = false;
        } else if self.next_hop.is_some() {
            self.route_lost.get_or_insert(now);
        }
    }

    /// Notes whether there is an address of ours to probe from.
    fn note_address(&mut self, now: Instant) {
        if self.sources == Sources::default() {
            self.address_lost = self
                .address_lost
                .or_else(|| self.had_address.then_some(now));
        } else {
            self.had_address = true;
            self.address_lost = None;
        }
    }

    /// The other end of a point-to-point device, in this family.
    fn peer(&self, net: &NetState, link: &Link) -> Option<IpAddr> {
        net.addresses_of(link.ifindex)
            .filter_map(|address| address.peer)
            .find(|peer| peer.is_ipv4() == (self.family == IPV4))
    }
}

/// Whether what was lost at this time, if anything, is more than late.
fn past(lost: Option<Instant>, now: Instant) -> bool {
    lost.is_some_and(|lost| now.saturating_duration_since(lost) >= ADDRESSES_APPEAR)
}
