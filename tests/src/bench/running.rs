//! What a running multihome takes: the time until it has loaded and attached everything, memory, and what
//! its sweep of a million flows leaves of the throughput.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::signal::Signal,
    unistd::Pid,
};

use super::{
    attempts::patient,
    figure::{Figure, Unit},
    programs::Programs,
    site::{Kind, Site},
    targets::MOST_LOST,
    throughput::{self, Case},
};
use crate::lab::{Lab, Process};

/// A million translated flows in use.
const CASE: Case = Case {
    name: "nat44",
    kind: Kind::TranslatedLarge,
    family: 4,
    flows: 1 << 20,
    mixed: false,
};
/// How often a round changes between a gateway that sweeps and one that is stopped.
const TURNS: usize = 8;
/// The sites that are needed.
pub const KINDS: [Kind; 2] = [Kind::Translated, Kind::TranslatedLarge];

/// Measures all; the sweep is seen against `packets` at a time. One site is left without flows.
///
/// # Errors
/// When multihome does not start, or does not forward.
pub fn measure(
    lab: &Lab,
    programs: &mut Programs,
    sites: &mut [Site],
    rounds: usize,
    packets: u32,
) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let site = found(sites, Kind::Translated)?;
    let mut took = Vec::new();
    for _ in 0..rounds {
        took.push(site.restart(lab)?.as_secs_f64() * 1e3);
    }
    figures.push(Figure::new("start", Unit::Milliseconds, took));
    figures.extend(memory(process(site)?, "default")?);

    let site = found(sites, Kind::TranslatedLarge)?;
    // Opens the flows, which stay in use in all windows.
    throughput::one(programs, site, &CASE, Duration::from_millis(1))?;
    let process = process(site)?;
    // On the packets' own core, as on a gateway that has no other.
    keep_on(process, &[0])?;
    let shares: Result<Vec<f64>> = (0..rounds)
        .map(|_| patient(|| site.lan.enter(|| swept(programs, site, process, packets))?))
        .collect();
    // Whatever came of it, it goes on.
    process.signal(Signal::SIGCONT)?;
    let shares = shares?;
    let cores: Vec<usize> = (0..std::thread::available_parallelism()?.get()).collect();
    keep_on(process, &cores)?;
    ensure!(site.is_up()?, "an uplink went down meanwhile");
    figures.push(Figure::new("sweep_1m_throughput", Unit::Ratio, shares));
    figures.extend(memory(process, "1m")?);
    Ok(figures)
}

/// The throughput while multihome sweeps against that while it is stopped, so many packets at a time.
fn swept(programs: &Programs, site: &Site, process: &Process, packets: u32) -> Result<f64> {
    throughput::stay_on(0)?;
    let mut took = [Duration::ZERO; 2];
    let before = site.arrived(programs)?;
    for turn in 0..TURNS {
        // Each is first in half of the pairs.
        let stopped = (turn + turn / 2) % 2;
        process.signal([Signal::SIGCONT, Signal::SIGSTOP][stopped])?;
        took[stopped] += programs.make(packets, CASE.len())?;
    }
    let after = site.arrived(programs)?;
    let arrived: u64 = after
        .iter()
        .zip(before)
        .map(|(after, before)| after.translated - before.translated)
        .sum();
    let made = f64::from(packets) * TURNS as f64;
    let lost = 1.0 - arrived as f64 / made;
    ensure!(lost <= MOST_LOST, "{:.1} % are lost", lost * 100.0);
    let [running, stopped] = took.map(|took| took.as_secs_f64());
    Ok(stopped / running)
}

fn found(sites: &mut [Site], kind: Kind) -> Result<&mut Site> {
    let site = sites.iter_mut().find(|site| site.kind == kind);
    site.context("a running gateway has no site")
}

fn process(site: &Site) -> Result<&Process> {
    site.process().context("multihome does not run")
}

/// What the process has in memory, the tables that it shares with the kernel among it; and what of that
/// is its own.
fn memory(process: &Process, name: &str) -> Result<Vec<Figure>> {
    let path = format!("/proc/{}/status", process.id());
    let text = fs::read_to_string(&path).context(path)?;
    let bytes = |field: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        let value = line.with_context(|| format!("no {field}"))?;
        let kib: f64 = value.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024.0)
    };
    Ok(vec![
        Figure::new(format!("rss_{name}"), Unit::Bytes, vec![bytes("VmRSS:")?]),
        Figure::new(
            format!("rss_{name}_own"),
            Unit::Bytes,
            vec![bytes("RssAnon:")?],
        ),
    ])
}

/// Keeps all threads of a process on these cores.
fn keep_on(process: &Process, cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core)?;
    }
    for task in fs::read_dir(format!("/proc/{}/task", process.id()))? {
        let name = task?.file_name();
        let id: i32 = name.to_str().context("a thread's id")?.parse()?;
        sched_setaffinity(Pid::from_raw(id), &set)?;
    }
    Ok(())
}
