//! The controller, the probes' schedule and the traffic in a simulated world with a seeded clock:
//! what is an outage is found in time, and what is none is not.

pub(super) mod world;

use std::time::Duration;

use proptest::prelude::*;

use self::world::{Network, World};
use super::story::{default_route, neighbour, remote};
use super::*;
use crate::{
    config::Target,
    events::Kind,
    netlink::{Address, Route},
    probe::Outcome,
    suspicion::{Sample, Sign, SuspicionSettings},
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const HOUR: Duration = Duration::from_secs(3600);

/// 1 % of the packets are lost, and each round trip takes 20 to 70 ms.
const ROUGH: Network = Network {
    loss: 0.01,
    rtt: Duration::from_millis(20),
    jitter: Duration::from_millis(50),
};
/// Nothing is lost, and hardly anything varies.
const CALM: Network = Network {
    loss: 0.0,
    rtt: Duration::from_millis(20),
    jitter: Duration::from_millis(2),
};

#[test]
fn an_hour_of_one_percent_of_loss_and_50_ms_of_jitter_with_traffic_raises_no_alarm() {
    for (targets, seed) in [(1, 1), (2, 2), (4, 3), (8, 4)] {
        let mut world = World::new(ROUGH, targets, seed);
        world.packets_a_second = 25.0;
        world.run(HOUR);
        assert_eq!(world.transitions, [], "{targets} targets, seed {seed}");
        assert!(world.bursts > 0, "no probe was lost in an hour");
    }
}

#[test]
fn an_hour_of_one_percent_of_loss_and_50_ms_of_jitter_without_traffic_raises_no_alarm() {
    for targets in 1..=8 {
        for seed in 1..=2 {
            let mut world = World::new(ROUGH, targets, seed);
            world.run(HOUR);
            assert_eq!(world.transitions, [], "{targets} targets, seed {seed}");
            assert!(world.bursts > 0, "no probe was lost in an hour");
            // Five packets a second to remote targets, as many to the next hop as it is probed,
            // and the bursts.
            let a_second = world.probes as f64 / HOUR.as_secs_f64();
            assert!(
                a_second < 8.0,
                "{targets} targets: {a_second} probes a second"
            );
        }
    }
}

#[test]
fn an_hour_of_few_packets_with_answers_now_and_then_raises_no_alarm_and_few_bursts() {
    let mut world = World::new(ROUGH, 2, 7);
    world.packets_a_second = 10.0;
    world.answered = 0.05;
    world.run(HOUR);
    assert_eq!(world.transitions, []);
    assert!(world.suspicions < 100, "{} suspicions", world.suspicions);
}

/// Syslog, flow export: nobody answers it, and nobody needs to.
#[test]
fn an_hour_of_traffic_that_nobody_answers_raises_not_one_suspicion() {
    let mut world = World::new(CALM, 2, 8);
    world.packets_a_second = 20.0;
    world.answered = 0.0;
    world.run(HOUR);
    assert_eq!((world.transitions.len(), world.suspicions), (0, 0));
}

/// How long after the cut the path was down, in so many trials, shortest first.
fn detections(network: Network, packets_a_second: f64, trials: u64) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..trials)
        .map(|seed| {
            let mut world = World::new(network, 4, 1000 + seed);
            world.packets_a_second = packets_a_second;
            world.run(ms(6_000 + seed * 37));
            assert_eq!(world.transitions, [], "seed {seed}");
            world.cut = true;
            let cut = world.now;
            world.run(ms(8000));
            let [(at, false)] = world.transitions[..] else {
                panic!("seed {seed}: {:?}", world.transitions)
            };
            at - cut
        })
        .collect();
    times.sort_unstable();
    times
}

fn p99(times: &[Duration]) -> Duration {
    times[times.len() * 99 / 100]
}

#[test]
fn a_blackhole_with_traffic_is_found_within_500_ms() {
    for network in [CALM, ROUGH] {
        let times = detections(network, 50.0, 200);
        println!(
            "with traffic, {network:?}: median {:?}, p99 {:?}, max {:?}",
            times[100],
            p99(&times),
            times[199]
        );
        assert!(p99(&times) <= ms(500), "{:?}", p99(&times));
        assert!(times[0] >= ms(200), "{:?} is too early", times[0]);
    }
}

#[test]
fn an_idle_blackhole_is_found_right_after_the_first_loss() {
    for network in [CALM, ROUGH] {
        let times = detections(network, 0.0, 200);
        println!(
            "idle, {network:?}: median {:?}, p99 {:?}, max {:?}",
            times[100],
            p99(&times),
            times[199]
        );
        assert!(p99(&times) <= ms(3500), "{:?}", p99(&times));
        assert!(times[199] <= ms(2500), "{:?}", times[199]);
    }
}

