//! What the controller makes of probes and counters: words of groups, events, and bursts.

use jiff::{Timestamp, Zoned, tz::TimeZone};

use super::story::{FIBER, LTE, kernel, member, remote, seen, settings, uplink_config};
use super::suspicion::world::{Network, World};
use crate::{
    config::{
        CapacityConfig, Every, GroupConfig, Limit, QuotaConfig, Rate, Ratio, SlaConfig, Volume,
    },
    controller::{Action, Adopted, Controller, Event, GroupSettings, IPV4, Readings, Settings},
    events::{Kind, Occurrence},
    netlink::NeighbourState,
    probe::{BurstPlan, Outcome, ProbeEvent},
    quality::{
        meter::Carried,
        quota::{Document, Ledger, ledger::Owner},
    },
    suspicion::SuspicionSettings,
};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// The groups: the first asks for nothing, the second for little loss.
const BULK: u8 = 0;
const VOICE: u8 = 1;

fn two_groups() -> Settings {
    let mut settings = settings(vec![
        uplink_config("fiber", "fiber0", 1),
        uplink_config("lte", "lte0", 1),
    ]);
    settings.suspicion = SuspicionSettings {
        silence: None,
        step: Some(Duration::from_millis(25)),
    };
    settings.groups.push(GroupSettings {
        id: VOICE,
        name: "voice".to_owned(),
        config: GroupConfig {
            sla: Some(SlaConfig {
                loss: Some(Limit {
                    enter: Ratio::percent(5),
                    leave: Ratio::percent(2),
                }),
                latency: None,
                jitter: None,
                sick_after: Duration::ZERO,
                well_after: SECOND * 10,
            }),
            ..settings.groups[0].config
        },
        ..settings.groups[0].clone()
    });
    settings
}

/// A gateway with a clock, and all that it has said.
struct Gateway {
    controller: Controller,
    now: Instant,
    wall: Zoned,
    sent: u64,
    said: Vec<Occurrence>,
    asked: Vec<BurstPlan>,
}

impl Gateway {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let wall = Timestamp::from_second(1_795_000_000).expect("in range");
        let mut gateway = Self {
            controller: Controller::new(settings, kernel(), now),
            now,
            wall: wall.to_zoned(TimeZone::UTC),
            sent: 0,
            said: Vec::new(),
            asked: Vec::new(),
        };
        let actions = gateway.controller.begin(now);
        gateway.take(actions);
        for id in [FIBER, LTE] {
            gateway.handle(Event::Net(seen(id, NeighbourState::Reachable)));
        }
        gateway
    }

    fn handle(&mut self, event: Event) {
        let actions = self.controller.handle(event, self.now);
        self.take(actions);
    }

    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            if let Action::Event(occurrence) = action {
                self.said.push(occurrence);
            } else if let Action::Ask(plan) = action {
                self.asked.push(plan);
            }
        }
    }

    /// So many seconds with probes of both uplinks every 50 ms; of `FIBER` each `lost`-th is lost.
    fn probe(&mut self, seconds: u64, lost: Option<u64>) {
        for _ in 0..seconds * 20 {
            self.now += Duration::from_millis(50);
            self.sent += 1;
            let reply = Outcome::Reply {
                rtt: Duration::from_millis(20),
            };
            for id in [FIBER, LTE] {
                let is_lost = id == FIBER && lost.is_some_and(|n| self.sent.is_multiple_of(n));
                let outcome = if is_lost { Outcome::Lost } else { reply };
                self.handle(Event::Probe(ProbeEvent {
                    id: remote(id),
                    outcome,
                    sent: self.now - Duration::from_millis(20),
                }));
            }
            if self.sent.is_multiple_of(10) {
                self.handle(Event::Tick);
            }
        }
    }

    /// So many seconds in which the uplinks carry these shares of 100 Mbit/s down.
    fn carry(&mut self, seconds: u64, total: &mut [u64; 2], shares: [f64; 2]) {
        for _ in 0..seconds * 5 {
            self.now += Duration::from_millis(200);
            self.wall = self
                .wall
                .checked_add(Duration::from_millis(200))
                .expect("in range");
            for (total, share) in total.iter_mut().zip(shares) {
                *total += (share * 100e6 / 8.0 / 5.0) as u64;
            }
            let carried = [FIBER, LTE].map(|id| {
                let carried = Carried {
                    up: 0,
                    down: total[usize::from(id)],
                };
                (id, carried)
            });
            self.handle(Event::Carried(Readings {
                carried: carried.into(),
                at: self.wall.clone(),
            }));
        }
    }

    fn words(&self) -> [u64; 2] {
        [BULK, VOICE].map(|id| self.controller.groups()[usize::from(id)].eligible(IPV4))
    }

    /// What was said since the last time: kind, uplink, group.
    fn news(&mut self) -> Vec<(Kind, u8, Option<String>)> {
        let of_ours = |it: &Occurrence| !matches!(it.kind, Kind::PathUp | Kind::UplinkUp);
        self.said
            .drain(..)
            .filter(of_ours)
            .map(|it| (it.kind, it.uplink.unwrap_or(u8::MAX), it.group))
            .collect()
    }
}

