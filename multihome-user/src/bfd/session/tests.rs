//! The state machine against the sections of RFC 5880, one end alone; [`link`] has both ends.

use super::*;

mod link;

const MS: Duration = Duration::from_millis(1);
const OURS: u32 = 0xaaaa;
const THEIRS: u32 = 0xbbbb;

fn settings(interval_ms: u64, multiplier: u8) -> BfdSettings {
    BfdSettings {
        interval: MS * interval_ms as u32,
        multiplier,
        passive: false,
    }
}

fn session(settings: BfdSettings, now: Instant) -> Session {
    Session::new(settings, OURS, [7; 32], now)
}

/// A packet of a peer that wants 10 ms x3, and knows our name.
fn from_peer(state: State) -> ControlPacket {
    ControlPacket {
        diagnostic: Diagnostic::NONE,
        state,
        poll: false,
        final_: false,
        control_plane_independent: false,
        authentication: false,
        demand: false,
        detect_mult: 3,
        my_discriminator: THEIRS,
        your_discriminator: OURS,
        desired_min_tx: 10_000,
        required_min_rx: 10_000,
        required_min_echo_rx: 0,
    }
}

/// A session that is up, has sent its last packet at `now`, and no Poll Sequence under way.
fn up(settings: BfdSettings, now: Instant) -> Session {
    let mut session = session(settings, now);
    let mut hello = from_peer(State::Down);
    hello.your_discriminator = 0;
    session.receive(&hello, now, now).expect("taken");
    session
        .receive(&from_peer(State::Init), now, now)
        .expect("taken");
    let confirmed = ControlPacket {
        final_: true,
        ..from_peer(State::Up)
    };
    session.receive(&confirmed, now, now).expect("taken");
    assert_eq!(session.state(), State::Up);
    session
}

/// The packets that a session sends by itself within a time, each with its moment.
fn sent_within(
    session: &mut Session,
    start: Instant,
    time: Duration,
) -> Vec<(Instant, ControlPacket)> {
    let mut sent = Vec::new();
    while let Some(at) = session.next_deadline().filter(|at| *at <= start + time) {
        let at = at.max(start);
        sent.extend(session.poll(at, at).map(|packet| (at, packet)));
    }
    sent
}

/// RFC 5880 section 6.8.6, the table of states.
#[test]
fn each_state_of_the_peer_leads_to_the_state_of_the_standard() {
    use State::{AdminDown, Down, Init, Up};
    let now = Instant::now();
    for (before, heard, after) in [
        (Down, AdminDown, Down),
        (Down, Down, Init),
        (Down, Init, Up),
        (Down, Up, Down),
        (Init, AdminDown, Down),
        (Init, Down, Init),
        (Init, Init, Up),
        (Init, Up, Up),
        (Up, AdminDown, Down),
        (Up, Down, Down),
        (Up, Init, Up),
        (Up, Up, Up),
    ] {
        let mut session = session(settings(10, 3), now);
        session.state = before;
        let answer = session.receive(&from_peer(heard), now, now).expect("taken");
        assert_eq!(session.state(), after, "{before} hears {heard}");
        // Section 6.8.7: a changed state is told at once.
        assert_eq!(answer.is_some(), before != after, "{before} hears {heard}");
        if let Some(answer) = answer {
            assert_eq!((answer.state, answer.your_discriminator), (after, THEIRS));
        }
    }
}

