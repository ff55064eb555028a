//! Throughput: packets a second that arrive at the far end, each contender in turn, round by round.
//!
//! All of a packet's way is on one core: it is made, forwarded and counted there, so the core's time is
//! what is shared out, and nothing waits for another core.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bench_traffic::Traffic;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use super::{
    figure::{Figure, Unit},
    programs::Programs,
    site::{Kind, Site},
};

/// Packets of one call of the generator.
const CHUNK: u32 = 1 << 16;
/// What forwarded packets may be short of those that were made before they count as lost: what is on
/// its way while counters are read.
const UNDER_WAY: u64 = 1024;

/// One thing to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name in figures, such as `nat44`.
    pub name: &'static str,
    /// What forwards.
    pub kind: Kind,
    /// 4 or 6.
    pub family: u32,
    /// Flows, a power of two.
    pub flows: u64,
    /// Frames of several sizes.
    pub mixed: bool,
}

impl Case {
    /// The name of its figure.
    pub fn figure(&self) -> String {
        let size = if self.mixed { "_imix" } else { "" };
        format!("throughput_{}_{}{size}", self.name, count(self.flows))
    }

    /// Whether packets leave with another source than they came with.
    fn translates(&self) -> bool {
        match self.kind {
            Kind::Bare | Kind::Ecmp | Kind::Routed | Kind::RoutedLarge => false,
            Kind::Masquerade | Kind::Translated | Kind::TranslatedLarge | Kind::Ruled => true,
        }
    }

    /// Length of the frames without the check sequence.
    pub fn len(&self) -> usize {
        match (self.mixed, self.family) {
            (true, _) => bench_traffic::MIXED_LEN as usize,
            (false, 4) => 60,
            (false, _) => bench_traffic::HEADERS6,
        }
    }
}

impl Case {
    /// What the generator is told.
    pub fn traffic(&self, site: &Site) -> Traffic {
        Traffic {
            mask: self.flows - 1,
            first: 0,
            begin: 0,
            ifindex: site.out,
            family: self.family,
            mixed: self.mixed.into(),
            macs: site.macs,
        }
    }
}

/// A number of flows in words.
pub fn count(flows: u64) -> String {
    match flows {
        0..1024 => flows.to_string(),
        1024..1_048_576 => format!("{}k", flows / 1024),
        _ => format!("{}m", flows / 1_048_576),
    }
}

/// What one window gave.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Packets that arrived in a second.
    pub rate: f64,
    /// Share of the packets that did not arrive.
    pub lost: f64,
}

/// Keeps the calling thread on one core.
pub fn stay_on(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("staying on core {core}"))
}

/// Measures each case in each round; a figure for what arrives, and one for the share that is lost.
///
/// # Errors
/// When packets cannot be made, or when a case's packets are not treated as they are to be.
pub fn measure(
    programs: &mut Programs,
    sites: &[Site],
    cases: &[Case],
    rounds: usize,
    window: Duration,
    mut told: impl FnMut(&Case, f64),
) -> Result<Vec<Figure>> {
    let mut taken: Vec<Vec<Window>> = vec![Vec::new(); cases.len()];
    for round in 0..rounds {
        for turn in 0..cases.len() {
            // Each round begins with another case, so that none is always the one after a slow one.
            let at = (turn + round) % cases.len();
            let case = &cases[at];
            let site = sites
                .iter()
                .find(|site| site.kind == case.kind)
                .context("a case has no site")?;
            let got = one(programs, site, case, window)
                .with_context(|| format!("measuring {}", case.figure()))?;
            told(case, got.rate);
            taken[at].push(got);
        }
    }
    let mut figures = Vec::new();
    for (case, windows) in cases.iter().zip(taken) {
        let name = case.figure();
        let rates = windows.iter().map(|window| window.rate).collect();
        let losses = windows.iter().map(|window| window.lost).collect();
        figures.push(Figure::new(&name, Unit::PacketsPerSecond, rates));
        figures.push(Figure::new(format!("{name}_lost"), Unit::Ratio, losses));
    }
    Ok(figures)
}

/// One window of one case.
///
/// # Errors
/// As for [`measure`].
pub fn one(programs: &mut Programs, site: &Site, case: &Case, window: Duration) -> Result<Window> {
    programs.tell(&case.traffic(site))?;
    let programs = &*programs;
    site.lan.enter(|| {
        stay_on(0)?;
        // Every flow is open, and every cache as warm as it gets, before time counts.
        let warm = u32::try_from(case.flows)?.max(CHUNK);
        programs.make(warm, case.len())?;
        let before = site.arrived(programs)?;
        let mut took = Duration::ZERO;
        let mut made = 0;
        while took < window {
            took += programs.make(CHUNK, case.len())?;
            made += u64::from(CHUNK);
        }
        let after = site.arrived(programs)?;
        let mut arrived = 0;
        let mut other = 0;
        for (after, before) in after.iter().zip(before) {
            let (translated, untranslated) = (
                after.translated - before.translated,
                after.untranslated - before.untranslated,
            );
            arrived += translated + untranslated;
            other += if case.translates() {
                untranslated
            } else {
                translated
            };
        }
        ensure!(
            other == 0,
            "{other} of {arrived} packets were not treated as {} does",
            case.name
        );
        ensure!(arrived > 0, "nothing arrives");
        let lost = made.saturating_sub(arrived);
        let lost = if lost <= UNDER_WAY { 0 } else { lost };
        Ok(Window {
            rate: arrived as f64 / took.as_secs_f64(),
            lost: lost as f64 / made as f64,
        })
    })?
}
