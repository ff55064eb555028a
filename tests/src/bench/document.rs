//! Puts what was measured into docs/performance.md: between its marks stands what this writes, around
//! them what people write, so a figure in the text is always one that was measured.

mod taken;

use std::{fs, path::Path};

use super::{
    figure::Figure,
    plot::{self, Line},
    targets::MOST_LOST,
    throughput::{Case, count},
};
use crate::measured::{machine, replaced};
use anyhow::{Context as _, Result};

/// The document and the picture, within the documents' folder.
const DOCUMENT: &str = "performance.md";
const PICTURE: &str = "throughput.svg";

/// What one run has measured.
pub struct Measured<'a> {
    /// The cases of the throughput.
    pub cases: &'a [Case],
    /// All figures.
    pub figures: &'a [Figure],
}

/// Writes the picture and the parts of the document that were measured.
///
/// # Errors
/// When a file cannot be read or written, or the document lacks a mark.
pub fn write(folder: &Path, measured: &Measured<'_>) -> Result<()> {
    let path = folder.join(DOCUMENT);
    let mut text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    for (part, body) in [
        ("machine", machine()?),
        ("throughput", measured.throughput(false)?),
        ("imix", measured.throughput(true)?),
        ("new flows", measured.new_flows()?),
        ("cost", taken::cost(measured.figures)?),
        ("parts", taken::parts(measured.figures)?),
        ("decisions", taken::decisions(measured.figures)?),
        ("control", taken::control(measured.figures)?),
        ("cores", taken::cores(measured.figures)?),
        ("targets", taken::targets(measured.figures)),
    ] {
        text = replaced(&text, part, &body).with_context(|| path.display().to_string())?;
    }
    let picture = folder.join(PICTURE);
    fs::write(&picture, measured.picture()?).with_context(|| picture.display().to_string())?;
    fs::write(&path, text).with_context(|| path.display().to_string())
}

/// A contender in words.
fn words(name: &str) -> &str {
    match name {
        "bare" => "bare XDP redirect",
        "ecmp" => "kernel, two next hops",
        "masquerade" => "kernel, two next hops and masquerade",
        "routed4" => "multihome, routed IPv4",
        "routed6" => "multihome, routed IPv6",
        "nat44" => "multihome, NAT44",
        "nat44_rules" => "multihome, NAT44, a thousand rules",
        "nptv6" => "multihome, NPTv6",
        other => other,
    }
}

/// The middle, and the spread in brackets.
fn shown(figure: &Figure, scale: f64, digits: usize) -> String {
    let (least, most) = figure.spread();
    format!(
        "{:.digits$} ({:.digits$} to {:.digits$})",
        figure.median() / scale,
        least / scale,
        most / scale
    )
}