/// RFC 5880 section 6.8.6: what does not belong to the session changes nothing.
#[test]
fn packets_of_no_session_and_authenticated_ones_are_discarded() {
    let now = Instant::now();
    let valid = from_peer(State::Up);
    let stranger = ControlPacket {
        your_discriminator: OURS + 1,
        ..valid
    };
    let nameless = |state| ControlPacket {
        your_discriminator: 0,
        ..from_peer(state)
    };
    let authenticated = ControlPacket {
        authentication: true,
        ..from_peer(State::Down)
    };
    for (packet, why) in [
        (stranger, Discard::UnknownSession),
        (nameless(State::Init), Discard::NoDiscriminator),
        (nameless(State::Up), Discard::NoDiscriminator),
        (authenticated, Discard::Authentication),
    ] {
        let mut session = up(settings(10, 3), now);
        let before = session.snapshot();
        let later = now + 5 * MS;
        assert_eq!(session.receive(&packet, later, later), Err(why));
        assert_eq!(session.snapshot(), before, "{why}");
        assert_eq!(session.silence_at(), Some(now + 30 * MS), "{why}");
    }
    for state in [State::Down, State::AdminDown] {
        let mut session = up(settings(10, 3), now);
        assert!(session.receive(&nameless(state), now, now).is_ok());
        assert_eq!(session.state(), State::Down);
    }
}

/// RFC 5880 section 6.8.4: the peer's multiplier, and the slower of what it sends and what we take.
#[test]
fn the_detection_time_is_the_peers_multiplier_times_the_agreed_interval() {
    let now = Instant::now();
    for (ours, theirs, mult, expected) in [
        (10, 10_000, 3, 30),
        (10, 50_000, 5, 250),
        (300, 10_000, 3, 900),
        (10, 1_000_000, 3, 3000),
        (10, 0, 1, 10),
    ] {
        let mut session = session(settings(ours, 9), now);
        let packet = ControlPacket {
            desired_min_tx: theirs,
            detect_mult: mult,
            ..from_peer(State::Init)
        };
        session.receive(&packet, now, now).expect("taken");
        let expected = expected * MS;
        assert_eq!(session.snapshot().detection_time, Some(expected));
        let just_before = now + expected - Duration::from_micros(1);
        session.poll(just_before, just_before);
        assert_eq!(session.state(), State::Up);
        let told = session.poll(now + expected, now + expected);
        assert_eq!(session.state(), State::Down);
        // Section 6.8.1: the peer's name is forgotten.
        let told = told.expect("a changed state is told at once");
        assert_eq!(
            (told.state, told.diagnostic, told.your_discriminator),
            (State::Down, Diagnostic::DETECTION_TIME_EXPIRED, 0)
        );
        assert_eq!(session.snapshot().cause, Cause::DetectionTimeExpired);
        assert_eq!(session.snapshot().detection_time, None);
    }
}

/// RFC 5880 section 6.8.4: also a session that is only half up, and the peer's name of one that is
/// down, do not outlast silence.
#[test]
fn silence_ends_init_and_forgets_the_peer() {
    let now = Instant::now();
    let mut session = session(settings(10, 3), now);
    session
        .receive(&from_peer(State::Down), now, now)
        .expect("taken");
    assert_eq!(session.state(), State::Init);
    session.poll(now + 30 * MS, now + 30 * MS);
    assert_eq!(session.state(), State::Down);
    assert_eq!(session.snapshot().remote_discriminator, 0);

    session
        .receive(&from_peer(State::AdminDown), now + 40 * MS, now + 40 * MS)
        .expect("taken");
    assert_eq!(session.snapshot().remote_discriminator, THEIRS);
    session.poll(now + 70 * MS, now + 70 * MS);
    assert_eq!(session.snapshot().remote_discriminator, 0);
}

