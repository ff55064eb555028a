//! A gateway's story: a controller without a kernel, its clock, and the words that it stored.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use multihome_common::framing::Framing;

use crate::{
    config::{
        DEFAULT_GROUP, DampingConfig, Failback, GroupConfig, LanConfig, Mode, MssClamp, Target,
        UplinkConfig,
    },
    controller::{
        Action, Adopted, Controller, Event, GroupSettings, IPV4, LeftWords, Settings, Translation,
    },
    health::HealthSettings,
    netlink::{
        Address, ETHERNET, Link, MAIN_TABLE, Neighbour, NeighbourState, NetEvent, NetState, Route,
    },
    probe::{Outcome, ProbeEvent, TargetId},
    quality::quota::Ledger,
    ranking::Member,
    suspicion::SuspicionSettings,
};

pub(super) const FIBER: u8 = 0;
pub(super) const LTE: u8 = 1;
pub(super) const SETTLE: Duration = Duration::from_secs(1);
pub(super) const FAILBACK_AFTER: Duration = Duration::from_secs(10);

/// The story's gateway: a LAN port, and two uplinks with one remote target each.
pub(super) struct Story {
    pub(super) controller: Controller,
    pub(super) now: Instant,
    /// The eligible and last-known-good words of IPv4 as they were stored.
    pub(super) eligible: u64,
    pub(super) last_good: u64,
    /// All other words of the shared state, as they were stored.
    pub(super) alive: u64,
    pub(super) settled: u64,
    pub(super) tracked: u64,
    pub(super) conduct: u64,
}

pub(super) fn link(ifindex: u32, name: &str, carrier: bool) -> Link {
    Link {
        ifindex,
        name: name.to_owned(),
        mac: Some([2, 0, 0, 0, 0, ifindex as u8]),
        mtu: 1500,
        admin_up: true,
        carrier,
        vlan_of: None,
        hardware: ETHERNET,
    }
}

pub(super) fn next_hop(id: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, id * 4 + 1])
}

pub(super) fn address(id: u8) -> Address {
    Address {
        address: IpAddr::from([192, 0, 2, id * 4 + 2]),
        prefix_len: 30,
        usable: true,
        deprecated: false,
        broadcast: None,
        peer: None,
    }
}

pub(super) fn neighbour(state: NeighbourState) -> Neighbour {
    Neighbour {
        mac: Some([6; 6]).filter(|_| state.is_valid()),
        valid: state.is_valid(),
        state,
    }
}

pub(super) fn seen(id: u8, state: NeighbourState) -> NetEvent {
    NetEvent::Neighbour {
        ifindex: u32::from(id) + 10,
        address: next_hop(id),
        neighbour: neighbour(state),
    }
}

pub(super) fn remote(id: u8) -> TargetId {
    let target = IpAddr::from(Ipv4Addr::new(203, 0, 113, 1));
    TargetId::echo(id, target)
}

pub(super) fn uplink_config(name: &str, device: &str, tier: u8) -> UplinkConfig {
    UplinkConfig {
        capacity: None,
        quota: None,
        name: name.to_owned(),
        device: device.to_owned(),
        vlan: Framing::PLAIN,
        pppoe: None,
        weight: 1,
        tier,
        gateway4: None,
        gateway6: None,
        mode: Mode::Routed,
        outside: Vec::new(),
        prefix: None,
        mss_clamp: MssClamp::default(),
        quorum: None,
        probe: vec![Target::ping(remote(FIBER).target)],
        bfd: None,
    }
}

pub(super) fn default_route(id: u8) -> Route {
    Route {
        destination: IpAddr::from([0; 4]),
        prefix_len: 0,
        table: MAIN_TABLE,
        metric: u32::from(id),
        gateway: Some(next_hop(id)),
        ifindex: u32::from(id) + 10,
        advertised: false,
    }
}

pub(super) fn kernel() -> NetState {
    let mut net = NetState::default();
    net.apply(&NetEvent::Link(link(1, "lan0", true)));
    for id in [FIBER, LTE] {
        let ifindex = u32::from(id) + 10;
        net.apply(&NetEvent::Link(link(
            ifindex,
            ["fiber0", "lte0"][usize::from(id)],
            true,
        )));
        net.apply(&NetEvent::AddressAdded(ifindex, address(id)));
        net.apply(&NetEvent::RouteAdded(default_route(id)));
    }
    net
}

/// An uplink in a group.
pub(super) fn member(id: u8, tier: u8) -> Member {
    Member {
        id,
        name: ["fiber", "lte"][usize::from(id)].to_owned(),
        weight: 1,
        tier,
    }
}

