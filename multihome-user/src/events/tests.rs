//! Records, what is kept of them, and who sees which.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant, SystemTime},
};

use std::sync::Arc;

use super::{
    ring::{KEPT, News, Ring},
    *,
};

/// Some event.
pub(crate) fn record(seq: u64, kind: Kind, uplink: &str) -> Record {
    let noticed = Instant::now();
    let occurrence = Occurrence::new(kind, "no carrier");
    let name = Some(uplink).filter(|name| !name.is_empty());
    Recorder::new(seq).record(occurrence, name, None, timing(noticed, None), false)
}

fn timing(noticed: Instant, moved: Option<u64>) -> Timing {
    Timing {
        noticed,
        moved: moved.map(Duration::from_micros),
        wall: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_500_000_123_456_789),
    }
}

#[test]
fn kinds_have_names_of_their_own_that_read_back() {
    let names: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(names.len(), Kind::ALL.len());
    for kind in Kind::ALL {
        assert_eq!(kind.name().parse(), Ok(*kind));
        let snake = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        assert!(kind.name().bytes().all(snake), "{kind}");
        assert!(kind.meaning().ends_with('.'), "{kind}");
    }
    assert_eq!(
        "uplink_dwon".parse::<Kind>(),
        Err(UnknownKind("uplink_dwon".into()))
    );
}

#[test]
fn a_record_has_all_that_is_known_in_its_documented_form() {
    let now = Instant::now();
    let sign = now - Duration::from_micros(1_650_500);
    let mut recorder = Recorder::new(7);
    let down = Occurrence::new(Kind::UplinkDown, "3 probes to 9.9.9.9 lost")
        .uplink(1)
        .sign(sign);
    let record = recorder.record(down, Some("fibre"), None, timing(now, Some(210)), false);
    assert_eq!(
        serde_json::to_string(&record).expect("JSON"),
        r#"{"schema_version":1,"seq":7,"time":"1970-01-18T08:40:00.123456Z","kind":"uplink_down","initial":false,"uplink":"fibre","family":null,"group":null,"cause":"3 probes to 9.9.9.9 lost","noticed_ms":1650.5,"moved_ms":0.21}"#
    );
    assert_eq!(
        record.line(),
        "uplink fibre is down: 3 probes to 9.9.9.9 lost; noticed after 1.6505s, flows moved in 210µs"
    );
    let text = serde_json::to_string(&record).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Record>(&text).expect("a record"),
        record
    );
    let started = Occurrence::new(Kind::ControllerStarted, "2 uplink(s)");
    let started = recorder.record(started, None, None, timing(now, Some(210)), false);
    assert_eq!(
        (started.seq, started.moved_ms),
        (8, None),
        "it moves nothing"
    );
    assert_eq!(started.line(), "gateway runs: 2 uplink(s)");
}

#[test]
fn lines_name_whom_it_happened_to() {
    let now = Instant::now();
    let line = |occurrence: Occurrence, name, family| {
        Recorder::new(1)
            .record(occurrence, name, family, timing(now, None), false)
            .line()
    };
    assert_eq!(
        line(
            Occurrence::new(Kind::PathDown, "no carrier").sign(now),
            Some("lte"),
            Some("ipv6")
        ),
        "uplink lte: ipv6 down: no carrier"
    );
    assert_eq!(
        line(
            Occurrence::new(Kind::Sick, "loss 4 %").group("voice"),
            Some("lte"),
            None
        ),
        "uplink lte in group voice is sick: loss 4 %"
    );
    assert_eq!(
        line(
            Occurrence::new(Kind::TranslationChanged, "routed"),
            Some("lte"),
            Some("ipv4")
        ),
        "uplink lte: ipv4: routed"
    );
    assert_eq!(
        line(Occurrence::new(Kind::BfdUp, ""), Some("lte"), None),
        "uplink lte: BFD session up"
    );
}