/// Satellite, and a queue of half a second in front of it.
#[test]
fn a_slow_path_under_bursts_stays_up() {
    for rtt in [300, 600, 900] {
        let network = Network {
            loss: 0.02,
            rtt: ms(rtt),
            jitter: ms(100),
        };
        let mut world = World::new(network, 3, rtt);
        world.packets_a_second = 3.0;
        world.run(ms(600_000));
        assert_eq!(world.transitions, [], "{rtt} ms");
        assert!(world.bursts > 0);
    }
}

#[test]
fn a_path_that_was_lost_comes_back_and_is_watched_again() {
    let mut world = World::new(CALM, 2, 9);
    world.packets_a_second = 50.0;
    // More often than bursts in vain are allowed in that time.
    for _ in 0..12 {
        world.run(ms(3000));
        world.cut = true;
        world.run(ms(600));
        world.cut = false;
        world.run(ms(3000));
        let states: Vec<bool> = world.transitions.drain(..).map(|(_, up)| up).collect();
        assert_eq!(states, [false, true]);
    }
}

#[test]
fn without_bursts_nothing_is_suspected() {
    let mut world = World::new(ROUGH, 2, 10);
    world.settle_with(SuspicionSettings {
        step: None,
        ..SuspicionSettings::default()
    });
    world.packets_a_second = 50.0;
    world.run(ms(120_000));
    assert_eq!((world.bursts, world.suspicions), (0, 0));
    assert_eq!(world.controller.next_sample(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The controller gets no processor at any moments for any times, with traffic and without.
    #[test]
    fn starving_the_controller_is_no_outage(
        seed: u64,
        targets in 1_u8..5,
        traffic: bool,
        stalls in proptest::collection::vec((1_u64..900, 60_u64..3000), 1..20),
    ) {
        let mut world = World::new(CALM, targets, seed);
        world.packets_a_second = if traffic { 50.0 } else { 0.0 };
        world.run(ms(3000));
        for (runs, stalls) in stalls {
            world.run(ms(runs));
            world.stall(ms(stalls));
        }
        world.run(ms(3000));
        prop_assert_eq!(&world.transitions, &[]);
    }

    /// The same while a burst is under way, which is in a hurry.
    #[test]
    fn starving_the_controller_in_a_burst_is_no_outage(
        seed: u64,
        targets in 1_u8..5,
        stalls in proptest::collection::vec((1_u64..120, 60_u64..500), 1..10),
    ) {
        let mut world = World::new(CALM, targets, seed);
        world.packets_a_second = 50.0;
        world.run(ms(5000));
        for (runs, stalls) in stalls {
            world.lose_one_probe();
            world.run(ms(runs));
            world.stall(ms(stalls));
        }
        world.run(ms(3000));
        prop_assert_eq!(&world.transitions, &[]);
    }
}

#[test]
fn a_silent_next_hop_without_remote_targets_is_not_asked_in_bursts() {
    let mut config = uplink_config("fiber", "fiber0", 1);
    config.probe.clear();
    let mut story = watching(vec![config]);
    story.now += ms(5000);
    let sample = |out, back| vec![(FIBER, [Sample { out, back }, Sample::default()])];
    story.tell(Event::Sampled(sample(1, 1)));
    for passed in 2..100 {
        story.now += ms(20);
        let back = if passed < 10 { passed } else { 10 };
        let actions = story.tell(Event::Sampled(sample(passed, back)));
        assert_eq!(actions, [], "nobody is there who could be asked");
    }
}

/// A gateway of two uplinks that suspects.
fn suspicious() -> Story {
    let uplinks = vec![
        uplink_config("fiber", "fiber0", 1),
        uplink_config("lte", "lte0", 1),
    ];
    watching(uplinks)
}

fn watching(uplinks: Vec<UplinkConfig>) -> Story {
    let settings = Settings {
        suspicion: SuspicionSettings::default(),
        ..settings(uplinks)
    };
    Story::begin_with(kernel(), settings)
}

#[test]
fn a_suspicion_is_told_with_its_sign_and_shown_until_it_is_cleared() {
    let mut story = suspicious();
    let sample = |out, back| vec![(FIBER, [Sample { out, back }, Sample::default()])];
    let mut actions = Vec::new();
    for passed in 1..100 {
        story.now += ms(20);
        actions = story.tell(Event::Sampled(sample(passed, passed.min(5))));
        if !actions.is_empty() {
            break;
        }
    }
    let [
        Action::Burst {
            sign: Sign::Silence,
            plan,
        },
        Action::Event(suspected),
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(plan.targets, [remote(FIBER)]);
    assert_eq!((plan.probes, plan.step), (3, ms(25)));
    assert_eq!(suspected.kind, Kind::Suspected);
    assert_eq!(
        (suspected.uplink, suspected.family),
        (Some(FIBER), Some(IPV4))
    );
    assert_eq!(suspected.sign, Some(story.now - ms(200)));
    assert!(story.controller.uplinks()[0].paths[IPV4].is_suspected());
    let actions = story.probe(FIBER, true);
    let [Action::Event(cleared)] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(cleared.kind, Kind::Cleared);
    assert!(!story.controller.uplinks()[0].paths[IPV4].is_suspected());
}

#[test]
fn the_probe_whose_loss_raised_the_suspicion_does_not_count_in_the_burst() {
    let mut story = suspicious();
    story.probes(FIBER, true);
    let burst = |actions: &[Action]| {
        actions.iter().any(|action| {
            matches!(
                action,
                Action::Burst {
                    sign: Sign::Loss,
                    ..
                }
            )
        })
    };
    assert!(burst(&story.probe(FIBER, false)));
    assert!(!burst(&story.probe(FIBER, false)));
    story.probe(FIBER, false);
    assert_eq!(story.eligible, 0b11, "two of the burst");
    story.probe(FIBER, false);
    assert_eq!(story.eligible, 0b10, "all three");
}

#[test]
fn a_target_that_never_answers_has_no_bursts() {
    let mut config = uplink_config("fiber", "fiber0", 1);
    let dead = TargetId {
        target: IpAddr::from([203, 0, 113, 9]),
        ..remote(FIBER)
    };
    config.probe.push(Target::ping(dead.target));
    let mut story = watching(vec![config]);
    for _ in 0..100 {
        story.now += ms(500);
        story.probe(FIBER, true);
        let lost = ProbeEvent {
            id: dead,
            outcome: Outcome::Lost,
            sent: story.now,
        };
        assert_eq!(story.tell(Event::Probe(lost)), []);
    }
}

#[test]
fn bursts_are_bounded_on_a_line_that_loses_much() {
    let mut story = suspicious();
    let mut bursts = 0;
    for _ in 0..3600 {
        story.now += ms(1000);
        for answered in [true, false] {
            let actions = story.probe(FIBER, answered);
            bursts += actions
                .iter()
                .filter(|action| matches!(action, Action::Burst { .. }))
                .count();
        }
    }
    assert!((300..=366).contains(&bursts), "{bursts} in an hour");
}

/// The IPv6 next hop answers no pings, and nobody else is there to ask by IPv6.
#[test]
fn a_family_without_targets_of_its_own_has_those_of_the_other_asked() {
    let next_hop: IpAddr = "fe80::1".parse().expect("an address");
    let own = Address {
        address: "fe80::2".parse().expect("an address"),
        prefix_len: 64,
        usable: true,
        deprecated: false,
        broadcast: None,
        peer: None,
    };
    let route = Route {
        destination: "::".parse().expect("an address"),
        prefix_len: 0,
        gateway: Some(next_hop),
        ..default_route(FIBER)
    };
    let mut story = suspicious();
    for event in [
        NetEvent::AddressAdded(10, own),
        NetEvent::RouteAdded(route),
        NetEvent::Neighbour {
            ifindex: 10,
            address: next_hop,
            neighbour: neighbour(NeighbourState::Reachable),
        },
    ] {
        story.net(event);
    }
    assert!(story.controller.uplinks()[0].paths[IPV6].is_up());
    let suspect = |story: &mut Story| {
        (0..100).find_map(|passed: u64| {
            story.now += ms(20);
            let sample = Sample {
                out: passed,
                back: passed.min(5),
            };
            let samples = vec![(FIBER, [Sample::default(), sample])];
            Some(story.tell(Event::Sampled(samples))).filter(|actions| !actions.is_empty())
        })
    };
    let actions = suspect(&mut story).expect("a suspicion");
    let [Action::Burst { plan, .. }, Action::Event(suspected)] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(plan.targets, [remote(FIBER)]);
    assert_eq!(suspected.family, Some(IPV6));
    let actions = story.probe(FIBER, true);
    let [Action::Event(cleared)] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((cleared.kind, cleared.family), (Kind::Cleared, Some(IPV6)));

    suspect(&mut story).expect("a suspicion");
    story.probes(FIBER, false);
    assert!(!story.controller.uplinks()[0].paths[IPV6].is_up());
    assert!(!story.controller.uplinks()[0].paths[IPV6].is_suspected());
}
