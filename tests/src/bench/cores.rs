//! Two cores against one: generators on both, each of whose packets are forwarded and counted on the core
//! that they were made on. Devices have a queue for each core.

use std::{
    path::Path,
    sync::{Barrier, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    attempts::patient,
    figure::{Figure, Unit},
    programs::Programs,
    site::{Kind, Site},
    targets::MOST_LOST,
    throughput::{Case, stay_on},
};
use crate::lab::Lab;

/// How many cores are compared with one.
const CORES: usize = 2;
/// Cores with which each generator could have one, and each forwarder.
pub const FREE: usize = 4;
/// What is compared.
pub const CASES: [(&str, Kind, u32); 3] = [
    ("bare", Kind::Bare, 4),
    ("routed4", Kind::Routed, 4),
    ("nat44", Kind::Translated, 4),
];
const FLOWS: u64 = 65536;

/// The number of cores of this machine.
///
/// # Errors
/// When the system does not say.
pub fn present() -> Result<usize> {
    Ok(thread::available_parallelism()?.get())
}

/// Measures all cases in sites of their own, whose first is the `ordinal`-th of the lab; each core makes
/// `packets` for each value. Nothing where
/// the machine has one core alone.
///
/// # Errors
/// When packets cannot be made, or do not arrive.
pub fn measure(
    lab: &Lab,
    programs: &mut Programs,
    binary: &Path,
    ordinal: u32,
    rounds: usize,
    packets: u32,
) -> Result<Vec<Figure>> {
    if present()? < CORES {
        return Ok(Vec::new());
    }
    let mut sites = Vec::new();
    for (ordinal, (_, kind, _)) in (ordinal..).zip(CASES) {
        sites.push(Site::new(lab, programs, binary, kind, ordinal, CORES)?);
    }
    let mut taken = CASES.map(|_| [Vec::new(), Vec::new()]);
    for round in 0..rounds {
        for turn in 0..CASES.len() * 2 {
            let at = (turn + round) % (CASES.len() * 2);
            let (case, cores) = (at / 2, at % 2 + 1);
            let (name, kind, family) = CASES[case];
            let what = Case {
                name,
                kind,
                family,
                flows: FLOWS,
                mixed: false,
            };
            let rate = patient(|| one(programs, &sites[case], &what, cores, packets))
                .with_context(|| format!("{name} on {cores} cores"))?;
            taken[case][cores - 1].push(rate);
        }
    }
    let mut figures = Vec::new();
    for ((name, ..), [one, two]) in CASES.iter().zip(taken) {
        let one = Figure::new(format!("cores_{name}_1"), Unit::PacketsPerSecond, one);
        let two = Figure::new(format!("cores_{name}_2"), Unit::PacketsPerSecond, two);
        let ratio = two.against(&one, format!("cores_{name}_2_of_1"));
        figures.extend([one, two, ratio]);
    }
    Ok(figures)
}

/// Packets a second that arrive when so many cores make them: each makes the same number in one go, since
/// what the kernel needs to begin and to end is no matter of packets.
fn one(
    programs: &mut Programs,
    site: &Site,
    case: &Case,
    cores: usize,
    packets: u32,
) -> Result<f64> {
    programs.tell(&case.traffic(site))?;
    let programs = &*programs;
    let before = Mutex::new(None);
    let barrier = Barrier::new(cores);
    let generate = &|core| -> Result<Duration> {
        let warm = stay_on(core).and_then(|()| programs.make(case.flows as u32, case.len()));
        // Also after a failure, or nobody would ever go on.
        if barrier.wait().is_leader() {
            let arrived = sum(site, programs);
            *before.lock().unwrap_or_else(PoisonError::into_inner) = Some(arrived);
        }
        barrier.wait();
        warm?;
        programs.make(packets, case.len())
    };
    let took = thread::scope(|scope| -> Result<Vec<Duration>> {
        let threads: Vec<_> = (0..cores)
            .map(|core| scope.spawn(move || site.lan.enter(|| generate(core))))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?
            })
            .collect()
    })?;
    let before = before.into_inner().unwrap_or_else(PoisonError::into_inner);
    let before = before.context("nobody was the last one")??;
    let arrived = sum(site, programs)? - before;
    let share = arrived as f64 / (f64::from(packets) * cores as f64);
    ensure!(
        share >= 1.0 - MOST_LOST,
        "{:.1} % of the packets are lost",
        (1.0 - share) * 100.0
    );
    let rates = took
        .iter()
        .map(|took| f64::from(packets) / took.as_secs_f64());
    Ok(rates.sum::<f64>() * share)
}

fn sum(site: &Site, programs: &Programs) -> Result<u64> {
    let arrived = site.arrived(programs)?;
    Ok(arrived.iter().map(|arrived| arrived.packets()).sum())
}