#[test]
fn a_sick_uplink_leaves_the_group_with_the_sla_and_serves_the_other() {
    let mut gateway = Gateway::new(two_groups());
    gateway.probe(20, None);
    assert_eq!(gateway.words(), [0b11, 0b11]);
    gateway.news();
    gateway.probe(5, Some(3));
    assert_eq!(gateway.words(), [0b11, 0b10]);
    let cause = gateway.said[0].cause.clone();
    assert!(
        cause.starts_with("loss 3") && cause.ends_with("exceeds 5 %"),
        "{cause}"
    );
    let voice = Some("voice".to_owned());
    assert_eq!(gateway.news(), [(Kind::Sick, FIBER, voice.clone())]);
    gateway.probe(30, None);
    assert_eq!(gateway.words(), [0b11, 0b11]);
    assert_eq!(gateway.news(), [(Kind::Well, FIBER, voice)]);
}

#[test]
fn an_uplink_that_loses_is_asked_in_bursts_but_not_for_ever() {
    let mut gateway = Gateway::new(two_groups());
    gateway.probe(20, None);
    assert_eq!(gateway.asked, []);
    // 1 in 25 is less than is allowed, and each loss by itself is not.
    gateway.probe(60, Some(25));
    let asked = gateway.asked.len();
    assert!((5..=50).contains(&asked), "asked {asked} times in a minute");
    let plan = &gateway.asked[0];
    assert_eq!(plan.targets, [remote(FIBER)]);
    assert!(plan.whole);
    assert_eq!(gateway.words(), [0b11, 0b11]);
}

/// Until a probe is given up as lost, many more are: one that is overdue is reason enough to ask, where a group
/// minds losses, but not again and again when the answer was only late.
#[test]
fn what_is_overdue_has_an_uplink_asked() {
    let mut gateway = Gateway::new(two_groups());
    gateway.probe(20, None);
    let mut settings = two_groups();
    settings.groups[1].config.sla = None;
    let mut indifferent = Gateway::new(settings);
    for gateway in [&mut gateway, &mut indifferent] {
        for _ in 0..100 {
            gateway.handle(Event::ProbeOverdue(remote(FIBER)));
            gateway.probe(1, None);
        }
    }
    assert_eq!(indifferent.asked, []);
    let plan = &gateway.asked[0];
    assert_eq!(
        (&plan.targets[..], plan.whole),
        (&[remote(FIBER)][..], true)
    );
    let asked = gateway.asked.len();
    assert!((10..=30).contains(&asked), "asked {asked} times");
    assert_eq!(gateway.words(), [0b11, 0b11]);
    assert_eq!(gateway.news(), []);
}

/// An uplink that loses much is sick, not dead: the probes that find it out must not take it down.
#[test]
fn many_probes_make_no_lossy_path_dead() {
    let mut gateway = Gateway::new(two_groups());
    gateway.probe(20, None);
    let lose = |gateway: &mut Gateway, times: u32| {
        for _ in 0..times {
            gateway.now += Duration::from_millis(25);
            gateway.handle(Event::Probe(ProbeEvent {
                id: remote(FIBER),
                outcome: Outcome::Lost,
                sent: gateway.now - Duration::from_millis(1),
            }));
        }
        gateway.controller.uplinks()[0].paths[IPV4].is_up()
    };
    lose(&mut gateway, 1);
    assert_eq!(gateway.asked.len(), 1);
    assert!(lose(&mut gateway, 11), "eleven count as two");
    assert!(
        !lose(&mut gateway, 5),
        "a path that answers nothing is dead"
    );
}

