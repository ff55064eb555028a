//! Packets that the program itself answers with an ICMP error, and those it must not answer.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{Icmpv4Type, Icmpv6Type, IpNumber, Ipv4Header, Ipv6Header};
use multihome_common::verdict::Verdict::{
    self, DropHopLimit, DropNoUplink, DropTooBig, ReplyTimeExceeded, ReplyTooBig, ReplyUnreachable,
};

use super::{IN4, IN6, OUT4, OUT6, from_host, from_uplink, out4, out6};
use crate::prog_run::{
    frames::{IPV4, IPV6, ethernet, extension, fragment, icmp, ipv4, ipv6, network_at, udp},
    row::Row,
    world::{GATEWAY, GATEWAY4, GATEWAY6, HOST, SMALL_MTU, Side},
};

/// The answer to a frame: its link header back to the sender, and an ICMP error that quotes it.
pub(super) fn answer4(frame: &[u8], kind: u8, code: u8, rest: u32) -> Vec<u8> {
    let at = network_at(frame);
    let total = usize::from(u16::from_be_bytes([frame[at + 2], frame[at + 3]]));
    let packet = &frame[at..at + total];
    let quoted = &packet[..packet.len().min(576 - 28)];
    let source: [u8; 4] = packet[12..16].try_into().expect("four bytes");
    let icmp = Icmpv4Type::Unknown {
        type_u8: kind,
        code_u8: code,
        bytes5to8: rest.to_be_bytes(),
    };
    let sum = icmp.calc_checksum(quoted);
    let mut body = vec![kind, code];
    body.extend(sum.to_be_bytes());
    body.extend(rest.to_be_bytes());
    body.extend(quoted);
    let len = body.len() as u16;
    let mut header = Ipv4Header::new(len, 64, IpNumber::ICMP, GATEWAY4.octets(), source)
        .expect("a length that fits");
    header.dscp = etherparse::IpDscp::try_new(0xc0 >> 2).expect("six bits");
    header.dont_fragment = true;
    header.header_checksum = header.calc_header_checksum();
    back(frame, at, &[header.to_bytes().as_slice(), &body].concat())
}

pub(super) fn answer6(frame: &[u8], kind: u8, rest: u32) -> Vec<u8> {
    answer6_of(frame, (kind, 0), rest)
}

/// The same, of this type and code.
pub(super) fn answer6_of(frame: &[u8], (kind, code): (u8, u8), rest: u32) -> Vec<u8> {
    let at = network_at(frame);
    let payload = usize::from(u16::from_be_bytes([frame[at + 4], frame[at + 5]]));
    let packet = &frame[at..at + 40 + payload];
    let quoted = &packet[..packet.len().min(1280 - 48)];
    let source: [u8; 16] = packet[8..24].try_into().expect("sixteen bytes");
    let icmp = Icmpv6Type::Unknown {
        type_u8: kind,
        code_u8: code,
        bytes5to8: rest.to_be_bytes(),
    };
    let sum = icmp
        .calc_checksum(GATEWAY6.octets(), source, quoted)
        .expect("not too long");
    let mut body = vec![kind, code];
    body.extend(sum.to_be_bytes());
    body.extend(rest.to_be_bytes());
    body.extend(quoted);
    let header = Ipv6Header {
        payload_length: body.len() as u16,
        next_header: IpNumber::IPV6_ICMP,
        hop_limit: 64,
        source: GATEWAY6.octets(),
        destination: source,
        ..Ipv6Header::default()
    };
    back(frame, at, &[header.to_bytes().as_slice(), &body].concat())
}

fn back(frame: &[u8], network_at: usize, packet: &[u8]) -> Vec<u8> {
    [&frame[6..12], &frame[..6], &frame[12..network_at], packet].concat()
}

/// The rows.
pub fn rows() -> Vec<Row> {
    [time_exceeded(), too_big(), unreachable(), silent()].concat()
}