/// What a gateway with these uplinks looks after; flows go back to an uplink that returns.
pub(super) fn settings(uplinks: Vec<UplinkConfig>) -> Settings {
    let member = |(id, uplink): (u8, &UplinkConfig)| Member {
        id,
        name: uplink.name.clone(),
        weight: uplink.weight,
        tier: uplink.tier,
    };
    let members = (0..).zip(&uplinks).map(member).collect();
    Settings {
        entries: std::collections::BTreeMap::new(),
        uplinks: (0..).zip(uplinks).collect(),
        lan: vec![(64, LanConfig::plain("lan0"))],
        health: HealthSettings::default(),
        // Stories tell outcomes one by one, and no bursts.
        suspicion: SuspicionSettings {
            silence: None,
            step: None,
        },
        settle: SETTLE,
        window: Duration::from_secs(10),
        ledger: Ledger::default(),
        adopted: None,
        // Most stories are of what comes before damping.
        damping: DampingConfig {
            hold: Duration::ZERO,
            ..DampingConfig::default()
        },
        draining: std::collections::BTreeMap::new(),
        groups: vec![GroupSettings {
            id: 0,
            name: DEFAULT_GROUP.to_owned(),
            members,
            config: GroupConfig {
                failback: Failback::Immediate,
                failback_after: FAILBACK_AFTER,
                ..GroupConfig::default()
            },
            left: LeftWords::default(),
        }],
        translation: Translation {
            pools: [(FIBER, 0), (LTE, 2)].into(),
            ..Translation::default()
        },
        forwards: Vec::new(),
        rules: [].into(),
        sessions: Vec::new(),
        known: Vec::new(),
    }
}

impl Story {
    pub(super) fn begin(tier_of_lte: u8, adopted: Option<Adopted>) -> Self {
        Self::begin_on(kernel(), tier_of_lte, adopted)
    }

    /// A restart: what the earlier controller left, and what words it left the default group.
    pub(super) fn begin_after(tier_of_lte: u8, adopted: Adopted, left: LeftWords) -> Self {
        let mut settings = settings(vec![
            uplink_config("fiber", "fiber0", 1),
            uplink_config("lte", "lte0", tier_of_lte),
        ]);
        settings.adopted = Some(adopted);
        settings.groups[0].left = left;
        Self::begin_with(kernel(), settings)
    }

    pub(super) fn begin_on(net: NetState, tier_of_lte: u8, adopted: Option<Adopted>) -> Self {
        let uplinks = vec![
            uplink_config("fiber", "fiber0", 1),
            uplink_config("lte", "lte0", tier_of_lte),
        ];
        Self::begin_with(
            net,
            Settings {
                adopted,
                ..settings(uplinks)
            },
        )
    }

    pub(super) fn begin_with(net: NetState, settings: Settings) -> Self {
        let now = Instant::now();
        let adopted = settings.adopted.unwrap_or_default();
        let left = settings.groups[0].left;
        let mut story = Self {
            controller: Controller::new(settings, net, now),
            now,
            eligible: left.eligible[IPV4],
            last_good: left.last_good[IPV4],
            alive: adopted.alive[IPV4],
            settled: left.settled[IPV4],
            tracked: adopted.tracked,
            conduct: 0,
        };
        let actions = story.controller.begin(now);
        story.store(&actions);
        for id in [FIBER, LTE] {
            story.net(seen(id, NeighbourState::Reachable));
        }
        story
    }

    pub(super) fn store(&mut self, actions: &[Action]) {
        for action in actions {
            if let Action::SetEligible(0, IPV4, word) = action {
                self.eligible = *word;
            }
            if let Action::SetLastGood(0, IPV4, word) = action {
                self.last_good = *word;
            }
            if let Action::SetAlive(IPV4, word) = action {
                self.alive = *word;
            }
            if let Action::SetSettled(0, IPV4, word) = action {
                self.settled = *word;
            }
            if let Action::SetTracked(word) = action {
                self.tracked = *word;
            }
            if let Action::SetConduct(0, word) = action {
                self.conduct = *word;
            }
        }
    }

    pub(super) fn tell(&mut self, event: Event) -> Vec<Action> {
        let actions = self.controller.handle(event, self.now);
        self.store(&actions);
        actions
    }

    pub(super) fn net(&mut self, event: NetEvent) -> Vec<Action> {
        let mut actions = self.tell(Event::Net(event));
        for event in [Event::CaughtUp, Event::Tables] {
            actions.extend(self.tell(event));
        }
        actions
    }

    pub(super) fn probe(&mut self, id: u8, answered: bool) -> Vec<Action> {
        let outcome = if answered {
            Outcome::Reply {
                rtt: Duration::from_millis(5),
            }
        } else {
            Outcome::Lost
        };
        self.tell(Event::Probe(ProbeEvent {
            id: remote(id),
            outcome,
            sent: self.now,
        }))
    }

    pub(super) fn probes(&mut self, id: u8, answered: bool) {
        for _ in 0..3 {
            self.probe(id, answered);
        }
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
        self.tell(Event::Tick);
    }

    /// What packets are steered by.
    pub(super) fn serving(&self) -> u64 {
        if self.eligible != 0 {
            self.eligible
        } else {
            self.last_good
        }
    }
}
