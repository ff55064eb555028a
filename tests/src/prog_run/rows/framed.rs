//! Rows of ports behind tags and in PPPoE sessions: all other rows once more on such links, and what such
//! links have alone.

use std::iter;

use multihome_common::{
    port::PORT_TRUNK,
    verdict::{Disposition, Verdict},
};

use super::{in4, out4, out6};
use crate::prog_run::{
    frames::{IPV4, IPV6, ethernet, icmp, ipv4, tcp, udp},
    row::Row,
    wire::{Wire, unpadded},
    world::{
        GATEWAY, GATEWAY4, HOST, HOST4, LAN_PORT, OUTSIDE, SERVER4, Side, World, next_hop,
        uplink_mac,
    },
};

const TAG: Wire = Wire::tagged(&[(0x8100, 20)]);
const QINQ: Wire = Wire::tagged(&[(0x88a8, 200), (0x8100, 100)]);
const OLD_QINQ: Wire = Wire::tagged(&[(0x8100, 4094), (0x8100, 1)]);
const PPPOE: Wire = Wire::session(&[], 0x1234);
const TAGGED_PPPOE: Wire = Wire::session(&[(0x8100, 7)], 1);
const QINQ_PPPOE: Wire = Wire::session(&[(0x88a8, 2), (0x8100, 3)], 0xffff);

/// What stands on the LAN and on the uplinks: each kind on each side, and mixed.
const LINKS: [[Wire; 2]; 7] = [
    [TAG, Wire::PLAIN],
    [Wire::PLAIN, QINQ],
    [Wire::PLAIN, PPPOE],
    [TAG, TAGGED_PPPOE],
    [QINQ, TAG],
    [OLD_QINQ, QINQ_PPPOE],
    [TAG, OLD_QINQ],
];

/// Every row of `plain` on each of the links, and the rows that such links have alone.
pub fn rows(plain: &[Row]) -> Vec<Row> {
    let mut rows: Vec<Row> = plain
        .iter()
        .flat_map(|row| LINKS.iter().filter_map(|links| on_links(row, *links)))
        .collect();
    rows.extend(to_the_kernel());
    rows.extend(full_size());
    rows
}

/// A plain row on these links; `None` if its frames cannot stand there.
fn on_links(row: &Row, links: [Wire; 2]) -> Option<Row> {
    let peer = |frame: &[u8]| <[u8; 6]>::try_from(frame.get(6..12)?).ok();
    let wrapped = |side: Side, frame: &[u8]| {
        let wire = links[side as usize];
        let kind = frame.get(12..14)?;
        let is_ip = kind == IPV4.to_be_bytes() || kind == IPV6.to_be_bytes();
        // What has tags of its own is another link's.
        let is_tagged = kind == [0x81, 0] || kind == [0x88, 0xa8];
        // A session is with one station.
        let strange = wire.session.is_some() && (!is_ip || peer(frame) != peer(&row.input));
        let bare = wire == Wire::PLAIN;
        (bare || !is_tagged && !strange).then(|| wire.wrap(frame, true))
    };
    let comes_in = links[row.side as usize];
    let mut framed = row.clone();
    let between = |wire: Wire| wire.framing().to_string();
    framed.shows = format!(
        "{} [LAN {}, uplinks {}]",
        row.shows,
        between(links[0]),
        between(links[1])
    );
    for world in iter::once(&mut framed.world).chain(&mut framed.earlier) {
        world.framings = links;
        world.peer = peer(&row.input)?;
        world.vlan_devices = true;
    }
    framed.input = wrapped(row.side, &row.input)?;
    for (side, frame) in &mut framed.before {
        *frame = wrapped(*side, frame)?;
    }
    // A session's data ends where its header says.
    let output = if comes_in.session.is_some() {
        unpadded(&row.output)
    } else {
        &row.output
    };
    framed.output = match row.verdict.disposition() {
        Disposition::Forward => sent(links[goes_to(row) as usize], output),
        Disposition::Drop if row.verdict == Verdict::DropFaultOut => {
            sent(links[goes_to(row) as usize], output)
        }
        Disposition::Reply => sent(comes_in, output),
        Disposition::Pass => comes_in.wrap(output, false),
        Disposition::Drop => output.to_vec(),
    };
    Some(framed)
}

/// The side that a forwarded row's packet leaves by.
fn goes_to(row: &Row) -> Side {
    let uplinks = (0..3).any(|id| row.output[6..12] == uplink_mac(id));
    if uplinks { Side::Uplink } else { Side::Lan }
}

/// A plain frame as it is sent on a link. A priority does not leave the link that it came by if the next one
/// has tags of its own.
fn sent(wire: Wire, frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    while wire != Wire::PLAIN && matches!(frame.get(12..14), Some([0x81, 0] | [0x88, 0xa8])) {
        frame.drain(12..16);
    }
    wire.wrap(&frame, false)
}

