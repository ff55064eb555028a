//! Packets whose IPv6 prefix is translated (NPTv6).

use std::net::Ipv6Addr;

use etherparse::{Icmpv6Type, PacketBuilder};
use multihome_common::{
    state::{GROUP_HOLD, GroupWords, Policy},
    verdict::Verdict::{
        DropNoPrefix, Forwarded, PassGateway, PassNoNeighbour, PassOnLink, ReplyReset,
        ReplyTimeExceeded, ReplyTooBig,
    },
};

use super::{from_uplink, in6};
use crate::prog_run::{
    frames::{IPV6, ethernet, forwarded, fragment, ipv6, udp},
    row::Row,
    world::{
        GATEWAY, HOST, HOST6, INSIDE_PREFIX, LAN_PORT, RFC6296_HOST, SERVER6, SMALL_MTU, Side,
        next_hop, outside_prefix, uplink_mac,
    },
};

/// The LAN host under an uplink's prefix, told from RFC 6296 section 3.1 and not from the code: the
/// word behind the /48 makes up for the difference of the prefixes' sums.
pub(super) fn outside(id: u8) -> Ipv6Addr {
    let sum =
        |prefix: Ipv6Addr| -> i64 { prefix.segments()[..3].iter().map(|&w| i64::from(w)).sum() };
    let mut segments = HOST6.segments();
    segments[..3].copy_from_slice(&outside_prefix(id).segments()[..3]);
    let word = (sum(INSIDE_PREFIX) - sum(outside_prefix(id))).rem_euclid(0xffff);
    segments[3] = word as u16;
    segments.into()
}

/// A LAN host that the tables do not have.
const UNKNOWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x77);

/// The same under an uplink's prefix.
fn unknown_outside(id: u8) -> Ipv6Addr {
    let mut segments = outside(id).segments();
    segments[7] = UNKNOWN6.segments()[7];
    segments.into()
}

/// A TCP segment, checksum right.
fn tcp(macs: ([u8; 6], [u8; 6]), ends: [Ipv6Addr; 2], hops: u8, syn: bool) -> Vec<u8> {
    let step = PacketBuilder::ethernet2(macs.1, macs.0)
        .ipv6(ends[0].octets(), ends[1].octets(), hops)
        .tcp(4000, 443, 100, 8192);
    let step = if syn { step.syn() } else { step.ack(777) };
    let mut frame = Vec::new();
    step.write(&mut frame, b"hello").expect("it fits");
    frame
}

/// An ICMPv6 error that quotes a packet, checksum right.
fn error(macs: ([u8; 6], [u8; 6]), ends: [Ipv6Addr; 2], hops: u8, quoted: &[u8]) -> Vec<u8> {
    let icmp = Icmpv6Type::Unknown {
        type_u8: 3,
        code_u8: 0,
        bytes5to8: [0; 4],
    };
    let sum = icmp
        .calc_checksum(ends[0].octets(), ends[1].octets(), quoted)
        .expect("it is short")
        .to_be_bytes();
    let body = [&[3, 0, sum[0], sum[1], 0, 0, 0, 0], quoted].concat();
    let packet = ipv6((ends[0], ends[1]), hops, 58, &body);
    ethernet(macs.0, macs.1, &[], IPV6, &packet)
}

const FROM_HOST: ([u8; 6], [u8; 6]) = (GATEWAY, HOST);
const TO_HOST: ([u8; 6], [u8; 6]) = (HOST, LAN_PORT);

fn to_isp(id: u8) -> ([u8; 6], [u8; 6]) {
    (next_hop(id, 1), uplink_mac(id))
}

fn from_isp() -> ([u8; 6], [u8; 6]) {
    (GATEWAY, next_hop(0, 1))
}

fn translates(row: Row) -> Row {
    row.within(|world| world.nptv6 = true)
}

fn outward(shows: &str, input: Vec<u8>, output: Vec<u8>, id: u8) -> Row {
    translates(Row::changed(shows, Side::Lan, input, Forwarded, output)).to_uplink(id)
}

fn inward(shows: &str, input: Vec<u8>, output: Vec<u8>) -> Row {
    translates(Row::changed(shows, Side::Uplink, input, Forwarded, output))
}

