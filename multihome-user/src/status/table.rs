//! The status as aligned text.

use std::fmt::{self, Write as _};

use jiff::Timestamp;

mod load;

use super::{Families, PathStatus, SettingStatus, State, Status, UplinkStatus};
use crate::human::{bytes, grouped, seconds};

/// A control loop that has been silent for longer is worth a warning, in milliseconds.
const STALE_MS: u64 = 5_000;

/// A column: its heading, and whether its cells stand at the right.
const COLUMNS: [(&str, bool); 13] = [
    ("UPLINK", false),
    ("DEVICE", false),
    ("STATE", false),
    ("SINCE", true),
    ("RTT", true),
    ("LOSS", true),
    ("SHARE", true),
    ("PACKETS", true),
    ("BYTES", true),
    ("TIER", true),
    ("MODE", false),
    ("NEXT HOP", false),
    ("CAUSE", false),
];

/// The status as people read it, with its last line's end.
pub fn render(status: &Status, now: Timestamp) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, status, now);
    text
}

fn write(text: &mut String, status: &Status, now: Timestamp) -> fmt::Result {
    writeln!(
        text,
        "multihome {}, process {}, running for {}",
        status.version,
        status.pid,
        age(status.since, now)
    )?;
    if status.heartbeat_age_ms > STALE_MS {
        writeln!(
            text,
            "WARNING: the control loop has been silent for {}",
            seconds(status.heartbeat_age_ms / 1000)
        )?;
    }
    text.push('\n');
    let rows: Vec<_> = status
        .uplinks
        .iter()
        .map(|uplink| row(uplink, now))
        .collect();
    table(text, &rows);
    text.push('\n');
    list(text, "Draining", &status.uplinks, |uplink| {
        drain(uplink, now)
    })?;
    list(text, "Held back", &status.uplinks, |uplink| {
        hold(uplink, now)
    })?;
    for uplink in &status.uplinks {
        let to = translations(uplink);
        if !to.is_empty() {
            writeln!(text, "Translated by {}: to {}", uplink.name, to.join(", "))?;
        }
    }
    for uplink in &status.uplinks {
        if let Some(fault) = &uplink.fault {
            writeln!(
                text,
                "FAULT in the line of {}: {}",
                uplink.name,
                fault.line()
            )?;
        }
        if let Some(load) = &uplink.load {
            load::load(text, &uplink.name, load)?;
        }
        if let Some(quota) = &uplink.quota {
            load::quota(text, &uplink.name, quota, now)?;
        }
        for (family, path) in [
            ("ipv4", &uplink.families.ipv4),
            ("ipv6", &uplink.families.ipv6),
        ] {
            if let Some(bfd) = path.as_ref().and_then(|path| path.bfd.as_ref()) {
                let line = bfd.line(&age(bfd.since, now));
                writeln!(text, "BFD of {}, {family}: {line}", uplink.name)?;
            }
        }
    }
    for group in &status.groups {
        load::impediments(text, group)?;
    }
    for lan in &status.lan {
        let missing = if lan.ifindex.is_none() {
            " (no such device now)"
        } else {
            ""
        };
        writeln!(
            text,
            "LAN {}{missing}: {} packets, {}",
            lan.device,
            grouped(lan.packets),
            bytes(lan.bytes)
        )?;
    }
    let own = &status.own_traffic;
    if own.managed {
        let by = |uplink: &Option<String>| uplink.clone().unwrap_or_else(|| "kernel".to_owned());
        writeln!(
            text,
            "Own traffic: IPv4 by {}, IPv6 by {}",
            by(&own.ipv4),
            by(&own.ipv6)
        )?;
    }
    let drops: Vec<_> = status
        .drops
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(verdict, count)| format!("{verdict} {}", grouped(*count)))
        .collect();
    if !drops.is_empty() {
        writeln!(text, "Dropped: {}", drops.join(", "))?;
    }
    for problem in &own.problems {
        writeln!(text, "WARNING: own traffic: {problem}")?;
    }
    for SettingStatus {
        setting,
        value,
        harm,
        command,
    } in &status.settings
    {
        writeln!(
            text,
            "WARNING: {setting} is {value}: {harm}; set it right by `{command}`"
        )?;
    }
    Ok(())
}

fn row(uplink: &UplinkStatus, now: Timestamp) -> [String; COLUMNS.len()] {
    let none = || "-".to_owned();
    [
        uplink.name.clone(),
        uplink.device.clone(),
        state(uplink),
        age(uplink.since, now),
        uplink
            .rtt_ms
            .map_or_else(none, |rtt| format!("{rtt:.1} ms")),
        format!("{:.0} %", uplink.loss * 100.0),
        format!("{:.1} %", uplink.share * 100.0),
        grouped(uplink.packets),
        bytes(uplink.bytes),
        uplink.tier.to_string(),
        mode(uplink),
        uplink
            .next_hop
            .map_or_else(none, |next_hop| next_hop.to_string()),
        uplink.cause.clone(),
    ]
}