#[test]
fn a_cause_is_one_line_of_bounded_length() {
    let told = |cause: &str| {
        Recorder::new(1)
            .record(
                Occurrence::new(Kind::PathDown, cause),
                None,
                None,
                timing(Instant::now(), None),
                false,
            )
            .cause
    };
    assert_eq!(
        told("status 500\nforged line\u{1b}[2J"),
        "status 500 forged line [2J"
    );
    let long = told(&"ä".repeat(10_000));
    assert!(long.len() <= 520 && long.ends_with("ä…"), "{long}");
}

fn seqs<'r>(records: impl IntoIterator<Item = &'r Arc<Record>>) -> Vec<u64> {
    records.into_iter().map(|record| record.seq).collect()
}

#[test]
fn the_ring_keeps_the_last_and_tells_what_was_missed() {
    let kept = KEPT as u64;
    let mut ring = Ring::default();
    assert_eq!(ring.next(), 1);
    assert_eq!(ring.since(1, 10), News::default());
    for seq in 1..=kept + 5 {
        ring.push(Arc::new(record(seq, Kind::PathUp, "a")));
    }
    assert_eq!(ring.next(), kept + 6);
    assert_eq!(seqs(ring.all()), (6..=kept + 5).collect::<Vec<_>>());
    let news = ring.since(2, 3);
    assert_eq!((news.skipped, seqs(&news.records)), (4, vec![6, 7, 8]));
    let news = ring.since(kept + 5, 3);
    assert_eq!((news.skipped, seqs(&news.records)), (0, vec![kept + 5]));
    assert_eq!(ring.since(kept + 6, 3), News::default());
    // One that was lost on its way shows as a gap.
    ring.push(Arc::new(record(kept + 8, Kind::PathUp, "a")));
    let news = ring.since(kept + 6, 3);
    assert_eq!((news.skipped, seqs(&news.records)), (2, vec![kept + 8]));
    ring.push(Arc::new(record(3, Kind::PathUp, "a")));
    assert_eq!(ring.next(), kept + 9, "numbers rise");
}

#[test]
fn a_query_takes_the_last_that_fit() {
    let mut recorder = Recorder::new(1);
    let mut make = |kind, uplink: &str, second| {
        let timing = Timing {
            noticed: Instant::now(),
            moved: None,
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
        };
        recorder.record(Occurrence::new(kind, ""), Some(uplink), None, timing, false)
    };
    let records = [
        make(Kind::UplinkDown, "fibre", 10),
        make(Kind::UplinkDown, "lte", 20),
        make(Kind::UplinkUp, "fibre", 30),
        make(Kind::UplinkDown, "fibre", 40),
    ];
    let taken = |query: EventQuery| -> Vec<u64> {
        query
            .of_kept(records.iter())
            .iter()
            .map(|record| record.seq)
            .collect()
    };
    let all = EventQuery::default();
    assert_eq!(taken(all.clone()), [1, 2, 3, 4]);
    let fibre = EventQuery {
        uplink: Some("fibre".into()),
        ..all
    };
    assert_eq!(taken(fibre.clone()), [1, 3, 4]);
    let last = EventQuery {
        last: Some(2),
        ..fibre.clone()
    };
    assert_eq!(taken(last), [3, 4]);
    let down = EventQuery {
        kinds: vec![Kind::UplinkDown],
        ..fibre.clone()
    };
    assert_eq!(taken(down), [1, 4]);
    let since = EventQuery {
        since: Some("1970-01-01T00:00:30Z".parse().expect("a time")),
        ..fibre
    };
    assert_eq!(taken(since), [3, 4]);
    let none = EventQuery {
        last: Some(0),
        ..EventQuery::default()
    };
    assert_eq!(taken(none), [0; 0]);
}

#[test]
fn since_is_a_time_or_so_long_ago() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(7200);
    for (text, at) in [
        ("30m", "1970-01-01T01:30:00Z"),
        ("1970-01-01T01:00:00Z", "1970-01-01T01:00:00Z"),
        ("1970-01-01T01:00:00+01:00", "1970-01-01T00:00:00Z"),
    ] {
        let since: Since = text.parse().expect(text);
        assert_eq!(since.at(now).to_string(), at, "{text}");
    }
    for bad in ["", "yesterday", "5", "1970-01-01", "-5m"] {
        assert!(bad.parse::<Since>().is_err(), "{bad}");
    }
}
