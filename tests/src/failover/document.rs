//! Puts what was measured into docs/failover.md.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use super::{
    load::{CPU_TARGET, RSS_TARGET},
    loss,
    report::{Report, Row},
};
use crate::measured::{machine, replaced};

/// The document, within the documents' folder.
const DOCUMENT: &str = "failover.md";

/// Writes the parts of the document that were measured.
///
/// # Errors
/// When the file cannot be read or written, or lacks a mark.
pub(super) fn write(folder: &Path, report: &Report) -> Result<()> {
    let path = folder.join(DOCUMENT);
    let mut text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut parts = vec![("machine", machine()?), ("losses", losses(report, &text))];
    if report.load.is_some() {
        parts.push(("load", load(report)));
    }
    for (part, body) in parts {
        text = replaced(&text, part, &body).with_context(|| path.display().to_string())?;
    }
    fs::write(&path, text).with_context(|| path.display().to_string())
}

/// The table of losses; those that were not measured now stay as they are in `before`.
fn losses(report: &Report, before: &str) -> String {
    let mut text = String::from(
        "| loss | target at p99 | multihome p50 | p99 | max | trials | met | kernel and script p50 | max | trials |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for loss in loss::ALL {
        let begin = format!("| {} |", loss.words());
        if let Some(row) = report.rows.iter().find(|row| row.words == loss.words()) {
            text += &line(row);
        } else if let Some(old) = before.lines().find(|line| line.starts_with(&begin)) {
            text += old;
            text.push('\n');
        }
    }
    text
}

fn line(row: &Row) -> String {
    let [p50, p99, max] = row.multihome.cells();
    let (trials, target) = (row.multihome.trials(), row.target_ms);
    let met = if row.met { "yes" } else { "no" };
    let kernel = row.kernel.as_ref().map_or_else(
        || ["-".to_owned(), "-".to_owned(), "-".to_owned()],
        |kernel| {
            let [p50, _, max] = kernel.cells();
            [p50, max, kernel.trials().to_string()]
        },
    );
    format!(
        "| {} | {target:.0} ms | {p50} | {p99} | {max} | {trials} | {met} | {} |\n",
        row.words,
        kernel.join(" | ")
    )
}

fn load(report: &Report) -> String {
    let Some(load) = &report.load else {
        return String::new();
    };
    let met = |kept: bool| if kept { "yes" } else { "no" };
    format!(
        "| {} uplinks with 4 targets each, over {} s | measured | target | met |\n\
         | --- | --- | --- | --- |\n\
         | share of one core | {:.2} % | under {:.0} % | {} |\n\
         | memory (RSS) | {:.1} MB | under {} MB | {} |\n",
        load.uplinks,
        load.seconds,
        load.cpu * 100.0,
        CPU_TARGET * 100.0,
        met(load.cpu < CPU_TARGET),
        load.rss as f64 / 1e6,
        RSS_TARGET / 1_000_000,
        met(load.rss < RSS_TARGET)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_that_are_not_measured_stay_in_the_table() {
        let before = include_str!("../../../docs/failover.md");
        let table = losses(&Report::default(), before);
        assert_eq!(table.lines().count(), 2 + loss::ALL.len());
        assert!(table.lines().all(|line| before.contains(line)));
    }

    #[test]
    fn the_document_has_every_mark() {
        let text = include_str!("../../../docs/failover.md");
        for part in ["machine", "losses", "load"] {
            replaced(text, part, "new").expect(part);
        }
    }
}
