//! Cost of a packet: each of multihome's programs, whole and cut short, fed with a ring of flows over the
//! tables of a running gateway. What feeding costs is measured beside it, and taken off.

use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use bench_traffic::{
    ENDS, HOSTS6, PORTS_OF_HOST,
    ring::{Listed, Ring},
};
use multihome_common::{
    address::Address6,
    limits::{MAX_OUTSIDE, MAX_UPLINKS},
    nptv6::{Prefix, Translation},
};

use super::{
    figure::{Figure, Unit},
    parts::{NOTHING, Parts, WHOLE_IN, WHOLE_OUT},
    site::{Kind, Site},
    throughput::{count, stay_on},
};

/// What multihome does with addresses: its name in figures, where that is, and the family.
pub const MODES: [(&str, Kind, u32); 4] = [
    ("routed4", Kind::Routed, 4),
    ("routed6", Kind::Routed, 6),
    ("nat44", Kind::Translated, 4),
    ("nptv6", Kind::Translated, 6),
];
/// How many flows take turns.
pub const FLOWS: [u64; 3] = [1, 1024, 65536];
/// Flows that are opened first, in rings of a power of two each. About half of them leave by the uplink that
/// packets come back by, which must be enough for the longest ring: translated flows of a host to a server stay
/// together, and as there are but some thousand such pairs, the half is short by a twentieth now and then.
const OPENED: [u64; 2] = [131_072, 32_768];
/// XDP_PASS and XDP_REDIRECT (linux/bpf.h): how a part ends, and a whole program.
const PASS: u32 = 2;
const REDIRECT: u32 = 4;
/// How long it may take until nothing has changed for a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// A direction: its name in figures, the whole program, and whether packets come from the servers.
const DIRECTIONS: [(&str, &str, bool); 2] = [("out", WHOLE_OUT, false), ("in", WHOLE_IN, true)];

/// The programs that are fed besides the whole one, with what stands for them in figures.
pub fn parts(mode: &str, inward: bool) -> &'static [(&'static str, &'static str)] {
    match (mode, inward) {
        ("nat44", false) => &[
            ("parsed", "until_parsed"),
            ("classes", "until_class"),
            ("flow", "until_flow"),
            ("decided", "until_sent_out"),
            ("full", "full_out"),
        ],
        ("nat44", true) => &[
            ("parsed", "until_parsed"),
            ("owner", "until_owner"),
            ("flow", "until_flow"),
            ("decided", "until_sent_in"),
            ("full", "full_in"),
        ],
        (_, false) => &[
            ("parsed", "until_parsed"),
            ("classes", "until_class"),
            ("pin", "until_pin"),
            ("decided", "until_sent_out"),
            ("full", "full_out"),
        ],
        (_, true) => &[
            ("parsed", "until_parsed"),
            ("classes", "until_class"),
            ("pin", "until_pin"),
            ("host", "until_host"),
            ("decided", "until_sent_in"),
            ("full", "full_in"),
        ],
    }
}

/// The name of a figure: of the whole program without a part's name.
pub fn figure(mode: &str, direction: &str, flows: u64, part: Option<&str>) -> String {
    let part = part
        .map(|part| format!("_until_{part}"))
        .unwrap_or_default();
    format!("cost_{mode}_{direction}_{}{part}", count(flows))
}

/// One ring to feed, and what is fed with it.
struct Case {
    mode: &'static str,
    direction: &'static str,
    whole: &'static str,
    parts: &'static [(&'static str, &'static str)],
    flows: u64,
    ring: Ring,
    list: Vec<Listed>,
    /// The device that packets come in on, and its slot.
    ifindex: u32,
    slot: u32,
    /// The feeding, the whole program, and the parts: a value for each round.
    taken: Vec<Vec<f64>>,
}

