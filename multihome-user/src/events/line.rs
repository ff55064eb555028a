//! An event as one line for people.

use std::fmt::Write as _;

use super::Record;

/// To whom it happened, what, why, and how long it took.
pub fn line(record: &Record) -> String {
    let mut line = String::new();
    if let Some(uplink) = &record.uplink {
        line.push_str("uplink ");
        line.push_str(uplink);
    }
    if let Some(family) = &record.family {
        line.push_str(": ");
        line.push_str(family);
    }
    if let Some(group) = &record.group {
        line.push_str(if line.is_empty() {
            "group "
        } else {
            " in group "
        });
        line.push_str(group);
    }
    line.push_str(record.kind.phrase());
    if !record.cause.is_empty() {
        line.push_str(": ");
        line.push_str(&record.cause);
    }
    let mut mark = "; ";
    // Writing to a string does not fail.
    if let Some(noticed) = record.noticed().filter(|noticed| !noticed.is_zero()) {
        let _ = write!(line, "{mark}noticed after {noticed:?}");
        mark = ", ";
    }
    if let Some(moved) = record.moved() {
        let _ = write!(line, "{mark}flows moved in {moved:?}");
    }
    line
}
