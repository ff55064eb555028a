//! What is promised of the figures: each target with the figures that it is computed from, and whether it
//! is met.

use anyhow::Result;
use serde::Serialize;

use super::{
    control::{UPLINKS, decision},
    cores,
    figure::Figure,
};
use multihome_common::limits::{MAX_GROUPS, MAX_UPLINKS};

/// Where more than this share of the packets is lost in any round, a rate says nothing of speed.
pub const MOST_LOST: f64 = 0.01;

/// One target, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// Its name, in lower case with underscores.
    pub name: &'static str,
    /// What was measured; `None` when it was not.
    pub value: Option<f64>,
    /// What it is to be: at least so much, or at most.
    pub target: f64,
    /// Which of the two: `at_least` or `at_most`.
    pub bound: Bound,
    /// Whether it is met; never when it was not measured.
    pub met: bool,
    /// Why it was not measured, or what has to be known of the value.
    pub reason: Option<String>,
}

/// On which side of a target a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The target or more.
    AtLeast,
    /// The target or less.
    AtMost,
}

/// What a target is computed from.
enum From {
    /// The ratio of two throughputs, round by round, by their names.
    Throughputs(&'static str, &'static str),
    /// The middle of a figure.
    Middle(&'static str),
    /// The worst 99th of a hundred decisions, of all sizes of a gateway.
    Decisions,
    /// How two cores compare with one.
    Cores,
}

const TARGETS: [(&str, From, Bound, f64); 17] = [
    (
        "routed4_64k_of_bare",
        From::Throughputs("routed4_64k", "bare_64k"),
        Bound::AtLeast,
        0.90,
    ),
    (
        "routed4_64k_of_ecmp",
        From::Throughputs("routed4_64k", "ecmp_64k"),
        Bound::AtLeast,
        2.0,
    ),
    (
        "nat44_1k_of_bare",
        From::Throughputs("nat44_1k", "bare_1k"),
        Bound::AtLeast,
        0.85,
    ),
    (
        "nat44_64k_of_bare",
        From::Throughputs("nat44_64k", "bare_64k"),
        Bound::AtLeast,
        0.75,
    ),
    (
        "nat44_64k_of_masquerade",
        From::Throughputs("nat44_64k", "masquerade_64k"),
        Bound::AtLeast,
        2.8,
    ),
    (
        "nat44_1m_of_64k",
        From::Throughputs("nat44_1m", "nat44_64k"),
        Bound::AtLeast,
        0.75,
    ),
    (
        "routed6_64k_of_routed4",
        From::Throughputs("routed6_64k", "routed4_64k"),
        Bound::AtLeast,
        0.90,
    ),
    (
        "nptv6_64k_of_routed4",
        From::Throughputs("nptv6_64k", "routed4_64k"),
        Bound::AtLeast,
        0.90,
    ),
    (
        "new_flows_nat44_of_masquerade",
        From::Middle("new_flows_nat44_of_masquerade"),
        Bound::AtLeast,
        1.8,
    ),
    (
        "nat44_rules_64k_of_nat44",
        From::Throughputs("nat44_rules_64k", "nat44_64k"),
        Bound::AtLeast,
        0.95,
    ),
    (
        "new_flows_nat44_rules_of_nat44",
        From::Middle("new_flows_nat44_rules_of_nat44"),
        Bound::AtLeast,
        0.75,
    ),
    ("two_cores_of_one", From::Cores, Bound::AtLeast, 1.8),
    ("decision_p99_us", From::Decisions, Bound::AtMost, 50.0),
    (
        "sweep_1m_cpu_ms",
        From::Middle("sweep_1m_cpu"),
        Bound::AtMost,
        300.0,
    ),
    (
        "sweep_1m_throughput",
        From::Middle("sweep_1m_throughput"),
        Bound::AtLeast,
        0.95,
    ),
    (
        "rank_64_groups_ms",
        From::Middle("rank_64_groups"),
        Bound::AtMost,
        200.0,
    ),
    (
        "rank_64_groups_stored_ms",
        From::Middle("rank_64_groups_stored"),
        Bound::AtMost,
        200.0,
    ),
];

/// A value and what has to be known of it, or why there is none.
type Value = Result<(f64, Option<String>), String>;

/// All targets, by these figures.
pub fn targets(figures: &[Figure]) -> Vec<Target> {
    TARGETS
        .iter()
        .map(|(name, from, bound, target)| {
            let (value, reason) = match from.value(figures) {
                Ok((value, remark)) => (Some(value), remark),
                Err(reason) => (None, Some(reason)),
            };
            let met = value.is_some_and(|value| match bound {
                Bound::AtLeast => value >= *target,
                Bound::AtMost => value <= *target,
            });
            Target {
                name,
                value,
                target: *target,
                bound: *bound,
                met,
                reason,
            }
        })
        .collect()
}

/// All targets as a table.
pub fn table(targets: &[Target]) -> String {
    let mut text = String::new();
    for target in targets {
        let bound = match target.bound {
            Bound::AtLeast => "at least",
            Bound::AtMost => "at most",
        };
        let (value, met) = match (target.value, target.met) {
            (None, _) => ("-".to_owned(), "not measured"),
            (Some(value), true) => (format!("{value:.2}"), "met"),
            (Some(value), false) => (format!("{value:.2}"), "NOT MET"),
        };
        let reason = target.reason.as_ref();
        let reason = reason.map(|reason| format!(" ({reason})"));
        text += &format!(
            "{:30} {value:>10} {bound} {:<7} {met}{}\n",
            target.name,
            target.target,
            reason.unwrap_or_default()
        );
    }
    text
}

fn found<'a>(figures: &'a [Figure], name: &str) -> Result<&'a Figure, String> {
    let figure = figures.iter().find(|figure| figure.name == name);
    figure.ok_or_else(|| format!("{name} was not measured"))
}

