//! A journal through restarts, crashes and other people's hands.

use std::os::unix::fs::{MetadataExt as _, symlink};

use tempfile::TempDir;

use super::*;
use crate::events::{Kind, tests::record};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn numbers(kept: &Kept) -> Vec<u64> {
    kept.records.iter().map(|record| record.seq).collect()
}

#[test]
fn what_was_added_is_read_back_and_private() {
    let folder = folder();
    assert!(
        read(folder.path())
            .expect("there is none")
            .records
            .is_empty()
    );
    let mut journal = Journal::new(folder.path());
    let records: Vec<Record> = (1..=3)
        .map(|seq| record(seq, Kind::UplinkDown, "fibre"))
        .collect();
    for at in 0..records.len() {
        journal.add(&records[at], records[..=at].iter());
    }
    let kept = read(folder.path()).expect("it can be read");
    assert_eq!((kept.records, kept.damaged), (records, 0));
    let metadata = fs::metadata(folder.path().join(FILE)).expect("it is there");
    assert_eq!(metadata.mode() & 0o777, 0o600);
    remove(folder.path()).expect("it can be removed");
    assert!(
        read(folder.path())
            .expect("there is none")
            .records
            .is_empty()
    );
    remove(folder.path()).expect("nothing is left to remove");
}

/// The controller was killed in the middle of a line.
#[test]
fn a_torn_last_line_costs_that_event_alone() {
    let folder = folder();
    let mut journal = Journal::new(folder.path());
    let records: Vec<Record> = (1..=3)
        .map(|seq| record(seq, Kind::PathUp, "lte"))
        .collect();
    journal.add(&records[2], records.iter());
    drop(journal);
    let path = folder.path().join(FILE);
    let whole = fs::read(&path).expect("it can be read");
    for cut in 1..whole.len() / 3 {
        fs::write(&path, &whole[..whole.len() - cut]).expect("it can be cut");
        let kept = read(folder.path()).expect("it can be read");
        // Without the line's end alone it is still whole.
        let expected: &[u64] = if cut == 1 { &[1, 2, 3] } else { &[1, 2] };
        assert_eq!(numbers(&kept), expected, "{cut} bytes less");
        // The next controller writes on, and nothing of the torn line is left.
        let mut journal = Journal::new(folder.path());
        let next = record(9, Kind::ControllerStarted, "");
        let all: Vec<&Record> = kept.records.iter().chain([&next]).collect();
        journal.add(&next, all.into_iter());
        let kept = read(folder.path()).expect("it can be read");
        assert_eq!((kept.records.last(), kept.damaged), (Some(&next), 0));
    }
}

#[test]
fn rubbish_is_left_out_and_numbers_rise() {
    let folder = folder();
    let text = |seq| serde_json::to_string(&record(seq, Kind::Sick, "a")).expect("JSON");
    let unknown = text(5).replace("\"sick\"", "\"kind_of_the_future\"");
    let lines = [
        text(1),
        "rubbish".into(),
        "\u{0}\u{0}\u{0}".into(),
        text(3),
        text(2),
        text(u64::MAX),
        unknown,
        text(7),
    ];
    fs::write(folder.path().join(FILE), lines.join("\n")).expect("it can be written");
    let kept = read(folder.path()).expect("it can be read");
    assert_eq!((numbers(&kept), kept.damaged), (vec![1, 3, 7], 5));
}

#[test]
fn it_stays_small_however_much_happens() {
    let folder = folder();
    let mut journal = Journal::new(folder.path());
    let mut ring = crate::events::ring::Ring::default();
    for seq in 1..=20_000 {
        let record = std::sync::Arc::new(record(seq, Kind::UplinkUp, "fibre"));
        ring.push(std::sync::Arc::clone(&record));
        journal.add(&record, ring.all().map(AsRef::as_ref));
    }
    let size = fs::metadata(folder.path().join(FILE))
        .expect("it is there")
        .len();
    assert!(size <= MAX_FILE, "{size} bytes");
    let kept = read(folder.path()).expect("it can be read");
    assert_eq!(kept.records.len(), KEPT);
    assert_eq!(numbers(&kept).last(), Some(&20_000));
}

#[test]
fn a_link_in_its_place_is_neither_read_nor_written_through() {
    let folder = folder();
    let other = folder.path().join("other");
    let line = serde_json::to_string(&record(1, Kind::PathUp, "a")).expect("JSON");
    fs::write(&other, &line).expect("it can be written");
    symlink(&other, folder.path().join(FILE)).expect("a link can be made");
    symlink(&other, folder.path().join(NEW_FILE)).expect("a link can be made");
    assert!(read(folder.path()).is_err());
    let mut journal = Journal::new(folder.path());
    let next = record(2, Kind::PathDown, "a");
    // The first attempt fails and clears the way.
    journal.add(&next, [&next].into_iter());
    assert_eq!(fs::read_to_string(&other).expect("it is there"), line);
    journal.add(&next, [&next].into_iter());
    assert_eq!(
        numbers(&read(folder.path()).expect("it is a file now")),
        [2]
    );
    assert_eq!(fs::read_to_string(&other).expect("it is there"), line);
}