/// What the kernel gets where it has no device for the tags: what stands behind them.
fn to_the_kernel() -> Vec<Row> {
    let ping = ipv4((HOST4, GATEWAY4), 64, 1, &icmp(8, b"ping"), |_| {});
    let ping = ethernet(GATEWAY, HOST, &[], IPV4, &ping);
    let arp = ethernet([0xff; 6], HOST, &[], 0x0806, &[0; 28]);
    let mut rows = Vec::new();
    for wire in [TAG, QINQ, OLD_QINQ] {
        for (frame, verdict) in [
            (&ping, Verdict::PassGateway),
            (&arp, Verdict::PassOtherHost),
        ] {
            let on_wire = wire.wrap(frame, true);
            let edit = |devices| {
                move |world: &mut World| {
                    world.framings = [wire, Wire::PLAIN];
                    world.vlan_devices = devices;
                }
            };
            let shows = format!(
                "without a VLAN device the kernel gets plain frames, {}",
                wire.framing()
            );
            rows.push(
                Row::changed(&shows, Side::Lan, on_wire.clone(), verdict, frame.clone())
                    .within(edit(false)),
            );
            let shows = format!("a VLAN device gets its tagged frames, {}", wire.framing());
            rows.push(Row::unchanged(&shows, Side::Lan, on_wire, verdict).within(edit(true)));
        }
    }
    rows.extend(untagged());
    rows.extend(in_between());
    let packet = ipv4((SERVER4, OUTSIDE), 64, 1, &icmp(8, b"ping"), |_| {});
    let frame = ethernet(GATEWAY, next_hop(0, 0), &[], IPV4, &packet);
    for (wire, left) in [(PPPOE, PPPOE), (TAGGED_PPPOE, Wire::session(&[], 1))] {
        let shows = format!(
            "PPP gets a session's packet for the gateway, {}",
            wire.framing()
        );
        let (on_wire, left) = (wire.wrap(&frame, true), left.wrap(&frame, false));
        rows.push(
            Row::changed(&shows, Side::Uplink, on_wire, Verdict::PassGateway, left).within(
                move |world| {
                    world.framings = [Wire::PLAIN, wire];
                    world.peer = next_hop(0, 0);
                },
            ),
        );
    }
    rows
}

/// What comes in without a tag, or with a priority alone, where the kernel would take it for the VLAN's: by its
/// addresses, which stand on the device itself.
fn untagged() -> Vec<Row> {
    let ping = ipv4((HOST4, GATEWAY4), 64, 1, &icmp(8, b"ping"), |_| {});
    let mut rows = Vec::new();
    for wire in [TAG, QINQ, OLD_QINQ] {
        let edit = move |world: &mut World| world.framings = [wire, wire];
        for side in [Side::Lan, Side::Uplink] {
            for (what, ethertype, tags) in [
                ("IPv4", IPV4, &[][..]),
                ("IPv6", IPV6, &[]),
                ("ARP", 0x0806, &[]),
                ("PPPoE discovery", 0x8863, &[]),
                ("PPPoE", 0x8864, &[]),
                ("IPv4 with a priority", IPV4, &[(0x8100, 0xe000)]),
            ] {
                let frame = ethernet(GATEWAY, HOST, tags, ethertype, &ping);
                let shows = format!("{what} without the tags of {} is dropped", wire.framing());
                rows.push(Row::unchanged(&shows, side, frame, Verdict::DropUntagged).within(edit));
            }
        }
    }
    rows
}

/// While a device changes between one port and several, its table and its program are of two minds: what comes in
/// without a tag is still its own port's, and goes its way, and a tag is another link's.
fn in_between() -> Vec<Row> {
    let edit = |world: &mut World| world.port.flags |= PORT_TRUNK;
    let plain = out4(17, &udp((1000, 2000), b"out"));
    let sent = crate::prog_run::frames::forwarded(&plain, next_hop(0, 0), uplink_mac(0));
    let answer = in4(17, &udp((2000, 1000), b"in"));
    let delivered = crate::prog_run::frames::forwarded(&answer, HOST, LAN_PORT);
    let shows = "a device whose entry says that it has several ports still serves its own";
    vec![
        Row::changed(shows, Side::Lan, plain.clone(), Verdict::Forwarded, sent)
            .within(edit)
            .to_uplink(0),
        Row::changed(shows, Side::Uplink, answer, Verdict::Forwarded, delivered).within(edit),
        Row::unchanged(
            "its tagged frames are the kernel's meanwhile",
            Side::Lan,
            TAG.wrap(&plain, true),
            Verdict::PassVlanDevice,
        )
        .within(edit),
    ]
}

/// Packets as large as the links take: tags come on top, a session leaves 1492 bytes.
fn full_size() -> Vec<Row> {
    let mut rows = Vec::new();
    for links in LINKS {
        let mtu: u16 = if links[1].session.is_some() {
            1492
        } else {
            1500
        };
        let edit = move |world: &mut World| {
            world.framings = links;
            world.mtu = mtu;
            world.peer = next_hop(0, 0);
        };
        for (ethertype, headers, frame) in [
            (IPV4, 20 + 8, out4 as fn(u8, &[u8]) -> Vec<u8>),
            (IPV6, 40 + 8, out6),
        ] {
            let payload = vec![0x5a; usize::from(mtu) - headers];
            let plain = frame(17, &udp((1000, 2000), &payload));
            let family = usize::from(ethertype == IPV6);
            let hop = (next_hop(0, family), uplink_mac(0));
            let sent = crate::prog_run::frames::forwarded(&plain, hop.0, hop.1);
            let shows = format!(
                "a packet of {mtu} bytes passes from {} to {}",
                links[0].framing(),
                links[1].framing()
            );
            rows.push(
                Row::changed(
                    &shows,
                    Side::Lan,
                    links[0].wrap(&plain, true),
                    Verdict::Forwarded,
                    links[1].wrap(&sent, false),
                )
                .within(edit)
                .to_uplink(0),
            );
        }
        let payload = vec![0x5a; usize::from(mtu) - 20 - 20];
        let plain = in4(6, &tcp((443, 1000), &payload));
        let sent = crate::prog_run::frames::forwarded(&plain, HOST, LAN_PORT);
        let shows = format!(
            "a segment of {mtu} bytes passes from {} to {}",
            links[1].framing(),
            links[0].framing()
        );
        rows.push(
            Row::changed(
                &shows,
                Side::Uplink,
                links[1].wrap(&plain, true),
                Verdict::Forwarded,
                links[0].wrap(&sent, false),
            )
            .within(edit),
        );
    }
    rows
}
