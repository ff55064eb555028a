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
    figure::{Figure, Unit},
    programs::Programs,
    site::{Kind, Site},
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
/// So much longer are the windows in which the sweep is seen: each has many of its slices.
const LONGER: u32 = 3;
/// The sites that are needed.
pub const KINDS: [Kind; 2] = [Kind::Translated, Kind::TranslatedLarge];

/// Measures all. One site is left without flows.
///
/// # Errors
/// When multihome does not start, or does not forward.
pub fn measure(
    lab: &Lab,
    programs: &mut Programs,
    sites: &mut [Site],
    rounds: usize,
    window: Duration,
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
    throughput::one(programs, site, &CASE, window)?;
    let process = process(site)?;
    let window = window * LONGER;
    // On the packets' own core, as on a gateway that has no other.
    keep_on(process, &[0])?;
    let mut shares = Vec::new();
    for round in 0..rounds {
        let mut rates = [0.0; 2];
        for turn in 0..2 {
            let stopped = (turn + round) % 2;
            if stopped == 1 {
                process.signal(Signal::SIGSTOP)?;
            }
            let got = throughput::one(programs, site, &CASE, window);
            if stopped == 1 {
                process.signal(Signal::SIGCONT)?;
            }
            rates[stopped] = got?.rate;
        }
        shares.push(rates[0] / rates[1]);
    }
    let cores: Vec<usize> = (0..std::thread::available_parallelism()?.get()).collect();
    keep_on(process, &cores)?;
    ensure!(site.is_up()?, "an uplink went down meanwhile");
    figures.push(Figure::new("sweep_1m_throughput", Unit::Ratio, shares));
    figures.extend(memory(process, "1m")?);
    Ok(figures)
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
