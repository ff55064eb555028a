//! Packets of flows whose IPv4 addresses and ports are translated (NAT44).

use std::net::Ipv4Addr;

use etherparse::{IpNumber, Ipv4Header, PacketBuilder, TcpHeader, TcpHeaderSlice};
use multihome_common::{
    uplink::UPLINK_DROP_UNASKED,
    verdict::Verdict::{
        self, DropEarlyFragment, DropFiltered, DropNoFlow, DropNoPort, DropUnasked,
        DropUnknownConnection, DropUnknownError, Forwarded, PassGateway, ReplyReset,
        ReplyTimeExceeded, ReplyTooBig,
    },
};

use super::{answers::answer4, from_host};
use crate::prog_run::{
    frames::{IPV4, forwarded, icmp, ipv4, udp},
    row::Row,
    world::{GATEWAY, HOST, HOST4, Nat, OUTSIDE, SERVER4, Side, next_hop, uplink_mac},
};

/// The LAN host's port, which the outside port is too.
pub(super) const PORT: u16 = 5000;
/// Another server.
const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

#[derive(Clone, Copy)]
pub(super) enum Flags {
    Syn,
    SynAck,
    Ack,
    Rst,
}

pub(super) fn address(address: Ipv4Addr, port: u16) -> (Ipv4Addr, u16) {
    (address, port)
}

/// A TCP segment, checksums right.
pub(super) fn tcp(
    macs: ([u8; 6], [u8; 6]),
    ends: [(Ipv4Addr, u16); 2],
    ttl: u8,
    flags: Flags,
) -> Vec<u8> {
    let [source, destination] = ends;
    let step = PacketBuilder::ethernet2(macs.1, macs.0)
        .ipv4(source.0.octets(), destination.0.octets(), ttl)
        .tcp(source.1, destination.1, 100, 8192);
    let step = match flags {
        Flags::Syn => step.syn(),
        Flags::SynAck => step.syn().ack(101),
        Flags::Ack => step.ack(777),
        Flags::Rst => step.rst(),
    };
    let mut frame = Vec::new();
    step.write(&mut frame, b"hello").expect("it fits");
    frame
}

/// A UDP datagram, checksums right.
pub(super) fn datagram(macs: ([u8; 6], [u8; 6]), ends: [(Ipv4Addr, u16); 2], ttl: u8) -> Vec<u8> {
    let [source, destination] = ends;
    let step = PacketBuilder::ethernet2(macs.1, macs.0)
        .ipv4(source.0.octets(), destination.0.octets(), ttl)
        .udp(source.1, destination.1);
    let mut frame = Vec::new();
    step.write(&mut frame, b"hello").expect("it fits");
    frame
}

/// An echo request or reply, checksums right.
pub(super) fn echo(
    macs: ([u8; 6], [u8; 6]),
    ends: [Ipv4Addr; 2],
    ttl: u8,
    id: u16,
    reply: bool,
) -> Vec<u8> {
    let builder =
        PacketBuilder::ethernet2(macs.1, macs.0).ipv4(ends[0].octets(), ends[1].octets(), ttl);
    let mut frame = Vec::new();
    if reply {
        builder.icmpv4_echo_reply(id, 1).write(&mut frame, b"hello")
    } else {
        builder
            .icmpv4_echo_request(id, 1)
            .write(&mut frame, b"hello")
    }
    .expect("it fits");
    frame
}

/// A packet of a protocol without ports.
pub(super) fn esp(macs: ([u8; 6], [u8; 6]), ends: (Ipv4Addr, Ipv4Addr), ttl: u8) -> Vec<u8> {
    let packet = ipv4(ends, ttl, 50, &[9; 40], |_| {});
    [&macs.0[..], &macs.1, &[8, 0], &packet].concat()
}

/// MACs, destination first: as the host sends, as the gateway sends on, and the same coming back.
pub(super) const FROM_HOST: ([u8; 6], [u8; 6]) = (GATEWAY, HOST);
pub(super) const TO_HOST: ([u8; 6], [u8; 6]) = (HOST, GATEWAY);

pub(super) fn to_isp() -> ([u8; 6], [u8; 6]) {
    (next_hop(0, 0), uplink_mac(0))
}

pub(super) fn from_isp() -> ([u8; 6], [u8; 6]) {
    (GATEWAY, next_hop(0, 0))
}

