//! What must not end, move or displace a flow.

use std::{collections::BTreeSet, prelude::v1::*};

use super::story::*;
use crate::{
    address::Address4,
    checksum,
    nat44::ports::{LINE, PortWord, Space, line_of},
    sim::{Frame, SimTables},
    state::IPV4,
    testing,
    uplink::HostEntry,
    verdict::Verdict,
    way,
    wire::{protocol, tcp},
};

const SHARED: [u8; 4] = [192, 0, 2, 1];

/// Openings from forged sources for a forwarded port fill the table, and keep no place that a LAN host
/// needs: nobody has answered them.
#[test]
fn a_flood_for_a_forwarded_port_keeps_nobody_out() {
    for number in [protocol::TCP, protocol::UDP] {
        let mut tables = one_uplink(128, &[SHARED], &[INSIDE]);
        let line = line_of(0, Space::of(number), 443) as usize;
        let forward = PortWord::forward(u32::from_be_bytes(INSIDE), 443);
        tables.port_lines[line].0[443 % LINE].store(forward.0);
        let asked = |n: u32| Packet {
            protocol: number,
            source: ([198, 18, (n >> 8) as u8, n as u8], 1234),
            destination: (SHARED, 443),
            flags: tcp::SYN,
            payload: 3,
        };
        // One of them is answered: that flow is nobody's to take.
        let client = received(&mut tables, 0, asked(0));
        let answer = Packet {
            protocol: number,
            source: (client.destination, client.destination_port),
            destination: (client.source, client.source_port),
            flags: tcp::SYN | tcp::ACK,
            payload: 3,
        };
        sent(&mut tables, answer);
        for n in 1..20_000 {
            fate(&mut tables, 0, asked(n));
        }
        pass(&mut tables, 2);
        for port in 2000..2100 {
            let packet = Packet::out(number, port).from([10, 0, 0, 9]);
            let verdict = from_lan(&mut tables, packet).0.verdict();
            assert_eq!(verdict, Verdict::Forwarded, "{number}, {port}");
        }
        sent(&mut tables, answer.flags(tcp::ACK));
        check(&tables);
    }
}

/// With flows that go back to their uplink at once, each by its own hash: a datagram in fragments is of
/// the same flow as a whole one.
#[test]
fn a_flow_stays_where_it_is_when_a_datagram_of_it_comes_in_fragments() {
    for port in 5000..5100 {
        let mut tables = tables(64);
        tables.state.groups[0].settled[IPV4] = 0b111;
        let whole = Packet::out(protocol::UDP, port);
        let mut sources = BTreeSet::new();
        for n in 0..6 {
            sources.insert(if n % 2 == port % 2 {
                sent(&mut tables, whole).1.source
            } else {
                first_fragment(&mut tables, whole)
            });
        }
        assert_eq!(sources.len(), 1, "{sources:?}");
    }
}

/// The source address that the first fragment of a datagram leaves with.
fn first_fragment(tables: &mut SimTables, whole: Packet) -> [u8; 4] {
    let mut bytes = Packet {
        payload: 40,
        ..whole
    }
    .frame();
    bytes[20] = 0x20;
    bytes[24..26].fill(0);
    let words = bytes[14..34].chunks(2);
    let sum = words
        .map(|word| u64::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    bytes[24..26].copy_from_slice(&checksum::finish(sum).to_be_bytes());
    let mut frame = Frame::new(&bytes);
    let decision = way::from_lan(&mut frame, tables, &testing::port(LAN));
    assert_eq!(decision.verdict(), Verdict::Forwarded);
    frame.as_slice()[26..30].try_into().unwrap()
}

/// With flows that go back to their uplink at once: what came in by an uplink is answered by it.
#[test]
fn a_connection_of_a_stranger_is_answered_by_the_uplink_that_it_came_by() {
    for port in 5000..5100 {
        let mut tables = tables(64);
        filter_nothing(&mut tables);
        let host = HostEntry {
            slot: LAN as u16,
            ..testing::host()
        };
        tables.hosts4.insert(Address4::from_bytes(INSIDE), host);
        tables.state.groups[0].settled[IPV4] = 0b111;
        let (id, out) = sent(&mut tables, Packet::out(protocol::TCP, port));
        let mut stranger = reply(protocol::TCP, out).from(OTHER).flags(tcp::SYN);
        stranger.source.1 = 7777;
        let seen = received(&mut tables, id, stranger);
        let answer = Packet {
            protocol: protocol::TCP,
            source: (seen.destination, seen.destination_port),
            destination: (seen.source, seen.source_port),
            flags: tcp::SYN | tcp::ACK,
            payload: 0,
        };
        let (other, back) = sent(&mut tables, answer);
        assert_eq!((other, back.source), (id, out.source));
        check(&tables);
    }
}
