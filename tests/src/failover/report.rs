//! The results: a row for each kind of loss, multihome beside its peer.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{
    load::{self, Load},
    loss::Loss,
};
use crate::percentiles::Percentiles;

/// What a trial gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    /// Nothing used the lost uplink any more after so many milliseconds.
    After(f64),
    /// It was still used when so long had passed.
    NotWithin(Duration),
}

impl Outcome {
    /// Whether it took no longer than so many milliseconds.
    pub(super) fn is_within(&self, target_ms: f64) -> bool {
        match self {
            Self::After(ms) => *ms <= target_ms,
            Self::NotWithin(_) => false,
        }
    }
}

/// All results.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// A row for each kind of loss.
    pub(super) rows: Vec<Row>,
    /// What a gateway with 64 uplinks takes.
    pub(super) load: Option<Load>,
}

/// One kind of loss.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// Its name.
    pub(super) loss: &'static str,
    /// What it is.
    pub(super) words: &'static str,
    /// Milliseconds that are promised at the 99th percentile.
    pub(super) target_ms: f64,
    /// Whether that is kept.
    pub(super) met: bool,
    /// multihome.
    pub(super) multihome: Side,
    /// The kernel's routes and a script, where they were tried.
    pub(super) kernel: Option<Side>,
}

/// What one side did.
#[derive(Debug, Serialize)]
pub(super) struct Side {
    /// Milliseconds of the trials that came to an end; none when none did.
    pub(super) ms: Option<Percentiles>,
    /// Trials that did not.
    pub(super) unfinished: usize,
    /// Seconds after which those were given up.
    pub(super) given_up_s: Option<u64>,
}

impl Side {
    fn new(outcomes: &[Outcome]) -> Self {
        let mut times = Vec::new();
        let mut given_up = Vec::new();
        for outcome in outcomes {
            match outcome {
                Outcome::After(ms) => times.push(*ms),
                Outcome::NotWithin(patience) => given_up.push(patience.as_secs()),
            }
        }
        Self {
            ms: (!times.is_empty()).then(|| Percentiles::new(times)),
            unfinished: given_up.len(),
            given_up_s: given_up.first().copied(),
        }
    }

    /// The three percentiles, for a table.
    pub(super) fn cells(&self) -> [String; 3] {
        match (&self.ms, self.given_up_s) {
            (Some(ms), None) => [ms.p50, ms.p99, ms.max].map(time),
            (Some(ms), Some(patience)) => {
                let never = format!("over {patience} s");
                [time(ms.p50), never.clone(), never]
            }
            (None, patience) => {
                let never = patience.map_or_else(|| "-".to_owned(), |s| format!("over {s} s"));
                [never.clone(), never.clone(), never]
            }
        }
    }

    /// How many trials there were.
    pub(super) fn trials(&self) -> usize {
        self.unfinished + self.ms.map_or(0, |ms| ms.trials)
    }
}

/// A time in milliseconds, as people read it.
fn time(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else if ms < 10_000.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.1} s", ms / 1000.0)
    }
}

impl Row {
    pub(super) fn new(loss: Loss, multihome: Vec<Outcome>, kernel: Option<Vec<Outcome>>) -> Self {
        let multihome = Side::new(&multihome);
        let met =
            multihome.unfinished == 0 && multihome.ms.is_some_and(|ms| ms.p99 <= loss.target_ms());
        Self {
            loss: loss.name(),
            words: loss.words(),
            target_ms: loss.target_ms(),
            met,
            multihome,
            kernel: kernel.map(|kernel| Side::new(&kernel)),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] = self.multihome.cells();
        let (target, met) = (
            time(self.target_ms),
            if self.met { "met" } else { "NOT MET" },
        );
        let kernel = self.kernel.as_ref().map_or_else(String::new, |kernel| {
            let [p50, _, max] = kernel.cells();
            format!("; kernel and script: {p50}, {max}")
        });
        write!(
            f,
            "{:52} {p50:>9} {p99:>9} {max:>9}  target {target}: {met}{kernel}",
            self.words
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:52} {:>9} {:>9} {:>9}", "", "p50", "p99", "max")?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        if let Some(load) = &self.load {
            writeln!(f, "{load}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = |kept: bool| if kept { "met" } else { "NOT MET" };
        write!(
            f,
            "{} uplinks of 4 targets each: {:.2} % of a core (target {} %: {}), {:.1} MB (target {} MB: {})",
            self.uplinks,
            self.cpu * 100.0,
            load::CPU_TARGET * 100.0,
            met(self.cpu <= load::CPU_TARGET),
            self.rss as f64 / 1e6,
            load::RSS_TARGET / 1_000_000,
            met(self.rss <= load::RSS_TARGET),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_that_did_not_end_breaks_the_promise() {
        let ended = Outcome::After(1.0);
        assert!(Row::new(Loss::Carrier, vec![ended; 50], None).met);
        let late = vec![ended, Outcome::After(50.0)];
        assert!(!Row::new(Loss::Carrier, late, None).met);
        let never = Outcome::NotWithin(Duration::from_secs(9));
        let row = Row::new(Loss::Carrier, vec![ended, never], Some(vec![never]));
        assert!(!row.met);
        assert_eq!(row.multihome.trials(), 2);
        assert_eq!(row.multihome.cells(), ["1.0 ms", "over 9 s", "over 9 s"]);
        let kernel = row.kernel.map(|kernel| kernel.cells());
        assert_eq!(kernel, Some(["over 9 s"; 3].map(String::from)));
    }
}