/// Up or down, and whether that is in doubt.
fn state(uplink: &UplinkStatus) -> String {
    let suspected = families(uplink).any(|(_, path)| path.suspected);
    let mark = if suspected { ", suspected" } else { "" };
    format!("{}{mark}", state_word(uplink))
}

/// The state of an uplink in one word: one that is up may be kept from new flows.
fn state_word(uplink: &UplinkStatus) -> &'static str {
    let mut up = families(uplink)
        .filter(|(_, path)| path.state == State::Up)
        .peekable();
    match uplink.state {
        State::Down => State::Down.name(),
        State::Up if uplink.draining.is_some() => "draining",
        State::Up if up.peek().is_some() && up.all(|(_, path)| path.held_until.is_some()) => "held",
        State::Up => State::Up.name(),
    }
}

/// The families that an uplink carries, by their names.
fn families(uplink: &UplinkStatus) -> impl Iterator<Item = (&'static str, &PathStatus)> {
    let Families { ipv4, ipv6 } = &uplink.families;
    let named = [("IPv4", ipv4), ("IPv6", ipv6)];
    named
        .into_iter()
        .filter_map(|(name, path)| Some((name, path.as_ref()?)))
}

/// A line of the uplinks that there is something to tell of, if there are any.
fn list(
    text: &mut String,
    what: &str,
    uplinks: &[UplinkStatus],
    tell: impl Fn(&UplinkStatus) -> Option<String>,
) -> fmt::Result {
    let told: Vec<String> = uplinks
        .iter()
        .filter_map(|uplink| Some(format!("{} ({})", uplink.name, tell(uplink)?)))
        .collect();
    if told.is_empty() {
        return Ok(());
    }
    writeln!(text, "{what}: {}", told.join(", "))
}

/// How long an uplink has been draining, and how long it is to go on.
fn drain(uplink: &UplinkStatus, now: Timestamp) -> Option<String> {
    let drain = uplink.draining.as_ref()?;
    let rest = match drain.until {
        Some(until) => format!("{} to go", left(until, now)),
        None => drain.to_string(),
    };
    Some(format!("for {}, {rest}", age(drain.since, now)))
}

/// How long the families of an uplink are still held back, and after how many failures.
fn hold(uplink: &UplinkStatus, now: Timestamp) -> Option<String> {
    let held: Vec<String> = families(uplink)
        .filter_map(|(name, path)| {
            let left = left(path.held_until?, now);
            let plural = if path.failures == 1 { "" } else { "s" };
            let failures = path.failures;
            Some(format!(
                "{name} for {left}, after {failures} failure{plural}"
            ))
        })
        .collect();
    (!held.is_empty()).then(|| held.join("; "))
}

/// How long it is until then, in the two units that matter, a part of a second counting as one.
fn left(until: Timestamp, now: Timestamp) -> String {
    let left = until.duration_since(now).as_secs_f64().ceil().max(0.0);
    seconds(left as u64)
}

/// What an uplink does with addresses, in the families that it carries.
fn mode(uplink: &UplinkStatus) -> String {
    let families = [&uplink.families.ipv4, &uplink.families.ipv6];
    let modes: Vec<&str> = families
        .into_iter()
        .flatten()
        .map(|family| family.mode.as_str())
        .collect();
    match modes[..] {
        [] => "-".to_owned(),
        [one] => one.to_owned(),
        [first, ..] if modes.iter().all(|mode| *mode == first) => first.to_owned(),
        // What is translated says the family by itself.
        _ => {
            let translated: Vec<&str> = modes.into_iter().filter(|m| *m != "routed").collect();
            translated.join("+")
        }
    }
}

/// What an uplink translates to.
fn translations(uplink: &UplinkStatus) -> Vec<String> {
    let families = [&uplink.families.ipv4, &uplink.families.ipv6];
    let of_each = families.into_iter().flatten().map(|family| {
        let outside = family.outside.iter().map(ToString::to_string);
        outside.chain(family.prefix.clone()).collect::<Vec<_>>()
    });
    of_each.flatten().collect()
}

/// Lines the cells up under their headings, two spaces apart.
fn table(text: &mut String, rows: &[[String; COLUMNS.len()]]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([COLUMNS[column].0.len()])
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<_> = (0..COLUMNS.len()).map(width).collect();
    let headings = COLUMNS.map(|(heading, _)| heading.to_owned());
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for ((cell, width), (_, right)) in row.iter().zip(&widths).zip(COLUMNS) {
            // Writing to a string does not fail.
            let _ = if right {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// How long ago something was, in the two units that matter.
fn age(then: Timestamp, now: Timestamp) -> String {
    seconds(u64::try_from(now.duration_since(then).as_secs()).unwrap_or_default())
}