/// Our own lateness is not the peer's silence: what came in is what counts, by when it came in.
#[test]
fn a_starved_process_does_not_take_its_own_lateness_for_silence() {
    let now = Instant::now();
    let mut session = up(settings(10, 3), now);
    // Nothing was read for 300 ms; that everything was read is known only up to the beginning.
    let late = now + 300 * MS;
    session.poll(now + MS, late);
    assert_eq!(session.state(), State::Up);
    // What lay in the socket is read, with the kernel's timestamps.
    for n in 1..=30_u32 {
        let received = now + 10 * MS * n - 2 * MS;
        session
            .receive(&from_peer(State::Up), received, late)
            .expect("taken");
    }
    session.poll(late, late);
    assert_eq!(session.state(), State::Up);
    assert_eq!(session.silence_at(), Some(now + 328 * MS));
    // A packet that comes to light late says nothing of the time after it was received.
    let old = now + 100 * MS;
    session
        .receive(&from_peer(State::Up), old, late)
        .expect("taken");
    assert_eq!(session.silence_at(), Some(now + 328 * MS));
    session.poll(now + 328 * MS, now + 330 * MS);
    assert_eq!(session.state(), State::Down);
}

/// RFC 5880 section 6.8.3: a second at least, until the session is up.
#[test]
fn packets_are_slow_until_the_session_is_up() {
    let now = Instant::now();
    let mut session = session(settings(10, 3), now);
    let sent = sent_within(&mut session, now, 60 * SLOW);
    assert!((60..=81).contains(&sent.len()), "{}", sent.len());
    assert_eq!(sent[0].0, now);
    for pair in sent.windows(2) {
        let gap = pair[1].0 - pair[0].0;
        assert!((750 * MS..=SLOW).contains(&gap), "{gap:?}");
    }
    for (_, packet) in sent {
        assert_eq!(packet.desired_min_tx, 1_000_000);
        assert_eq!(packet.required_min_rx, 10_000);
        assert_eq!(
            (packet.my_discriminator, packet.your_discriminator),
            (OURS, 0)
        );
    }
    // One that is slower by itself stays so.
    let slow = Session::new(settings(5000, 3), OURS, [7; 32], now);
    assert_eq!(slow.snapshot().transmit_interval, Some(5 * SLOW));
}

/// RFC 5880 section 6.8.7: jitter of up to a quarter, and between a tenth and a quarter when one lost
/// packet is enough for the peer.
#[test]
fn intervals_are_jittered_as_the_multiplier_allows() {
    let now = Instant::now();
    for (multiplier, longest) in [(3, 1.0), (1, 0.9)] {
        let mut session = up(settings(100, multiplier), now);
        session.heard = None;
        let sent = sent_within(&mut session, now, 200 * SLOW);
        let gaps: Vec<f64> = sent
            .windows(2)
            .map(|pair| (pair[1].0 - pair[0].0).as_secs_f64() / 0.1)
            .collect();
        assert!(gaps.len() > 1000);
        assert!(
            gaps.iter()
                .all(|gap| (0.749..=longest + 0.001).contains(gap))
        );
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let expected = f64::midpoint(0.75, longest);
        assert!((mean - expected).abs() < 0.01, "{mean}");
        let least = gaps.iter().copied().fold(1.0, f64::min);
        assert!(least < 0.76, "{least}");
    }
}

/// RFC 5880 sections 6.8.2 and 6.8.7: the slower of what we wish and what the peer takes; at zero
/// nothing is sent.
#[test]
fn packets_come_no_faster_than_the_peer_takes_them() {
    let now = Instant::now();
    for (takes, interval) in [(10_000, 10), (1, 10), (250_000, 250)] {
        let mut session = up(settings(10, 3), now);
        let packet = ControlPacket {
            required_min_rx: takes,
            ..from_peer(State::Up)
        };
        session.receive(&packet, now, now).expect("taken");
        let expected = Some(interval * MS);
        assert_eq!(session.snapshot().transmit_interval, expected);
    }
    let mut session = up(settings(10, 3), now);
    let none = ControlPacket {
        required_min_rx: 0,
        ..from_peer(State::Up)
    };
    session.receive(&none, now, now).expect("taken");
    assert_eq!(session.snapshot().transmit_interval, None);
    assert_eq!(session.next_deadline(), Some(now + 30 * MS));
    assert!(session.poll(now + 29 * MS, now + 29 * MS).is_none());
    // A question is answered all the same.
    let question = ControlPacket { poll: true, ..none };
    let answer = session.receive(&question, now, now).expect("taken");
    assert!(answer.is_some_and(|answer| answer.final_));
    // When the peer is gone, what it wished is gone too.
    session.poll(now + 40 * MS, now + 40 * MS);
    assert_eq!(session.snapshot().transmit_interval, Some(SLOW));
}