/// Measures all modes in both directions; `packets` are fed for each value.
///
/// # Errors
/// When a program does not do with the packets what it is there for.
pub fn measure(sites: &[Site], rounds: usize, packets: u32) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for kind in [Kind::Routed, Kind::Translated] {
        let site = sites.iter().find(|site| site.kind == kind);
        let site = site.context("a mode has no site")?;
        site.add_hosts(ENDS / PORTS_OF_HOST)?;
        let mut parts = Parts::over(site.run_dir())?;
        let began = Instant::now();
        // The short way is closed for a while after each change, such as a new host.
        while !parts.is_calm()? || began.elapsed() < Duration::from_secs(1) {
            ensure!(began.elapsed() < PATIENCE, "something changes all the time");
            thread::sleep(Duration::from_millis(100));
        }
        let mut cases = Vec::new();
        for (mode, _, family) in MODES.into_iter().filter(|mode| mode.1 == kind) {
            let opened = opened(&mut parts, site, mode, family)?;
            for flows in FLOWS {
                for (direction, whole, inward) in DIRECTIONS {
                    cases.push(case(
                        site, mode, family, flows, direction, whole, inward, &opened,
                    )?);
                }
            }
        }
        for round in 0..rounds {
            for turn in 0..cases.len() {
                let at = (turn + round) % cases.len();
                site.gateway
                    .enter(|| one(&mut parts, &mut cases[at], packets))??;
            }
        }
        for case in cases {
            figures.extend(case.figures());
        }
    }
    Ok(figures)
}

/// Flows that are open.
#[derive(Default)]
struct Opened {
    /// All of them.
    all: Vec<Listed>,
    /// Those that leave by the first uplink, as they are seen there.
    first: Vec<Listed>,
}

/// Opens flows from the LAN. Those that are refused a port are left out: there are ports enough, but not
/// for each flow in the few places where its port is sought.
fn opened(parts: &mut Parts, site: &Site, mode: &str, family: u32) -> Result<Opened> {
    let (ifindex, macs) = site.lan_port();
    let outside = first_outside(mode)?;
    let (_, uplink) = site.uplink_port(0);
    let (mut opened, mut first) = (Opened::default(), 0);
    for len in OPENED {
        let ring = Ring {
            len,
            first,
            family,
            macs,
            ..Ring::default()
        };
        parts.feed(&ring, &[])?;
        site.gateway.enter(|| -> Result<()> {
            stay_on(0)?;
            parts.run_each(WHOLE_OUT, len as u32, ifindex, |place, ran, frame| {
                if ran.action != REDIRECT {
                    return Ok(());
                }
                let flow = ring.at(place.into());
                opened.all.push(flow);
                if frame[6..12] == uplink[..6] {
                    opened.first.push(if outside == 0 {
                        flow
                    } else {
                        translated(flow, frame, outside)?
                    });
                }
                Ok(())
            })
        })??;
        first += len;
    }
    ensure!(
        opened.all.len() as u64 >= first / 100 * 99,
        "{mode}: only {} of {first} flows are opened",
        opened.all.len()
    );
    Ok(opened)
}

/// A flow as its translated packet shows it.
fn translated(flow: Listed, frame: &[u8], outside: u32) -> Result<Listed> {
    let source = u32::from_be_bytes(frame[26..30].try_into()?);
    let place = source.wrapping_sub(outside);
    ensure!(
        place < MAX_OUTSIDE as u32,
        "a packet of the first uplink has another's address"
    );
    Ok(Listed {
        place: place as u16,
        port: u16::from_be_bytes(frame[34..36].try_into()?),
        ..flow
    })
}

/// The first uplink's first outside address; 0 where it has none.
fn first_outside(mode: &str) -> Result<u32> {
    if mode != "nat44" {
        return Ok(0);
    }
    Ok(super::site::outside4(0, 1).parse::<Ipv4Addr>()?.to_bits())
}

