//! Many translated flows through the real kernel: how many there is room for, what they cost, and
//! that neither a full table nor a flood harms those that are answered.

use std::{collections::BTreeMap, net::Ipv4Addr, thread, time::Duration};

use etherparse::{Ipv4Header, PacketBuilder};
use multihome::dataplane::Sizes;
use multihome_common::verdict::Verdict::{self, DropNoFlow, DropNoPort, Forwarded, PassGateway};
use multihome_tests::prog_run::{
    kernel::Kernel,
    world::{GATEWAY, HOST, Nat, OUTSIDE, Side, World, next_hop},
};

/// A flow by number: each host has one port, and so has its outside end, as the numbers are distinct.
#[derive(Clone, Copy)]
struct Flow(u64);

/// Inside ends; ports from 1024 on, all of which may be given out.
const INSIDE: u64 = 30_000;

impl Flow {
    fn inside(self) -> (Ipv4Addr, u16) {
        let end = (self.0 % INSIDE) as u32;
        (Ipv4Addr::from(0x0a02_0000 + end / 16), 1024 + end as u16)
    }

    fn remote(self) -> (Ipv4Addr, u16) {
        let far = (self.0 / INSIDE) as u32;
        (Ipv4Addr::from(0xc612_0000 + far), 443)
    }
}

/// What a segment is.
#[derive(Clone, Copy)]
enum Segment {
    Syn,
    SynAck,
    Ack,
}

const FLAGS_AT: usize = 14 + 20 + 13;

fn segment(segment: Segment) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(HOST, GATEWAY)
        .ipv4([10, 2, 0, 0], [198, 18, 0, 0], 64)
        .tcp(1, 2, 3, 4)
        .write(&mut frame, &[])
        .expect("it fits");
    frame[FLAGS_AT] = match segment {
        Segment::Syn => 0x02,
        Segment::SynAck => 0x12,
        Segment::Ack => 0x10,
    };
    frame
}

/// Sets both ends; the TCP checksum may be any.
fn set_ends(frame: &mut [u8], source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16)) {
    frame[26..30].copy_from_slice(&source.0.octets());
    frame[30..34].copy_from_slice(&destination.0.octets());
    frame[34..36].copy_from_slice(&source.1.to_be_bytes());
    frame[36..38].copy_from_slice(&destination.1.to_be_bytes());
    let (header, _) = Ipv4Header::from_slice(&frame[14..]).expect("a header");
    frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
}

/// A kernel for so many flows, as the controller sizes it, in a world that translates.
fn gateway(flows: u32) -> (Kernel, World) {
    let buckets = Sizes { flows, pools: 1 }.buckets();
    let pin_lines = flows / 4;
    let mut kernel = Kernel::load_sized(buckets, pin_lines).expect("root, and a kernel with BTF");
    let world = World {
        nat: Some(Nat {
            buckets,
            ..Nat::default()
        }),
        pin_lines,
        ..World::default()
    };
    kernel.enter(&world, Side::Lan).expect("maps");
    (kernel, world)
}

/// Sends one segment of each of these flows; what became of them.
fn send(
    kernel: &mut Kernel,
    world: &World,
    what: Segment,
    flows: impl Iterator<Item = u64>,
) -> BTreeMap<Verdict, u64> {
    let side = match what {
        Segment::SynAck => Side::Uplink,
        Segment::Syn | Segment::Ack => Side::Lan,
    };
    kernel.enter_port(world, side).expect("a map");
    let before = kernel.totals(side).expect("counters");
    let flows: Vec<u64> = flows.collect();
    let mut frame = segment(what);
    if let Segment::SynAck = what {
        frame[6..12].copy_from_slice(&next_hop(0, 0));
    }
    let edit = |frame: &mut [u8], n: u64| {
        let flow = Flow(flows[n as usize]);
        match side {
            Side::Lan => set_ends(frame, flow.inside(), flow.remote()),
            Side::Uplink => set_ends(frame, flow.remote(), (OUTSIDE, flow.inside().1)),
        }
    };
    kernel
        .pour(side, &mut frame, flows.len() as u64, edit)
        .expect("a program");
    let mut after = kernel.totals(side).expect("counters");
    for (verdict, count) in before {
        *after.entry(verdict).or_default() -= count;
    }
    after.retain(|_, count| *count > 0);
    after
}

fn all_forwarded(count: u64) -> BTreeMap<Verdict, u64> {
    BTreeMap::from([(Forwarded, count)])
}

