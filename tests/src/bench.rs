//! What `cargo xtask bench` measures: each module takes figures of one concern, in rounds that are
//! interleaved with those of what they are compared with.

mod attempts;
mod conntrack;
mod control;
mod cores;
mod cost;
mod document;
pub mod figure;
mod new_flows;
mod parts;
mod plot;
mod programs;
mod rig;
mod running;
mod site;
pub mod targets;
mod throughput;

use std::{path::PathBuf, thread, time::Duration};

use anyhow::Result;
use clap::Parser;
use serde::Serialize;

use crate::lab::Lab;
use figure::Figure;
use programs::Programs;
use site::{Kind, Site};
use targets::Target;
use throughput::Case;

/// Measures how fast multihome forwards, decides and follows, side by side with the kernel and with the
/// limit of what XDP can do.
#[derive(Parser)]
#[command(name = "bench")]
pub struct Options {
    /// The gateway's program
    #[arg(long, value_name = "PATH", env = "MULTIHOME_BINARY")]
    binary: PathBuf,
    /// Print the results as one line of JSON to stdout, and all else to stderr
    #[arg(long)]
    pub json: bool,
    /// Short windows and few rounds: shows that it works, and gives no figures to rely on
    #[arg(long)]
    quick: bool,
    /// How often each figure is taken
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: usize,
    /// How long each window of the throughput lasts, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 300)]
    window: u64,
    /// Put the figures and the plot into the documents of this folder, which has a performance.md
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["quick", "only"])]
    write_docs: Option<PathBuf>,
    /// Only what has this in its name: throughput_, cost_, cores_, new_flows_, decision_, or a longer part
    /// of a throughput's name. Running stands for start, memory and the sweep under traffic
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
}

/// What was measured, and what it says of the targets.
#[derive(Debug, Serialize)]
pub struct Results {
    /// The targets.
    pub targets: Vec<Target>,
    /// All figures.
    pub figures: Vec<Figure>,
}

impl Options {
    /// Whether figures are wanted whose names begin so.
    fn wants(&self, start: &str) -> bool {
        let mut only = self.only.iter();
        self.only.is_empty() || only.any(|text| text.starts_with(start) || start.starts_with(text))
    }

    /// The cases of the throughput that are wanted.
    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        let lengths = FLOWS.map(|flows| (flows, false));
        for (flows, mixed) in lengths.into_iter().chain([(65536, true)]) {
            for (name, kind, family) in CASES {
                let large = flows > 1 << 17;
                let kind = match kind {
                    // A million flows in tables that are made for fewer would crowd those of the
                    // other cases too.
                    Kind::Routed if large => Kind::RoutedLarge,
                    Kind::Translated if large => Kind::TranslatedLarge,
                    // The kernel's table of connections has no room for these by default.
                    Kind::Masquerade if large => continue,
                    // Compared at one number of flows.
                    Kind::Ruled if flows != RULED || mixed => continue,
                    Kind::Bare
                    | Kind::Ecmp
                    | Kind::Masquerade
                    | Kind::Routed
                    | Kind::RoutedLarge
                    | Kind::Translated
                    | Kind::TranslatedLarge
                    | Kind::Ruled => kind,
                };
                cases.push(Case {
                    name,
                    kind,
                    family,
                    flows,
                    mixed,
                });
            }
        }
        let only = &self.only;
        cases
            .retain(|case| only.is_empty() || only.iter().any(|text| case.figure().contains(text)));
        cases
    }
}

/// Numbers of flows of the throughput.
const FLOWS: [u64; 4] = [1, 1024, 65536, 1 << 20];
/// Flows of the throughput under rules.
const RULED: u64 = 65536;
/// Figures that one gateway without devices gives.
const CONTROL: [&str; 3] = ["decision_", "sweep_1m_cpu", "rank_"];

const CASES: [(&str, Kind, u32); 8] = [
    ("bare", Kind::Bare, 4),
    ("ecmp", Kind::Ecmp, 4),
    ("masquerade", Kind::Masquerade, 4),
    ("routed4", Kind::Routed, 4),
    ("routed6", Kind::Routed, 6),
    ("nat44", Kind::Translated, 4),
    ("nat44_rules", Kind::Ruled, 4),
    ("nptv6", Kind::Translated, 6),
];

/// How long after it has begun a gateway looks at all flows anew: two units of the pins' clock, and some.
const SETTLED: Duration = Duration::from_secs(20);

/// Measures all that is wanted.
///
/// # Errors
/// When something cannot be measured, or a gateway does not do what it is measured at.
pub fn run(options: &Options) -> Result<Results> {
    let lab = Lab::new()?;
    let mut programs = Programs::load()?;
    let programs = &mut programs;
    let cases = options.cases();
    let parts = ["new_flows_", "cost_", "running"].map(|part| options.wants(part));
    let [new_flows, costs, running] = parts;
    let mut kinds: Vec<Kind> = Vec::new();
    let by_part = cases
        .iter()
        .map(|case| case.kind)
        .chain(
            new_flows::CONTENDERS
                .map(|part| part.1)
                .into_iter()
                .filter(|_| new_flows),
        )
        .chain(cost::MODES.map(|mode| mode.1).into_iter().filter(|_| costs))
        .chain(running::KINDS.into_iter().filter(|_| running));
    for kind in by_part {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let mut sites = Vec::new();
    for (ordinal, kind) in (0..).zip(kinds) {
        sites.push(Site::new(
            &lab,
            programs,
            &options.binary,
            kind,
            ordinal,
            1,
        )?);
    }
    if !options.quick {
        // What is measured is a gateway that has run for a while.
        eprintln!("{} s until all gateways have settled", SETTLED.as_secs());
        thread::sleep(SETTLED);
    }
    let rounds = if options.quick { 1 } else { options.rounds };
    let window = Duration::from_millis(if options.quick { 50 } else { options.window });
    let told = |case: &Case, rate: f64| eprintln!("{:30} {:6.3} Mpps", case.figure(), rate / 1e6);
    let mut figures = throughput::measure(programs, &sites, &cases, rounds, window, told)?;
    if costs {
        let packets = if options.quick { 1 << 16 } else { 1 << 18 };
        figures.extend(cost::measure(&sites, rounds, packets)?);
    }
    if running {
        let packets = if options.quick { 1 << 16 } else { 1 << 18 };
        figures.extend(running::measure(
            &lab, programs, &mut sites, rounds, packets,
        )?);
    }
    if new_flows {
        figures.extend(new_flows::measure(&lab, programs, &mut sites, rounds)?);
    }
    let next = sites.len() as u32;
    drop(sites);
    if options.wants("cores_") {
        let packets = if options.quick { 1 << 17 } else { 1 << 20 };
        let binary = &options.binary;
        figures.extend(cores::measure(
            &lab, programs, binary, next, rounds, packets,
        )?);
    }
    if CONTROL.iter().any(|part| options.wants(part)) {
        let decisions = if options.quick { 100 } else { 2000 };
        figures.extend(control::measure(&lab, rounds, decisions)?);
    }
    for figure in &figures {
        let (least, most) = figure.spread();
        let (name, median) = (&figure.name, figure.median());
        eprintln!("{name:34} {median:12.3} ({least:12.3} to {most:12.3})");
    }
    if let Some(folder) = &options.write_docs {
        let (cases, figures) = (&cases, &figures);
        document::write(folder, &document::Measured { cases, figures })?;
    }
    Ok(Results {
        targets: targets::targets(&figures),
        figures,
    })
}
