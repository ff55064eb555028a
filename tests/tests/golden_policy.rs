//! Rules in the real kernel: random ones, and all of them replaced while packets pass.

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    maps::{Array, Map, MapData},
    programs::Xdp,
};
use multihome::{
    config::{PortRange, XdpMode},
    dataplane::{Dataplane, PROGRAM_LAN, Sizes},
    policy::{self, Rule},
};
use multihome_common::{
    abi,
    address::AddressTable,
    limits::BUCKETS,
    rules::{Rulebook, Target},
    state::IPV4,
};
use multihome_tests::prog_run::{
    frames::{IPV4 as ETHERTYPE, ethernet, ipv4, udp},
    kernel::Kernel,
    policy as random_policy,
    world::{GATEWAY, HOST, HOST4, IFINDEX, LAN_SLOT, SERVER4, Side, World, row, segments4},
};

/// Ten thousand packets under twenty policies of up to a thousand rules: the rule that the programs find is
/// the first that matches.
#[test]
fn the_programs_find_the_first_rule_that_matches() {
    let mut kernel = Kernel::load().expect("root, and a kernel with BTF");
    for seed in 0..20 {
        let most = [10, 100, 1000][seed as usize % 3] - 1;
        random_policy::run(&mut kernel, seed, most, 500)
            .unwrap_or_else(|error| panic!("{error:#}"));
    }
}

/// While all rules are replaced again and again, no packet is judged by some of the old ones and some of the
/// new; and a rulebook that is overwritten while it is in force is noticed by the same packets.
#[test]
fn a_packet_is_judged_by_the_old_rules_or_by_the_new_ones() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let sizes = Sizes {
        flows: 1024,
        pools: 0,
    };
    let (mut dataplane, _undo) = Dataplane::open(&dir.path().join("run"), XdpMode::Generic, sizes)?;
    fill(&mut dataplane)?;
    let reader = dataplane.counters()?;
    let counts = reader.rules();
    let program: &mut Xdp = dataplane
        .ebpf_mut()
        .program_mut(PROGRAM_LAN)
        .context("no program")?
        .try_into()?;
    let program = program.fd()?.as_fd().try_clone_to_owned()?;
    let books = [OLD, NEW].map(|rule| policy::compile(&rules(rule), &[]).expect("they fit"));
    dataplane.set_rules(Some(&books[0]))?;

    let mut swaps = 0;
    let passed = while_packets_pass(&program, || {
        swaps += 1;
        Ok(dataplane.set_rules(Some(&books[swaps % 2]))?)
    })?;
    let matched = |rule: usize| counts.matched(rule as u32);
    println!(
        "{passed} packets, {swaps} swaps: {} old, {} new",
        matched(OLD),
        matched(NEW)
    );
    ensure!(
        matched(MIXED) == 0,
        "{} packets of {passed} were judged by both",
        matched(MIXED)
    );
    ensure!(
        matched(OLD) > 100 && matched(NEW) > 100 && matched(OLD) + matched(NEW) == passed,
        "of {passed} packets {} went by the old rules, {} by the new",
        matched(OLD),
        matched(NEW)
    );

    // The test of the test.
    let mut in_force = in_force(dir.path())?;
    counts.clear();
    dataplane.set_rules(Some(&books[0]))?;
    for _ in 0..20 {
        while_packets_pass(&program, || {
            for (copy, book) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                // By reference: it is too large for a stack.
                let book: &Rulebook = &books[book];
                in_force.set(copy, book, 0)?;
            }
            Ok(())
        })?;
        if matched(MIXED) > 0 {
            return Ok(());
        }
    }
    bail!("rules that were overwritten in force were not noticed")
}

/// The number of the one rule that matches by the old policy.
const OLD: usize = 3;
/// The same by the new one.
const NEW: usize = 700;
/// What matches when neither does.
const MIXED: usize = 800;

