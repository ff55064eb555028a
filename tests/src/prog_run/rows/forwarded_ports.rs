//! Ports that are forwarded to a LAN host: from outside, and from inside by the outside address
//! (hairpinning, RFC 4787 REQ-9).

use std::net::Ipv4Addr;

use multihome_common::verdict::Verdict::{
    DropFiltered, DropNoNeighbour, Forwarded, PassGateway, ReplyTimeExceeded,
};

use super::{
    answers::answer4,
    quoted::{error, packet},
    translated::{
        FROM_HOST, Flags, PORT, address, datagram, echo, from_isp, outward, stays, tcp, to_isp,
    },
};
use crate::prog_run::{
    row::Row,
    world::{GATEWAY, GATEWAY4, HOST, HOST4, LAN_PORT, Nat, OUTSIDE, SERVER4, Side},
};

/// The forwarded port, and the LAN host's own.
const OUTER: u16 = 8080;
const INNER: u16 = 80;
/// Another LAN host, and its MAC.
const OTHER4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 50);
const OTHER: [u8; 6] = [2, 0, 0, 0, 1, 50];

fn forwards(row: Row) -> Row {
    row.within(|world| {
        world.nat = Some(Nat {
            forward: Some((OUTER, INNER)),
            ..Nat::default()
        });
    })
}

/// The rows.
pub fn rows() -> Vec<Row> {
    let server = address(SERVER4, 999);
    let (outer, inner) = (address(OUTSIDE, OUTER), address(HOST4, INNER));
    let asked = tcp(from_isp(), [server, outer], 60, Flags::Syn);
    let mut rows = vec![
        forwards(Row::changed(
            "who connects to a forwarded port reaches the LAN host",
            Side::Uplink,
            asked.clone(),
            Forwarded,
            tcp((HOST, LAN_PORT), [server, inner], 59, Flags::Syn),
        )),
        forwards(outward(
            "what a forwarded port answers leaves by the uplink that asked, from the forwarded port",
            tcp(FROM_HOST, [inner, server], 64, Flags::SynAck),
            tcp(to_isp(), [outer, server], 63, Flags::SynAck),
        ))
        .after(Side::Uplink, asked.clone())
        .within(|world| world.group.eligible = [0b110; 2]),
        forwards(outward(
            "what a forwarded port of the same number sends of its own accord leaves from it",
            datagram(FROM_HOST, [address(HOST4, OUTER), server], 64),
            datagram(to_isp(), [outer, server], 63),
        ))
        .within(|world| {
            world.nat = Some(Nat {
                forward: Some((OUTER, OUTER)),
                ..Nat::default()
            });
        }),
        stays(
            "a forwarded port whose host is not known is not the kernel's to refuse",
            Side::Uplink,
            asked.clone(),
            DropNoNeighbour,
        )
        .within(|world| {
            world.nat = Some(Nat {
                forward: Some((OUTER, INNER)),
                stranger: true,
                ..Nat::default()
            });
        }),
        forwards(stays(
            "a port beside the forwarded one is the kernel's",
            Side::Uplink,
            tcp(from_isp(), [server, address(OUTSIDE, OUTER + 1)], 60, Flags::Syn),
            PassGateway,
        )),
    ];
    rows.extend(hairpins(outer, inner));
    rows
}

/// From one LAN host to another by the outside address.
fn hairpins(outer: (Ipv4Addr, u16), inner: (Ipv4Addr, u16)) -> Vec<Row> {
    let other = address(OTHER4, PORT);
    let other_outside = address(OUTSIDE, PORT);
    let from_other = (GATEWAY, OTHER);
    let syn = tcp(from_other, [other, outer], 64, Flags::Syn);
    let delivered = tcp((HOST, LAN_PORT), [other_outside, inner], 63, Flags::Syn);
    let answer = tcp(FROM_HOST, [inner, other_outside], 64, Flags::SynAck);
    let expired = tcp(from_other, [other, outer], 1, Flags::Syn);
    let unseen = datagram(FROM_HOST, [address(HOST4, PORT), address(SERVER4, 443)], 64);
    let mut too_old = answer4(&expired, 11, 0, 0);
    too_old[..6].copy_from_slice(&OTHER);
    vec![
        forwards(Row::changed(
            "a LAN host reaches another by its forwarded port, from its own outside address",
            Side::Lan,
            syn.clone(),
            Forwarded,
            delivered.clone(),
        )),
        forwards(Row::changed(
            "what the other answers comes back the same way",
            Side::Lan,
            answer,
            Forwarded,
            tcp((OTHER, GATEWAY), [outer, other], 63, Flags::SynAck),
        ))
        .after(Side::Lan, syn.clone()),
        forwards(Row::changed(
            "an error about what came by the outside address goes back to who has sent it",
            Side::Lan,
            error(
                FROM_HOST,
                (HOST4, OUTSIDE),
                64,
                (3, 3),
                packet(&delivered, 40),
            ),
            Forwarded,
            error(
                (OTHER, GATEWAY),
                (OUTSIDE, OTHER4),
                63,
                (3, 3),
                packet(&tcp(from_other, [other, outer], 63, Flags::Syn), 40),
            ),
        ))
        .after(Side::Lan, syn),
        forwards(stays(
            "a LAN host that asks the outside address for what nobody has reaches the gateway",
            Side::Lan,
            tcp(from_other, [other, address(OUTSIDE, 22)], 64, Flags::Syn),
            PassGateway,
        )),
        forwards(stays(
            "a LAN host that pings the outside address reaches the gateway",
            Side::Lan,
            echo(from_other, [OTHER4, OUTSIDE], 64, 77, false),
            PassGateway,
        )),
        forwards(stays(
            "an address of the gateway that is no outside address is the gateway's",
            Side::Lan,
            tcp(
                from_other,
                [other, address(GATEWAY4, OUTER)],
                64,
                Flags::Syn,
            ),
            PassGateway,
        )),
        forwards(Row::changed(
            "a hop limit that is used up on the way back in is answered",
            Side::Lan,
            expired,
            ReplyTimeExceeded,
            too_old,
        )),
        // What leaves the first half of the way has its outside address already.
        forwards(Row::changed(
            "a LAN host that has not talked to another does not reach its port",
            Side::Lan,
            datagram(
                from_other,
                [address(OTHER4, 6000), address(OUTSIDE, PORT)],
                64,
            ),
            DropFiltered,
            datagram(
                from_other,
                [address(OUTSIDE, 6000), address(OUTSIDE, PORT)],
                64,
            ),
        ))
        .after(Side::Lan, unseen),
        forwards(Row::changed(
            "a forwarded port whose host is not known cannot be reached from inside",
            Side::Lan,
            tcp(from_other, [other, outer], 64, Flags::Syn),
            DropNoNeighbour,
            tcp(from_other, [other_outside, outer], 64, Flags::Syn),
        ))
        .within(|world| {
            world.nat = Some(Nat {
                forward: Some((OUTER, INNER)),
                stranger: true,
                ..Nat::default()
            });
        }),
    ]
}
