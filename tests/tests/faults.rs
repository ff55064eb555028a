//! How much faults lose, of what passes through the programs and of what the gateway asks itself.

use multihome_common::{
    fault::{Effect, Share},
    verdict::Verdict,
};
use multihome_tests::prog_run::{
    frames::{IPV4, ethernet, icmp, ipv4, udp},
    kernel::Kernel,
    world::{GATEWAY, GATEWAY4, HOST, HOST4, SERVER4, Side, World},
};

/// Packets of each kind: their share is then within 0.03 of what it should be, by six standard deviations.
const PACKETS: u64 = 10_000;
const MARGIN: f64 = 0.03;

fn frame(ends: (std::net::Ipv4Addr, std::net::Ipv4Addr), ttl: u8) -> Vec<u8> {
    let packet = ipv4(ends, ttl, 17, &udp((5000, 53), b"x"), |_| {});
    ethernet(GATEWAY, HOST, &[], IPV4, &packet)
}

/// The share of packets of a side that end with a verdict, in a line that loses 30 % each way.
fn share(kernel: &mut Kernel, side: Side, frame: &[u8], verdict: Verdict) -> f64 {
    let loss = Share::of_million(300_000).expect("a share");
    let effect = Effect {
        loss,
        beyond_next_hop: false,
    };
    let world = World {
        fault: Some((effect, u64::MAX)),
        ..World::default()
    };
    kernel.enter(&world, side).expect("maps can be written");
    let lost = (0..PACKETS)
        .filter(|n| {
            if n.is_multiple_of(50) {
                kernel.refill().expect("a map can be written");
            }
            kernel.run(side, frame).expect("it runs").verdict == Some(verdict)
        })
        .count();
    lost as f64 / PACKETS as f64
}

#[test]
fn a_line_loses_as_much_as_was_said_in_each_direction() {
    let mut kernel = Kernel::load().expect("root, and a kernel with BTF");
    let (out, back) = (frame((HOST4, SERVER4), 64), frame((SERVER4, HOST4), 64));
    for (side, frame, verdict) in [
        (Side::Lan, &out, Verdict::DropFaultOut),
        (Side::Uplink, &back, Verdict::DropFaultIn),
    ] {
        let lost = share(&mut kernel, side, frame, verdict);
        assert!((lost - 0.3).abs() < MARGIN, "{verdict:?}: {lost}");
    }
}

/// What the gateway sends passes no program, so its answers stand for both ways: 1 - 0.7 x 0.7.
#[test]
fn what_the_gateway_asks_is_lost_on_both_ways() {
    let mut kernel = Kernel::load().expect("root, and a kernel with BTF");
    let packet = ipv4((SERVER4, GATEWAY4), 60, 1, &icmp(0, b"probe"), |_| {});
    let answer = ethernet(GATEWAY, HOST, &[], IPV4, &packet);
    let lost = share(&mut kernel, Side::Uplink, &answer, Verdict::DropFaultIn);
    assert!((lost - 0.51).abs() < MARGIN, "{lost}");
}

/// An answer that the programs make goes back by the same line.
#[test]
fn what_the_programs_answer_is_lost_like_what_they_forward() {
    let mut kernel = Kernel::load().expect("root, and a kernel with BTF");
    let old = frame((SERVER4, HOST4), 1);
    let lost = share(&mut kernel, Side::Uplink, &old, Verdict::DropFaultOut);
    assert!((lost - 0.7 * 0.3).abs() < MARGIN, "{lost}");
}
