//! Random traffic through the programs and the model, packet by packet, and what both make of it.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use multihome_common::{
    fault::{Effect, Share},
    nat44::ports::{LINE, LINES, PortWord, SPACES},
    verdict::Verdict,
};

use super::{
    bench::{Bench, record},
    gateway::{Gateway, Seen},
    links::Links,
    random::Random,
    site::{Conduct, RESERVED, Site, Words},
    tables::{Number, Record},
    traffic::Traffic,
};

/// Packets at one site, before another begins without flows.
const STORY: usize = 4000;
/// A story ends before datagrams in fragments are forgotten.
const LONGEST: Duration = Duration::from_secs(30);
/// Packets after which the tables are compared as a whole.
const CHECKPOINT: usize = 1000;

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Packets that both agreed on.
    pub packets: usize,
    /// How often each verdict was given.
    pub verdicts: BTreeMap<Verdict, usize>,
    /// See [`Gateway::ambiguous`].
    pub ambiguous: u64,
    /// See [`Gateway::forgotten`].
    pub forgotten: u64,
    /// See [`Gateway::displaced`].
    pub displaced: u64,
    /// See [`Gateway::collisions`].
    pub collisions: u64,
    /// The most flows at a time.
    pub most_flows: usize,
}

/// Runs so many packets, in stories of a few thousand at sites of every kind.
///
/// # Errors
/// At the first packet that the programs and the model disagree on: the packet, and how to have it
/// again.
pub fn run(bench: &mut dyn Bench, seed: u64, packets: usize) -> Result<Report> {
    let mut report = Report::default();
    let mut story = 0;
    while report.packets < packets {
        let seed = seed << 32 | story;
        let most = STORY.min(packets - report.packets);
        tell(bench, seed, most, &mut report)
            .map_err(|error| error.context(format!("seed {seed}")))?;
        story += 1;
    }
    Ok(report)
}

/// One story.
///
/// # Errors
/// As for [`run`].
pub fn tell(bench: &mut dyn Bench, seed: u64, packets: usize, report: &mut Report) -> Result<()> {
    let mut random = Random(seed);
    // Of numbers of its own, as faults are.
    let links = if Random(seed ^ 0x11a6).one_in(2) {
        Links::MIXED
    } else {
        Links::PLAIN
    };
    let site = Site::new(conduct(&mut random), links);
    let mut words = Words {
        alive: 0b111,
        eligible: 0b111,
        last_good: 0b111,
        settled: 0,
        fault: None,
    };
    // Some stories go on as they begin: once something has changed, the kernel, whose clock cannot be
    // moved, lets no packet take the short way of known flows.
    let steady = random.one_in(3);
    // Numbers of their own, so that what a seed tells besides is what it told without faults.
    let mut faults = Random(seed ^ 0xfa17);
    if steady && random.one_in(2) {
        words = change(&mut random);
    }
    words.fault = fault(&mut faults);
    bench.enter(&site, &words)?;
    let mut gateway = Gateway::new(site.clone(), words);
    let mut traffic = Traffic::new(site.clone(), Random(random.number()));
    let slots = bench.flows().len();
    let mut table: Vec<(u64, Option<Record>)> = (0..slots).map(|at| record(bench, at)).collect();
    let begun = Instant::now();
    for n in 0..packets {
        if begun.elapsed() > LONGEST {
            break;
        }
        if !steady && random.one_in(70) {
            words = change(&mut random);
            words.fault = fault(&mut faults);
            bench.change(&site, &words)?;
            gateway.words = words;
        }
        let (port, frame) = traffic.packet();
        let Some(arriving) = links.arriving(port, &frame) else {
            continue;
        };
        let ran = bench.run(port, &arriving)?;
        let output = match ran.verdict {
            Some(verdict) => links.departed(port, &frame, verdict, &ran.output)?,
            None => ran.output,
        };
        let mut seen = Seen {
            verdict: ran.verdict,
            uplink: ran.uplink,
            output,
            ..Seen::default()
        };
        compare_slots(bench, &mut table, &mut seen);
        let output = seen.output.clone();
        let verdict = gateway.judge(port, &frame, seen).map_err(|what| {
            anyhow::anyhow!(
                "packet {n}, {port:?}, {:?}, {words:?}\n  {frame:02x?}\n{what}",
                site.conduct
            )
        })?;
        if verdict == Verdict::Forwarded {
            traffic.forwarded(ran.uplink, &output);
        }
        *report.verdicts.entry(verdict).or_default() += 1;
        report.packets += 1;
        report.most_flows = report.most_flows.max(gateway.tables.flows.len());
        if (n + 1).is_multiple_of(CHECKPOINT) {
            compare_ports(bench, &gateway)
                .map_err(|error| error.context(format!("after packet {n}, {:?}", site.conduct)))?;
        }
    }
    compare_ports(bench, &gateway)?;
    report.ambiguous += gateway.ambiguous;
    report.forgotten += gateway.forgotten;
    report.displaced += gateway.displaced;
    report.collisions += gateway.collisions;
    Ok(())
}