fn time_exceeded() -> Vec<Row> {
    let expired4 = |side: Side, ttl, payload: &[u8]| match side {
        Side::Lan => from_host(IPV4, &ipv4(OUT4, ttl, 17, payload, |_| {})),
        Side::Uplink => from_uplink(IPV4, &ipv4(IN4, ttl, 17, payload, |_| {})),
    };
    let expired6 = |side: Side, hops, payload: &[u8]| match side {
        Side::Lan => from_host(IPV6, &ipv6(OUT6, hops, 17, payload)),
        Side::Uplink => from_uplink(IPV6, &ipv6(IN6, hops, 17, payload)),
    };
    let row4 = |shows: &str, side, frame: Vec<u8>| {
        let answer = answer4(&frame, 11, 0, 0);
        Row::changed(shows, side, frame, ReplyTimeExceeded, answer)
    };
    let row6 = |shows: &str, side, frame: Vec<u8>| {
        let answer = answer6(&frame, 3, 0);
        Row::changed(shows, side, frame, ReplyTimeExceeded, answer)
    };
    let probe = udp((40000, 33434), &[0x40; 32]);
    let mut rows = Vec::new();
    for (side, from) in [(Side::Lan, "the LAN"), (Side::Uplink, "an uplink")] {
        rows.push(row4(
            &format!("TTL 1 from {from} is answered"),
            side,
            expired4(side, 1, &probe),
        ));
        rows.push(row4(
            &format!("TTL 0 from {from} is answered"),
            side,
            expired4(side, 0, &probe),
        ));
        rows.push(row6(
            &format!("hop limit 1 from {from} is answered"),
            side,
            expired6(side, 1, &probe),
        ));
        rows.push(row6(
            &format!("hop limit 0 from {from} is answered"),
            side,
            expired6(side, 0, &probe),
        ));
        for len in [4, 5, 6, 7, 519, 520, 521, 1183, 1184, 1185, 1400] {
            let payload = udp((40000, 33434), &vec![0x5a; len]);
            rows.push(row4(
                &format!("an IPv4 answer to {from} quotes {len} bytes of payload as far as 576"),
                side,
                expired4(side, 1, &payload),
            ));
            rows.push(row6(
                &format!("an IPv6 answer to {from} quotes {len} bytes of payload as far as 1280"),
                side,
                expired6(side, 1, &payload),
            ));
        }
    }
    let ping = from_host(IPV4, &ipv4(OUT4, 1, 1, &icmp(8, &[1; 9]), |_| {}));
    rows.push(row4("an expired ping is answered", Side::Lan, ping));
    let ping = from_host(IPV6, &ipv6(OUT6, 1, 58, &icmp(128, &[1; 9])));
    rows.push(row6("an expired IPv6 ping is answered", Side::Lan, ping));
    let bare = from_host(IPV4, &ipv4(OUT4, 1, 253, &[1, 2, 3], |_| {}));
    rows.push(row4(
        "three bytes of an unknown protocol are quoted",
        Side::Lan,
        bare,
    ));
    let options = from_host(
        IPV4,
        &ipv4(OUT4, 1, 17, &probe, |header| {
            header.options = etherparse::Ipv4Options::from([1; 40]);
        }),
    );
    rows.push(row4("IPv4 options are quoted", Side::Lan, options));
    let mut padded = from_host(IPV4, &ipv4(OUT4, 1, 17, &udp((1, 2), b""), |_| {}));
    padded.resize(60, 0xee);
    rows.push(row4("padding is not quoted", Side::Lan, padded));
    for tags in [vec![(0x8100, 0x6000)], vec![(0x88a8, 0), (0x8100, 0x2000)]] {
        let packet = ipv4(OUT4, 1, 17, &probe, |_| {});
        let frame = ethernet(GATEWAY, HOST, &tags, IPV4, &packet);
        rows.push(row4(
            "an answer carries the tags of what it answers",
            Side::Lan,
            frame,
        ));
        let frame = ethernet(GATEWAY, HOST, &tags, IPV6, &ipv6(OUT6, 1, 17, &probe));
        rows.push(row6(
            "an IPv6 answer carries the tags of what it answers",
            Side::Lan,
            frame,
        ));
    }
    let behind = [extension(60, 2), extension(17, 1), probe.clone()].concat();
    let frame = from_host(IPV6, &ipv6(OUT6, 1, 0, &behind));
    rows.push(row6("extension headers are quoted", Side::Lan, frame));
    let first = from_host(
        IPV4,
        &ipv4(OUT4, 1, 17, &probe, |header| header.more_fragments = true),
    );
    rows.push(row4(
        "an expired first fragment is answered",
        Side::Lan,
        first,
    ));
    rows
}

