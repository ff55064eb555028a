//! Packets in the line of an uplink that has a fault.

use std::net::Ipv4Addr;

use multihome_common::{
    fault::{Effect, Share},
    verdict::Verdict::{
        DropFaultIn, DropFaultOut, Forwarded, PassGateway, PassNotIp, PassSpecial,
        ReplyTimeExceeded,
    },
};

use super::{IN4, answers, from_host, from_uplink, in4, in6, out4, out6};
use crate::prog_run::{
    frames::{IPV4, IPV6, ethernet, forwarded, icmp, ipv4, ipv6, udp},
    row::Row,
    world::{
        GATEWAY, GATEWAY4, HOST, HOST4, LAN_PORT, Nat, OUTSIDE, SERVER4, Side, next_hop, uplink_mac,
    },
};

/// The next hop of the uplinks.
const NEXT_HOP4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// EtherType of ARP.
const ARP: u16 = 0x0806;

const BLACKHOLE: Effect = Effect {
    loss: Share::ALL,
    beyond_next_hop: false,
};
const BEYOND: Effect = Effect {
    loss: Share::ALL,
    beyond_next_hop: true,
};

/// The rows.
pub fn rows() -> Vec<Row> {
    let mut rows = outward();
    rows.extend(inward());
    rows.extend(links_own());
    rows
}

fn with(effect: Effect, row: Row) -> Row {
    row.within(|world| world.fault = Some((effect, u64::MAX)))
}

fn outward() -> Vec<Row> {
    let sent = |frame: &[u8], family| forwarded(frame, next_hop(0, family), uplink_mac(0));
    let (four, six) = (out4(17, &udp((1, 2), b"x")), out6(17, &udp((1, 2), b"x")));
    let lost = |shows: &str, frame: &[u8], family| {
        let out = sent(frame, family);
        Row::changed(shows, Side::Lan, frame.to_vec(), DropFaultOut, out).to_uplink(0)
    };
    let to_gateway = from_host(
        IPV4,
        &ipv4((HOST4, GATEWAY4), 64, 17, &udp((1, 2), b""), |_| {}),
    );
    let old = from_uplink(IPV4, &ipv4(IN4, 1, 17, &udp((2, 1), b"x"), |_| {}));
    vec![
        with(BLACKHOLE, lost("a blackhole loses what is sent", &four, 0)),
        with(BLACKHOLE, lost("and IPv6", &six, 1)),
        with(
            BEYOND,
            lost("what is sent is sent beyond the next hop", &four, 0),
        ),
        with(
            BLACKHOLE,
            lost("known flows are lost on the short way as well", &four, 0),
        )
        .after(Side::Lan, four.clone()),
        with(
            BLACKHOLE,
            Row::unchanged(
                "a fault does not touch what stays in the LAN",
                Side::Lan,
                to_gateway,
                PassGateway,
            ),
        ),
        Row::changed(
            "a fault loses nothing after its end",
            Side::Lan,
            four.clone(),
            Forwarded,
            sent(&four, 0),
        )
        .within(|world| world.fault = Some((BLACKHOLE, 1))),
        Row::changed(
            "an answer is sent while the line has no fault any more",
            Side::Uplink,
            old.clone(),
            ReplyTimeExceeded,
            answers::answer4(&old, 11, 0, 0),
        )
        .within(|world| world.fault = Some((BLACKHOLE, 1))),
    ]
}

fn inward() -> Vec<Row> {
    let lost =
        |shows: &str, frame: Vec<u8>| Row::unchanged(shows, Side::Uplink, frame, DropFaultIn);
    let answer = udp((53, 5000), b"x");
    let arp = || ethernet([0xff; 6], next_hop(0, 0), &[], ARP, &[0; 28]);
    let to_gateway = |from| {
        from_uplink(
            IPV4,
            &ipv4((from, OUTSIDE), 60, 1, &icmp(0, b"probe"), |_| {}),
        )
    };
    let known = in4(17, &answer);
    vec![
        with(
            BLACKHOLE,
            lost("a blackhole loses what comes in", in4(17, &answer)),
        ),
        with(BLACKHOLE, lost("and IPv6 that comes in", in6(17, &answer))),
        with(BLACKHOLE, lost("and ARP", arp())),
        with(
            BLACKHOLE,
            lost("and what the next hop answers", to_gateway(NEXT_HOP4)),
        ),
        with(
            BLACKHOLE,
            lost("and what a probe's target answers", to_gateway(SERVER4)),
        ),
        with(
            BEYOND,
            lost("beyond the next hop, targets are lost", to_gateway(SERVER4)),
        ),
        with(
            BEYOND,
            lost(
                "beyond the next hop, the internet is lost",
                in4(17, &answer),
            ),
        ),
        with(
            BEYOND,
            lost("beyond the next hop, IPv6 is lost", in6(17, &answer)),
        ),
        with(
            BEYOND,
            lost("beyond the next hop, known flows are lost", known.clone()),
        )
        .after(Side::Uplink, known.clone()),
        with(
            BEYOND,
            lost(
                "what is for an outside address is lost",
                to_gateway(SERVER4),
            ),
        )
        .within(|world| world.nat = Some(Nat::default())),
        Row::changed(
            "nothing that comes in is lost after the fault's end",
            Side::Uplink,
            known.clone(),
            Forwarded,
            forwarded(&known, HOST, LAN_PORT),
        )
        .within(|world| world.fault = Some((BLACKHOLE, 1))),
    ]
}

fn links_own() -> Vec<Row> {
    let spared = |shows: &str, frame, verdict| {
        with(BEYOND, Row::unchanged(shows, Side::Uplink, frame, verdict))
    };
    let ping = ipv4((NEXT_HOP4, OUTSIDE), 64, 1, &icmp(0, b"probe"), |_| {});
    let router = "fe80::1".parse().expect("a constant");
    let own = "fe80::2".parse().expect("a constant");
    let advertisement = ipv6((router, own), 255, 58, &icmp(136, &[0; 16]));
    vec![
        spared(
            "ARP is the link's, and gets through a fault beyond the next hop",
            ethernet(GATEWAY, next_hop(0, 0), &[], ARP, &[0; 28]),
            PassNotIp,
        ),
        spared(
            "the next hop answers under a fault beyond it",
            from_uplink(IPV4, &ping),
            PassGateway,
        ),
        spared(
            "neighbours are found under a fault beyond the next hop",
            from_uplink(IPV6, &advertisement),
            PassSpecial,
        ),
    ]
}