fn conduct(random: &mut Random) -> Conduct {
    let mut conduct = Conduct {
        open_filter: random.one_in(3),
        drop_unasked: random.one_in(2),
        hold: random.one_in(4),
        ..Conduct::default()
    };
    match random.below(8) {
        0 => conduct.routed = true,
        1 | 2 => conduct.mixed = true,
        3 => conduct.crowded = true,
        4 => conduct.by_source = true,
        _ => {}
    }
    conduct
}

/// Some uplinks die, return, are spared, or have been up for long.
fn change(random: &mut Random) -> Words {
    let alive = random.of(&[
        0b111, 0b111, 0b111, 0b110, 0b101, 0b011, 0b001, 0b010, 0b000,
    ]);
    let eligible = match random.below(5) {
        0 => alive & random.number(),
        1 => 0,
        _ => alive,
    };
    let settled = if random.one_in(3) {
        eligible & random.number()
    } else {
        0
    };
    let last_good = random.of(&[0b111, 0b111, 0b010, 0]);
    Words {
        alive,
        eligible,
        last_good,
        settled,
        fault: None,
    }
}

/// The line of some uplink loses all or half of the packets, with or without those of the link.
fn fault(random: &mut Random) -> Option<(u8, Effect)> {
    if !random.one_in(4) {
        return None;
    }
    let loss = random.of(&[1_000_000, 500_000]);
    let effect = Effect {
        loss: Share::of_million(loss)?,
        beyond_next_hop: random.one_in(2),
    };
    Some((random.below(3) as u8, effect))
}

/// Notes which flows began and ended.
fn compare_slots(bench: &dyn Bench, table: &mut [(u64, Option<Record>)], seen: &mut Seen) {
    let tags = bench.tags().iter().flat_map(|line| &line.0);
    for (index, (tag, old)) in tags.zip(table).enumerate() {
        if tag.load() == old.0 {
            continue;
        }
        let new = record(bench, index);
        seen.closed.extend(old.1);
        seen.opened.extend(new.1);
        *old = new;
    }
}

/// Whether each outside port has the owner and as many flows as the model says.
fn compare_ports(bench: &dyn Bench, gateway: &Gateway) -> Result<()> {
    let mut expected: BTreeMap<usize, u64> = BTreeMap::new();
    let site = &gateway.site;
    let place = |pool: u16, space: usize, port: u16| {
        ((usize::from(pool) * SPACES as usize + space) * LINES as usize) * LINE + usize::from(port)
    };
    for address in site.uplinks.iter().flat_map(|uplink| &uplink.outside) {
        let pool = site
            .pool_of(*address)
            .expect("an outside address has a pool");
        for space in [0, 1] {
            expected.insert(place(pool, space, RESERVED), 0xffff);
        }
    }
    for ((address, number), mapping) in &gateway.tables.numbers {
        let (space, port, inner) = match *number {
            Number::Tcp(port) => (0, port, mapping.port),
            Number::Udp(port) => (1, port, mapping.port),
            Number::Query(port) => (2, port, mapping.port),
            Number::Pair(remote, protocol) => {
                let number = gateway.tables.pairs[&(remote, protocol)];
                (3, number, number)
            }
        };
        let pool = site
            .pool_of(*address)
            .expect("an outside address has a pool");
        let flows = if mapping.forward {
            0xffff
        } else {
            mapping.flows
        };
        let inside = u64::from(u32::from(mapping.inside));
        expected.insert(
            place(pool, space, port),
            inside << 32 | u64::from(inner) << 16 | u64::from(flows),
        );
    }
    let words = bench.ports().iter().flat_map(|line| &line.0).enumerate();
    for (at, word) in words.filter(|(_, word)| !PortWord(word.load()).is_free()) {
        let found = expected.remove(&at);
        ensure!(
            found == Some(word.load()),
            "port word {at:#x} is {word:?} instead of {found:x?}"
        );
    }
    let left: Vec<(&usize, Ipv4Addr)> = expected
        .iter()
        .map(|(at, word)| (at, Ipv4Addr::from((word >> 32) as u32)))
        .collect();
    ensure!(left.is_empty(), "port words that are free: {left:x?}");
    Ok(())
}