fn too_big() -> Vec<Row> {
    let to_small = |row: Row| row.within(|world| world.group.eligible = [0b010; 2]);
    let big = udp((5000, 6000), &vec![9; SMALL_MTU as usize - 8]);
    let mut rows = Vec::new();
    for dont_fragment in [true, false] {
        let packet = ipv4(OUT4, 64, 17, &big, |header| {
            header.dont_fragment = dont_fragment
        });
        let frame = from_host(IPV4, &packet);
        let answer = answer4(&frame, 3, 4, SMALL_MTU.into());
        let shows = format!("larger than the MTU, DF {dont_fragment}: fragmentation needed");
        rows.push(to_small(Row::changed(
            &shows,
            Side::Lan,
            frame,
            ReplyTooBig,
            answer,
        )));
    }
    for len in [SMALL_MTU - 19, SMALL_MTU + 60] {
        let frame = out4(17, &udp((5000, 6000), &vec![9; len as usize - 8]));
        let answer = answer4(&frame, 3, 4, SMALL_MTU.into());
        let shows = "one byte more than the MTU is too much";
        rows.push(to_small(Row::changed(
            shows,
            Side::Lan,
            frame,
            ReplyTooBig,
            answer,
        )));
    }
    let frame = out6(17, &udp((5000, 6000), &vec![9; SMALL_MTU as usize - 47]));
    let answer = answer6(&frame, 2, SMALL_MTU.into());
    rows.push(to_small(Row::changed(
        "IPv6 larger than the MTU: packet too big",
        Side::Lan,
        frame,
        ReplyTooBig,
        answer,
    )));
    let small_lan = |row: Row| row.within(|world| world.host_mtu = 1300);
    let frame = from_uplink(IPV4, &ipv4(IN4, 60, 17, &udp((1, 2), &[3; 1300]), |_| {}));
    let answer = answer4(&frame, 3, 4, 1300);
    rows.push(small_lan(Row::changed(
        "larger than the LAN's MTU: the server is told",
        Side::Uplink,
        frame,
        ReplyTooBig,
        answer,
    )));
    let frame = from_uplink(IPV6, &ipv6(IN6, 60, 17, &udp((1, 2), &[3; 1300])));
    let answer = answer6(&frame, 2, 1300);
    rows.push(small_lan(Row::changed(
        "IPv6 larger than the LAN's MTU: the server is told",
        Side::Uplink,
        frame,
        ReplyTooBig,
        answer,
    )));
    rows
}

fn unreachable() -> Vec<Row> {
    let nowhere = |row: Row| row.within(|world| world.group.eligible = [0; 2]);
    let frame4 = out4(17, &udp((1, 2), b"where"));
    let frame6 = out6(17, &udp((1, 2), b"where"));
    let (answer4, answer6) = (answer4(&frame4, 3, 0, 0), answer6(&frame6, 1, 0));
    vec![
        nowhere(Row::changed(
            "no uplink for IPv4: net unreachable",
            Side::Lan,
            frame4,
            ReplyUnreachable,
            answer4,
        )),
        nowhere(Row::changed(
            "no uplink for IPv6: no route",
            Side::Lan,
            frame6,
            ReplyUnreachable,
            answer6,
        )),
    ]
}

/// What must not be answered (RFC 1122 section 3.2.2, RFC 4443 section 2.4).
fn silent() -> Vec<Row> {
    let row = |shows: &str, frame: Vec<u8>, verdict: Verdict| {
        Row::unchanged(shows, Side::Lan, frame, verdict)
    };
    let v4 = |kind: u8| from_host(IPV4, &ipv4(OUT4, 1, 1, &icmp(kind, &[0; 28]), |_| {}));
    let v6 = |kind: u8| from_host(IPV6, &ipv6(OUT6, 1, 58, &icmp(kind, &[0; 48])));
    let later4 = from_host(
        IPV4,
        &ipv4(OUT4, 1, 17, &[1; 24], |header| {
            header.fragment_offset = etherparse::IpFragOffset::try_new(3).expect("13 bits");
        }),
    );
    let later6 = from_host(
        IPV6,
        &ipv6(OUT6, 1, 44, &[fragment(17, 3, false), vec![1; 24]].concat()),
    );
    let big = icmp(3, &vec![0; SMALL_MTU as usize]);
    let mut rows = vec![
        row(
            "a later fragment that expires is dropped in silence",
            later4,
            DropHopLimit,
        ),
        row(
            "a later IPv6 fragment that expires is dropped in silence",
            later6,
            DropHopLimit,
        ),
        row(
            "an ICMP error that is too big is dropped in silence",
            out4(1, &big),
            DropTooBig,
        )
        .within(|world| world.group.eligible = [0b010; 2]),
        row(
            "an ICMP error without a way out is dropped in silence",
            out4(1, &icmp(3, &[0; 28])),
            DropNoUplink,
        )
        .within(|world| world.group.eligible = [0; 2]),
        row("without an address there is no answer", v4(8), DropHopLimit)
            .within(|world| world.port.address4 = Ipv4Addr::UNSPECIFIED.octets()),
        row(
            "without an IPv6 address there is no answer",
            v6(128),
            DropHopLimit,
        )
        .within(|world| world.port.address6 = Ipv6Addr::UNSPECIFIED.octets()),
    ];
    for kind in [3, 4, 5, 11, 12, 99] {
        rows.push(row(
            "an ICMP error that expires is dropped in silence",
            v4(kind),
            DropHopLimit,
        ));
    }
    for kind in [1, 2, 3, 4, 100, 127, 137] {
        rows.push(row(
            "an ICMPv6 error that expires is dropped in silence",
            v6(kind),
            DropHopLimit,
        ));
    }
    rows
}
