//! Comparing what should be with what was told to the kernel side, and the difference as actions.

use std::time::Instant;

use multihome_common::{
    state::{IPV4, IPV6},
    uplink::{Hop, UPLINK_FRAMED},
};

use super::{
    Action, Controller, FAMILIES, Ground, Uplink,
    damping::Changes,
    path::{Line, Path, Sight},
    translation::treatment6,
    words::Health,
};
use crate::{
    config::UplinkConfig,
    events::{Kind, Occurrence},
    netlink::Link,
    pppoe::Session,
    probe::ProbePlan,
    segments::{self, Outsides},
};

impl Controller {
    /// Compares paths and words as they should be with what was told, and on demand the ports.
    pub(super) fn refresh(&mut self, ports: bool, now: Instant) -> Vec<Action> {
        let mut changes = Vec::new();
        let inside = self.translation.inside_prefix;
        for uplink in &mut self.uplinks {
            // What the programs cannot read is down, and says why.
            let device = self.net.link_by_name(&uplink.config.device);
            let misfit = device.and_then(Link::misfit);
            let fits = |_: &&Link| misfit.is_none();
            let layer3 = self.net.link_by_name(uplink.config.layer3());
            uplink.link = layer3.filter(fits).cloned();
            uplink.ground = Ground::find(&self.net, &uplink.config.device, uplink.config.vlan);
            uplink.session = session(&self.sessions, &uplink.config);
            uplink.treatments[IPV6] = treatment6(&uplink.config, inside, uplink.delegated);
            let link = uplink.link.as_ref();
            for (path, treatment) in uplink.paths.iter_mut().zip(&uplink.treatments) {
                path.look(
                    Sight {
                        net: &self.net,
                        link,
                        misfit,
                        session: uplink.config.pppoe.is_some().then_some(Line {
                            session: uplink.session.as_ref(),
                            ground: uplink.ground.as_ref(),
                        }),
                        lacks_prefix: treatment.lacks_prefix(),
                    },
                    now,
                );
            }
            changes.extend(judge(uplink, now));
        }
        changes.extend(self.treat());
        let mut first = self.refresh_framings();
        // Before a port with other tags is entered. At the start they follow the words of their groups.
        if ports && self.applied.rules.is_some() {
            first.extend(self.refresh_rules());
        }
        first.extend(self.refresh_conduct());
        let named = self.named();
        let mut words = self.refresh_words(now);
        let mut actions = self.refresh_uplinks();
        let ready = actions.is_empty() || self.named() & !named == 0;
        actions.extend(self.refresh_outsides());
        if ports {
            actions.extend(self.refresh_ports());
        }
        let plans = self.plans();
        if plans != self.applied.plans {
            self.applied.plans.clone_from(&plans);
            actions.push(Action::Probe(plans));
        }
        let sessions = self.bfd_plans();
        if sessions != self.applied.sessions {
            self.applied.sessions.clone_from(&sessions);
            actions.push(Action::Bfd(sessions));
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
        first.append(&mut actions);
        first
    }

    /// Tells what an uplink's health has changed, when nothing else has: the words, and not what would be
    /// compared for nothing with every uplink that there is. Each microsecond of this is lost packets.
    pub(super) fn decide(&mut self, id: u8, now: Instant) -> Vec<Action> {
        let uplink = self.uplinks.of_mut(id);
        let changes = uplink.map(|uplink| judge(uplink, now));
        let mut actions = self.refresh_words(now);
        actions.extend(changes.unwrap_or_default());
        actions
    }

    /// The paths that any group's words name, those of IPv6 in the upper half.
    fn named(&self) -> u128 {
        let word = |family: usize| {
            let words = self.groups.iter().map(|group| &group.words[family]);
            let named = words.fold(0, |named, words| named | words.eligible | words.last_good);
            u128::from(named)
        };
        word(IPV6) << 64 | word(IPV4)
    }

    /// Makes all words anew from what the paths and the impediments are now; what changed, as actions.
    pub(super) fn refresh_words(&mut self, now: Instant) -> Vec<Action> {
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
            let changes = self.damping[family].update(health.up, now);
            self.common[family].held = self.damping[family].held();
            if changes != Changes::default() {
                self.note_damping(family, changes, now);
            }
            let common = self.common[family];
            for group in &mut self.groups {
                let before = (group.eligible(family), group.last_good(family));
                group.update(family, health, common, now);
                let (eligible, last_good) = (group.eligible(family), group.last_good(family));
                // Last-known-good before eligible: an eligible word of zero must find it in place.
                if last_good != before.1 {
                    actions.push(Action::SetLastGood(group.id, family, last_good));
                }
                if eligible != before.0 {
                    actions.push(Action::SetEligible(group.id, family, eligible));
                }
            }
            if health.up != self.applied.alive[family] {
                self.applied.alive[family] = health.up;
                actions.push(Action::SetAlive(family, health.up));
            }
            for group in &mut self.groups {
                let before = group.settled[family].word;
                group.settle(family, health.up, common, now);
                let settled = group.settled[family].word;
                if settled != before {
                    actions.push(Action::SetSettled(group.id, family, settled));
                }
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
            let ground = uplink.ground.as_ref();
            let mtu = match (ground, uplink.framing()) {
                (Some(ground), Some(framing)) => ground.mtu(framing, link.mtu),
                _ => link.mtu,
            };
            entry.mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
            entry.mss = self.mss(uplink, entry.mtu);
            self.translate(uplink, &mut entry);
            if uplink.config.pppoe.is_some() || ground.is_some_and(|it| !it.tags.is_plain()) {
                entry.flags |= UPLINK_FRAMED;
            }
            for family in FAMILIES {
                // A path that lost its next hop keeps the last one: it may be all there is left.
                let own = ground.and_then(|ground| ground.mac);
                if let (Some(next), Some(own)) = (uplink.paths[family].mac(), own) {
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

    /// Compares the address tables as they should be with what was told.
    pub(super) fn refresh_segments(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        let outsides = Outsides {
            addresses: self.applied.outsides.keys().copied().collect(),
            prefixes: self.outside_prefixes(),
        };
        for family in FAMILIES {
            let bits = if family == IPV4 { 32 } else { 128 };
            let is_lan = |ifindex| self.lan_slot(ifindex).is_some();
            let segments = match segments::segments(&self.net, is_lan, &outsides, bits) {
                Ok(segments) => segments,
                Err(error) => {
                    if !std::mem::replace(&mut self.applied.refused[family], true) {
                        actions.push(Action::SegmentsRefused(error));
                    }
                    continue;
                }
            };
            if std::mem::replace(&mut self.applied.refused[family], false) {
                actions.push(Action::SegmentsFit(family));
            }
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
            let kind = if path.is_up() {
                Kind::PathUp
            } else {
                Kind::PathDown
            };
            let occurrence = Occurrence::new(kind, cause).sign(path.sign());
            actions.push(Action::Event(occurrence.uplink(uplink.id).family(family)));
        }
    }
    for family in FAMILIES {
        if let Some(remark) = uplink.paths[family].take_remark(now) {
            let occurrence = Occurrence::new(Kind::PathRemark, remark);
            actions.push(Action::Event(occurrence.uplink(uplink.id).family(family)));
        }
    }
    let up = uplink.paths.iter().any(Path::is_up);
    if up != uplink.up {
        uplink.up = up;
        uplink.since = now;
        let (of_path, kind) = if up {
            (Kind::PathUp, Kind::UplinkUp)
        } else {
            (Kind::PathDown, Kind::UplinkDown)
        };
        // The first path that came up, or the last that went down, is what made the difference.
        let deciding = actions.iter().find_map(|action| {
            let Action::Event(occurrence) = action else {
                return None;
            };
            (occurrence.kind == of_path).then(|| occurrence.clone())
        });
        let (cause, sign) = deciding.map_or_else(Default::default, |it| (it.cause, it.sign));
        uplink.cause.clone_from(&cause);
        let occurrence = Occurrence::new(kind, cause).uplink(uplink.id).sign(sign);
        actions.push(Action::Event(occurrence));
    }
    actions
}

/// The session of an uplink that is one; `None` also while it cannot be told from others.
fn session(sessions: &[Session], config: &UplinkConfig) -> Option<Session> {
    config.pppoe.as_ref()?;
    let mut over = sessions
        .iter()
        .filter(|session| session.device == config.device);
    over.next().filter(|_| over.next().is_none()).cloned()
}
