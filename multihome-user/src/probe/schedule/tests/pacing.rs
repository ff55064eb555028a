//! How fast targets are asked when the rate is bounded.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn service(last: u8, method: Method) -> TargetId {
    TargetId::remote(1, [192, 0, 2, last].into(), method)
}

const TCP: Method = Method::Tcp { port: 443 };
const HTTPS: Method = Method::Https {
    port: 443,
    number: 0,
};

/// The most packets that were sent to remote targets within any second.
fn busiest_second(simulation: &Simulation) -> u32 {
    let mut sent: Vec<(Instant, u32)> = simulation
        .sent
        .iter()
        .filter(|(id, _)| id.kind == TargetKind::Remote)
        .flat_map(|(id, times)| times.iter().map(|&at| (at, id.method.packets())))
        .collect();
    sent.sort_unstable();
    let within = |from: Instant| {
        let inside = |at: &Instant| *at >= from && *at < from + SECOND;
        let packets = sent.iter().filter(|(at, _)| inside(at));
        packets.map(|(_, packets)| packets).sum()
    };
    sent.iter().map(|&(at, _)| within(at)).max().unwrap_or(0)
}

/// In the long run never more than the rate, whatever the targets; in a single second at most one
/// probe of each target more.
#[test]
fn all_targets_of_an_uplink_share_its_rate() {
    for targets in [
        vec![target(1)],
        (1..=4).map(target).collect(),
        (1..=8).map(target).collect(),
        vec![target(1), target(2), service(3, TCP), service(4, HTTPS)],
        vec![service(1, HTTPS), service(2, HTTPS)],
    ] {
        let settings = ProbeSettings {
            interval: ms(500),
            timeout: None,
            rate: Some(5),
        };
        let next_hop = TargetId::next_hop(1, [192, 0, 2, 200].into());
        let all = targets.iter().copied().chain([next_hop]);
        let mut simulation = Simulation::new(settings, 21, all);
        let span = 600;
        simulation.run(simulation.start + SECOND * span, |_, _| Some(ms(20)));
        let packets: u32 = targets
            .iter()
            .map(|id| simulation.sent[id].len() as u32 * id.method.packets())
            .sum();
        let at_once: u32 = targets.iter().map(|id| id.method.packets()).sum();
        assert!(packets <= 5 * span + at_once, "{packets}: {targets:?}");
        assert!(busiest_second(&simulation) <= 5 + at_once, "{targets:?}");
        // Next hops are as near as the modem, and no remote target.
        assert!(simulation.sent[&next_hop].len() as u32 >= 2 * span);
    }
}

/// Four targets that are pinged: 4 packets, 5 a second, and nine tenths of the interval at least.
#[test]
fn a_costly_target_slows_down_none_but_itself() {
    let settings = ProbeSettings {
        interval: ms(500),
        timeout: None,
        rate: Some(5),
    };
    let interval = |id, remote| settings.interval_of(id, remote).as_millis();
    assert_eq!(interval(target(1), 1), 500);
    assert_eq!(interval(target(1), 2), 500);
    assert_eq!(interval(target(1), 4), 888);
    assert_eq!(interval(service(1, TCP), 4), 1777);
    assert_eq!(interval(service(1, HTTPS), 4), 6222);
    let unbounded = ProbeSettings {
        rate: None,
        ..settings
    };
    assert_eq!(unbounded.interval_of(service(1, HTTPS), 8), ms(500));
}

#[test]
fn targets_that_are_taken_away_leave_their_share_to_the_others() {
    let settings = ProbeSettings {
        interval: ms(100),
        timeout: None,
        rate: Some(1),
    };
    let mut simulation = Simulation::new(settings, 22, (1..=8).map(target));
    simulation.run(simulation.start + SECOND * 10, |_, _| Some(ms(5)));
    let now = simulation.now;
    simulation.schedule.set_targets([target(1)], now);
    let before = simulation.sent[&target(1)].len();
    simulation.run(now + SECOND * 20, |_, _| Some(ms(5)));
    let more = simulation.sent[&target(1)].len() - before;
    assert!((17..=20).contains(&more), "{more}");
}

#[test]
fn what_takes_several_round_trips_gets_the_time_for_them() {
    let settings = INTERVAL_100;
    assert_eq!(settings.timeout(HTTPS, None), INITIAL_TIMEOUT * 4);
    let slow = SmoothedRtt::new(SECOND * 30);
    assert_eq!(
        settings.timeout(HTTPS, Some(&slow)),
        MAX_ADAPTIVE_TIMEOUT * 4
    );
    assert_eq!(settings.timeout(TCP, None), INITIAL_TIMEOUT);
}

