//! Fragments of translated IPv4 datagrams: the later ones go the way of the first.

use std::net::Ipv4Addr;

use etherparse::{Ipv4Header, UdpHeader};
use multihome_common::verdict::Verdict::{
    DropEarlyFragment, DropFiltered, DropHopLimit, DropTooBig, Forwarded, PassFragment,
};

use super::translated::{
    FROM_HOST, PORT, TO_HOST, address, datagram, from_isp, inward, outward, stays, to_isp,
};
use crate::prog_run::{
    frames::{IPV4, ethernet, ipv4},
    row::Row,
    world::{GATEWAY, HOST, HOST4, LAN_PORT, Nat, OUTSIDE, SERVER4, Side},
};

/// An end of a datagram: address and port.
type End = (Ipv4Addr, u16);

/// The two fragments of a UDP datagram of this identification, its checksum right over both.
fn fragments(
    macs: ([u8; 6], [u8; 6]),
    [source, destination]: [End; 2],
    ttl: u8,
    id: u16,
) -> [Vec<u8>; 2] {
    let payload: Vec<u8> = (0..56).collect();
    let header = |at: u16, more: bool| {
        move |header: &mut Ipv4Header| {
            header.identification = id;
            header.fragment_offset = at.try_into().expect("13 bits");
            header.more_fragments = more;
        }
    };
    let ends = (source.0, destination.0);
    let whole = Ipv4Header::new(
        64,
        ttl,
        etherparse::IpNumber::UDP,
        ends.0.octets(),
        ends.1.octets(),
    );
    let udp = UdpHeader::with_ipv4_checksum(
        source.1,
        destination.1,
        &whole.expect("a length that fits"),
        &payload,
    );
    let udp = udp.expect("a length that fits").to_bytes();
    let datagram = [&udp[..], &payload].concat();
    [
        (&datagram[..32], header(0, true)),
        (&datagram[32..], header(4, false)),
    ]
    .map(|(part, edit)| ethernet(macs.0, macs.1, &[], IPV4, &ipv4(ends, ttl, 17, part, edit)))
}

/// A datagram from one LAN host to another by a forwarded port.
fn turned_round() -> Vec<Row> {
    let other = (Ipv4Addr::new(10, 1, 0, 50), 6000);
    let station = (GATEWAY, [2, 0, 0, 0, 1, 50]);
    let forwarded = (OUTSIDE, 8080);
    let [first, later] = fragments(station, [other, forwarded], 64, 7);
    let delivered = fragments((HOST, LAN_PORT), [(OUTSIDE, other.1), (HOST4, 80)], 63, 7);
    let third = (
        (GATEWAY, [2, 0, 0, 0, 1, 51]),
        (Ipv4Addr::new(10, 1, 0, 51), 7000),
    );
    let refused = fragments(third.0, [third.1, (OUTSIDE, PORT)], 64, 7);
    let sent = datagram(FROM_HOST, [(HOST4, PORT), (SERVER4, 443)], 64);
    [
        Row::changed(
            "a first fragment goes from one LAN host to another by the outside address",
            Side::Lan,
            first.clone(),
            Forwarded,
            delivered[0].clone(),
        ),
        Row::changed(
            "a later fragment follows it there",
            Side::Lan,
            later.clone(),
            Forwarded,
            delivered[1].clone(),
        )
        .after(Side::Lan, first.clone()),
        Row::unchanged(
            "a later fragment does not follow another host's first of the same identification",
            Side::Lan,
            refused[1].clone(),
            PassFragment,
        )
        .after(Side::Lan, first)
        .after(Side::Lan, sent)
        .after(Side::Lan, refused[0].clone()),
        Row::unchanged(
            "a later fragment from the LAN that no first went before is the gateway's",
            Side::Lan,
            later,
            PassFragment,
        ),
    ]
    .map(|row| {
        row.within(|world| {
            world.nat = Some(Nat {
                forward: Some((8080, 80)),
                ..Nat::default()
            });
        })
    })
    .into()
}

/// The rows.
pub fn rows() -> Vec<Row> {
    let mut rows = turned_round();
    rows.extend(translated());
    rows
}

fn translated() -> Vec<Row> {
    let (host, outside) = (address(HOST4, PORT), address(OUTSIDE, PORT));
    let server = address(SERVER4, 443);
    let sent = |ttl, id| fragments(FROM_HOST, [host, server], ttl, id);
    let left = |ttl, id| fragments(to_isp(), [outside, server], ttl, id);
    let back = |id| fragments(from_isp(), [server, outside], 60, id);
    let delivered = |id| fragments(TO_HOST, [server, host], 59, id);
    let [first, later] = sent(64, 7);
    let large = {
        let packet = ipv4((HOST4, SERVER4), 64, 17, &[6; 1440], |header| {
            header.identification = 7;
            header.fragment_offset = 4.try_into().expect("13 bits");
        });
        ethernet(FROM_HOST.0, FROM_HOST.1, &[], IPV4, &packet)
    };
    vec![
        outward(
            "a first fragment leaves with the outside address and port",
            first.clone(),
            left(63, 7)[0].clone(),
        ),
        outward(
            "a later fragment leaves with the outside address of the first",
            later.clone(),
            left(63, 7)[1].clone(),
        )
        .after(Side::Lan, first.clone()),
        inward(
            "a first fragment comes back to the host",
            &first,
            back(8)[0].clone(),
            delivered(8)[0].clone(),
        ),
        inward(
            "a later fragment comes back to the host of the first",
            &first,
            back(8)[1].clone(),
            delivered(8)[1].clone(),
        )
        .after(Side::Uplink, back(8)[0].clone()),
        stays(
            "a later fragment of another datagram is no part of this one",
            Side::Lan,
            sent(64, 9)[1].clone(),
            DropEarlyFragment,
        )
        .after(Side::Lan, first.clone()),
        stays(
            "a later fragment for an outside address that no first came for is the kernel's",
            Side::Uplink,
            back(8)[1].clone(),
            PassFragment,
        )
        .after(Side::Lan, first.clone()),
        stays(
            "a first fragment from whom the host has not talked to is dropped like a whole packet",
            Side::Uplink,
            fragments(from_isp(), [address(SERVER4, 444), outside], 60, 8)[0].clone(),
            DropFiltered,
        )
        .after(Side::Lan, first.clone()),
        stays(
            "a later fragment whose hop limit is used up is dropped without an answer",
            Side::Lan,
            sent(1, 7)[1].clone(),
            DropHopLimit,
        )
        .after(Side::Lan, first.clone()),
        stays(
            "a later fragment from outside whose hop limit is used up is dropped",
            Side::Uplink,
            fragments(from_isp(), [server, outside], 1, 8)[1].clone(),
            DropHopLimit,
        )
        .after(Side::Lan, first.clone())
        .after(Side::Uplink, back(8)[0].clone()),
        stays(
            "a later fragment larger than the uplink's MTU is dropped without an answer",
            Side::Lan,
            large,
            DropTooBig,
        )
        .after(Side::Lan, first.clone())
        .within(|world| world.group.eligible = [0b010; 2]),
        stays(
            "a later fragment of a datagram whose uplink has died is dropped",
            Side::Lan,
            later,
            DropEarlyFragment,
        )
        .after(Side::Lan, first)
        .when_before(|world| world.alive = 0b111)
        .within(|world| {
            world.alive = 0b110;
            world.group.eligible = [0b110; 2];
        }),
    ]
}