fn translates(row: Row) -> Row {
    row.within(|world| world.nat = Some(Nat::default()))
}

pub(super) fn outward(shows: &str, input: Vec<u8>, output: Vec<u8>) -> Row {
    translates(Row::changed(shows, Side::Lan, input, Forwarded, output)).to_uplink(0)
}

/// What comes back after the host has sent `before`.
pub(super) fn inward(shows: &str, before: &[u8], input: Vec<u8>, output: Vec<u8>) -> Row {
    translates(Row::changed(shows, Side::Uplink, input, Forwarded, output))
        .after(Side::Lan, before.to_vec())
}

pub(super) fn stays(shows: &str, side: Side, input: Vec<u8>, verdict: Verdict) -> Row {
    translates(Row::unchanged(shows, side, input, verdict))
}

/// The reset that a segment is answered with, in the name of the server.
fn reset(segment: &[u8], sequence: u32) -> Vec<u8> {
    let asked = TcpHeaderSlice::from_slice(&segment[34..]).expect("TCP");
    let mut reset = TcpHeader::new(asked.destination_port(), asked.source_port(), sequence, 0);
    reset.rst = true;
    let mut ip = Ipv4Header::new(20, 64, IpNumber(6), SERVER4.octets(), HOST4.octets())
        .expect("a length that fits");
    ip.dscp = 48.try_into().expect("six bits");
    ip.dont_fragment = true;
    ip.header_checksum = ip.calc_header_checksum();
    reset.checksum = reset.calc_checksum_ipv4(&ip, &[]).expect("it is short");
    [
        &HOST[..],
        &GATEWAY,
        &[8, 0],
        &ip.to_bytes(),
        &reset.to_bytes(),
    ]
    .concat()
}