#[test]
fn a_million_flows_have_room_and_lose_nothing_when_more_come() {
    const FLOWS: u64 = 1_000_000;
    let (mut kernel, world) = gateway(FLOWS as u32);
    let opened = send(&mut kernel, &world, Segment::Syn, 0..FLOWS);
    assert_eq!(opened, all_forwarded(FLOWS));
    assert_eq!(kernel.flow_tables().live().count() as u64, FLOWS);
    let answered = send(&mut kernel, &world, Segment::SynAck, 0..FLOWS);
    assert_eq!(answered, all_forwarded(FLOWS));

    // At 64 thousand ports for each outside address a million inside ends need 16 of them.
    let worst: u64 = kernel
        .memory()
        .iter()
        .map(|&(name, bytes)| {
            if name == "NAT_PORTS" {
                bytes * 16
            } else {
                bytes
            }
        })
        .sum();
    for (name, bytes) in kernel.memory() {
        println!("{name}: {bytes} bytes");
    }
    println!(
        "{} bytes of the kernel's memory for each flow",
        worst / FLOWS
    );
    assert!(worst / FLOWS <= 320, "{worst} bytes");

    // More flows than there are places, answered too: those that find none are shed, and told so.
    let mut shed = 0;
    for chunk in (FLOWS..FLOWS + 700_000).step_by(10_000) {
        let more = send(&mut kernel, &world, Segment::Syn, chunk..chunk + 10_000);
        assert!(
            more.keys()
                .all(|verdict| matches!(verdict, Forwarded | DropNoFlow)),
            "{more:?}"
        );
        shed += more.get(&DropNoFlow).copied().unwrap_or_default();
        send(&mut kernel, &world, Segment::SynAck, chunk..chunk + 10_000);
    }
    println!("{shed} of 700000 flows beyond a million were shed");
    assert!(shed > 100_000, "there are half a million places more");
    let kept = send(&mut kernel, &world, Segment::Ack, 0..FLOWS);
    assert_eq!(kept, all_forwarded(FLOWS), "an answered flow was lost");

    // When flows have gone quiet, there is room again.
    kernel.set_timeouts(0).expect("a map");
    thread::sleep(Duration::from_millis(2200));
    let new = send(
        &mut kernel,
        &world,
        Segment::Syn,
        2 * FLOWS..2 * FLOWS + 100_000,
    );
    assert_eq!(new, all_forwarded(100_000));
    kernel.flow_tables().check().expect("whole tables");
}

#[test]
fn a_flood_from_the_lan_displaces_no_answered_flow() {
    let (mut kernel, world) = gateway(8192);
    let established = || (0..4000).map(|n| n * 7);
    send(&mut kernel, &world, Segment::Syn, established());
    let answered = send(&mut kernel, &world, Segment::SynAck, established());
    assert_eq!(answered, all_forwarded(4000));
    let flood = send(&mut kernel, &world, Segment::Syn, 1_000_000..1_300_000);
    assert!(
        flood
            .keys()
            .all(|verdict| matches!(verdict, Forwarded | DropNoFlow | DropNoPort)),
        "{flood:?}"
    );
    for what in [Segment::Ack, Segment::SynAck] {
        let kept = send(&mut kernel, &world, what, established());
        assert_eq!(kept, all_forwarded(4000), "after {flood:?}");
    }
    kernel.flow_tables().check().expect("whole tables");
}

#[test]
fn a_flood_from_outside_opens_nothing() {
    let (mut kernel, world) = gateway(8192);
    let established = || (0..4000).map(|n| n * 7);
    send(&mut kernel, &world, Segment::Syn, established());
    send(&mut kernel, &world, Segment::SynAck, established());
    // To ports that nobody has, and to those that somebody has, from others.
    let flood = send(&mut kernel, &world, Segment::SynAck, 1_000_000..1_300_000);
    assert!(
        flood
            .keys()
            .all(|verdict| matches!(verdict, PassGateway | Verdict::DropFiltered)),
        "{flood:?}"
    );
    assert_eq!(kernel.flow_tables().live().count(), 4000);
    let kept = send(&mut kernel, &world, Segment::Ack, established());
    assert_eq!(kept, all_forwarded(4000));
}

/// Two CPUs open, answer and end flows in a table far too small for them.
#[test]
fn two_cpus_leave_whole_tables() {
    let (mut kernel, world) = gateway(512);
    kernel.enter_port(&world, Side::Lan).expect("a map");
    let kernel = &kernel;
    thread::scope(|scope| {
        for cpu in 0..2u64 {
            scope.spawn(move || {
                let mut random = 0x1234_5678_9abc_def0 ^ cpu;
                let mut frame = segment(Segment::Syn);
                kernel
                    .pour(Side::Lan, &mut frame, 200_000, |frame, _| {
                        random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ random >> 29;
                        let flow = Flow(random >> 20 & 0xfff);
                        frame[FLAGS_AT] = if random >> 60 == 0 { 0x10 } else { 0x02 };
                        set_ends(frame, flow.inside(), flow.remote());
                    })
                    .expect("a program");
            });
        }
    });
    kernel.flow_tables().check().expect("whole tables");
}
