//! New translated flows a second: every packet is the first of its flow, and every round begins with a
//! gateway that knows none.

use anyhow::{Context as _, Result, ensure};
use bench_traffic::Traffic;

use super::{
    figure::{Figure, Unit},
    programs::Programs,
    site::{Kind, Site},
    throughput::stay_on,
};
use crate::lab::Lab;

/// What is compared, by the names in figures.
pub const CONTENDERS: [(&str, Kind); 3] = [
    ("nat44", Kind::Translated),
    ("masquerade", Kind::Masquerade),
    ("nat44_rules", Kind::Ruled),
];

/// Flows of a round, a power of two: all contenders have room for four times as many by default.
const FLOWS: u64 = 1 << 16;
/// Length of the frames without the check sequence.
const LEN: usize = 60;

/// What one round gave.
struct Round {
    /// Flows a second whose packet arrived.
    rate: f64,
    /// Share of the flows whose packet did not.
    lost: f64,
}

/// Measures all contenders in each round, and how they compare. The sites are left without flows, and
/// multihome with another seed.
///
/// # Errors
/// When packets cannot be made, or when what arrives is not what the gateway's own table says.
pub fn measure(
    lab: &Lab,
    programs: &mut Programs,
    sites: &mut [Site],
    rounds: usize,
) -> Result<Vec<Figure>> {
    let mut taken = CONTENDERS.map(|_| Vec::new());
    // One round more, the first, does not count: the kernel takes memory for its table then.
    for round in 0..=rounds {
        for turn in 0..CONTENDERS.len() {
            let at = (turn + round) % CONTENDERS.len();
            let (name, kind) = CONTENDERS[at];
            let site = sites
                .iter_mut()
                .find(|site| site.kind == kind)
                .with_context(|| format!("{name} has no site"))?;
            site.forget_flows(lab)?;
            let got = one(programs, site).with_context(|| format!("new flows of {name}"))?;
            eprintln!("new_flows_{name:20} {:6.3} M/s", got.rate / 1e6);
            if round > 0 {
                taken[at].push(got);
            }
        }
    }
    let mut figures = Vec::new();
    for ((name, _), rounds) in CONTENDERS.iter().zip(&taken) {
        let of = |pick: fn(&Round) -> f64| rounds.iter().map(pick).collect();
        let name = format!("new_flows_{name}");
        let lost = format!("{name}_lost");
        figures.push(Figure::new(name, Unit::FlowsPerSecond, of(|got| got.rate)));
        figures.push(Figure::new(lost, Unit::Ratio, of(|got| got.lost)));
    }
    let ratio = figures[0].against(&figures[2], "new_flows_nat44_of_masquerade");
    figures.push(ratio);
    let ratio = figures[4].against(&figures[0], "new_flows_nat44_rules_of_nat44");
    figures.push(ratio);
    Ok(figures)
}

/// One round of one contender: a packet of each flow, once.
fn one(programs: &mut Programs, site: &Site) -> Result<Round> {
    programs.tell(&Traffic {
        mask: FLOWS - 1,
        first: 0,
        begin: 0,
        ifindex: site.out,
        family: 4,
        mixed: 0,
        macs: site.macs,
    })?;
    let programs = &*programs;
    let known = site.open_flows()?;
    let (before, took, after) = site.lan.enter(|| -> Result<_> {
        stay_on(0)?;
        let before = site.arrived(programs)?;
        let took = programs.make(FLOWS as u32, LEN)?;
        Ok((before, took, site.arrived(programs)?))
    })??;
    let known = site.open_flows()? - known;
    let mut translated = 0;
    for (after, before) in after.iter().zip(before) {
        translated += after.translated - before.translated;
        ensure!(
            after.untranslated == before.untranslated,
            "packets arrive that were not translated"
        );
    }
    // Both count what they were asked to open, so one that forwards without a record shows.
    ensure!(
        translated > 0 && known >= translated,
        "{translated} flows arrive, and the gateway knows {known}"
    );
    Ok(Round {
        rate: translated as f64 / took.as_secs_f64(),
        lost: 1.0 - translated as f64 / FLOWS as f64,
    })
}
