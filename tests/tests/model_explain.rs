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
    rules::RuleCounts,
    state::Policy as Hashed,
    verdict::{Disposition, Verdict},
};
use multihome_tests::model::{
    bench::{
        Bench as _,
        kernel::{InKernel, TIERS, UPLINKS},
    },
    links::Links,
    random::Random,
    ruled::{GROUPS, Group, Policy, server4, server6},
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

/// The words of the groups beside the default one, for whose uplinks the same are alive.
fn groups(random: &mut Random, alive: u64) -> Vec<Group> {
    let group = |_| {
        let members = alive & random.number();
        let eligible = best(if random.one_in(3) { alive } else { members });
        Group {
            words: Words {
                alive,
                eligible: if random.one_in(8) { 0 } else { eligible },
                last_good: random.number() & ALL,
                settled: eligible & random.of(&[0, 0, ALL]),
                fault: None,
            },
            hash: random.of(&[Hashed::FiveTuple, Hashed::Source, Hashed::SourceDestination]),
            hold: random.one_in(3),
        }
    };
    (0..GROUPS).map(group).collect()
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
        (host6(subnet, last).into(), server6(server).into())
    } else {
        (host4(last).into(), server4(server).into())
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

/// What was said and done alike.
struct Seen {
    verdict: Verdict,
    because: Option<Reason>,
    /// The rule, when the kernel has asked for it.
    rule: Option<usize>,
    group: String,
}

/// Asks, has the kernel do it, and compares; `None` when the clock's tick changed meanwhile.
fn compare(
    kernel: &mut InKernel,
    site: &Site,
    (words, groups): (Words, &[Group]),
    query: &Query,
) -> Result<Option<Seen>> {
    let before = tick()?;
    let matched = kernel.matched();
    let mut snapshot = kernel.snapshot()?;
    let trace = explain::trace(&mut snapshot, query, &|_, _| None)?;
    drop(snapshot);
    let down = query.what_if.iter().fold(0, |word, WhatIf::Down(name)| {
        let id = UPLINKS.iter().position(|it| it == name);
        word | id.map_or(0, |id| 1u64 << id)
    });
    if down != 0 {
        kernel.change(site, &without(words, down))?;
        let groups = groups.iter().map(|group| Group {
            words: without(group.words, down),
            ..*group
        });
        kernel.tell_groups(&groups.collect::<Vec<_>>())?;
    }
    let ran = kernel.run(Port::Lan, &trace.before)?;
    if down != 0 {
        kernel.change(site, &words)?;
        kernel.tell_groups(groups)?;
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
    // On the short way nothing is asked again, and nothing counted.
    let counted: Vec<usize> = (matched.iter().zip(kernel.matched()))
        .enumerate()
        .filter(|(_, (before, after))| *before != after)
        .map(|(rule, _)| rule)
        .collect();
    let rule = said.rule.as_ref().map(|rule| rule.number as usize - 1);
    ensure!(
        counted.is_empty() || counted == [rule.unwrap_or(RuleCounts::NO_RULE as usize)],
        "said rule {rule:?}, counted {counted:?}: {said:#?}"
    );
    // What is told fits together.
    ensure!(
        said.uplink.is_none() || said.because.is_some(),
        "no reason: {said:#?}"
    );
    Ok(Some(Seen {
        verdict,
        because: said.because,
        rule: rule.filter(|_| !counted.is_empty()),
        group: said.group.clone(),
    }))
}

#[test]
fn it_says_what_the_kernel_does() -> Result<()> {
    let seen = ask(0xe4_91a1_4000, false)?;
    // Of each kind enough that it shows something.
    for verdict in [
        Verdict::Forwarded,
        Verdict::PassGateway,
        Verdict::ReplyUnreachable,
        Verdict::ReplyReset,
    ] {
        seen.has(3, verdict.name())?;
    }
    for reason in ["Flow", "Pin", "Relation", "Rank"] {
        seen.has(10, reason)?;
    }
    Ok(())
}

/// The same under random rules, which lead to four groups, drop, or name domains, and where sources may be under
/// an uplink's own prefix.
#[test]
fn it_says_what_rules_make_the_kernel_do() -> Result<()> {
    let seen = ask(0xe4_91a1_8000, true)?;
    for what in [
        Verdict::Forwarded.name(),
        Verdict::ReplyProhibited.name(),
        Verdict::ReplyWrongSource.name(),
        "Flow",
        "Pin",
        "Own",
        "Relation",
        "Rank",
        "group default",
        "group one",
        "group two",
        "group three",
        "a rule",
        "a rule past the 64th",
    ] {
        seen.has(10, what)?;
    }
    Ok(())
}

/// How often each kind of answer was given.
#[derive(Debug, Default)]
struct Counts(BTreeMap<String, usize>);

impl Counts {
    fn add(&mut self, seen: Seen) {
        let rule = seen.rule.map(|_| "a rule".to_owned());
        let late = seen.rule.filter(|&rule| rule > 64);
        let kinds = [
            Some(seen.verdict.name().to_owned()),
            Some(format!("group {}", seen.group)),
            seen.because.map(|reason| format!("{reason:?}")),
            rule,
            late.map(|_| "a rule past the 64th".to_owned()),
        ];
        for kind in kinds.into_iter().flatten() {
            *self.0.entry(kind).or_default() += 1;
        }
    }

    fn has(&self, least: usize, kind: &str) -> Result<()> {
        let count = self.0.get(kind).copied().unwrap_or(0);
        ensure!(count >= least, "{kind}: {count} of {:#?}", self.0);
        Ok(())
    }
}

/// Asks all questions, at one site after the other; with rules or without.
fn ask(seed: u64, ruled: bool) -> Result<Counts> {
    let mut kernel = InKernel::load()?;
    let mut counts = Counts::default();
    let mut asked = 0;
    for story in 0.. {
        if asked == QUESTIONS {
            break;
        }
        let mut random = Random(seed + story);
        let site = site(&mut random);
        let mut words = words(&mut random);
        let mut groups = groups(&mut random, words.alive);
        kernel.enter(&site, &words)?;
        // Where nothing is taken to hold, each packet is asked about.
        let restless = random.one_in(2);
        let policy = |random: &mut Random| {
            let most = random.of(&[4, 30, 300]);
            ruled.then(|| Policy::random(random, &site, most, restless))
        };
        kernel.lead(policy(&mut random).as_ref())?;
        if restless {
            kernel.change(&site, &words)?;
        }
        kernel.tell_groups(&groups)?;
        let mut traffic = Traffic::new(site.clone(), Random(random.number()));
        for _ in 0..STORY {
            if random.one_in(25) {
                words = self::words(&mut random);
                groups = self::groups(&mut random, words.alive);
                if random.one_in(2) {
                    kernel.lead(policy(&mut random).as_ref())?;
                }
                kernel.change(&site, &words)?;
                kernel.tell_groups(&groups)?;
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
            let compared =
                compare(&mut kernel, &site, (words, &groups), &query).with_context(|| {
                    let conduct = site.conduct;
                    format!("story {story}, {words:?}, {groups:?}, {conduct:?}\n{query:?}")
                })?;
            let Some(seen) = compared else {
                continue;
            };
            counts.add(seen);
            asked += 1;
            if asked == QUESTIONS {
                break;
            }
        }
    }
    println!("{asked} questions\n{counts:#?}");
    Ok(counts)
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
