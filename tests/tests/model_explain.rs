//! What `multihome explain` says, against what the programs in the kernel do with the very packet: in the midst
//! of random traffic, with random words, sites and failures.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use multihome::explain::{
    self, Reason,
    query::{Endpoint, Protocol, Query, WhatIf},
};
use multihome_common::{
    flow,
    verdict::{Disposition, Verdict},
};
use multihome_tests::model::{
    bench::{
        Bench as _,
        kernel::{InKernel, TIERS, UPLINKS},
    },
    links::Links,
    random::Random,
    site::{Conduct, Port, Site, Words, host4, host6},
    traffic::Traffic,
};
use nix::time::{ClockId, clock_gettime};

/// Questions in all.
const QUESTIONS: usize = 10_000;
/// Questions at one site.
const STORY: usize = 400;
/// Packets of the traffic between two questions.
const BETWEEN: usize = 4;

/// All uplinks of the model.
const ALL: u64 = 0b111;

fn site(random: &mut Random) -> Site {
    let conduct = Conduct {
        open_filter: random.one_in(3),
        drop_unasked: random.one_in(3),
        hold: random.one_in(3),
        by_source: random.one_in(3),
        mixed: random.one_in(3),
        routed: random.one_in(4),
        crowded: random.one_in(6),
    };
    Site::new(conduct, Links::PLAIN)
}

/// Words as a controller may write them: who is eligible is alive, and of one tier.
fn words(random: &mut Random) -> Words {
    let alive = if random.one_in(3) {
        random.number() & ALL
    } else {
        ALL
    };
    let eligible = best(
        alive
            & if random.one_in(4) {
                random.number()
            } else {
                ALL
            },
    );
    Words {
        alive,
        eligible: if eligible == 0 { best(alive) } else { eligible },
        last_good: random.number() & ALL,
        settled: eligible & random.of(&[0, 0, ALL]),
        fault: None,
    }
}

/// Of some uplinks those of the best tier.
fn best(word: u64) -> u64 {
    let of = |tier: u8| {
        let members = (0..).zip(TIERS).filter(move |(_, of)| *of == tier);
        members.fold(0, |all, (id, _): (u32, _)| all | 1u64 << id) & word
    };
    [1, 2].map(of).into_iter().find(|it| *it != 0).unwrap_or(0)
}

/// The words without an uplink, told from the rules of the design and not from the code: the rest of the tier
/// serves, else who is up of the next one, else what was good.
fn without(words: Words, down: u64) -> Words {
    let alive = words.alive & !down;
    let rest = words.eligible & !down;
    let good = if words.eligible == 0 {
        words.last_good
    } else {
        words.eligible
    };
    let eligible = if rest == 0 {
        // What was passed over before is so still, while there is another.
        let best_tier = if words.eligible & 0b011 != 0 {
            0b011
        } else {
            ALL
        };
        match best(alive & !best_tier) {
            0 => best(alive),
            next => next,
        }
    } else {
        rest
    };
    Words {
        alive,
        eligible,
        last_good: good & !down,
        settled: words.settled & !down,
        fault: None,
    }
}

/// A question about the hosts and servers that the traffic is of, so that it meets flows.
fn question(random: &mut Random) -> Query {
    let v6 = random.one_in(3);
    let last = 2 + random.below(6) as u8;
    let server = 1 + random.below(5) as u8;
    let (source, destination) = if v6 {
        let subnet = random.of(&[0, 0, 5, 0xffff]);
        let server = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0x5000, 0, 0, 0, 0, server.into());
        (host6(subnet, last).into(), server.into())
    } else {
        (
            host4(last).into(),
            std::net::Ipv4Addr::new(198, 18, 0, server).into(),
        )
    };
    let icmp = if v6 { 58 } else { 1 };
    let protocol = Protocol(random.of(&[6, 6, 6, 17, 17, 17, icmp, 47, 50]));
    let ports = protocol.has_ports().then(|| {
        let inside = random.of(&[80, 1000, 1001, 1002, 1003, 1004, 1005, 2022, 40_000, 51_234]);
        (inside, random.of(&[53, 80, 443]))
    });
    let destination = match random.below(20) {
        // The gateway itself, an outside address, and others that are not steered.
        0 if !v6 => std::net::IpAddr::from([10, 1, 0, 1]),
        1 if !v6 => [192, 0, 2, 2].into(),
        2 if !v6 => [224, 0, 0, 5].into(),
        3 if !v6 => [10, 1, 0, 3].into(),
        _ => destination,
    };
    Query {
        source: Endpoint {
            address: source,
            port: ports.map(|ports| ports.0),
        },
        destination: Endpoint {
            address: destination,
            port: ports.map(|ports| ports.1),
        },
        protocol,
        dscp: random.of(&[0, 0, 46]),
        vlan: None,
        lan: None,
        what_if: Vec::new(),
    }
}

/// The time in ticks, and whether it is about to be another: then what is said and what is done may be of
/// two ticks, and a flow that was opened in the first one is older in the second.
fn tick() -> Result<(u32, bool)> {
    const NEAR: u64 = 20_000_000;
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)?;
    let now = u64::try_from(time.tv_sec())? * 1_000_000_000 + u64::try_from(time.tv_nsec())?;
    let changes = flow::ticks(now - NEAR) != flow::ticks(now + NEAR);
    Ok((flow::ticks(now), changes))
}

