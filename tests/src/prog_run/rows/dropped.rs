//! Packets that are dropped, with the reason counted.

use std::net::{Ipv4Addr, Ipv6Addr};

use multihome_common::verdict::Verdict::{
    self, DropBadChecksum, DropBadHeader, DropMartianSource, DropTruncated,
};

use super::{from_host, in4, in6, out4, out6};
use crate::prog_run::{
    frames::{IPV4, IPV6, extension, ipv4, ipv6, udp},
    row::Row,
    world::{SERVER4, SERVER6, Side},
};

/// The rows.
pub fn rows() -> Vec<Row> {
    [martians(), lengths()].concat()
}

fn martians() -> Vec<Row> {
    let mut rows = Vec::new();
    for source in [
        [0, 0, 0, 0],
        [0, 1, 2, 3],
        [127, 0, 0, 1],
        [169, 254, 9, 9],
        [224, 0, 0, 1],
        [240, 0, 0, 1],
        [255; 4],
    ] {
        let packet = ipv4(
            (Ipv4Addr::from(source), SERVER4),
            64,
            17,
            &udp((1, 2), b""),
            |_| {},
        );
        let shows = format!("source {} is never forwarded", Ipv4Addr::from(source));
        rows.push(Row::unchanged(
            &shows,
            Side::Lan,
            from_host(IPV4, &packet),
            DropMartianSource,
        ));
    }
    for source in ["::", "::1", "fe80::5", "febf::1", "ff02::1"] {
        let from: Ipv6Addr = source.parse().expect("a constant");
        let packet = ipv6((from, SERVER6), 64, 17, &udp((1, 2), b""));
        let shows = format!("source {source} is never forwarded");
        rows.push(Row::unchanged(
            &shows,
            Side::Lan,
            from_host(IPV6, &packet),
            DropMartianSource,
        ));
    }
    rows
}

fn lengths() -> Vec<Row> {
    let good4 = out4(17, &udp((1, 2), b"sixteen bytes of"));
    let good6 = out6(17, &udp((1, 2), b"sixteen bytes of"));
    let edited = |frame: &[u8], at: usize, byte: u8| {
        let mut frame = frame.to_vec();
        frame[14 + at] = byte;
        frame
    };
    // Checksums are made anew where it is not the checksum that is wrong.
    let summed = |frame: &[u8], edits: &[(usize, u8)]| {
        let mut frame = frame.to_vec();
        for (at, byte) in edits {
            frame[14 + at] = *byte;
        }
        frame[14 + 10..14 + 12].fill(0);
        let len = usize::from(frame[14] & 15) * 4;
        let words = frame[14..14 + len.max(20)]
            .chunks(2)
            .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
        let mut sum: u32 = words.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        frame[14 + 10..14 + 12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        frame
    };
    let row = |shows: &str, frame: Vec<u8>, verdict: Verdict| {
        Row::unchanged(shows, Side::Lan, frame, verdict)
    };
    let len4 = (good4.len() - 14) as u8;
    let mut rows = vec![
        row(
            "IPv4 with version 5",
            summed(&good4, &[(0, 0x55)]),
            DropBadHeader,
        ),
        row(
            "IPv4 with a header of 16 bytes",
            summed(&good4, &[(0, 0x44)]),
            DropBadHeader,
        ),
        row(
            "IPv4 with a total length below its header",
            summed(&good4, &[(3, 19)]),
            DropBadHeader,
        ),
        row(
            "IPv4 with a total length of zero",
            summed(&good4, &[(3, 0)]),
            DropBadHeader,
        ),
        row(
            "IPv4 longer than its frame",
            summed(&good4, &[(3, len4 + 1)]),
            DropTruncated,
        ),
        row(
            "IPv4 much longer than its frame",
            summed(&good4, &[(2, 0xff)]),
            DropTruncated,
        ),
        row(
            "UDP without room for ports",
            summed(&good4, &[(3, 23)]),
            DropTruncated,
        ),
        row(
            "IPv4 with a wrong checksum",
            edited(&good4, 10, good4[24] ^ 1),
            DropBadChecksum,
        ),
        row(
            "IPv4 with a changed TTL",
            edited(&good4, 8, 65),
            DropBadChecksum,
        ),
        row(
            "IPv6 with version 4",
            edited(&good6, 0, 0x40),
            DropBadHeader,
        ),
        row(
            "IPv6 longer than its frame",
            edited(&good6, 5, 200),
            DropTruncated,
        ),
        row(
            "IPv6 UDP without room for ports",
            edited(&good6, 5, 3),
            DropTruncated,
        ),
    ];
    let mut header = extension(17, 1);
    header[1] = 200;
    rows.push(row(
        "an extension header longer than its packet",
        out6(60, &header),
        DropTruncated,
    ));
    rows.push(row(
        "a hop-by-hop header of one byte",
        out6(0, &[17]),
        DropTruncated,
    ));
    rows.push(row(
        "a fragment header cut short",
        out6(44, &[17, 0, 0]),
        DropTruncated,
    ));
    for (side, frames) in [
        (Side::Lan, [good4, good6]),
        (
            Side::Uplink,
            [in4(17, &udp((1, 2), b"x")), in6(17, &udp((1, 2), b"x"))],
        ),
    ] {
        for frame in frames {
            for len in 14..frame.len() {
                let shows = format!("{side:?}: a frame of {} cut to {len} bytes", frame.len());
                rows.push(Row::unchanged(
                    &shows,
                    side,
                    frame[..len].to_vec(),
                    DropTruncated,
                ));
            }
        }
    }
    rows
}
