//! Sessions come and go as planned, what changes is told once, and a late machine does not take its
//! lateness for a peer's silence.

use super::{
    super::{BfdSettings, Cause, Diagnostic},
    *,
};
use crate::probe::Family;

const MS: Duration = Duration::from_millis(1);
const ID: SessionId = SessionId {
    uplink: 3,
    family: Family::Ipv4,
};

fn plan(generation: u64) -> BfdPlan {
    BfdPlan {
        id: ID,
        generation,
        ifindex: 7,
        source: [192, 0, 2, 2].into(),
        peer: [192, 0, 2, 1].into(),
        peer_mac: [2; 6],
        settings: BfdSettings {
            interval: 10 * MS,
            multiplier: 3,
            passive: false,
        },
    }
}

fn engine(now: Instant) -> Engine {
    let mut engine = Engine::new([5; 32], BfdCounters::default(), now);
    assert_eq!(engine.set_plans(&[plan(1)], now), []);
    engine
}

fn told(engine: &mut Engine) -> Vec<SessionReport> {
    let mut reports = Vec::new();
    engine.tell(|report| {
        reports.push(report);
        true
    });
    reports
}

fn from_peer(engine: &Engine, state: State, diagnostic: Diagnostic) -> [u8; 24] {
    ControlPacket {
        diagnostic,
        state,
        poll: false,
        final_: true,
        control_plane_independent: false,
        authentication: false,
        demand: false,
        detect_mult: 3,
        my_discriminator: 99,
        your_discriminator: engine.sessions[&ID].session.snapshot().discriminator,
        desired_min_tx: 10_000,
        required_min_rx: 10_000,
        required_min_echo_rx: 0,
    }
    .encode()
}

fn hear(engine: &mut Engine, state: State, at: Instant, now: Instant) {
    let packet = from_peer(engine, state, Diagnostic::NONE);
    engine.receive(ID, Ok(&packet), at, now);
}

fn up(now: Instant) -> Engine {
    let mut engine = engine(now);
    hear(&mut engine, State::Init, now, now);
    hear(&mut engine, State::Up, now, now);
    assert_eq!(engine.sessions[&ID].session.state(), State::Up);
    told(&mut engine);
    engine.woke(None, now, true);
    engine.poll(now);
    engine
}

#[test]
fn changes_are_told_once_and_in_order() {
    let now = Instant::now();
    let mut engine = engine(now);
    hear(&mut engine, State::Down, now, now);
    hear(&mut engine, State::Up, now, now);
    let reports = told(&mut engine);
    let states: Vec<State> = reports.iter().map(|report| report.snapshot.state).collect();
    assert_eq!(states, [State::Down, State::Init, State::Up]);
    assert!(reports.iter().all(|report| report.generation == 1));
    hear(&mut engine, State::Up, now + MS, now + MS);
    assert_eq!(told(&mut engine), []);
    // Who does not listen hears the last of it all the same.
    for _ in 0..100 {
        hear(&mut engine, State::Down, now, now);
        hear(&mut engine, State::Init, now, now);
    }
    let reports = told(&mut engine);
    assert_eq!(reports.len(), MAX_UNTOLD);
    assert_eq!(
        reports.last().map(|last| last.snapshot.state),
        Some(State::Up)
    );
    assert_eq!(engine.counters.of(ID).ups(), 101);
    assert_eq!(engine.counters.of(ID).downs(), 100);
}

#[test]
fn a_session_goes_on_when_only_the_peers_mac_address_changes() {
    let now = Instant::now();
    let mut engine = up(now);
    let moved = BfdPlan {
        peer_mac: [4; 6],
        ..plan(1)
    };
    assert_eq!(engine.set_plans(&[moved], now), []);
    assert_eq!(engine.plan(ID), Some(&moved));
    assert_eq!(engine.sessions[&ID].session.state(), State::Up);
    assert_eq!(told(&mut engine), []);
}

#[test]
fn another_session_begins_anew_and_the_old_one_takes_its_leave() {
    let now = Instant::now();
    let mut engine = up(now);
    let before = engine.sessions[&ID].session.snapshot().discriminator;
    let farewells = engine.set_plans(&[plan(2)], now);
    assert_eq!(farewells.len(), 1);
    assert_eq!(farewells[0].1.state, State::AdminDown);
    let reports = told(&mut engine);
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].generation, 2);
    assert_eq!(reports[0].snapshot.state, State::Down);
    assert_ne!(reports[0].snapshot.discriminator, before);
    assert_eq!(engine.set_plans(&[], now).len(), 1);
    assert_eq!(engine.next_deadline(), None);
}