/// The rows.
pub fn rows() -> Vec<Row> {
    let syn = tcp(FROM_HOST, [HOST6, SERVER6], 64, true);
    let ack = tcp(FROM_HOST, [HOST6, SERVER6], 64, false);
    let lost = |row: Row| {
        translates(row).when_before(|_| {}).within(|world| {
            world.alive = 0b110;
            world.group.eligible = [0b010; 2];
        })
    };
    let stranger: Ipv6Addr = "2001:db8:77::5".parse().expect("a constant");
    let mut nowhere = outside(0).segments();
    nowhere[3] = 0xffff;
    let from_isp_packet = |destination: Ipv6Addr| {
        from_uplink(
            IPV6,
            &ipv6((SERVER6, destination), 60, 17, &udp((1, 2), &[])),
        )
    };
    let later = |ends: (Ipv6Addr, Ipv6Addr), hops| {
        let body = [fragment(17, 100, true), vec![5; 64]].concat();
        ipv6(ends, hops, 44, &body)
    };
    let mut rows = vec![
        outward(
            "a segment leaves under the uplink's prefix, checksum as it was",
            syn.clone(),
            tcp(to_isp(0), [outside(0), SERVER6], 63, true),
            0,
        ),
        inward(
            "what comes back to the outside address reaches the host",
            tcp(from_isp(), [SERVER6, outside(0)], 60, false),
            tcp(TO_HOST, [SERVER6, HOST6], 59, false),
        ),
        outward(
            "a later fragment is translated like the first",
            ethernet(GATEWAY, HOST, &[], IPV6, &later((HOST6, SERVER6), 64)),
            ethernet(
                next_hop(0, 1),
                uplink_mac(0),
                &[],
                IPV6,
                &later((outside(0), SERVER6), 63),
            ),
            0,
        ),
        outward(
            "a source outside the LAN's prefix leaves as it is",
            tcp(FROM_HOST, [stranger, SERVER6], 64, true),
            tcp(to_isp(0), [stranger, SERVER6], 63, true),
            0,
        ),
        inward(
            "a packet for the LAN's own prefix needs no translation",
            in6(17, &udp((1, 2), &[])),
            forwarded(&in6(17, &udp((1, 2), &[])), HOST, LAN_PORT),
        ),
        translates(Row::changed(
            "a LAN host whose MAC is not known is left to the kernel by its own address",
            Side::Uplink,
            tcp(from_isp(), [SERVER6, unknown_outside(0)], 60, false),
            PassNoNeighbour,
            tcp(from_isp(), [SERVER6, UNKNOWN6], 60, false),
        )),
        translates(Row::unchanged(
            "an outside address without an inside one is dropped",
            Side::Uplink,
            from_isp_packet(nowhere.into()),
            DropNoPrefix,
        )),
        translates(Row::unchanged(
            "the gateway's own addresses are never translated",
            Side::Uplink,
            from_isp_packet("2001:db8:1::1".parse().expect("a constant")),
            PassGateway,
        )),
        translates(Row::unchanged(
            "local traffic is the kernel's",
            Side::Lan,
            tcp(
                FROM_HOST,
                [HOST6, "2001:db8:aaaa::1".parse().expect("a constant")],
                64,
                true,
            ),
            PassOnLink,
        )),
    ];
    rows.extend([
        lost(outward(
            "a datagram of a flow whose uplink has died leaves under another prefix",
            ethernet(GATEWAY, HOST, &[], IPV6, &later((HOST6, SERVER6), 64)),
            ethernet(
                next_hop(1, 1),
                uplink_mac(1),
                &[],
                IPV6,
                &later((outside(1), SERVER6), 63),
            ),
            1,
        ))
        .after(
            Side::Lan,
            ethernet(GATEWAY, HOST, &[], IPV6, &later((HOST6, SERVER6), 64)),
        ),
        lost(outward(
            "a connection that begins anew after its uplink died gets another prefix",
            syn.clone(),
            tcp(to_isp(1), [outside(1), SERVER6], 63, true),
            1,
        ))
        .after(Side::Lan, ack.clone()),
        lost(outward(
            "a connection that is to hold out keeps its uplink",
            ack.clone(),
            tcp(to_isp(0), [outside(0), SERVER6], 63, false),
            0,
        ))
        .after(Side::Lan, ack.clone())
        .within(|world| {
            world.group.conduct = GroupWords::conduct([Policy::FiveTuple; 2], GROUP_HOLD);
        }),
        lost(Row::changed(
            "a connection whose uplink has died is answered with a reset",
            Side::Lan,
            ack.clone(),
            ReplyReset,
            reset(&ack),
        ))
        .after(Side::Lan, ack),
        outward(
            "a connection that came in by an uplink is answered under its prefix",
            tcp(FROM_HOST, [HOST6, SERVER6], 64, true),
            tcp(to_isp(0), [outside(0), SERVER6], 63, true),
            0,
        )
        .after(Side::Uplink, {
            let mut asked = tcp(from_isp(), [SERVER6, outside(0)], 60, true);
            asked[54..58].copy_from_slice(&[0x01, 0xbb, 0x0f, 0xa0]);
            asked
        })
        .within(|world| world.group.eligible = [0b010; 2]),
    ]);
    rows.extend(quoted(&syn));
    rows.extend(hairpins());
    rows.extend(example());
    rows
}

