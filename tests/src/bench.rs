//! What `cargo xtask bench` measures: each module takes figures of one concern, in rounds that are
//! interleaved with those of what they are compared with.

mod conntrack;
mod control;
mod cost;
mod document;
pub mod figure;
mod new_flows;
mod parts;
mod plot;
mod programs;
mod rig;
mod site;
mod throughput;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::Parser;

use crate::lab::Lab;
use figure::Figure;
use programs::Programs;
use site::{Kind, Site};
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
    /// Only what has this in its name
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
}

impl Options {
    /// Whether anything is wanted whose name begins so.
    fn wants(&self, start: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| text.starts_with(start))
    }
}

const CASES: [(&str, Kind, u32); 7] = [
    ("bare", Kind::Bare, 4),
    ("ecmp", Kind::Ecmp, 4),
    ("masquerade", Kind::Masquerade, 4),
    ("routed4", Kind::Routed, 4),
    ("routed6", Kind::Routed, 6),
    ("nat44", Kind::Translated, 4),
    ("nptv6", Kind::Translated, 6),
];

/// Measures all.
pub fn run(options: &Options) -> Result<Vec<Figure>> {
    let lab = Lab::new()?;
    let mut programs = Programs::load()?;
    let flows: &[u64] = &[1, 1024, 65536, 1 << 20];
    let mut cases = Vec::new();
    for &flows in flows {
        for (name, kind, family) in CASES {
            let kind = if kind == Kind::Translated && flows > 1 << 17 {
                Kind::TranslatedLarge
            } else {
                kind
            };
            // The kernel's table of connections has no room for these by default.
            if kind == Kind::Masquerade && flows > 1 << 17 {
                continue;
            }
            cases.push(Case {
                name,
                kind,
                family,
                flows,
                mixed: false,
            });
        }
    }
    for (name, kind, family) in CASES {
        cases.push(Case {
            name,
            kind,
            family,
            flows: 65536,
            mixed: true,
        });
    }
    cases.retain(|case| {
        options.only.is_empty() || options.only.iter().any(|text| case.figure().contains(text))
    });
    let mut kinds: Vec<Kind> = Vec::new();
    for case in &cases {
        if !kinds.contains(&case.kind) {
            kinds.push(case.kind);
        }
    }
    let new_flows = options.only.is_empty()
        || new_flows::CONTENDERS.iter().any(|(name, _)| {
            let figure = format!("new_flows_{name}");
            options.only.iter().any(|text| figure.contains(text))
        });
    if new_flows {
        for (_, kind) in new_flows::CONTENDERS {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    let costs = options.wants("cost_");
    if costs {
        for (_, kind, _) in cost::MODES {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    let mut sites = Vec::new();
    for (ordinal, kind) in (0..).zip(kinds) {
        sites.push(Site::new(
            &lab,
            &mut programs,
            &options.binary,
            kind,
            ordinal,
            1,
        )?);
    }
    let rounds = if options.quick { 1 } else { options.rounds };
    let window = Duration::from_millis(if options.quick { 50 } else { options.window });
    let mut figures = throughput::measure(
        &mut programs,
        &sites,
        &cases,
        rounds,
        window,
        |case, rate| eprintln!("{:30} {:6.3} Mpps", case.figure(), rate / 1e6),
    )?;
    if costs {
        let packets = if options.quick { 1 << 16 } else { 1 << 18 };
        figures.extend(cost::measure(&sites, rounds, packets)?);
    }
    if ["decision_", "sweep_1m_cpu", "rank_"]
        .iter()
        .any(|name| options.wants(name))
    {
        let decisions = if options.quick { 100 } else { 2000 };
        figures.extend(control::measure(&lab, rounds, decisions)?);
    }
    if new_flows {
        figures.extend(new_flows::measure(&lab, &mut programs, &mut sites, rounds)?);
    }
    for figure in &figures {
        let (least, most) = figure.spread();
        eprintln!(
            "{:32} {:10.3} ({:10.3} to {:10.3})",
            figure.name,
            figure.median(),
            least,
            most
        );
    }
    if let Some(folder) = &options.write_docs {
        let (cases, figures) = (&cases, &figures);
        document::write(folder, &document::Measured { cases, figures })?;
    }
    Ok(figures)
}