/// The rows.
pub fn rows() -> Vec<Row> {
    let host = address(HOST4, PORT);
    let outside = address(OUTSIDE, PORT);
    let server = address(SERVER4, 443);
    let stranger = address(STRANGER, 443);
    let syn = tcp(FROM_HOST, [host, server], 64, Flags::Syn);
    let sent = datagram(FROM_HOST, [host, server], 64);
    let ping = echo(FROM_HOST, [HOST4, SERVER4], 64, 77, false);
    let secret = esp(FROM_HOST, (HOST4, SERVER4), 64);
    let back = datagram(from_isp(), [server, outside], 60);
    let without_checksum = |mut frame: Vec<u8>| {
        frame[40..42].fill(0);
        frame
    };
    let ack = tcp(FROM_HOST, [host, server], 64, Flags::Ack);
    let unasked = tcp(from_isp(), [server, outside], 60, Flags::Syn);
    let later = from_host(
        IPV4,
        &ipv4((HOST4, SERVER4), 64, 17, &[1; 64], |header| {
            header.fragment_offset = 8.try_into().expect("13 bits");
        }),
    );
    let large = from_host(
        IPV4,
        &ipv4(
            (HOST4, SERVER4),
            64,
            17,
            &udp((PORT, 443), &[0; 1500]),
            |_| {},
        ),
    );
    let mut rows = vec![
        outward(
            "a connection's first segment leaves with the outside address and its own port",
            syn.clone(),
            tcp(to_isp(), [outside, server], 63, Flags::Syn),
        ),
        outward(
            "a datagram leaves with the outside address and its own port",
            sent.clone(),
            datagram(to_isp(), [outside, server], 63),
        ),
        outward(
            "a datagram without a checksum gets none",
            without_checksum(sent.clone()),
            without_checksum(datagram(to_isp(), [outside, server], 63)),
        ),
        outward(
            "an echo request leaves with the outside address and its own identifier",
            ping.clone(),
            echo(to_isp(), [OUTSIDE, SERVER4], 63, 77, false),
        ),
        outward(
            "a protocol without ports leaves with the outside address",
            secret.clone(),
            esp(to_isp(), (OUTSIDE, SERVER4), 63),
        ),
        inward(
            "the answer to a connection's first segment comes back to the host",
            &syn,
            tcp(from_isp(), [server, outside], 60, Flags::SynAck),
            tcp(TO_HOST, [server, host], 59, Flags::SynAck),
        ),
        inward(
            "the answer to a datagram comes back to the host",
            &sent,
            back.clone(),
            datagram(TO_HOST, [server, host], 59),
        ),
        inward(
            "an echo reply comes back to the host",
            &ping,
            echo(from_isp(), [SERVER4, OUTSIDE], 60, 77, true),
            echo(TO_HOST, [SERVER4, HOST4], 59, 77, true),
        ),
        inward(
            "a protocol without ports comes back to the host",
            &secret,
            esp(from_isp(), (SERVER4, OUTSIDE), 60),
            esp(TO_HOST, (SERVER4, HOST4), 59),
        ),
        stays(
            "whom the host has not talked to may not answer",
            Side::Uplink,
            datagram(from_isp(), [stranger, outside], 60),
            DropFiltered,
        )
        .after(Side::Lan, sent.clone()),
        stays(
            "what nobody asked for is the kernel's",
            Side::Uplink,
            unasked.clone(),
            PassGateway,
        ),
        stays(
            "what nobody asked for is dropped where the configuration says so",
            Side::Uplink,
            unasked,
            DropUnasked,
        )
        .within(|world| {
            world.nat = Some(Nat {
                flags: UPLINK_DROP_UNASKED,
                ..Nat::default()
            });
        }),
        stays(
            "an echo request for the outside address is the gateway's to answer",
            Side::Uplink,
            echo(from_isp(), [SERVER4, OUTSIDE], 60, 77, false),
            PassGateway,
        )
        .after(Side::Lan, ping),
        stays(
            "without an outside address a new flow is shed",
            Side::Lan,
            sent.clone(),
            DropNoPort,
        )
        .within(|world| {
            world.nat = Some(Nat {
                addresses: 0,
                ..Nat::default()
            });
        }),
        stays(
            "without room in the flow table a new flow is shed",
            Side::Lan,
            sent.clone(),
            DropNoFlow,
        )
        .within(|world| {
            world.nat = Some(Nat {
                buckets: 1 << 28,
                ..Nat::default()
            });
        }),
        translates(Row::changed(
            "a segment of a connection that nobody knows is answered with a reset",
            Side::Lan,
            ack.clone(),
            ReplyReset,
            reset(&ack, 777),
        )),
        translates(Row::changed(
            "a connection whose uplink is dead is answered with a reset",
            Side::Lan,
            ack.clone(),
            ReplyReset,
            reset(&ack, 777),
        ))
        .after(Side::Lan, syn.clone())
        .within(|world| world.alive = 0b110),
        stays(
            "a reset of a connection that nobody knows is dropped",
            Side::Lan,
            tcp(FROM_HOST, [host, server], 64, Flags::Rst),
            DropUnknownConnection,
        ),
        stays(
            "a later fragment whose first one was not seen is dropped",
            Side::Lan,
            later,
            DropEarlyFragment,
        ),
        stays(
            "an ICMP error about a packet that nobody sent is dropped",
            Side::Lan,
            from_host(
                IPV4,
                &ipv4((HOST4, SERVER4), 64, 1, &icmp(3, &[0; 28]), |_| {}),
            ),
            DropUnknownError,
        ),
    ];
    // What is answered is answered about the packet as the sender knows it.
    let too_old = datagram(FROM_HOST, [host, server], 1);
    for (shows, input, verdict, answer) in [
        (
            "a hop limit that is used up is answered before translation",
            &too_old,
            ReplyTimeExceeded,
            answer4(&too_old, 11, 0, 0),
        ),
        (
            "a packet larger than the uplink's MTU is answered before translation",
            &large,
            ReplyTooBig,
            answer4(&large, 3, 4, 1500),
        ),
    ] {
        let row = Row::changed(shows, Side::Lan, input.clone(), verdict, answer);
        rows.push(translates(row));
    }
    // A later segment, and the packet in between: forwarded like any other.
    let established = forwarded(
        &tcp(FROM_HOST, [outside, server], 64, Flags::Ack),
        next_hop(0, 0),
        uplink_mac(0),
    );
    rows.push(
        outward(
            "an answered connection's segments leave by its uplink",
            ack,
            established,
        )
        .after(Side::Lan, syn)
        .after(
            Side::Uplink,
            tcp(from_isp(), [server, outside], 60, Flags::SynAck),
        ),
    );
    rows
}
