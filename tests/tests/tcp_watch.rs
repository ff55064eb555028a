//! What the programs note of TCP, by BPF_PROG_TEST_RUN: translated and routed, by the short way and the full
//! one.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    thread,
    time::Duration,
};

use etherparse::TcpHeader;
use multihome::dataplane::TcpMeasure;
use multihome_common::{
    limits::MAX_UPLINKS,
    state::{IPV4, IPV6},
    verdict::Verdict,
};
use multihome_tests::prog_run::{
    frames::{self, ethernet, ipv4, ipv6},
    kernel::Kernel,
    world::{GATEWAY, HOST, HOST4, HOST6, Nat, OUTSIDE, SERVER4, SERVER6, Side, World},
};

/// The server's port.
const HTTP: u16 = 80;

fn segment(ports: (u16, u16), sequence: u32, flags: &str, payload: &[u8]) -> Vec<u8> {
    let mut header = TcpHeader::new(ports.0, ports.1, sequence, 1000);
    header.syn = flags.contains('S');
    header.ack = flags.contains('A');
    header.checksum = 0x4321;
    [header.to_bytes().as_slice(), payload].concat()
}

fn four(ends: (Ipv4Addr, Ipv4Addr), segment: &[u8]) -> Vec<u8> {
    let packet = ipv4(ends, 64, 6, segment, |_| {});
    ethernet(GATEWAY, HOST, &[], frames::IPV4, &packet)
}

fn six(ends: (Ipv6Addr, Ipv6Addr), segment: &[u8]) -> Vec<u8> {
    ethernet(
        GATEWAY,
        HOST,
        &[],
        frames::IPV6,
        &ipv6(ends, 64, 6, segment),
    )
}

/// A gateway, and what it has counted for uplink 0.
struct Bench {
    kernel: Kernel,
    world: World,
}

impl Bench {
    fn new(world: World) -> Self {
        let mut kernel = Kernel::load().expect("root, and a kernel with BTF");
        kernel
            .enter(&world, Side::Lan)
            .expect("maps can be written");
        Self { kernel, world }
    }

    fn run(&mut self, side: Side, frame: &[u8]) -> Vec<u8> {
        self.kernel
            .enter_port(&self.world, side)
            .expect("a map can be written");
        let run = self.kernel.run(side, frame).expect("it runs");
        assert_eq!(run.verdict, Some(Verdict::Forwarded), "{frame:02x?}");
        run.output
    }

    fn measure(&self) -> TcpMeasure {
        TcpMeasure::sum(self.kernel.tcp_counts().iter().step_by(MAX_UPLINKS))
    }

    fn timed(&self, family: usize) -> u64 {
        self.measure().handshakes[family].buckets.iter().sum()
    }
}

/// Between SYN and SYN-ACK pass 30 ms and what the machine takes besides.
#[test]
fn handshakes_are_timed_by_family() {
    let mut bench = Bench::new(World::default());
    for (family, time) in [(IPV4, 30), (IPV6, 120)] {
        let (syn, answer) = (
            segment((5000, HTTP), 1, "S", b""),
            segment((HTTP, 5000), 9, "SA", b""),
        );
        let (syn, answer) = if family == IPV4 {
            (
                four((HOST4, SERVER4), &syn),
                four((SERVER4, HOST4), &answer),
            )
        } else {
            (six((HOST6, SERVER6), &syn), six((SERVER6, HOST6), &answer))
        };
        bench.run(Side::Lan, &syn);
        thread::sleep(Duration::from_millis(time));
        bench.run(Side::Uplink, &answer);
        let times = bench.measure().handshakes[family];
        assert_eq!(bench.timed(family), 1);
        let below: u64 = times.buckets[..if family == IPV4 { 5 } else { 7 }]
            .iter()
            .sum();
        assert_eq!(below, 0, "{times:?}");
        assert!(times.sum >= Duration::from_millis(time - 1), "{times:?}");
        // It is answered once.
        bench.run(Side::Uplink, &answer);
        assert_eq!(bench.timed(family), 1);
    }
    assert_eq!(bench.measure().syn, 0);
}

/// The server answers another port than the host sends from.
#[test]
fn handshakes_of_translated_connections_are_known_from_both_sides() {
    let world = World {
        nat: Some(Nat::default()),
        ..World::default()
    };
    let mut bench = Bench::new(world);
    let syn = |port| four((HOST4, SERVER4), &segment((port, HTTP), 1, "S", b""));
    for port in 5000..5010 {
        let out = bench.run(Side::Lan, &syn(port));
        let outside = u16::from_be_bytes([out[34], out[35]]);
        let answer = segment((HTTP, outside), 9, "SA", b"");
        bench.run(Side::Uplink, &four((SERVER4, OUTSIDE), &answer));
    }
    assert_eq!(bench.timed(IPV4), 10);
    for _ in 0..3 {
        bench.run(Side::Lan, &syn(6000));
    }
    let measure = bench.measure();
    assert_eq!((measure.syn, bench.timed(IPV4)), (2, 10));
}

/// Sixteen flows to a sample, by hash: of very many, that many are looked at.
#[test]
fn data_that_is_sent_again_is_counted_in_the_sample_on_either_way() {
    for nat in [None, Some(Nat::default())] {
        let mut bench = Bench::new(World {
            nat,
            ..World::default()
        });
        let mut sampled = 0;
        for port in 7000..7200 {
            let before = bench.measure();
            let data = |sequence, len: usize| {
                let segment = segment((port, HTTP), sequence, "A", &vec![7; len]);
                four((HOST4, SERVER4), &segment)
            };
            if nat.is_some() {
                // Nobody knows a connection that did not begin.
                bench.run(
                    Side::Lan,
                    &four((HOST4, SERVER4), &segment((port, HTTP), 99, "S", b"")),
                );
            }
            for n in 0..5 {
                bench.run(Side::Lan, &data(100 + n * 500, 500));
            }
            // Again: two of them, of one a part; then what says nothing.
            for (sequence, len) in [(600, 500), (1100, 500), (100, 300), (2599, 1), (2600, 0)] {
                bench.run(Side::Lan, &data(sequence, len));
            }
            let after = bench.measure();
            match (after.sampled - before.sampled, after.data - before.data) {
                (0, 0) => {}
                (8, 3) => sampled += 1,
                other => panic!("port {port}, {nat:?}: {other:?}"),
            }
        }
        // 12.5 of 200, by six standard deviations.
        assert!((1..34).contains(&sampled), "{sampled} flows");
    }
}
