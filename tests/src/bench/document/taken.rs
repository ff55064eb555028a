//! The document's parts about what packets, decisions and the controller take.

use anyhow::{Context as _, Result};

use super::{shown, words};
use crate::bench::{
    control::{UPLINKS, decision},
    cores,
    cost::{self, FLOWS, MODES},
    figure::Figure,
    targets::{self, Bound},
    throughput::count,
};
use multihome_common::limits::{MAX_GROUPS, MAX_UPLINKS};

/// The number of flows that the parts are shown for.
const SHOWN: u64 = 65536;

fn found<'a>(figures: &'a [Figure], name: &str) -> Result<&'a Figure> {
    let found = figures.iter().find(|figure| figure.name == name);
    found.with_context(|| format!("{name} was not measured"))
}

fn head(columns: impl IntoIterator<Item = String>) -> String {
    let columns: Vec<String> = columns.into_iter().collect();
    format!(
        "| | {} |\n| --- |{}\n",
        columns.join(" | "),
        " --- |".repeat(columns.len())
    )
}

/// What a packet of a known flow costs.
pub fn cost(figures: &[Figure]) -> Result<String> {
    let mut text = String::from("Nanoseconds, by the number of flows:\n\n");
    text += &head(FLOWS.map(count));
    for (mode, ..) in MODES {
        for (direction, from) in [("out", "from the LAN"), ("in", "from outside")] {
            text += &format!("| {}, {from} |", words(mode));
            for flows in FLOWS {
                let figure = found(figures, &cost::figure(mode, direction, flows, None))?;
                text += &format!(" {} |", shown(figure, 1.0, 0));
            }
            text.push('\n');
        }
    }
    Ok(text)
}

/// Where the time of the full way goes: what each part adds.
pub fn parts(figures: &[Figure]) -> Result<String> {
    let mut text = format!(
        "Nanoseconds until a part has done its work, at {} flows:\n\n{}",
        count(SHOWN),
        head(["until".to_owned(), "in all".to_owned()])
    );
    for (mode, ..) in MODES {
        for (direction, from) in [("out", "from the LAN"), ("in", "from outside")] {
            for (part, _) in cost::parts(mode, direction == "in") {
                let figure = found(figures, &cost::figure(mode, direction, SHOWN, Some(part)))?;
                let until = match *part {
                    "parsed" => "its port is found and it is parsed",
                    "classes" => "the classes of its addresses are known",
                    "owner" => "the owner of its port is known",
                    "pin" => "its flow's uplink is known",
                    "flow" => "its flow is found",
                    "host" => "its LAN host is found",
                    "decided" => "it is decided and rewritten",
                    "full" => "it is counted and handed on",
                    other => other,
                };
                text += &format!(
                    "| {}, {from} | {until} | {} |\n",
                    words(mode),
                    shown(figure, 1.0, 0)
                );
            }
        }
    }
    Ok(text)
}

/// From a health change to the word.
pub fn decisions(figures: &[Figure]) -> Result<String> {
    let mut text = String::from("Microseconds, with a million flows open:\n\n");
    text += &head(["middle", "99 of 100", "longest"].map(str::to_owned));
    let mut row = |what: String, name: String| -> Result<()> {
        let figure = found(figures, &name)?;
        let (_, longest) = figure.spread();
        let (middle, p99) = (figure.median(), figure.p99());
        text += &format!("| {what} | {middle:.1} | {p99:.1} | {longest:.1} |\n");
        Ok(())
    };
    for uplinks in UPLINKS {
        let plural = if uplinks == 1 { "" } else { "s" };
        row(format!("{uplinks} uplink{plural}"), decision(uplinks, 1))?;
    }
    let all = decision(MAX_UPLINKS as u8, MAX_GROUPS);
    row(
        format!("{MAX_UPLINKS} uplinks, words of {MAX_GROUPS} groups"),
        all,
    )?;
    Ok(text)
}

/// What the controller takes besides.
pub fn control(figures: &[Figure]) -> Result<String> {
    let mut text = head(["measured".to_owned()]);
    let rows = [
        ("start", "loading and attaching, ms", 1.0, 0),
        (
            "rank_64_groups",
            "rank tables of 64 groups of 64 uplinks, ms",
            1.0,
            0,
        ),
        (
            "rank_64_groups_stored",
            "writing 63 of them into the kernel's map, ms",
            1.0,
            1,
        ),
        (
            "sweep_1m_cpu",
            "a sweep of a million flows, ms of CPU",
            1.0,
            0,
        ),
        (
            "sweep_1m_throughput",
            "throughput while it sweeps, of that without, on one core",
            1.0,
            2,
        ),
        (
            "rss_default",
            "memory of the process, its tables in the kernel among it, MiB",
            MIB,
            0,
        ),
        ("rss_default_own", "of which its own, MiB", MIB, 1),
        (
            "rss_1m",
            "the same with room for 1.5 million flows and a million open, MiB",
            MIB,
            0,
        ),
        ("rss_1m_own", "of which its own, MiB", MIB, 1),
    ];
    for (name, what, scale, digits) in rows {
        let figure = found(figures, name)?;
        text += &format!("| {what} | {} |\n", shown(figure, scale, digits));
    }
    Ok(text)
}

const MIB: f64 = 1024.0 * 1024.0;

/// Two cores against one.
pub fn cores(figures: &[Figure]) -> Result<String> {
    let mut text = String::from("Million packets a second, 64k flows:\n\n");
    text += &head(["one core", "two cores", "two of one"].map(str::to_owned));
    for (name, ..) in cores::CASES {
        let of = |end: &str| found(figures, &format!("cores_{name}_{end}"));
        text += &format!(
            "| {} | {} | {} | {} |\n",
            words(name),
            shown(of("1")?, 1e6, 2),
            shown(of("2")?, 1e6, 2),
            shown(of("2_of_1")?, 1.0, 2)
        );
    }
    Ok(text)
}

/// All targets, and which of them are met.
pub fn targets(figures: &[Figure]) -> String {
    let mut text = head(["measured", "target", "met"].map(str::to_owned));
    for target in targets::targets(figures) {
        let bound = match target.bound {
            Bound::AtLeast => "at least",
            Bound::AtMost => "at most",
        };
        let value = target.value.map(|value| format!("{value:.2}"));
        let met = if target.met { "yes" } else { "no" };
        let reason = target.reason.map(|reason| format!(": {reason}"));
        text += &format!(
            "| `{}` | {} | {bound} {} | {met}{} |\n",
            target.name,
            value.as_deref().unwrap_or("-"),
            target.target,
            reason.unwrap_or_default()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figure::Unit;

    #[test]
    fn decisions_are_shown_with_their_99th() {
        let names = UPLINKS.map(|uplinks| decision(uplinks, 1));
        let all = decision(MAX_UPLINKS as u8, MAX_GROUPS);
        let figures: Vec<Figure> = names
            .into_iter()
            .chain([all])
            .map(|name| Figure::new(name, Unit::Microseconds, vec![1.0, 2.0, 9.0]))
            .collect();
        let text = decisions(&figures).expect("all was measured");
        assert!(text.contains("| 1 uplink | 2.0 | 9.0 | 9.0 |"), "{text}");
        assert!(text.contains("| 8 uplinks | 2.0 | 9.0 | 9.0 |"), "{text}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = cost(&[]).expect_err("nothing was measured");
        assert!(error.to_string().contains("cost_routed4_out_1"), "{error}");
    }
}