/// The example of RFC 6296, there and back.
fn example() -> [Row; 2] {
    let outside: Ipv6Addr = "2001:db8:1:d550::1234".parse().expect("a constant");
    [
        outward(
            "RFC 6296's example: FD01:203:405:1::1234 becomes 2001:DB8:1:D550::1234",
            tcp(FROM_HOST, [RFC6296_HOST, SERVER6], 64, true),
            tcp(to_isp(0), [outside, SERVER6], 63, true),
            0,
        ),
        inward(
            "RFC 6296's example: 2001:DB8:1:D550::1234 becomes FD01:203:405:1::1234",
            tcp(from_isp(), [SERVER6, outside], 60, false),
            tcp(TO_HOST, [SERVER6, RFC6296_HOST], 59, false),
        ),
    ]
    .map(|row| row.within(|world| world.rfc6296 = true))
}

/// From one LAN host to another by its outside address (RFC 6296 section 4.3).
fn hairpins() -> Vec<Row> {
    let other: Ipv6Addr = "2001:db8:1::7".parse().expect("a constant");
    let mut other_outside = outside(1).segments();
    other_outside[7] = 7;
    let from_other = (GATEWAY, [2, 0, 0, 0, 1, 7]);
    let asked = |hops| tcp(from_other, [other, outside(1)], hops, true);
    let mut too_old = super::answers::answer6(&asked(1), 3, 0);
    too_old[..6].copy_from_slice(&from_other.1);
    let mut nobody = outside(1).segments();
    nobody[3] = nobody[3].wrapping_add(9);
    vec![
        translates(Row::changed(
            "a LAN host reaches another by its outside address, from its own",
            Side::Lan,
            asked(64),
            Forwarded,
            tcp(TO_HOST, [other_outside.into(), HOST6], 63, true),
        )),
        translates(Row::changed(
            "who reaches for a LAN host that is not known is left to the kernel, translated",
            Side::Lan,
            tcp(from_other, [other, unknown_outside(1)], 64, true),
            PassNoNeighbour,
            tcp(from_other, [other_outside.into(), UNKNOWN6], 64, true),
        )),
        translates(Row::changed(
            "a hop limit that is used up on the way by an outside address is answered",
            Side::Lan,
            asked(1),
            ReplyTimeExceeded,
            too_old,
        )),
        translates(Row::unchanged(
            "an outside address whose inside one is not in the LAN is the kernel's",
            Side::Lan,
            tcp(from_other, [other, nobody.into()], 64, true),
            PassOnLink,
        )),
    ]
}

/// ICMPv6 errors: what they quote is translated with them.
fn quoted(syn: &[u8]) -> Vec<Row> {
    let router: Ipv6Addr = "2001:db8:9::1".parse().expect("a constant");
    let far = tcp(to_isp(0), [outside(0), SERVER6], 1, true);
    let near = tcp(to_isp(0), [HOST6, SERVER6], 1, true);
    let come = ipv6((SERVER6, outside(0)), 59, 17, &udp((443, 4000), &[]));
    let came = ipv6((SERVER6, HOST6), 59, 17, &udp((443, 4000), &[]));
    let large = {
        let body = udp((4000, 443), &[0; 1400]);
        ethernet(
            GATEWAY,
            HOST,
            &[],
            IPV6,
            &ipv6((HOST6, SERVER6), 64, 17, &body),
        )
    };
    vec![
        inward(
            "an error about what the host has sent names the host's own address",
            error(from_isp(), [router, outside(0)], 60, &far[14..]),
            error(TO_HOST, [router, HOST6], 59, &near[14..]),
        ),
        outward(
            "an error about what came in names the outside address, and leaves by that uplink",
            error(FROM_HOST, [HOST6, SERVER6], 64, &came),
            error(to_isp(0), [outside(0), SERVER6], 63, &come),
            0,
        )
        .after(Side::Uplink, from_uplink(IPV6, &come))
        .within(|world| world.group.eligible = [0b010; 2]),
        outward(
            "an error that quotes too little to tell a flow is translated all the same",
            error(FROM_HOST, [HOST6, SERVER6], 64, &syn[14..34]),
            error(to_isp(0), [outside(0), SERVER6], 63, &syn[14..34]),
            0,
        ),
        translates(Row::changed(
            "a packet larger than the uplink's MTU is answered before translation",
            Side::Lan,
            large.clone(),
            ReplyTooBig,
            super::answers::answer6(&large, 2, SMALL_MTU.into()),
        ))
        .within(|world| world.group.eligible = [0b010; 2]),
    ]
}

/// The reset that a segment is answered with, in the name of the server.
fn reset(segment: &[u8]) -> Vec<u8> {
    let asked = etherparse::TcpHeaderSlice::from_slice(&segment[54..]).expect("TCP");
    let mut reset = etherparse::TcpHeader::new(
        asked.destination_port(),
        asked.source_port(),
        asked.acknowledgment_number(),
        0,
    );
    reset.rst = true;
    reset.checksum = reset
        .calc_checksum_ipv6_raw(SERVER6.octets(), HOST6.octets(), &[])
        .expect("it is short");
    let packet = ipv6((SERVER6, HOST6), 64, 6, &reset.to_bytes());
    ethernet(HOST, GATEWAY, &[], IPV6, &packet)
}
