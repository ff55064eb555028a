//! The golden tables through the real kernel.

use multihome_common::{abi, verdict::Verdict};
use multihome_tests::prog_run::{
    all_rows, differential,
    frames::{IPV4, IPV6, ethernet, fragment, ipv4, ipv6, udp},
    kernel::Kernel,
    run_all,
    world::{GATEWAY, HOST, HOST4, HOST6, SERVER4, SERVER6, Side, World},
};

/// What later features must leave room below (the design's budget).
const MOST_INSTRUCTIONS: u32 = 300_000;

#[test]
fn every_row_holds() {
    let report = run_all().expect("root, and a kernel with BTF");
    println!("{} rows passed", report.passed);
    assert!(
        report.failures.is_empty(),
        "{} failed:\n{}",
        report.failures.len(),
        report.failures.join("\n")
    );
}

#[test]
fn the_verifier_is_left_room_for_later_features() {
    let kernel = Kernel::load().expect("root, and a kernel with BTF");
    for side in [Side::Lan, Side::Uplink] {
        let instructions = kernel
            .verified_instructions(side)
            .expect("Linux 5.16 or newer");
        println!("{side:?}: {instructions} verified instructions");
        assert!(instructions < MOST_INSTRUCTIONS, "{side:?}: {instructions}");
    }
    let trunk = kernel
        .verified_instructions_of_trunk()
        .expect("Linux 5.16 or newer");
    println!("Trunk: {trunk} verified instructions");
    assert!(trunk < MOST_INSTRUCTIONS, "Trunk: {trunk}");
}

#[test]
fn every_verdict_but_defects_has_a_row() {
    let rows = all_rows();
    for verdict in Verdict::ALL {
        // None can be had by a packet: a device that is not entered, a driver without room, and a defect.
        let beyond = [
            Verdict::PassNotReady,
            Verdict::DropNoRoom,
            Verdict::DropInternal,
        ];
        if beyond.contains(verdict) {
            continue;
        }
        assert!(
            rows.iter().any(|row| row.verdict == *verdict),
            "no row for {}",
            verdict.name()
        );
    }
}

#[test]
fn kernel_and_host_agree_on_mutated_packets() {
    let mut kernel = Kernel::load().expect("root, and a kernel with BTF");
    for seed in 0..4 {
        differential::run(&mut kernel, seed, 2_500).unwrap_or_else(|error| panic!("{error:#}"));
    }
}

/// Every fragment of a datagram takes one uplink, whatever the datagram.
#[test]
fn all_fragments_of_a_datagram_take_one_uplink() {
    let mut kernel = Kernel::load().expect("root, and a kernel with BTF");
    let world = World {
        group: multihome_common::state::GroupWords {
            eligible: [0b111; 2],
            ..World::default().group
        },
        ..World::default()
    };
    kernel
        .enter(&world, Side::Lan)
        .expect("maps can be written");
    let mut reached = [0u32; 3];
    for n in 0..200u32 {
        let server = std::net::Ipv4Addr::from(u32::from(SERVER4) + n);
        let server6 = std::net::Ipv6Addr::from(u128::from(SERVER6) + u128::from(n));
        let part = |offset: u16, more: bool| {
            let payload = udp((1000 + n as u16 + offset, 2000), &[offset as u8; 64]);
            ethernet(
                GATEWAY,
                HOST,
                &[],
                IPV4,
                &ipv4((HOST4, server), 64, 17, &payload, |header| {
                    header.more_fragments = more;
                    header.fragment_offset = etherparse::IpFragOffset::try_new(offset).unwrap();
                }),
            )
        };
        let part6 = |offset: u16, more: bool| {
            let data = udp((1000 + n as u16 + offset, 2000), &[offset as u8; 64]);
            let payload = [fragment(17, offset, more), data].concat();
            ethernet(
                GATEWAY,
                HOST,
                &[],
                IPV6,
                &ipv6((HOST6, server6), 64, 44, &payload),
            )
        };
        for parts in [
            [part(0, true), part(9, true), part(18, false)],
            [part6(0, true), part6(9, true), part6(18, false)],
        ] {
            let uplinks = parts.map(|part| kernel.run(Side::Lan, &part).unwrap().uplink);
            assert!(
                uplinks[0].is_some() && uplinks.iter().all(|uplink| *uplink == uplinks[0]),
                "{uplinks:?}"
            );
            reached[usize::from(uplinks[0].unwrap())] += 1;
        }
    }
    assert!(
        reached.iter().all(|&count| count > 50),
        "not spread: {reached:?}"
    );
}

/// What the gateway itself sends is bounded, and what is not answered is counted as dropped.
#[test]
fn answers_are_rate_limited() {
    let mut kernel = Kernel::load().expect("root, and a kernel with BTF");
    kernel
        .enter(&World::default(), Side::Lan)
        .expect("maps can be written");
    let packet = ipv4((HOST4, SERVER4), 1, 17, &udp((1, 2), b""), |_| {});
    let frame = ethernet(GATEWAY, HOST, &[], IPV4, &packet);
    let mut dropped = 0;
    // Each CPU has a bucket of its own, and test runs may move between them.
    for _ in 0..5_000 {
        match kernel.run(Side::Lan, &frame).expect("it runs").verdict {
            Some(Verdict::ReplyTimeExceeded) => {}
            Some(Verdict::DropHopLimit) => dropped += 1,
            other => panic!("{other:?}"),
        }
        if dropped > 100 {
            return;
        }
    }
    panic!("5000 answers in a row");
}

/// Kernel and user agree on every map's sizes.
#[test]
fn the_object_has_the_maps_of_the_abi() {
    let mut ebpf = aya::EbpfLoader::new()
        .load(multihome::dataplane::OBJECT)
        .expect("root");
    for expected in abi::MAPS {
        let map = ebpf
            .take_map(expected.name)
            .unwrap_or_else(|| panic!("no map {}", expected.name));
        let (aya::maps::Map::Array(data)
        | aya::maps::Map::HashMap(data)
        | aya::maps::Map::PerCpuArray(data)
        | aya::maps::Map::ProgramArray(data)
        | aya::maps::Map::DevMap(data)) = map
        else {
            panic!("{} is of another kind", expected.name)
        };
        let info = data.info().expect("it is there");
        assert_eq!(
            (info.key_size(), info.value_size(), info.max_entries()),
            (expected.key, expected.value, expected.entries),
            "{}",
            expected.name
        );
    }
}