/// A wrong answer is told at once, in its turn, and with what was wrong.
#[test]
fn a_wrong_answer_needs_no_timeout() {
    let mut schedule = ProbeSchedule::new(INTERVAL_100, [23; 32]);
    let start = Instant::now();
    let id = service(1, TCP);
    schedule.set_targets([id], start);
    let mut now = start + ms(100);
    let mut sent = Vec::new();
    for _ in 0..2 {
        for action in schedule.poll(now) {
            match action {
                ProbeAction::Send { seq, cookie, .. } => sent.push((seq, cookie)),
                ProbeAction::Outcome(event) => panic!("{event:?}"),
                ProbeAction::Overdue(_) => {}
            }
        }
        now += ms(100);
    }
    let [(first, cookie), (second, _)] = sent[..] else {
        panic!("two probes are on their way: {sent:?}")
    };
    schedule.failed(id, second, Failure::Refused, now);
    assert!(schedule.answered(id, first, cookie, now, ms(7)));
    schedule.failed(id, first, Failure::Refused, now);
    assert!(schedule.next_deadline().is_some_and(|at| at <= now));
    let outcomes: Vec<Outcome> = schedule
        .poll(now)
        .into_iter()
        .filter_map(|action| match action {
            ProbeAction::Outcome(event) => Some(event.outcome),
            ProbeAction::Send { .. } | ProbeAction::Overdue(_) => None,
        })
        .collect();
    let expected = [
        Outcome::Reply { rtt: ms(7) },
        Outcome::Failed(Failure::Refused),
    ];
    assert_eq!(outcomes, expected);
}

/// Time that this process takes between the steps of an exchange is given back to the probe.
#[test]
fn our_own_time_within_an_exchange_is_no_delay_of_the_answer() {
    let settings = ProbeSettings {
        timeout: Some(ms(100)),
        ..INTERVAL_100
    };
    let mut schedule = ProbeSchedule::new(settings, [24; 32]);
    let start = Instant::now();
    let id = service(1, HTTPS);
    schedule.set_targets([id], start);
    let sent = start + ms(100);
    let (seq, cookie) = schedule
        .poll(sent)
        .iter()
        .find_map(|action| match *action {
            ProbeAction::Send { seq, cookie, .. } => Some((seq, cookie)),
            ProbeAction::Outcome(_) | ProbeAction::Overdue(_) => None,
        })
        .expect("it is due within an interval");
    schedule.delayed(id, seq, ms(300));
    assert!(!schedule.would_lose(sent + ms(399)));
    assert!(schedule.answered(id, seq, cookie, sent + ms(350), ms(20)));
    let rtt = schedule.rtt(id).expect("measured");
    assert_eq!(
        rtt.smoothed(),
        ms(50),
        "of the whole exchange, without our own time"
    );
}

/// With many targets each wake-up serves several of them, and each interval is one that jitter could have made.
#[test]
fn targets_that_are_due_soon_are_asked_together() {
    let settings = ProbeSettings {
        interval: SECOND,
        ..INTERVAL_100
    };
    let mut simulation = Simulation::new(settings, 25, (0..200).map(target));
    let end = simulation.start + SECOND * 30;
    simulation.run(end, |_, _| Some(Duration::ZERO));
    let all = simulation.sent.values();
    let probes: usize = all.clone().map(Vec::len).sum();
    assert!(probes > 200 * 29, "{probes}");
    // A probe and its answer are a wake-up each when nothing is done together.
    assert!(
        simulation.wakes < probes,
        "{} wake-ups for {probes} probes",
        simulation.wakes
    );
    let gaps = all.flat_map(|sent| sent.windows(2).map(|pair| pair[1] - pair[0]));
    let strange = gaps.filter(|gap| !(SECOND * 9 / 10..=SECOND).contains(gap));
    assert_eq!(strange.count(), 0);
    assert_eq!(simulation.lost(), 0);
}

/// A probe that is not answered by when others were is told of once, long before it is given up.
#[test]
fn what_is_overdue_is_told_once() {
    let settings = ProbeSettings {
        interval: SECOND,
        ..INTERVAL_100
    };
    let mut simulation = Simulation::new(settings, 26, [target(1)]);
    let cut = simulation.start + SECOND * 20;
    simulation.run(cut, |_, _| Some(ms(20)));
    assert_eq!(simulation.overdue, []);
    let before = simulation.sent[&target(1)].len();
    simulation.run(cut + SECOND * 2, |_, _| None);
    let mut unanswered = simulation.sent[&target(1)][before..].to_vec();
    unanswered.retain(|&sent| sent < simulation.now - ms(100));
    assert!(!unanswered.is_empty());
    let told: Vec<Instant> = simulation.overdue.iter().map(|(at, _)| *at).collect();
    assert_eq!(told.len(), unanswered.len());
    for (sent, told) in unanswered.into_iter().zip(told) {
        assert!((ms(90)..ms(100)).contains(&(told - sent)));
    }
}