/// Rules of which this one matches the packets by each of its parts, and the others by none; but for the last,
/// which takes what is left.
fn rules(matching: usize) -> Vec<Rule> {
    let port = |port| PortRange::new(port, port).map(|range| vec![range]);
    let prefix = |text: &str| Some(vec![text.parse().expect("a prefix")]);
    let other = Rule {
        sources: prefix("10.9.0.0/16"),
        destinations: prefix("198.51.100.0/24"),
        protocols: Some(vec![6]),
        source_ports: port(1),
        ports: port(9),
        dscps: Some(vec![46]),
        lan: Some(vec![7]),
        vlans: None,
        domains: None,
        target: Target::group_of(0),
    };
    let mut rules = vec![other; MIXED];
    if matching == NEW {
        // So that the same sets have other numbers.
        rules[0].sources = prefix("10.0.0.0/16");
    }
    rules[matching] = Rule {
        sources: prefix("10.1.0.0/24"),
        destinations: prefix("203.0.113.0/24"),
        protocols: Some(vec![17]),
        source_ports: PortRange::new(1000, 60_000).map(|range| vec![range]),
        ports: port(2000),
        dscps: Some(vec![0]),
        lan: Some(vec![0]),
        vlans: None,
        domains: None,
        target: Target::group_of(0),
    };
    rules.push(Rule::any(Target::DROP));
    rules
}

/// Makes the tables those of the golden rows' world, as far as a packet to the server needs them.
fn fill(dataplane: &mut Dataplane) -> Result<()> {
    let world = World::default();
    dataplane.tell_sizes();
    dataplane.set_seed(world.seed);
    dataplane.set_addresses4(&AddressTable::new(&segments4()).context("they fit")?)?;
    dataplane.set_rows(0, &(0..BUCKETS).map(row).collect::<Vec<_>>());
    dataplane.set_uplink(0, world.uplink(0))?;
    dataplane.set_alive(IPV4, 1);
    dataplane.set_eligible(0, IPV4, 1);
    dataplane.set_port("lo", world.port_of(Side::Lan))?;
    for slot in [0, LAN_SLOT] {
        dataplane.set_device(slot, IFINDEX)?;
    }
    Ok(())
}

/// Runs packets, each of a flow of its own, while something is done again and again for two seconds; how many.
fn while_packets_pass(program: &OwnedFd, mut done: impl FnMut() -> Result<()>) -> Result<u64> {
    let (stop, passed) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let packets = scope.spawn(|| -> Result<()> {
            while !stop.load(Relaxed) {
                let number = passed.fetch_add(1, Relaxed);
                let ports = (1000 + (number % 50_000) as u16, 2000);
                let packet = ipv4((HOST4, SERVER4), 64, 17, &udp(ports, b""), |_| {});
                run(program, &ethernet(GATEWAY, HOST, &[], ETHERTYPE, &packet))?;
            }
            Ok(())
        });
        let until = Instant::now() + Duration::from_secs(2);
        let mut result = Ok(());
        while result.is_ok() && Instant::now() < until {
            result = done();
        }
        stop.store(true, Relaxed);
        packets.join().expect("it does not panic")?;
        result
    })?;
    Ok(passed.into_inner())
}

/// The map of rulebooks, as it is pinned.
fn in_force(dir: &Path) -> Result<Array<MapData, Rulebook>> {
    let pins = fs::read_dir(dir.join("run/bpf"))?
        .next()
        .context("nothing is pinned")??;
    let map = MapData::from_pin(pins.path().join(abi::RULES))?;
    Ok(Array::try_from(Map::Array(map))?)
}

/// `BPF_PROG_TEST_RUN` of linux/bpf.h.
const BPF_PROG_TEST_RUN: libc::c_int = 10;

/// The part of `union bpf_attr` that it reads.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    result: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

/// Runs the program on one packet.
fn run(program: &OwnedFd, packet: &[u8]) -> Result<()> {
    let mut attributes = TestRun {
        program: program.as_raw_fd() as u32,
        size_in: packet.len() as u32,
        data_in: packet.as_ptr() as u64,
        repeat: 1,
        ..TestRun::default()
    };
    // SAFETY: the structure and the packet outlive the call, which writes to the structure alone.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut attributes,
            size_of::<TestRun>(),
        )
    };
    ensure!(
        result == 0,
        "BPF_PROG_TEST_RUN: {}",
        io::Error::last_os_error()
    );
    Ok(())
}