#[test]
fn what_cannot_be_taken_is_counted_by_its_reason() {
    let now = Instant::now();
    let mut engine = up(now);
    let mut other = from_peer(&engine, State::Up, Diagnostic::NONE);
    other[8] ^= 1;
    let mut authenticated = from_peer(&engine, State::Up, Diagnostic::NONE).to_vec();
    authenticated[1] |= 4;
    authenticated[3] = 26;
    authenticated.extend([0; 2]);
    for (arrived, why) in [
        (Err(Discard::HopLimit), Discard::HopLimit),
        (Ok(&[1, 2, 3][..]), Discard::Version),
        (Ok(&other[..]), Discard::UnknownSession),
        (Ok(&authenticated[..]), Discard::Authentication),
    ] {
        engine.receive(ID, arrived, now, now);
        assert_eq!(engine.counters.of(ID).discarded(why), 1, "{why}");
    }
    assert_eq!(engine.counters.of(ID).received(), 2);
    assert_eq!(told(&mut engine), []);
}

#[test]
fn silence_is_told_when_its_time_has_come() {
    let now = Instant::now();
    let mut engine = up(now);
    let mut at = now;
    while let Some(next) = engine.next_deadline().filter(|at| *at <= now + 30 * MS) {
        at = next;
        engine.woke(Some(next), next, true);
        engine.poll(next);
    }
    assert_eq!(at, now + 30 * MS);
    let reports = told(&mut engine);
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].snapshot.cause, Cause::DetectionTimeExpired);
    assert_eq!(reports[0].at, at);
}

/// The process gets no turn for 300 ms. What the kernel has received meanwhile lies in the socket.
#[test]
fn a_process_starved_for_300_ms_raises_no_false_alarm() {
    let now = Instant::now();
    let mut engine = up(now);
    let wanted = engine.next_deadline().expect("a deadline");
    let woke = now + 300 * MS;
    for n in 1..=30_u32 {
        hear(&mut engine, State::Up, now + 10 * MS * n - MS, woke);
    }
    engine.woke(Some(wanted), woke, true);
    // Our own packet, long due, is sent at once.
    assert_eq!(engine.poll(woke).len(), 1);
    assert_eq!(told(&mut engine), []);
    let again = engine.next_deadline().expect("a deadline");
    engine.woke(Some(again), again, true);
    engine.poll(again);
    assert_eq!(told(&mut engine), []);
}

/// The whole machine stood still, and its interrupts have handed nothing over yet.
#[test]
fn a_machine_that_stood_still_looks_twice_before_it_believes_in_silence() {
    let now = Instant::now();
    let mut engine = up(now);
    let wanted = engine.next_deadline().expect("a deadline");
    let woke = now + 300 * MS;
    engine.woke(Some(wanted), woke, true);
    engine.poll(woke);
    assert_eq!(told(&mut engine), []);
    // Now they have.
    hear(&mut engine, State::Up, woke + MS, woke + 2 * MS);
    let again = engine.next_deadline().expect("a deadline");
    assert!(again <= woke + 12 * MS);
    engine.woke(Some(again), again, true);
    engine.poll(again);
    assert_eq!(told(&mut engine), []);
    // Without anything, silence is believed.
    let mut engine = up(now);
    engine.woke(Some(wanted), woke, true);
    engine.poll(woke);
    let again = engine.next_deadline().expect("a deadline");
    assert!(again <= woke + 2 * MS);
    engine.woke(Some(again), again, true);
    engine.poll(again);
    assert_eq!(told(&mut engine).len(), 1);
}

/// The peer has missed our packets, and says so: that is true, and whose fault it was is told.
#[test]
fn a_peer_that_missed_our_packets_is_believed_and_the_reason_told() {
    let now = Instant::now();
    let mut engine = up(now);
    let wanted = engine.next_deadline().expect("a deadline");
    let woke = now + 300 * MS;
    let lost = from_peer(&engine, State::Down, Diagnostic::DETECTION_TIME_EXPIRED);
    engine.woke(Some(wanted), woke, true);
    engine.receive(ID, Ok(&lost), woke, woke);
    let reports = told(&mut engine);
    let late = woke - wanted;
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].held_up, Some(late));
    assert_eq!(
        reports[0].snapshot.cause,
        Cause::NeighborSignaledDown(Diagnostic::DETECTION_TIME_EXPIRED)
    );
}

#[test]
fn at_the_end_every_peer_is_told() {
    let now = Instant::now();
    let mut engine = engine(now);
    // A peer that was never heard need not be waited for.
    assert_eq!(engine.hold_down(now).len(), 1);
    assert_eq!(engine.farewell(), None);
    assert_eq!(engine.hold_down(now).len(), 0);
    let mut engine = up(now);
    // It is told again until it says that its end is not up any more.
    for _ in 0..3 {
        let packets = engine.hold_down(now);
        assert_eq!(packets.len(), 1);
        assert_eq!(packets[0].1.state, State::AdminDown);
        assert_eq!(engine.farewell(), Some((30 * MS, 10 * MS)));
        hear(&mut engine, State::Up, now, now);
    }
    hear(&mut engine, State::Down, now, now);
    assert_eq!(engine.farewell(), None);
    assert_eq!(engine.hold_down(now).len(), 0);
}