/// RFC 5880 sections 6.5 and 6.8.3: when the session comes up, the shorter interval is confirmed by a
/// Poll Sequence, which ends with the answer.
#[test]
fn a_changed_interval_is_confirmed_by_a_poll_sequence() {
    let now = Instant::now();
    let mut session = session(settings(10, 3), now);
    let answer = session.receive(&from_peer(State::Init), now, now);
    let answer = answer.expect("taken").expect("a changed state is told");
    assert!(answer.poll && !answer.final_);
    assert_eq!(answer.desired_min_tx, 10_000);
    // The shorter interval holds at once.
    let sent = sent_within(&mut session, now, 25 * MS);
    assert!(sent.len() >= 2);
    assert!(sent.iter().all(|(_, packet)| packet.poll));
    let confirmed = ControlPacket {
        final_: true,
        ..from_peer(State::Up)
    };
    let later = now + 25 * MS;
    session.receive(&confirmed, later, later).expect("taken");
    let sent = sent_within(&mut session, later, 25 * MS);
    assert!(sent.len() >= 2 && sent.iter().all(|(_, packet)| !packet.poll));
    // Back to slow, the peer being known.
    let answer = session
        .receive(&from_peer(State::Down), later, later)
        .expect("taken")
        .expect("a changed state is told");
    assert_eq!((answer.desired_min_tx, answer.poll), (1_000_000, true));
}

/// RFC 5880 section 6.8.6: a question is answered at once, and a packet never has both bits.
#[test]
fn a_poll_is_answered_at_once_by_a_final() {
    let now = Instant::now();
    let mut session = up(settings(10, 3), now);
    session.polling = true;
    let question = ControlPacket {
        poll: true,
        ..from_peer(State::Up)
    };
    let answer = session.receive(&question, now, now).expect("taken");
    let answer = answer.expect("an answer");
    assert!(answer.final_ && !answer.poll);
    // Nobody can make us send packets as fast as they like.
    let at_once = session.receive(&question, now, now).expect("taken");
    assert_eq!(at_once, None);
    let later = now + MS;
    assert!(
        session
            .receive(&question, later, later)
            .expect("taken")
            .is_some()
    );
    // One packet tells both: the answer and the changed state.
    let down = ControlPacket {
        poll: true,
        ..from_peer(State::Down)
    };
    let later = now + 10 * MS;
    let answer = session.receive(&down, later, later).expect("taken");
    assert!(answer.is_some_and(|answer| answer.final_ && answer.state == State::Down));
}

/// RFC 5880 sections 6.6 and 6.8.7: a peer that wants no periodic packets gets none while both ends
/// are up, and detection goes on.
#[test]
fn a_peer_in_demand_mode_gets_no_periodic_packets() {
    let now = Instant::now();
    let demand = |state| ControlPacket {
        demand: true,
        ..from_peer(state)
    };
    let mut session = up(settings(10, 3), now);
    session
        .receive(&demand(State::Up), now, now)
        .expect("taken");
    assert_eq!(sent_within(&mut session, now, 29 * MS).len(), 0);
    session.poll(now + 30 * MS, now + 30 * MS);
    assert_eq!(session.state(), State::Down);
    // Only while both ends are up.
    let mut session = up(settings(10, 3), now);
    session
        .receive(&demand(State::Init), now, now)
        .expect("taken");
    assert!(sent_within(&mut session, now, 29 * MS).len() >= 2);
    // Nor does it keep a question of ours from being asked.
    let mut session = up(settings(10, 3), now);
    session.polling = true;
    session
        .receive(&demand(State::Up), now, now)
        .expect("taken");
    assert!(sent_within(&mut session, now, 29 * MS).len() >= 2);
}