/// Asks, has the kernel do it, and compares; `None` when the clock's tick changed meanwhile.
fn compare(
    kernel: &mut InKernel,
    site: &Site,
    words: Words,
    query: &Query,
) -> Result<Option<(Verdict, Option<Reason>)>> {
    let before = tick()?;
    let mut snapshot = kernel.snapshot()?;
    let trace = explain::trace(&mut snapshot, query, &|_, _| None)?;
    drop(snapshot);
    let down = query.what_if.iter().fold(0, |word, WhatIf::Down(name)| {
        let id = UPLINKS.iter().position(|it| it == name);
        word | id.map_or(0, |id| 1u64 << id)
    });
    if down != 0 {
        kernel.change(site, &without(words, down))?;
    }
    let ran = kernel.run(Port::Lan, &trace.before)?;
    if down != 0 {
        kernel.change(site, &words)?;
    }
    let after = tick()?;
    if before.0 != after.0 || before.1 || after.1 {
        return Ok(None);
    }
    let said = &trace.explanation;
    let verdict = ran.verdict.context("a verdict")?;
    ensure!(
        said.verdict == verdict.name(),
        "said {}, did {}: {said:#?}",
        said.verdict,
        verdict.name()
    );
    let uplink = ran.uplink.map(|id| UPLINKS[usize::from(id)]);
    ensure!(
        said.uplink.as_deref() == uplink,
        "said {:?}, took {uplink:?}: {said:#?}",
        said.uplink
    );
    if verdict.disposition() != Disposition::Drop {
        ensure!(
            trace.after == ran.output,
            "said\n  {:02x?}\ndid\n  {:02x?}\n{said:#?}",
            trace.after,
            ran.output
        );
    }
    // What is told fits together.
    ensure!(
        said.uplink.is_none() || said.because.is_some(),
        "no reason: {said:#?}"
    );
    Ok(Some((verdict, said.because)))
}

#[test]
fn it_says_what_the_kernel_does() -> Result<()> {
    let mut kernel = InKernel::load()?;
    let mut verdicts: BTreeMap<Verdict, usize> = BTreeMap::new();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut asked = 0;
    for story in 0.. {
        if asked == QUESTIONS {
            break;
        }
        let mut random = Random(0xe4_91a1_4000 + story);
        let site = site(&mut random);
        let mut words = words(&mut random);
        kernel.enter(&site, &words)?;
        let mut traffic = Traffic::new(site.clone(), Random(random.number()));
        for _ in 0..STORY {
            if random.one_in(25) {
                words = self::words(&mut random);
                kernel.change(&site, &words)?;
            }
            for _ in 0..BETWEEN {
                let (port, frame) = traffic.packet();
                let ran = kernel.run(port, &frame)?;
                if ran.verdict == Some(Verdict::Forwarded) {
                    traffic.forwarded(ran.uplink, &ran.output);
                }
            }
            let mut query = question(&mut random);
            if random.one_in(6) {
                query.what_if = vec![WhatIf::Down(random.of(&UPLINKS).to_owned())];
            }
            let compared = compare(&mut kernel, &site, words, &query).with_context(|| {
                format!("story {story}, {words:?}, {:?}\n{query:?}", site.conduct)
            })?;
            let Some((verdict, because)) = compared else {
                continue;
            };
            *verdicts.entry(verdict).or_default() += 1;
            let reason = because.map_or_else(String::new, |it| format!("{it:?}"));
            *reasons.entry(reason).or_default() += 1;
            asked += 1;
            if asked == QUESTIONS {
                break;
            }
        }
    }
    println!("{asked} questions\n{verdicts:#?}\n{reasons:#?}");
    // Of each kind enough that it shows something.
    for verdict in [
        Verdict::Forwarded,
        Verdict::PassGateway,
        Verdict::ReplyUnreachable,
        Verdict::ReplyReset,
    ] {
        let count = verdicts.get(&verdict).copied().unwrap_or(0);
        ensure!(count >= 3, "{verdict:?}: {count}");
    }
    for reason in ["Flow", "Pin", "Relation", "Rank"] {
        let count = reasons.get(reason).copied().unwrap_or(0);
        ensure!(count >= 10, "{reason}: {count}");
    }
    Ok(())
}

/// Looking changes nothing: neither a pin nor a flow, and the same question has the same answer.
#[test]
fn it_changes_nothing() -> Result<()> {
    let mut kernel = InKernel::load()?;
    let site = Site::new(Conduct::default(), Links::PLAIN);
    let words = Words {
        alive: ALL,
        eligible: 0b011,
        last_good: ALL,
        settled: 0,
        fault: None,
    };
    kernel.enter(&site, &words)?;
    let all = |kernel: &InKernel| {
        let tags: Vec<u64> = (kernel.tags().iter())
            .flat_map(|line| line.0.iter().map(|word| word.load()))
            .collect();
        let ports: Vec<u64> = (kernel.ports().iter())
            .flat_map(|line| line.0.iter().map(|word| word.load()))
            .collect();
        (tags, ports)
    };
    let before = all(&kernel);
    let mut random = Random(7);
    for _ in 0..200 {
        let query = question(&mut random);
        let mut answers = Vec::new();
        for _ in 0..2 {
            let mut snapshot = kernel.snapshot()?;
            answers.push(explain::trace(&mut snapshot, &query, &|_, _| None)?.after);
        }
        ensure!(answers[0] == answers[1], "{query:?}");
    }
    ensure!(all(&kernel) == before, "something was written");
    Ok(())
}
