use std::{
    collections::BTreeSet,
    time::{Duration, Instant, SystemTime},
};

use super::*;

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
