//! Schedule and health together, over a network that loses packets.

use super::*;
use crate::probe::{ProbeAction, ProbeSchedule, ProbeSettings};

/// A small generator with known quality, so that a failure can be repeated (splitmix64).
struct Random(u64);

impl Random {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Schedule and health together over a network that loses a share of the packets, until `cut`;
/// then nothing is answered. Returns every transition and when it came.
fn simulate(
    probe: ProbeSettings,
    targets: &[TargetId],
    loss: f64,
    seed: u64,
    cut: Duration,
    end: Duration,
) -> Vec<(Duration, Transition)> {
    let start = Instant::now();
    let mut random = Random(seed);
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut schedule = ProbeSchedule::new(probe, key);
    schedule.set_targets(targets.iter().copied(), start);
    let mut path = PathHealth::new(SETTINGS, true, start);
    path.set_targets(targets.iter().copied());
    let mut flying: BTreeMap<(Instant, TargetId, u16), u64> = BTreeMap::new();
    let mut transitions = Vec::new();
    loop {
        let arrival = flying.first_key_value().map(|(key, _)| key.0);
        let now = [arrival, schedule.next_deadline()]
            .into_iter()
            .flatten()
            .min();
        let now = now.expect("there are targets");
        if now > start + end {
            return transitions;
        }
        while let Some(entry) = flying.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((at, id, seq), cookie) = entry.remove_entry();
            schedule.reply(id.uplink, id.target, seq, cookie, at);
        }
        for action in schedule.poll(now) {
            match action {
                ProbeAction::Send { id, seq, cookie } => {
                    if random.share() >= loss && now < start + cut {
                        let rtt = ms(15 + (random.share() * 10.0) as u64);
                        flying.insert((now + rtt, id, seq), cookie);
                    }
                }
                ProbeAction::Outcome(event) => {
                    let transition = path.handle(HealthEvent::Probe(event), now);
                    transitions.extend(transition.map(|it| (now - start, it)));
                }
                ProbeAction::Overdue(_) => {}
            }
        }
    }
}

const FAST: ProbeSettings = ProbeSettings {
    interval: Duration::from_millis(100),
    timeout: None,
    rate: None,
};
const DEFAULT: ProbeSettings = ProbeSettings {
    interval: Duration::from_millis(500),
    timeout: None,
    rate: None,
};
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn an_hour_with_one_percent_of_loss_raises_no_alarm() {
    // Three losses in a row of one target come about once in 140 hours, so seeds are given.
    for seed in 1..=10 {
        let transitions = simulate(DEFAULT, &[remote(1)], 0.01, seed, HOUR, HOUR);
        assert_eq!(transitions, [], "seed {seed}");
    }
    // Two targets must fail together: even at a fifth of the interval, twice the loss is nothing.
    for seed in 1..=3 {
        let transitions = simulate(FAST, &[remote(1), remote(2)], 0.02, seed, HOUR, HOUR);
        assert_eq!(transitions, [], "seed {seed}");
    }
}

#[test]
fn a_blackhole_is_noticed_within_four_intervals_whatever_the_number_of_targets() {
    for count in [1, 2, 8] {
        let targets: Vec<TargetId> = (1..=count).map(remote).collect();
        for seed in 0..30 {
            let cut = ms(10_000 + seed * 11);
            let transitions = simulate(FAST, &targets, 0.0, seed, cut, cut + ms(2000));
            let [(at, transition)] = transitions[..] else {
                panic!("{transitions:?}")
            };
            assert_eq!(transition.to, PathState::Down);
            let noticed = at - cut;
            assert!(
                noticed <= ms(400),
                "{count} targets, seed {seed}: {noticed:?}"
            );
            assert!(
                noticed >= ms(200),
                "{count} targets, seed {seed}: {noticed:?} is too early"
            );
        }
    }
}