/// RFC 5880 section 6.1: the passive end waits for the other's first packet.
#[test]
fn a_passive_end_says_nothing_before_it_is_spoken_to() {
    let now = Instant::now();
    let passive = BfdSettings {
        passive: true,
        ..settings(10, 3)
    };
    assert_eq!(session(passive, now).hold_down(now), None);
    let mut session = session(passive, now);
    assert_eq!(session.next_deadline(), None);
    assert_eq!(session.poll(now + SLOW, now + SLOW), None);
    let answer = session.receive(&from_peer(State::Down), now, now);
    assert!(answer.expect("taken").is_some());
    assert!(session.next_deadline().is_some());
    // Nor does it after the peer has fallen silent.
    assert_eq!(session.poll(now + 30 * MS, now + 30 * MS), None);
    assert_eq!(session.state(), State::Down);
    assert_eq!(session.next_deadline(), None);
}

/// RFC 5880 section 6.8.16: what is held down says so, and hears nothing.
#[test]
fn a_session_that_is_held_down_tells_the_peer_and_discards_packets() {
    let now = Instant::now();
    let mut session = up(settings(10, 3), now);
    let told = session.hold_down(now).expect("a packet");
    assert_eq!(told.state, State::AdminDown);
    assert_eq!(told.diagnostic, Diagnostic::ADMINISTRATIVELY_DOWN);
    assert_eq!(told.your_discriminator, THEIRS);
    let refused = session.receive(&from_peer(State::Up), now, now);
    assert_eq!(refused, Err(Discard::AdminDown));
    assert_eq!(session.state(), State::AdminDown);
    // It may be told again, for the case that a packet is lost.
    let again = session.hold_down(now + 10 * MS).expect("a packet");
    assert_eq!(again.state, State::AdminDown);
}

/// RFC 5880 section 6.8.6: why the session went down is told in both directions.
#[test]
fn causes_say_what_happened() {
    let now = Instant::now();
    for (packet, diagnostic, text) in [
        (
            from_peer(State::Down),
            Diagnostic::NEIGHBOR_SIGNALED_DOWN,
            "neighbor signaled session down",
        ),
        (
            ControlPacket {
                diagnostic: Diagnostic::DETECTION_TIME_EXPIRED,
                ..from_peer(State::Down)
            },
            Diagnostic::NEIGHBOR_SIGNALED_DOWN,
            "neighbor signaled session down: control detection time expired",
        ),
        (
            from_peer(State::AdminDown),
            Diagnostic::NEIGHBOR_SIGNALED_DOWN,
            "neighbor signaled administratively down",
        ),
    ] {
        let mut session = up(settings(10, 3), now);
        let told = session.receive(&packet, now, now).expect("taken");
        assert_eq!(told.map(|told| told.diagnostic), Some(diagnostic));
        assert_eq!(session.snapshot().cause.to_string(), text);
    }
}

/// A peer that was restarted has another name, and does not know ours.
#[test]
fn a_peer_that_was_restarted_is_met_anew() {
    let now = Instant::now();
    let mut session = up(settings(10, 3), now);
    let reborn = |state, your_discriminator| ControlPacket {
        my_discriminator: THEIRS + 1,
        your_discriminator,
        ..from_peer(state)
    };
    session
        .receive(&reborn(State::Down, 0), now, now)
        .expect("taken");
    assert_eq!(session.state(), State::Down);
    session
        .receive(&reborn(State::Down, OURS), now, now)
        .expect("taken");
    session
        .receive(&reborn(State::Init, OURS), now, now)
        .expect("taken");
    assert_eq!(session.state(), State::Up);
    assert_eq!(session.snapshot().remote_discriminator, THEIRS + 1);
}
