//! Both ends of a session over a link that loses, delays and repeats packets: whatever happens, they
//! agree in the end.

use proptest::prelude::*;

use super::*;

/// What a link does to the packets of one direction.
#[derive(Clone, Copy, Debug)]
struct Weather {
    /// Of 255 packets so many are lost.
    lost: u8,
    /// Of 255 packets so many arrive twice.
    twice: u8,
    /// The longest delay, in milliseconds; packets overtake each other.
    delay: u32,
}

const FINE: Weather = Weather {
    lost: 0,
    twice: 0,
    delay: 0,
};
const CUT: Weather = Weather {
    lost: 255,
    twice: 0,
    delay: 0,
};

/// Both ends, and what is on the way.
struct Link {
    now: Instant,
    ends: [Session; 2],
    /// When, to which end, what.
    flying: Vec<(Instant, usize, ControlPacket)>,
    random: StdRng,
}

impl Link {
    fn new(settings: [BfdSettings; 2], seed: u64) -> Self {
        let now = Instant::now();
        let end = |n: usize| {
            let mut key = [n as u8; 32];
            key[..8].copy_from_slice(&seed.to_le_bytes());
            Session::new(settings[n], 100 + n as u32, key, now)
        };
        Self {
            now,
            ends: [end(0), end(1)],
            flying: Vec::new(),
            random: StdRng::seed_from_u64(seed),
        }
    }

    fn send(&mut self, from: usize, packet: Option<ControlPacket>, weather: [Weather; 2]) {
        let Some(packet) = packet else { return };
        // Every packet goes over the wire, so what cannot be read back is found here.
        let packet = ControlPacket::decode(&packet.encode()).expect("what is sent can be read");
        let Weather { lost, twice, delay } = weather[from];
        if lost > self.random.random_range(0..255) {
            return;
        }
        let copies = 1 + u32::from(twice > self.random.random_range(0..255));
        for _ in 0..copies {
            let delay = MS * self.random.random_range(0..=delay);
            self.flying.push((self.now + delay, 1 - from, packet));
        }
    }

    /// Lets time pass.
    fn run(&mut self, time: Duration, weather: [Weather; 2]) {
        let end = self.now + time;
        loop {
            let deadlines = self.ends.iter().filter_map(Session::next_deadline);
            let arrivals = self.flying.iter().map(|(at, ..)| *at);
            let Some(next) = deadlines.chain(arrivals).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            let now = self.now;
            let arrived: Vec<_> = self.flying.extract_if(.., |(at, ..)| *at <= now).collect();
            for (_, to, packet) in arrived {
                if let Ok(answer) = self.ends[to].receive(&packet, now, now) {
                    self.send(to, answer, weather);
                }
            }
            for n in 0..2 {
                let packet = self.ends[n].poll(now, now);
                self.send(n, packet, weather);
            }
        }
        self.now = end;
    }

    fn states(&self) -> [State; 2] {
        [self.ends[0].state(), self.ends[1].state()]
    }
}

fn any_settings() -> impl Strategy<Value = BfdSettings> {
    (10..2000_u64, 1..=10_u8, any::<bool>()).prop_map(|(interval, multiplier, passive)| {
        BfdSettings {
            passive,
            ..settings(interval, multiplier)
        }
    })
}

fn any_weather() -> impl Strategy<Value = Weather> {
    (any::<u8>(), 0..64_u8, 0..200_u32).prop_map(|(lost, twice, delay)| Weather {
        lost,
        twice,
        delay,
    })
}

/// One end at least must begin.
fn any_pair() -> impl Strategy<Value = [BfdSettings; 2]> {
    proptest::array::uniform2(any_settings()).prop_map(|mut pair| {
        pair[1].passive &= !pair[0].passive;
        pair
    })
}

#[test]
fn two_ends_come_up_within_a_second_and_take_their_intervals() {
    for interval in [10, 300, 1000] {
        let mut link = Link::new([settings(interval, 3); 2], interval);
        link.run(SLOW + 100 * MS, [FINE; 2]);
        assert_eq!(link.states(), [State::Up; 2], "{interval}");
        for end in &link.ends {
            let snapshot = end.snapshot();
            let expected = MS * interval as u32;
            assert_eq!(snapshot.transmit_interval, Some(expected));
            assert_eq!(snapshot.detection_time, Some(3 * expected));
            assert!(!end.polling, "the Poll Sequence has ended");
        }
    }
}