#[test]
fn the_only_uplink_serves_also_when_it_is_sick() {
    let mut settings = two_groups();
    settings.groups[1].members = vec![member(FIBER, 1)];
    let mut gateway = Gateway::new(settings);
    gateway.probe(20, None);
    gateway.probe(5, Some(3));
    let here = gateway.controller.groups()[1].impediments(IPV4);
    assert_eq!((here.sick, gateway.words()), (0b01, [0b11, 0b01]));
}

#[test]
fn an_outage_cures_nothing() {
    let mut gateway = Gateway::new(two_groups());
    gateway.probe(20, None);
    gateway.probe(5, Some(3));
    gateway.probe(20, Some(1));
    assert_eq!(gateway.words(), [0b10, 0b10], "it is down");
    gateway.probe(5, None);
    assert_eq!(
        gateway.words(),
        [0b11, 0b10],
        "it is up, and has to show that it is well"
    );
    gateway.probe(10, None);
    assert_eq!(gateway.words(), [0b11, 0b11]);
}

#[test]
fn a_restart_leaves_the_sick_where_they_were_until_they_show_that_they_are_well() {
    let mut settings = two_groups();
    settings.adopted = Some(Adopted {
        known: 0b11,
        alive: [0b11; 2],
        ..Adopted::default()
    });
    for group in &mut settings.groups {
        group.left.had = 0b11;
        group.left.eligible = [0b11; 2];
    }
    settings.groups[1].left.eligible = [0b10; 2];
    let mut gateway = Gateway::new(settings);
    gateway.probe(5, None);
    assert_eq!(gateway.words(), [0b11, 0b10]);
    gateway.probe(10, None);
    assert_eq!(gateway.words(), [0b11, 0b11]);
}

fn with_capacity() -> Settings {
    let mut settings = two_groups();
    for (_, uplink) in &mut settings.uplinks {
        uplink.capacity = Some(CapacityConfig {
            up: None,
            down: Some(Rate(100_000_000)),
            spill_at: Ratio::percent(90),
            spill_until: Ratio::percent(75),
        });
    }
    settings
}

/// The complaint of Jackysi/advancedtomato 196: a line that its provider caps is slow, not dead, so a
/// gateway that only asks whether it is alive never takes anything off it.
#[test]
fn a_capped_line_that_is_full_gets_no_new_flows() {
    let mut gateway = Gateway::new(with_capacity());
    gateway.probe(1, None);
    gateway.news();
    let mut total = [0; 2];
    gateway.carry(3, &mut total, [0.5, 0.1]);
    assert_eq!(gateway.words(), [0b11, 0b11]);
    gateway.carry(2, &mut total, [0.99, 0.1]);
    assert_eq!(gateway.words(), [0b10, 0b10]);
    assert_eq!(gateway.news(), [(Kind::Full, FIBER, None)]);
    // Old flows stay and end one by one; between the two values nothing changes.
    gateway.carry(20, &mut total, [0.8, 0.3]);
    assert_eq!(gateway.words(), [0b10, 0b10]);
    gateway.carry(7, &mut total, [0.6, 0.3]);
    assert_eq!(gateway.words(), [0b11, 0b11]);
    assert_eq!(gateway.news(), [(Kind::Spare, FIBER, None)]);
    gateway.carry(3, &mut total, [0.99, 0.99]);
    assert_eq!(gateway.words(), [0b11, 0b11], "all are full: all serve");
}

