//! The lines of the status table about capacities, quotas, and who gets no new flows.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;

use super::super::{DirectionStatus, GroupStatus, LoadStatus, QuotaStatus};
use crate::{
    human::{bytes, seconds},
    quality::percent,
};

/// A line about an uplink's capacity.
pub fn load(text: &mut impl fmt::Write, name: &str, load: &LoadStatus) -> fmt::Result {
    let directions = [("up", load.up), ("down", load.down)];
    let parts: Vec<String> = directions
        .into_iter()
        .filter_map(|(word, direction)| Some(format!("{word} {}", of(direction?))))
        .collect();
    let full = if load.full { "; full" } else { "" };
    writeln!(text, "Capacity of {name}: {}{full}", parts.join(", "))
}

fn of(direction: DirectionStatus) -> String {
    let capacity = rate(direction.capacity);
    let Some(now) = direction.rate else {
        return format!("- of {capacity}");
    };
    let share = now as f64 / direction.capacity as f64;
    format!("{} of {capacity} ({})", rate(now), percent(share))
}

/// A line about an uplink's quota.
pub fn quota(
    text: &mut impl fmt::Write,
    name: &str,
    quota: &QuotaStatus,
    now: Timestamp,
) -> fmt::Result {
    let left = quota.renews.duration_since(now).as_secs();
    let spent = if quota.spent { "; used up" } else { "" };
    writeln!(
        text,
        "Quota of {name}: {} of {} used ({}), begins anew in {}{spent}",
        bytes(quota.used_bytes),
        quota.quota,
        percent(quota.used),
        seconds(u64::try_from(left).unwrap_or_default()),
    )
}

/// A line for each group with uplinks that get no new flows of it although they are up.
pub fn impediments(text: &mut impl fmt::Write, group: &GroupStatus) -> fmt::Result {
    let mut all: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
    for family in [&group.ipv4, &group.ipv6] {
        for (uplink, impediments) in &family.impediments {
            let known = all.entry(uplink).or_default();
            let new = impediments.iter().filter(|it| !known.contains(it));
            let new: Vec<&String> = new.collect();
            known.extend(new);
        }
    }
    if all.is_empty() {
        return Ok(());
    }
    let each = all.into_iter().map(|(uplink, impediments)| {
        let words: Vec<&str> = impediments.into_iter().map(String::as_str).collect();
        format!("{uplink} is {}", words.join(" and "))
    });
    let each: Vec<String> = each.collect();
    writeln!(text, "Group {}: {}", group.name, each.join(", "))
}

/// A rate to three figures.
fn rate(bits: u64) -> String {
    let text = bytes(bits);
    match text.strip_suffix('B') {
        Some(number) => format!("{number}bit/s"),
        None => text,
    }
}
