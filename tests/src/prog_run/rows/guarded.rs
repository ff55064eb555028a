//! What must neither begin a flow nor be let in: packets too short to be translated, padding that
//! looks like a header, and sources that nobody out there has.

use std::net::Ipv4Addr;

use multihome_common::verdict::Verdict::{DropMartianSource, DropTruncated, PassGateway};

use super::{
    quoted::{error, packet},
    translated::{FROM_HOST, Flags, PORT, address, datagram, from_isp, stays, tcp, to_isp},
};
use crate::prog_run::{
    frames::{IPV4, ethernet, ipv4},
    row::Row,
    world::{GATEWAY, GATEWAY4, HOST, HOST4, Nat, OUTSIDE, SERVER4, Side},
};

/// The frame with an IP packet of its first `len` bytes; the rest stays behind it as padding.
fn shortened(frame: &[u8], len: usize) -> Vec<u8> {
    let ends = |at: usize| Ipv4Addr::from([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    let payload = &frame[34..14 + len];
    let short = ipv4((ends(26), ends(30)), frame[22], frame[23], payload, |_| {});
    let (to, from) = (&frame[..6], &frame[6..12]);
    let macs = [to, from].map(|mac| mac.try_into().expect("six bytes"));
    [
        &ethernet(macs[0], macs[1], &[], IPV4, &short)[..],
        &frame[14 + len..],
    ]
    .concat()
}

/// The first fragment of a frame's packet: its header and so many bytes.
fn first_fragment(frame: &[u8], len: usize) -> Vec<u8> {
    let payload = &frame[34..34 + len];
    let part = ipv4((HOST4, SERVER4), 64, frame[23], payload, |header| {
        header.more_fragments = true;
    });
    ethernet(GATEWAY, HOST, &[], IPV4, &part)
}

/// The rows.
pub fn rows() -> Vec<Row> {
    let (host, outside) = (address(HOST4, PORT), address(OUTSIDE, PORT));
    let server = address(SERVER4, 443);
    let short = shortened(&datagram(FROM_HOST, [host, server], 64), 20 + 6);
    let tiny = first_fragment(&tcp(FROM_HOST, [host, server], 64, Flags::Syn), 16);
    let sent = datagram(FROM_HOST, [host, server], 64);
    let left = datagram(to_isp(), [outside, server], 63);
    let about = error(
        from_isp(),
        (SERVER4, OUTSIDE),
        60,
        (3, 3),
        packet(&left, 28),
    );
    let mut rows = vec![
        stays(
            "a datagram whose header is cut short is truncated, whatever padding follows",
            Side::Lan,
            short.clone(),
            DropTruncated,
        ),
        stays(
            "and has begun no flow",
            Side::Uplink,
            datagram(from_isp(), [server, outside], 60),
            PassGateway,
        )
        .after(Side::Lan, short),
        stays(
            "nor has a first fragment without TCP's checksum",
            Side::Uplink,
            tcp(from_isp(), [server, outside], 60, Flags::SynAck),
            PassGateway,
        )
        .after(Side::Lan, tiny),
        stays(
            "padding behind an ICMP error is not what it quotes",
            Side::Uplink,
            shortened(&about, 20 + 8 + 20),
            PassGateway,
        )
        .after(Side::Lan, sent),
    ];
    for source in [
        HOST4,
        GATEWAY4,
        OUTSIDE,
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::BROADCAST,
    ] {
        let row = stays(
            &format!("{source} is nobody's source who asks for a forwarded port from outside"),
            Side::Uplink,
            tcp(
                from_isp(),
                [address(source, 999), address(OUTSIDE, 8080)],
                60,
                Flags::Syn,
            ),
            DropMartianSource,
        );
        rows.push(row.within(|world| {
            world.nat = Some(Nat {
                forward: Some((8080, 80)),
                ..Nat::default()
            });
        }));
    }
    rows
}