#[test]
fn a_spent_uplink_leaves_the_groups_that_obey_and_returns_with_the_period() {
    let mut settings = two_groups();
    settings.groups[0].config.obey_quota = false;
    let wall = Timestamp::from_second(1_795_000_000).expect("in range");
    let quota = QuotaConfig {
        limit: Volume(50_000_000),
        every: Every::Day,
    };
    let owner = Owner {
        id: FIBER,
        name: "fiber".to_owned(),
        quota,
    };
    let at = wall.to_zoned(TimeZone::UTC);
    settings.ledger = Ledger::open(
        vec![owner],
        Document::default(),
        "counters".to_owned(),
        true,
        &at,
    );
    let mut gateway = Gateway::new(settings);
    gateway.probe(1, None);
    gateway.news();
    let mut total = [0; 2];
    gateway.carry(3, &mut total, [1.0, 0.0]);
    assert_eq!(gateway.words(), [0b11, 0b11]);
    gateway.carry(2, &mut total, [1.0, 0.0]);
    assert_eq!(gateway.words(), [0b11, 0b10]);
    let causes: Vec<String> = gateway.said.iter().map(|it| it.cause.clone()).collect();
    let [low, spent] = &causes[..] else {
        panic!("{causes:?}")
    };
    assert!(low.starts_with("40.0 MB of 50MB/day used (80 %)"), "{low}");
    assert!(
        spent.starts_with("50.0 MB of 50MB/day used (100 %); it begins anew 2026-11-19 00:00"),
        "{spent}"
    );
    let kinds: Vec<Kind> = gateway.news().into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(kinds, [Kind::QuotaLow, Kind::QuotaSpent]);
    gateway.wall = "2026-11-19T00:00:01[UTC]".parse().expect("a time");
    gateway.carry(1, &mut total, [0.0, 0.0]);
    assert_eq!(gateway.words(), [0b11, 0b11]);
    assert_eq!(gateway.news(), [(Kind::QuotaRenewed, FIBER, None)]);
}

/// An hour each in which 1 % of the packets are lost and round trips vary by 50 ms: with the probes and bursts of a
/// gateway by its defaults, no uplink is sick for an SLA of 5 %.
#[test]
fn an_hour_of_one_percent_of_loss_and_50_ms_of_jitter_breaks_no_sla_of_five_percent() {
    let sla = two_groups().groups[1].config.sla.expect("it is given");
    for (targets, seed) in [(1, 1), (2, 2), (4, 3)] {
        let rough = Network {
            loss: 0.01,
            rtt: Duration::from_millis(20),
            jitter: Duration::from_millis(50),
        };
        let mut world = World::with_sla(rough, targets, seed, sla);
        world.packets_a_second = 25.0;
        world.run(SECOND * 3600);
        assert_eq!(world.verdicts, [], "{targets} targets, seed {seed}");
        assert_eq!(world.transitions, [], "{targets} targets, seed {seed}");
    }
}

/// How long it takes from 30 % of loss to the words, with the probes and bursts of a gateway by its defaults.
#[test]
fn thirty_percent_of_loss_against_five_is_found_in_seconds() {
    let sla = two_groups().groups[1].config.sla.expect("it is given");
    let calm = Network {
        loss: 0.0,
        rtt: Duration::from_millis(20),
        jitter: Duration::from_millis(2),
    };
    // Each way, and one way.
    for (name, loss, limit) in [("each way", 0.51, 3_000), ("one way", 0.3, 5_000)] {
        for (packets, targets) in [(0.0, 4), (0.0, 2), (25.0, 4)] {
            let mut times: Vec<u128> = (0..60)
                .map(|seed| {
                    let mut world = World::with_sla(calm, targets, seed, sla);
                    world.packets_a_second = packets;
                    world.run(SECOND * 20 + Duration::from_millis(seed * 17));
                    let began = world.now;
                    world.change(Network { loss, ..calm });
                    for _ in 0..300 {
                        world.run(Duration::from_millis(100));
                        if !world.verdicts.is_empty() || !world.transitions.is_empty() {
                            break;
                        }
                    }
                    let sick = world.verdicts.first().map(|(at, _)| *at);
                    let down = world.transitions.first().map(|(at, _)| *at);
                    let at = sick
                        .into_iter()
                        .chain(down)
                        .min()
                        .expect("within half a minute");
                    (at - began).as_millis()
                })
                .collect();
            times.sort_unstable();
            let (p50, p99) = (times[30], times[59]);
            println!(
                "{name}, {targets} targets, {packets} packets/s: {p50} ms (p50), {p99} ms (max)"
            );
            assert!(p50 < 1_500, "{name}, {targets} targets: {times:?}");
            // Half as many targets say less at a time.
            let limit = if targets < 4 { limit + 1_000 } else { limit };
            assert!(p99 < limit, "{name}, {targets} targets: {times:?}");
        }
    }
}