impl Measured<'_> {
    fn figure(&self, name: &str) -> Result<&Figure> {
        let found = self.figures.iter().find(|figure| figure.name == name);
        found.with_context(|| format!("{name} was not measured"))
    }

    /// The greatest share of packets that was lost in a round.
    fn lost(&self, name: &str) -> Result<f64> {
        Ok(self.figure(&format!("{name}_lost"))?.spread().1)
    }

    /// Names of contenders and numbers of flows, in the order of the cases.
    fn axes(&self, mixed: bool) -> (Vec<&'static str>, Vec<u64>) {
        let (mut names, mut flows) = (Vec::new(), Vec::new());
        for case in self.cases.iter().filter(|case| case.mixed == mixed) {
            if !names.contains(&case.name) {
                names.push(case.name);
            }
            if !flows.contains(&case.flows) {
                flows.push(case.flows);
            }
        }
        (names, flows)
    }

    fn case(&self, name: &str, flows: u64, mixed: bool) -> Option<&Case> {
        self.cases
            .iter()
            .find(|case| case.name == name && case.flows == flows && case.mixed == mixed)
    }

    /// Two tables: packets a second, and their share of what the bare redirect forwards.
    fn throughput(&self, mixed: bool) -> Result<String> {
        let (names, flows) = self.axes(mixed);
        let mut head = String::from("| |");
        for &flows in &flows {
            head += &format!(" {} |", count(flows));
        }
        head += &format!("\n| --- |{}\n", " --- |".repeat(flows.len()));
        let mut text =
            format!("Million packets a second that arrive, by the number of flows:\n\n{head}");
        for &name in &names {
            text += &self.row(name, &flows, mixed, |own, _| shown(own, 1e6, 2))?;
        }
        text += &format!("\nOf the bare redirect:\n\n{head}");
        for &name in names.iter().filter(|&&name| name != "bare") {
            text += &self.row(name, &flows, mixed, |own, bare| {
                shown(&own.against(bare, "of_bare"), 1.0, 2)
            })?;
        }
        Ok(text)
    }

    fn row(
        &self,
        name: &str,
        flows: &[u64],
        mixed: bool,
        cell: impl Fn(&Figure, &Figure) -> String,
    ) -> Result<String> {
        let mut row = format!("| {} |", words(name));
        for &flows in flows {
            let pair = (
                self.case(name, flows, mixed),
                self.case("bare", flows, mixed),
            );
            let (Some(case), Some(bare)) = pair else {
                row += " not measured |";
                continue;
            };
            let lost = self.lost(&case.figure())?;
            if lost > MOST_LOST {
                row += &format!(" loses up to {:.0} % |", lost * 100.0);
                continue;
            }
            let (own, bare) = (self.figure(&case.figure())?, self.figure(&bare.figure())?);
            row += &format!(" {} |", cell(own, bare));
        }
        row.push('\n');
        Ok(row)
    }

    fn new_flows(&self) -> Result<String> {
        let mut text =
            String::from("| | new flows a second, thousands | lost |\n| --- | --- | --- |\n");
        for name in ["masquerade", "nat44", "nat44_rules"] {
            let figure = format!("new_flows_{name}");
            text += &format!(
                "| {} | {} | {:.2} % |\n",
                words(name),
                shown(self.figure(&figure)?, 1e3, 0),
                self.lost(&figure)? * 100.0
            );
        }
        let ratio = self.figure("new_flows_nat44_of_masquerade")?;
        let rules = self.figure("new_flows_nat44_rules_of_nat44")?;
        text += &format!(
            "\nmultihome against the kernel, round by round: {}; with a thousand rules against none: {}.",
            shown(ratio, 1.0, 2),
            shown(rules, 1.0, 2)
        );
        Ok(text)
    }

    fn picture(&self) -> Result<String> {
        let (names, flows) = self.axes(false);
        let mut lines = Vec::new();
        for name in names {
            let mut points = Vec::new();
            for (place, &flows) in flows.iter().enumerate() {
                let Some(case) = self.case(name, flows, false) else {
                    continue;
                };
                if self.lost(&case.figure())? <= MOST_LOST {
                    points.push((place, self.figure(&case.figure())?.median()));
                }
            }
            lines.push(Line {
                label: words(name).to_owned(),
                points,
            });
        }
        let axis: Vec<String> = flows.into_iter().map(count).collect();
        plot::draw(&axis, &lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{figure::Unit, site::Kind};

    fn cases() -> Vec<Case> {
        [("bare", Kind::Bare), ("nat44", Kind::Translated)]
            .map(|(name, kind)| Case {
                name,
                kind,
                family: 4,
                flows: 1024,
                mixed: false,
            })
            .into()
    }

    /// Two rounds, of which the second of NAT44 loses this share.
    fn figures(lost: f64) -> Vec<Figure> {
        let rate =
            |name: &str, rounds: [f64; 2]| Figure::new(name, Unit::PacketsPerSecond, rounds.into());
        let share = |name: &str, rounds: [f64; 2]| Figure::new(name, Unit::Ratio, rounds.into());
        vec![
            rate("throughput_bare_1k", [2e6, 4e6]),
            share("throughput_bare_1k_lost", [0.0, 0.0]),
            rate("throughput_nat44_1k", [1e6, 3e6]),
            share("throughput_nat44_1k_lost", [0.0, lost]),
        ]
    }

    #[test]
    fn rates_and_their_share_of_the_limit_are_shown_with_their_spread() {
        let (cases, figures) = (cases(), figures(0.0));
        let measured = Measured {
            cases: &cases,
            figures: &figures,
        };
        let text = measured.throughput(false).expect("all was measured");
        assert!(
            text.contains("| multihome, NAT44 | 2.00 (1.00 to 3.00) |"),
            "{text}"
        );
        assert!(
            text.contains("| multihome, NAT44 | 0.62 (0.50 to 0.75) |"),
            "{text}"
        );
        assert!(
            text.contains("| bare XDP redirect | 3.00 (2.00 to 4.00) |"),
            "{text}"
        );
    }

    #[test]
    fn a_case_that_loses_packets_has_no_rate() {
        let (cases, figures) = (cases(), figures(0.12));
        let measured = Measured {
            cases: &cases,
            figures: &figures,
        };
        let text = measured.throughput(false).expect("all was measured");
        assert_eq!(
            text.matches("| multihome, NAT44 | loses up to 12 % |")
                .count(),
            2,
            "{text}"
        );
        let picture = measured.picture().expect("a picture");
        assert_eq!(picture.matches("<circle").count(), 1, "only the limit's");
    }

    #[test]
    fn the_document_has_all_marks() {
        let text = include_str!("../../../docs/performance.md");
        let throughput = ["machine", "throughput", "imix", "new flows", "cores"];
        let rest = ["cost", "parts", "decisions", "control", "targets"];
        for part in throughput.into_iter().chain(rest) {
            replaced(text, part, "new").expect(part);
        }
    }
}
