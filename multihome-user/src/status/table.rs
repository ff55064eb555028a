//! The status as aligned text.

use std::fmt::{self, Write as _};

use jiff::Timestamp;

use super::{Status, UplinkStatus};

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
    for uplink in &status.uplinks {
        let to = translations(uplink);
        if !to.is_empty() {
            writeln!(text, "Translated by {}: to {}", uplink.name, to.join(", "))?;
        }
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
    let drops: Vec<_> = status
        .drops
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(verdict, count)| format!("{verdict} {}", grouped(*count)))
        .collect();
    if !drops.is_empty() {
        writeln!(text, "Dropped: {}", drops.join(", "))?;
    }
    Ok(())
}

fn row(uplink: &UplinkStatus, now: Timestamp) -> [String; COLUMNS.len()] {
    let none = || "-".to_owned();
    [
        uplink.name.clone(),
        uplink.device.clone(),
        uplink.state.name().into(),
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

fn seconds(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86_400 => format!("{hours}h {}m", minutes % 60),
        86_400.. => format!("{days}d {}h", hours % 24),
    }
}

/// A number with its thousands set apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes to three figures.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    // The next unit begins where rounding would show 1000 of this one.
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        _ if value < 9.995 => 2,
        _ if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units() {
        for (given, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (3_599, "59m 59s"),
            (3_600, "1h 0m"),
            (86_399, "23h 59m"),
            (86_400, "1d 0h"),
            (10_000_000, "115d 17h"),
        ] {
            assert_eq!(seconds(given), text);
        }
    }

    #[test]
    fn numbers_can_be_read() {
        for (given, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1 000"),
            (1_234_567, "1 234 567"),
        ] {
            assert_eq!(grouped(given), text);
        }
        for (given, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.00 kB"),
            (9_996, "10.0 kB"),
            (12_345, "12.3 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(given), text);
        }
    }
}
