//! What the controller takes: from a health change to the word in the kernel's map, rank tables, the sweep
//! of a million flows.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use multihome::ranking::{Draws, Member};
use multihome_common::limits::{BUCKETS, MAX_GROUPS, MAX_UPLINKS};
use nix::time::{ClockId, clock_gettime};

use super::{
    figure::{Figure, Unit},
    rig::{Rig, check_a_million},
};
use crate::lab::Lab;

/// Uplinks of the gateways that decide.
pub const UPLINKS: [u8; 3] = [1, 8, 64];
/// Room for flows, of which there are a million.
const FLOWS: u32 = 1_048_576;
/// Decisions before those that count.
const WARM: u32 = 64;

/// The name of the figure of decisions; with a word for each group, where there are several.
pub fn decision(uplinks: u8, groups: usize) -> String {
    if groups == 1 {
        format!("decision_{uplinks}_uplinks")
    } else {
        format!("decision_{uplinks}_uplinks_{groups}_groups")
    }
}

/// Measures all; `decisions` for each size of the gateway, everything else `rounds` times.
///
/// # Errors
/// When the kernel refuses a gateway, or it has not the flows that it should have.
pub fn measure(lab: &Lab, rounds: usize, decisions: usize) -> Result<Vec<Figure>> {
    let [namespace] = lab
        .namespace_list(&["control".to_owned()])?
        .try_into()
        .map_err(|_| anyhow::anyhow!("a namespace was made"))?;
    let mut figures = Vec::new();
    for uplinks in UPLINKS {
        let run_dir = lab.dir().join(format!("run-control-{uplinks}"));
        figures.extend(namespace.enter(|| -> Result<Vec<Figure>> {
            let mut rig = Rig::new(&run_dir, uplinks, FLOWS)?;
            let open = rig.open_a_million(&run_dir)?;
            let got =
                check_a_million(open).and_then(|()| one(&mut rig, uplinks, rounds, decisions));
            rig.remove();
            got
        })??);
    }
    Ok(figures)
}

/// All figures of one gateway.
fn one(rig: &mut Rig, uplinks: u8, rounds: usize, decisions: usize) -> Result<Vec<Figure>> {
    let mut figures = vec![Figure::new(
        decision(uplinks, 1),
        Unit::Microseconds,
        decide(rig, uplinks, decisions, 1)?,
    )];
    if usize::from(uplinks) == MAX_UPLINKS {
        figures.push(Figure::new(
            decision(uplinks, MAX_GROUPS),
            Unit::Microseconds,
            decide(rig, uplinks, decisions, MAX_GROUPS)?,
        ));
        let mut swept = Vec::new();
        for _ in 0..rounds {
            let began = cpu_time()?;
            check_a_million(rig.sweep())?;
            swept.push((cpu_time()? - began).as_secs_f64() * 1e3);
        }
        figures.push(Figure::new("sweep_1m_cpu", Unit::Milliseconds, swept));
        figures.extend(rank(rig, rounds)?);
    }
    Ok(figures)
}

/// Takes uplinks down and up in turn; how long each word took, in microseconds. Words of further groups
/// are stored by the same function after the first one's, and the last one counts.
fn decide(rig: &mut Rig, uplinks: u8, decisions: usize, groups: usize) -> Result<Vec<f64>> {
    let mut taken = Vec::new();
    for turn in 0.. {
        if taken.len() == decisions {
            break;
        }
        let uplink = (turn % u32::from(uplinks)) as u8;
        for answered in [false, true] {
            let mut took = rig.probed(uplink, answered)?;
            let began = Instant::now();
            let dataplane = &rig.executor.dataplane;
            let word = dataplane.eligible(0, 0);
            for group in 1..groups {
                dataplane.set_eligible(group, 0, word);
            }
            if groups > 1 {
                took += began.elapsed();
            }
            let alive = word >> uplink & 1 == 1;
            ensure!(
                alive == answered,
                "the word does not follow uplink {uplink}"
            );
            if turn >= WARM && taken.len() < decisions {
                taken.push(took.as_secs_f64() * 1e6);
            }
        }
    }
    Ok(taken)
}

/// Rank tables of as many groups as there may be, each of as many uplinks; and what writing them into the
/// kernel's map takes.
fn rank(rig: &mut Rig, rounds: usize) -> Result<Vec<Figure>> {
    let mut members: Vec<Member> = (0..MAX_UPLINKS as u8)
        .map(|id| Member {
            id,
            name: format!("uplink{id}"),
            weight: 1 + u32::from(id),
            tier: 1,
        })
        .collect();
    let names: Vec<String> = members.iter().map(|member| member.name.clone()).collect();
    let (mut made, mut stored) = (Vec::new(), Vec::new());
    for round in 0..rounds as u64 {
        let (mut making, mut storing) = (Duration::ZERO, Duration::ZERO);
        let began = Instant::now();
        let draws = Draws::new(black_box(names.clone()), [round, 1]);
        making += began.elapsed();
        for group in 0..MAX_GROUPS {
            // Each group weighs its uplinks in another way.
            for (member, weight) in members.iter_mut().zip(1 + group as u32..) {
                member.weight = weight;
            }
            let began = Instant::now();
            let rows = black_box(draws.rows(black_box(&members)));
            making += began.elapsed();
            ensure!(rows.len() == BUCKETS, "a row for each bucket");
            // The first group's are those that the gateway steers by.
            if group > 0 {
                let began = Instant::now();
                rig.executor.dataplane.set_rows(group, &rows);
                storing += began.elapsed();
            }
        }
        made.push(making.as_secs_f64() * 1e3);
        stored.push(storing.as_secs_f64() * 1e3);
    }
    Ok(vec![
        Figure::new("rank_64_groups", Unit::Milliseconds, made),
        Figure::new("rank_64_groups_stored", Unit::Milliseconds, stored),
    ])
}

/// The CPU time of the calling thread.
fn cpu_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("the thread's clock")?;
    Ok(Duration::from(time))
}
