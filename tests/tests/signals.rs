//! What the programs count of the traffic by each uplink, as the controller reads it.

use std::hint::black_box;

use multihome::dataplane::{Passed, Signals};
use multihome_common::{
    state::{IPV4, IPV6},
    verdict::Verdict,
};
use multihome_tests::prog_run::{
    frames::{IPV4 as ETHERTYPE4, IPV6 as ETHERTYPE6, ethernet, ipv4, ipv6, udp},
    kernel::Kernel,
    world::{GATEWAY, GATEWAY4, HOST, HOST4, HOST6, LAN_SLOT, SERVER4, SERVER6, Side, World},
};

/// Packets between the LAN host and the server, of both families, and one for the gateway itself.
struct Frames {
    out: [Vec<u8>; 2],
    back: [Vec<u8>; 2],
    to_gateway: Vec<u8>,
}

fn frames() -> Frames {
    let payload = |ports| udp(ports, b"payload");
    let four = |ends, ports| {
        let packet = ipv4(ends, 64, 17, &payload(ports), |_| {});
        ethernet(GATEWAY, HOST, &[], ETHERTYPE4, &packet)
    };
    let six = |ends, ports| {
        let packet = ipv6(ends, 64, 17, &payload(ports));
        ethernet(GATEWAY, HOST, &[], ETHERTYPE6, &packet)
    };
    Frames {
        out: [
            four((HOST4, SERVER4), (5000, 53)),
            six((HOST6, SERVER6), (5000, 53)),
        ],
        back: [
            four((SERVER4, HOST4), (53, 5000)),
            six((SERVER6, HOST6), (53, 5000)),
        ],
        to_gateway: four((SERVER4, GATEWAY4), (53, 5000)),
    }
}

fn signals(kernel: &Kernel, id: u8) -> [(u64, u64); 2] {
    let Signals(families) = Signals::read(kernel.counter_tables().iter(), &[LAN_SLOT], id);
    families.map(|Passed { out, back }| (out.packets, back.packets))
}

/// The first packet of a flow takes the full way, the following ones the short one; a packet counts on
/// either.
#[test]
fn what_leaves_by_an_uplink_and_what_comes_back_is_counted_by_family() {
    let mut kernel = Kernel::load().expect("root, and a kernel with BTF");
    let world = World::default();
    let frames = frames();
    kernel
        .enter(&world, Side::Lan)
        .expect("maps can be written");
    for (family, times) in [(IPV4, 3), (IPV6, 5)] {
        for _ in 0..times {
            let run = kernel.run(Side::Lan, &frames.out[family]).expect("it runs");
            assert_eq!(run.uplink, Some(0));
        }
    }
    assert_eq!(signals(&kernel, 0), [(3, 0), (5, 0)]);
    kernel
        .enter_port(&world, Side::Uplink)
        .expect("maps can be written");
    for (family, times) in [(IPV4, 2), (IPV6, 4)] {
        for _ in 0..times {
            let run = kernel
                .run(Side::Uplink, &frames.back[family])
                .expect("it runs");
            assert_eq!(run.verdict, Some(Verdict::Forwarded));
        }
    }
    // What the gateway gets itself tells nothing of what it forwards.
    let run = kernel
        .run(Side::Uplink, &frames.to_gateway)
        .expect("it runs");
    assert_eq!(run.verdict, Some(Verdict::PassGateway));
    assert_eq!(signals(&kernel, 0), [(3, 2), (5, 4)]);
    assert_eq!(signals(&kernel, 1), [(0, 0); 2]);
    let bytes = Signals::read(kernel.counter_tables().iter(), &[LAN_SLOT], 0).0[IPV6]
        .out
        .bytes;
    assert_eq!(bytes, 5 * frames.out[IPV6].len() as u64);
}

/// No assertion on time: the figure is for whoever runs it.
#[test]
fn all_uplinks_are_looked_at_without_a_system_call() {
    let kernel = Kernel::load().expect("root, and a kernel with BTF");
    let began = std::time::Instant::now();
    for _ in 0..100 {
        for id in 0..64 {
            black_box(signals(&kernel, id));
        }
    }
    println!("64 uplinks: {:?} a look", began.elapsed() / 100);
}