impl From {
    fn value(&self, figures: &[Figure]) -> Value {
        match self {
            Self::Throughputs(own, other) => {
                let mut rates = Vec::new();
                for case in [own, other] {
                    let name = format!("throughput_{case}");
                    rates.push(found(figures, &name)?);
                    let (_, lost) = found(figures, &format!("{name}_lost"))?.spread();
                    if lost > MOST_LOST {
                        return Err(format!("{name} loses up to {:.0} %", lost * 100.0));
                    }
                }
                Ok((rates[0].against(rates[1], *own).median(), None))
            }
            Self::Middle(name) => Ok((found(figures, name)?.median(), None)),
            Self::Decisions => {
                let mut worst: f64 = 0.0;
                let names = UPLINKS.map(|uplinks| decision(uplinks, 1));
                for name in names
                    .iter()
                    .chain([&decision(MAX_UPLINKS as u8, MAX_GROUPS)])
                {
                    worst = worst.max(found(figures, name)?.p99());
                }
                Ok((worst, None))
            }
            Self::Cores => {
                let present = cores::present().map_err(|error| error.to_string())?;
                if present < 2 {
                    return Err("the machine has one core".to_owned());
                }
                let value = found(figures, "cores_routed4_2_of_1")?.median();
                let remark = (present < cores::FREE).then(|| {
                    format!(
                        "the machine has {present} cores: on both of them packets are made too, and \
                         none is left for the rest of the machine"
                    )
                });
                Ok((value, remark))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figure::Unit;

    fn target(figures: &[Figure], name: &str) -> Target {
        let all = targets(figures);
        all.into_iter()
            .find(|target| target.name == name)
            .expect("a target")
    }

    fn throughputs(lost: f64) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (name, rates) in [("routed4_64k", [1.8, 2.0]), ("bare_64k", [2.0, 2.0])] {
            let name = format!("throughput_{name}");
            figures.push(Figure::new(&name, Unit::PacketsPerSecond, rates.into()));
            figures.push(Figure::new(
                format!("{name}_lost"),
                Unit::Ratio,
                vec![0.0, lost],
            ));
        }
        figures
    }

    #[test]
    fn a_target_is_met_by_the_middle_of_the_ratios() {
        let target = target(&throughputs(0.0), "routed4_64k_of_bare");
        assert_eq!((target.value, target.met), (Some(0.95), true));
    }

    #[test]
    fn a_rate_with_losses_counts_for_nothing() {
        let target = target(&throughputs(0.5), "routed4_64k_of_bare");
        assert_eq!((target.value, target.met), (None, false));
        assert!(target.reason.is_some_and(|reason| reason.contains("50 %")));
    }

    #[test]
    fn what_was_not_measured_has_no_value_and_says_so() {
        for target in targets(&[]) {
            assert_eq!((target.value, target.met), (None, false), "{}", target.name);
            assert!(target.reason.is_some(), "{}", target.name);
        }
    }

    #[test]
    fn the_worst_decision_of_all_sizes_counts() {
        let mut figures: Vec<Figure> = UPLINKS
            .map(|uplinks| Figure::new(decision(uplinks, 1), Unit::Microseconds, vec![10.0]))
            .into();
        let all = decision(MAX_UPLINKS as u8, MAX_GROUPS);
        figures.push(Figure::new(all, Unit::Microseconds, vec![10.0, 60.0]));
        let target = target(&figures, "decision_p99_us");
        assert_eq!((target.value, target.met), (Some(60.0), false));
    }
}