#[test]
fn a_cut_is_noticed_within_the_detection_time_by_both_ends() {
    let mut link = Link::new([settings(10, 3); 2], 1);
    link.run(3 * SLOW, [FINE; 2]);
    link.run(31 * MS, [CUT; 2]);
    assert_eq!(link.states(), [State::Down; 2]);
    // Of a cut in one direction the other end is told.
    let mut link = Link::new([settings(10, 3); 2], 1);
    link.run(3 * SLOW, [FINE; 2]);
    link.run(31 * MS, [CUT, FINE]);
    assert!(link.states().iter().all(|state| *state != State::Up));
    assert_eq!(link.ends[1].snapshot().cause, Cause::DetectionTimeExpired);
    assert_eq!(link.ends[0].state(), State::Down);
    let expired = Diagnostic::DETECTION_TIME_EXPIRED;
    let told = link.ends[0].snapshot().cause;
    assert_eq!(told, Cause::NeighborSignaledDown(expired));
}

#[test]
fn an_end_that_is_held_down_is_not_taken_for_a_failure_and_the_other_one_knows() {
    let mut link = Link::new([settings(10, 3); 2], 3);
    link.run(3 * SLOW, [FINE; 2]);
    let now = link.now;
    let told = link.ends[0].hold_down(now);
    link.send(0, told, [FINE; 2]);
    link.run(MS, [FINE; 2]);
    let snapshot = link.ends[1].snapshot();
    assert_eq!(snapshot.state, State::Down);
    assert_eq!(snapshot.remote_state, State::AdminDown);
    assert_eq!(snapshot.cause, Cause::NeighborAdminDown);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever the link did before, on a good one both ends are up soon, and stay so.
    #[test]
    fn the_ends_agree_on_up_when_the_link_is_good_again(
        pair in any_pair(),
        seed in any::<u64>(),
        stages in proptest::collection::vec((1..5000_u32, [any_weather(), any_weather()]), 0..6),
    ) {
        let mut link = Link::new(pair, seed);
        for (time, weather) in stages {
            link.run(MS * time, weather);
        }
        // What was on the way has arrived, either end has noticed silence if there was any, and the
        // slowest packets were sent often enough.
        link.run(60 * SLOW, [FINE; 2]);
        prop_assert_eq!(link.states(), [State::Up; 2]);
        let ends = link.ends.each_ref().map(Session::snapshot);
        for n in 0..2 {
            prop_assert_eq!(ends[n].remote_discriminator, ends[1 - n].discriminator);
            prop_assert_eq!(ends[n].remote_state, State::Up);
        }
        link.run(30 * SLOW, [FINE; 2]);
        prop_assert_eq!(link.states(), [State::Up; 2]);
        let later = link.ends.each_ref().map(|end| end.snapshot().since);
        prop_assert_eq!(later, ends.map(|end| end.since));
    }

    /// No end stays up when the link carries nothing in one direction: not the one that hears nothing,
    /// nor the one that is not heard.
    #[test]
    fn no_end_stays_up_when_one_direction_is_dead(
        pair in any_pair(),
        seed in any::<u64>(),
        before in 0..5000_u32,
        dead in 0..2_usize,
        weather in any_weather(),
    ) {
        let mut link = Link::new(pair, seed);
        link.run(MS * before, [FINE; 2]);
        let mut weathers = [Weather { lost: weather.lost / 4, ..weather }; 2];
        weathers[dead] = CUT;
        link.run(60 * SLOW, weathers);
        let states = link.states();
        prop_assert!(states.iter().all(|state| *state != State::Up), "{states:?}");
    }

    /// A peer that sends anything at all, for any reason, makes no end panic or send without end.
    #[test]
    fn no_packets_make_it_panic_or_send_without_end(
        settings in any_settings(),
        packets in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 24), 0..50_u32),
            0..64,
        ),
    ) {
        let now = Instant::now();
        let mut session = Session::new(settings, OURS, [1; 32], now);
        let mut at = now;
        for (mut bytes, later) in packets {
            bytes[0] = 1 << 5 | bytes[0] & 0x1f;
            bytes[1] &= !0x05;
            bytes[3] = 24;
            if bytes[8] & 1 == 0 {
                bytes[8..12].copy_from_slice(&OURS.to_be_bytes());
            }
            at += MS * later;
            if let Ok(packet) = ControlPacket::decode(&bytes) {
                let _ = session.receive(&packet, at, at);
            }
            // Each call settles what is due: nothing is due again at the same moment.
            session.poll(at, at);
            prop_assert!(session.poll(at, at).is_none());
            prop_assert!(session.next_deadline().is_none_or(|next| next > at));
        }
    }
}
