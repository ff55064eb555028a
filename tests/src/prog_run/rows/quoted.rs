//! ICMP errors about packets of translated flows: they and what they quote are translated.

use std::net::Ipv4Addr;

use etherparse::Icmpv4Type;
use multihome_common::verdict::Verdict::{DropUnknownError, PassGateway};

use super::translated::{
    FROM_HOST, Flags, PORT, TO_HOST, address, datagram, echo, esp, from_isp, inward, outward,
    stays, tcp, to_isp,
};
use crate::prog_run::{
    frames::{IPV4, ethernet, ipv4},
    row::Row,
    world::{HOST4, OUTSIDE, SERVER4, Side},
};

/// A router on the way.
const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// An ICMP error that quotes a frame's packet, or its first bytes.
pub(super) fn error(
    macs: ([u8; 6], [u8; 6]),
    ends: (Ipv4Addr, Ipv4Addr),
    ttl: u8,
    (kind, code): (u8, u8),
    quoted: &[u8],
) -> Vec<u8> {
    let bytes5to8 = [0, 0, 5, 0x78];
    let icmp = Icmpv4Type::Unknown {
        type_u8: kind,
        code_u8: code,
        bytes5to8,
    };
    let sum = icmp.calc_checksum(quoted).to_be_bytes();
    let head = [kind, code, sum[0], sum[1]];
    let body = [&head[..], &bytes5to8, quoted].concat();
    ethernet(
        macs.0,
        macs.1,
        &[],
        IPV4,
        &ipv4(ends, ttl, 1, &body, |_| {}),
    )
}

/// The packet in a frame, cut to `len` bytes.
pub(super) fn packet(frame: &[u8], len: usize) -> &[u8] {
    &frame[14..frame.len().min(14 + len)]
}

/// A row for an error from outside that quotes `left` and must quote `sent` when it is delivered.
fn back(shows: &str, before: &[u8], code: (u8, u8), [left, sent]: [&[u8]; 2]) -> Row {
    inward(
        shows,
        before,
        error(from_isp(), (ROUTER, OUTSIDE), 60, code, left),
        error(TO_HOST, (ROUTER, HOST4), 59, code, sent),
    )
}

/// The rows.
pub fn rows() -> Vec<Row> {
    let (host, outside) = (address(HOST4, PORT), address(OUTSIDE, PORT));
    let server = address(SERVER4, 443);
    let sent = datagram(FROM_HOST, [host, server], 64);
    let syn = tcp(FROM_HOST, [host, server], 64, Flags::Syn);
    let ping = echo(FROM_HOST, [HOST4, SERVER4], 64, 77, false);
    let secret = esp(FROM_HOST, (HOST4, SERVER4), 64);
    // As a router sees them, with the hop limit that they have there.
    let far = |inside: bool| {
        let end = if inside { host } else { outside };
        datagram(to_isp(), [end, server], 1)
    };
    let far_syn = |inside: bool| {
        let end = if inside { host } else { outside };
        tcp(to_isp(), [end, server], 50, Flags::Syn)
    };
    let without_checksum = |inside: bool| {
        let mut frame = far(inside);
        frame[40..42].fill(0);
        frame
    };
    let far_ping = |inside: bool| {
        let end = if inside { HOST4 } else { OUTSIDE };
        echo(to_isp(), [end, SERVER4], 1, 77, false)
    };
    let far_secret = |inside: bool| {
        let end = if inside { HOST4 } else { OUTSIDE };
        esp(to_isp(), (end, SERVER4), 1)
    };
    let unreachable = |macs, ends, ttl, quoted: &[u8]| error(macs, ends, ttl, (3, 3), quoted);
    let came = datagram(TO_HOST, [server, host], 59);
    let came_outside = datagram(TO_HOST, [server, outside], 59);
    vec![
        back(
            "time exceeded about a datagram comes back to its host",
            &sent,
            (11, 0),
            [packet(&far(false), 99), packet(&far(true), 99)],
        ),
        back(
            "an error about a datagram without a checksum leaves it without",
            &sent,
            (11, 0),
            [
                packet(&without_checksum(false), 99),
                packet(&without_checksum(true), 99),
            ],
        ),
        back(
            "fragmentation needed that quotes eight bytes of a segment comes back to its host",
            &syn,
            (3, 4),
            [packet(&far_syn(false), 28), packet(&far_syn(true), 28)],
        ),
        back(
            "an error that quotes a whole segment has its checksum right",
            &syn,
            (3, 1),
            [packet(&far_syn(false), 99), packet(&far_syn(true), 99)],
        ),
        back(
            "time exceeded about an echo request comes back to its host",
            &ping,
            (11, 0),
            [packet(&far_ping(false), 99), packet(&far_ping(true), 99)],
        ),
        back(
            "an error about a protocol without ports comes back to its host",
            &secret,
            (3, 2),
            [
                packet(&far_secret(false), 99),
                packet(&far_secret(true), 99),
            ],
        ),
        outward(
            "a host's error about a datagram leaves with the outside address, inside and out",
            unreachable(FROM_HOST, (HOST4, SERVER4), 64, packet(&came, 28)),
            unreachable(to_isp(), (OUTSIDE, SERVER4), 63, packet(&came_outside, 28)),
        )
        .after(Side::Lan, sent.clone()),
        stays(
            "an error about a packet that no flow has sent is dropped",
            Side::Uplink,
            error(
                from_isp(),
                (ROUTER, OUTSIDE),
                60,
                (11, 0),
                packet(&datagram(to_isp(), [outside, address(SERVER4, 444)], 1), 99),
            ),
            DropUnknownError,
        )
        .after(Side::Lan, sent),
        stays(
            "an error about the gateway's own packet is the gateway's",
            Side::Uplink,
            error(
                from_isp(),
                (ROUTER, OUTSIDE),
                60,
                (11, 0),
                packet(&far(false), 99),
            ),
            PassGateway,
        ),
    ]
}
