//! Packets from an uplink that are delivered to a LAN host.

use multihome_common::verdict::Verdict::{DropMartianSource, Forwarded, PassNoNeighbour};

use super::{from_uplink, in4, in6};
use crate::prog_run::{
    frames::{IPV4, IPV6, forwarded, fragment, icmp, ipv4, ipv6, tcp, udp},
    row::Row,
    world::{GATEWAY4, GATEWAY6, HOST, HOST4, HOST6, LAN_PORT, SERVER4, STRANGER4, Side},
};

fn delivered(shows: &str, input: Vec<u8>) -> Row {
    let output = forwarded(&input, HOST, LAN_PORT);
    Row::changed(shows, Side::Uplink, input, Forwarded, output)
}

/// The rows.
pub fn rows() -> Vec<Row> {
    let payload = [0xcd; 80];
    let spoofed4 = |source| {
        from_uplink(
            IPV4,
            &ipv4((source, HOST4), 60, 17, &udp((1, 2), b""), |_| {}),
        )
    };
    let spoofed6 = |source| from_uplink(IPV6, &ipv6((source, HOST6), 60, 17, &udp((1, 2), b"")));
    let dropped =
        |shows: &str, frame| Row::unchanged(shows, Side::Uplink, frame, DropMartianSource);
    let stranger = ipv4((SERVER4, STRANGER4), 60, 17, &udp((1, 2), b""), |_| {});
    vec![
        delivered(
            "IPv4 TCP is delivered",
            in4(6, &tcp((443, 40000), &payload)),
        ),
        delivered(
            "IPv4 UDP is delivered",
            in4(17, &udp((53, 40000), &payload)),
        ),
        delivered("IPv4 ICMP is delivered", in4(1, &icmp(0, &payload))),
        delivered("an ICMP error is delivered", in4(1, &icmp(11, &payload))),
        delivered(
            "IPv6 TCP is delivered",
            in6(6, &tcp((443, 40000), &payload)),
        ),
        delivered(
            "IPv6 UDP is delivered",
            in6(17, &udp((53, 40000), &payload)),
        ),
        delivered("IPv6 ICMP is delivered", in6(58, &icmp(129, &payload))),
        delivered(
            "an IPv6 fragment is delivered",
            in6(44, &[fragment(17, 3, true), vec![1; 24]].concat()),
        ),
        delivered(
            "a packet of the LAN's MTU is delivered",
            in4(17, &udp((1, 2), &[0; 1472])),
        ),
        Row::unchanged(
            "a LAN host whose MAC is not known is left to the kernel to resolve",
            Side::Uplink,
            from_uplink(IPV4, &stranger),
            PassNoNeighbour,
        ),
        dropped(
            "a LAN's address as source from outside is dropped",
            spoofed4(STRANGER4),
        ),
        dropped(
            "the gateway's address as source from outside is dropped",
            spoofed4(GATEWAY4),
        ),
        dropped(
            "a LAN's IPv6 address as source from outside is dropped",
            spoofed6(HOST6),
        ),
        dropped(
            "the gateway's IPv6 address as source from outside is dropped",
            spoofed6(GATEWAY6),
        ),
    ]
}