#[expect(clippy::too_many_arguments, reason = "each says one thing of the case")]
fn case(
    site: &Site,
    mode: &'static str,
    family: u32,
    flows: u64,
    direction: &'static str,
    whole: &'static str,
    inward: bool,
    opened: &Opened,
) -> Result<Case> {
    let (ifindex, macs) = if inward {
        site.uplink_port(0)
    } else {
        site.lan_port()
    };
    let (prefix, rest) = outside6(mode)?;
    let flows_open = if inward { &opened.first } else { &opened.all };
    let list: Vec<Listed> = flows_open.iter().copied().take(flows as usize).collect();
    ensure!(
        list.len() as u64 > flows / 100 * 98,
        "{mode}: {} flows are open, too few for {flows}",
        list.len()
    );
    Ok(Case {
        mode,
        direction,
        whole,
        parts: parts(mode, inward),
        flows,
        ring: Ring {
            len: list.len() as u64,
            first: 0,
            prefix,
            rest,
            outside: first_outside(mode)?,
            next: 0,
            family,
            inward: inward.into(),
            listed: 1,
            macs,
        },
        list,
        ifindex,
        slot: if inward { 0 } else { MAX_UPLINKS as u32 },
        taken: vec![Vec::new(); 2 + parts(mode, inward).len()],
    })
}

/// The LAN's IPv6 prefix as the first uplink shows it, and what the addresses' second halves begin with.
fn outside6(mode: &str) -> Result<(u64, u64)> {
    if mode != "nptv6" {
        return Ok((HOSTS6, 0));
    }
    let prefix = |high| Prefix {
        address: Address6 { high, low: 0 },
        length: 64,
    };
    let translation = Translation::new(prefix(HOSTS6), prefix(super::site::outside6(0)))
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let host = Address6 {
        high: HOSTS6,
        low: 1,
    };
    let Some(outside) = translation.outward(host) else {
        bail!("the first host has no outside address");
    };
    Ok((outside.high, outside.low - host.low))
}

/// One round of one case.
fn one(parts: &mut Parts, case: &mut Case, packets: u32) -> Result<()> {
    stay_on(0)?;
    parts.feed(&case.ring, &case.list)?;
    let ring = case.ring.len as u32;
    let mut programs = vec![(NOTHING, None), (case.whole, Some(REDIRECT))];
    for (_, program) in case.parts {
        let ends = if program.starts_with("full") {
            REDIRECT
        } else {
            PASS
        };
        programs.push((program, Some(ends)));
    }
    for (place, (program, ends)) in programs.into_iter().enumerate() {
        // Once around, so that every flow is known and as much is in the caches as fits.
        parts.run(program, ring, case.ifindex)?;
        let before = parts.forwarded(case.slot);
        let ran = parts.run(program, packets, case.ifindex)?;
        let forwarded = parts.forwarded(case.slot) - before;
        let name = figure(case.mode, case.direction, case.flows, None);
        let wanted = ends.unwrap_or(ran.action);
        ensure!(
            ran.action == wanted,
            "{name}: {program} ends with action {} and not {wanted}",
            ran.action
        );
        let whole = ends == Some(REDIRECT);
        ensure!(
            !whole || forwarded >= u64::from(packets) / 1000 * 999,
            "{name}: {program} forwards {forwarded} of {packets} packets"
        );
        case.taken[place].push(ran.each.as_nanos() as f64);
    }
    Ok(())
}

impl Case {
    /// Each program's cost without the feeding, round by round.
    fn figures(&self) -> Vec<Figure> {
        let (feeding, rest) = (&self.taken[0], &self.taken[1..]);
        let names = std::iter::once(None).chain(self.parts.iter().map(|(part, _)| Some(*part)));
        let mut figures = Vec::new();
        for (name, taken) in names.zip(rest) {
            let net = taken
                .iter()
                .zip(feeding)
                .map(|(with, feeding)| with - feeding);
            let name = figure(self.mode, self.direction, self.flows, name);
            figures.push(Figure::new(name, Unit::Nanoseconds, net.collect()));
        }
        figures
    }
}
