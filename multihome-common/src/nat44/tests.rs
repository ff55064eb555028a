//! The whole way of translated packets, out and back, and the tables behind it.

mod kept;
mod mixed;
mod rfc_icmp;
mod rfc_tcp;
mod rfc_udp;
mod story;

use std::{collections::BTreeMap, prelude::v1::*};

use etherparse::{SlicedPacket, TransportSlice};
use proptest::prelude::*;

use self::story::*;
use crate::{
    flow::{FlowKey, slot::FlowSlot, table::FlowMemory as _},
    nat44::open::Opening,
    sim::{Frame, SimTables},
    state::IPV4,
    tables::Tables as _,
    testing::{self, GATEWAY, NEXT, STATION},
    uplink::{HostEntry, UPLINK_OPEN_FILTER},
    verdict::Verdict,
    way,
    wire::{protocol, tcp},
};

#[test]
fn a_connection_goes_out_and_comes_back() {
    for number in [protocol::TCP, protocol::UDP, protocol::ICMP] {
        let mut tables = tables(64);
        let packet = Packet::out(number, 5000);
        let (id, out) = sent(&mut tables, packet);
        let remote_port = if number == protocol::ICMP { 5000 } else { 443 };
        let expected = Seen {
            source: outside(id),
            source_port: 5000,
            destination: REMOTE,
            destination_port: remote_port,
            ttl: 63,
        };
        assert_eq!(out, expected);
        let (decision, frame) = from_uplink(&mut tables, id, reply(number, out));
        assert_eq!(
            (decision.verdict(), decision.egress()),
            (Verdict::Forwarded, LAN as u8)
        );
        let back = read(&frame);
        assert_eq!((back.destination, back.destination_port), (INSIDE, 5000));
        assert_eq!((back.source, back.source_port), (REMOTE, remote_port));
        // To the station that the flow's packets came from.
        assert_eq!((&frame[..6], &frame[6..12]), (&STATION[..], &GATEWAY[..]));
        check(&tables);
    }
}

/// RFC 4787 REQ-1: endpoint-independent mapping.
#[test]
fn one_inside_port_is_one_outside_port_whatever_the_far_end() {
    let mut tables = tables(64);
    tables.state.groups[0].eligible[IPV4] = 1;
    let port = sent(&mut tables, Packet::out(protocol::UDP, 40_000))
        .1
        .source_port;
    for last in 1..200 {
        let far = Packet::out(protocol::UDP, 40_000).to([203, 0, 114, last]);
        assert_eq!(sent(&mut tables, far).1.source_port, port);
    }
    check(&tables);
}

/// RFC 4787 section 5: address and port-dependent filtering, or none.
#[test]
fn only_whom_the_host_has_talked_to_may_answer() {
    let mut tables = tables(64);
    let packet = Packet::out(protocol::UDP, 40_000);
    let (id, out) = sent(&mut tables, packet);
    let stranger = reply(protocol::UDP, out).from(OTHER);
    assert_eq!(
        from_uplink(&mut tables, id, stranger).0.verdict(),
        Verdict::DropFiltered
    );
    let mut other_port = reply(protocol::UDP, out);
    other_port.source.1 = 444;
    assert_eq!(
        from_uplink(&mut tables, id, other_port).0.verdict(),
        Verdict::DropFiltered
    );
    for uplink in &mut tables.uplinks {
        uplink.flags = UPLINK_OPEN_FILTER;
    }
    let host = HostEntry {
        slot: LAN as u16,
        ..testing::host()
    };
    tables
        .hosts4
        .insert(crate::address::Address4::from_bytes(INSIDE), host);
    let (decision, frame) = from_uplink(&mut tables, id, stranger);
    assert_eq!(decision.verdict(), Verdict::Forwarded);
    assert_eq!(read(&frame).destination, INSIDE);
    assert_eq!(&frame[..6], &NEXT);
    check(&tables);
}

#[test]
fn what_nobody_asked_for_is_the_kernels() {
    let mut tables = tables(64);
    let unasked = Packet {
        source: (REMOTE, 443),
        destination: (outside(0), 5000),
        ..Packet::out(protocol::TCP, 443)
    };
    assert_eq!(
        from_uplink(&mut tables, 0, unasked).0.verdict(),
        Verdict::PassGateway
    );
    check(&tables);
    assert!(
        tables
            .port_lines
            .iter()
            .all(|line| line.0.iter().all(|word| word.load() == 0))
    );
}

/// RFC 4787 REQ-3 and REQ-4: no port for two hosts; UDP's parity stays.
#[test]
fn hosts_with_the_same_port_get_different_ones() {
    for number in [protocol::TCP, protocol::UDP] {
        let mut tables = tables(512);
        tables.state.groups[0].eligible[IPV4] = 1;
        let mut taken = BTreeMap::new();
        for host in 0..30 {
            let packet = Packet {
                source: ([10, 0, 1, host], 5001),
                ..Packet::out(number, 5001)
            };
            let mut frame = Frame::new(&packet.frame());
            let decision = way::from_lan(&mut frame, &mut tables, &testing::port(LAN));
            assert_eq!(decision.verdict(), Verdict::Forwarded);
            let out = read(frame.as_slice());
            assert!(
                number != protocol::UDP || out.source_port % 2 == 1,
                "{out:?}"
            );
            assert_eq!(taken.insert(out.source_port, host), None);
        }
        assert_eq!(taken.get(&5001), Some(&0));
        check(&tables);
    }
}

/// The far end's answers no longer arrive: the host is told at once, in the far end's name.
#[test]
fn a_connection_whose_uplink_died_is_reset() {
    let mut tables = tables(64);
    let packet = Packet::out(protocol::TCP, 5000);
    let (id, out) = sent(&mut tables, packet);
    from_uplink(&mut tables, id, reply(protocol::TCP, out));
    tables.state.alive[IPV4] &= !(1 << id);
    tables.state.groups[0].eligible[IPV4] &= !(1 << id);
    let (decision, frame) = from_lan(&mut tables, packet.flags(tcp::ACK));
    assert_eq!(decision.verdict(), Verdict::ReplyReset);
    let seen = read(&frame);
    assert_eq!((seen.source, seen.source_port), (REMOTE, 443));
    assert_eq!((seen.destination, seen.destination_port), (INSIDE, 5000));
    let packet = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(TransportSlice::Tcp(reset)) = packet.transport else {
        unreachable!("no TCP");
    };
    assert!(reset.rst() && !reset.ack());
    assert_eq!(reset.sequence_number(), 2000);
    assert_eq!((&frame[..6], &frame[6..12]), (&STATION[..], &GATEWAY[..]));
    // The host opens another connection, by another uplink.
    let (other, _) = sent(&mut tables, Packet::out(protocol::TCP, 5002));
    assert_ne!(other, id);
    check(&tables);
}

#[test]
fn a_datagram_flow_whose_uplink_died_goes_on_by_another_and_stays_there() {
    let mut tables = tables(64);
    let packet = Packet::out(protocol::UDP, 5000);
    let (id, _) = sent(&mut tables, packet);
    tables.state.alive[IPV4] &= !(1 << id);
    tables.state.groups[0].eligible[IPV4] &= !(1 << id);
    let (other, out) = sent(&mut tables, packet);
    assert_ne!(other, id);
    assert_eq!(out.source, outside(other));
    // The uplink that was lost is back.
    tables.state.alive[IPV4] = 0b111;
    tables.state.groups[0].eligible[IPV4] = 0b111;
    assert_eq!(sent(&mut tables, packet).0, other);
    check(&tables);
}

/// opnsense/core 9789: flows flushed although no other uplink exists.
#[test]
fn without_another_uplink_flows_wait() {
    let mut tables = tables(64);
    let packet = Packet::out(protocol::TCP, 5000);
    let (id, _) = sent(&mut tables, packet);
    tables.state.groups[0].last_good[IPV4] = 1 << id;
    tables.state.groups[0].eligible[IPV4] = 0;
    tables.state.alive[IPV4] = 0;
    assert_eq!(sent(&mut tables, packet.flags(tcp::ACK)).0, id);
}

/// An uplink that is no longer eligible, such as one that is drained, keeps its flows.
#[test]
fn a_flow_stays_while_its_uplink_is_alive() {
    let mut tables = tables(64);
    let packet = Packet::out(protocol::TCP, 5000);
    let (id, _) = sent(&mut tables, packet);
    tables.state.groups[0].eligible[IPV4] &= !(1 << id);
    assert_eq!(sent(&mut tables, packet.flags(tcp::ACK)).0, id);
}

#[test]
fn a_connection_that_nobody_knows_is_reset_and_a_reset_is_not() {
    let mut tables = tables(64);
    let packet = Packet::out(protocol::TCP, 5000);
    let verdict = |tables: &mut SimTables, flags| from_lan(tables, packet.flags(flags)).0.verdict();
    assert_eq!(verdict(&mut tables, tcp::ACK), Verdict::ReplyReset);
    assert_eq!(verdict(&mut tables, tcp::FIN), Verdict::ReplyReset);
    assert_eq!(
        verdict(&mut tables, tcp::RST | tcp::ACK),
        Verdict::DropUnknownConnection
    );
    tables.may_reply = false;
    assert_eq!(
        verdict(&mut tables, tcp::ACK),
        Verdict::DropUnknownConnection
    );
    check(&tables);
}

/// The outside address of an uplink changed: nothing comes back to the old one.
#[test]
fn flows_of_an_address_that_is_gone_begin_anew() {
    let mut tables = tables(64);
    let packet = Packet::out(protocol::UDP, 5000);
    let (id, _) = sent(&mut tables, packet);
    for uplink in &mut tables.uplinks {
        uplink.outside[0] += 256;
    }
    tables.unsettle();
    let (_, out) = sent(&mut tables, packet);
    assert_eq!(out.source[2], 3);
    assert_eq!(
        from_uplink(&mut tables, id, reply(protocol::UDP, out).to(outside(id)))
            .0
            .verdict(),
        Verdict::PassNotOurs
    );
    check(&tables);
}

/// A full table: answered flows stay, and the oldest that nobody answered make room.
#[test]
fn a_flood_displaces_its_own_and_no_answered_flow() {
    let mut tables = tables(2);
    let mut answered = Vec::new();
    for port in 0..6 {
        let packet = Packet::out(protocol::TCP, 5000 + port);
        let (id, out) = sent(&mut tables, packet);
        assert_eq!(
            from_uplink(&mut tables, id, reply(protocol::TCP, out))
                .0
                .verdict(),
            Verdict::Forwarded
        );
        answered.push((id, out, packet));
    }
    let mut shed = 0;
    for n in 0..2000u16 {
        tables.now = 1001 + u32::from(n) / 100;
        let flood = Packet::out(protocol::TCP, 10_000 + n);
        let verdict = from_lan(&mut tables, flood).0.verdict();
        assert!(
            matches!(verdict, Verdict::Forwarded | Verdict::DropNoFlow),
            "{verdict:?}"
        );
        shed += u32::from(verdict == Verdict::DropNoFlow);
        if n % 500 == 0 {
            check(&tables);
        }
    }
    assert!(shed > 1000);
    for (id, out, packet) in answered {
        assert_eq!(
            sent(&mut tables, packet.flags(tcp::ACK)),
            (id, Seen { ttl: 63, ..out })
        );
        let back = reply(protocol::TCP, out).flags(tcp::ACK);
        assert_eq!(
            from_uplink(&mut tables, id, back).0.verdict(),
            Verdict::Forwarded
        );
    }
    // As flows expire there is room again.
    tables.now += 10_000;
    assert_eq!(
        sent(&mut tables, Packet::out(protocol::TCP, 9))
            .1
            .source_port,
        9
    );
    check(&tables);
}

/// Two CPUs open and close flows of the same few hosts in tables that are far too small.
#[test]
fn two_cpus_leave_nothing_half_done() {
    let tables = tables(8);
    let opening = |random: u64| {
        let inside = 0x0a00_0000 | (random >> 8 & 3) as u32;
        let remote = 0xcb00_7100 | (random >> 16 & 7) as u32;
        let number =
            [protocol::TCP, protocol::UDP, protocol::ICMP, 47][(random >> 24 & 3) as usize];
        let port = if number == 47 {
            0
        } else {
            5000 + (random >> 32 & 3) as u32
        };
        let key = FlowKey::v4(inside, remote, port << 16, number);
        (key, (random >> 40 & 1) as u8)
    };
    std::thread::scope(|scope| {
        for cpu in 0..2u64 {
            let tables = &tables;
            scope.spawn(move || {
                let mut random = 0x1234_5678_9abc_def0 ^ cpu;
                let mut opened = 0;
                for _ in 0..200_000 {
                    random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ random >> 29;
                    let (key, id) = opening(random);
                    let found = tables.find_flow(&tables.state, &key);
                    match found {
                        Some(index) if random >> 50 & 3 == 0 => tables.close_flow(index),
                        Some(index) => {
                            let slot: &FlowSlot = tables.flow(index).unwrap();
                            slot.note(crate::flow::slot::Direction::Inward, 1000, 0, 1, false);
                        }
                        None => {
                            let opening = Opening {
                                key,
                                host: testing::host(),
                                uplink: id.into(),
                                outside: 0,
                            };
                            opened += u32::from(tables.open_flow(&tables.state, &opening).is_ok());
                        }
                    }
                }
                assert!(opened > 1000);
            });
        }
    });
    check(&tables);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever hosts do, tables stay whole, and what comes back goes to whom it is for.
    #[test]
    fn the_tables_stay_whole(steps in proptest::collection::vec((any::<u64>(), 0u32..4), 1..300)) {
        let mut tables = tables(4);
        for (random, time) in steps {
            tables.now += time * 5;
            let number = [protocol::TCP, protocol::UDP, protocol::ICMP][(random % 3) as usize];
            let packet = Packet::out(number, 5000 + (random >> 8 & 15) as u16).to([203, 0, 113, (random >> 16 & 7) as u8]);
            let (decision, frame) = from_lan(&mut tables, packet);
            if decision.verdict() == Verdict::Forwarded {
                let out = read(&frame);
                prop_assert_eq!(out.source, outside(decision.egress()));
                let (back, frame) = from_uplink(&mut tables, decision.egress(), reply(number, out));
                prop_assert_eq!(back.verdict(), Verdict::Forwarded);
                let seen = read(&frame);
                prop_assert_eq!((seen.destination, seen.destination_port), packet.source);
            } else {
                prop_assert_eq!(decision.verdict(), Verdict::DropNoFlow);
            }
            if random >> 60 == 0 {
                tables.state.alive[IPV4] = 1 + (random >> 32) % 7;
                tables.state.groups[0].eligible[IPV4] = tables.state.alive[IPV4];
            }
        }
        check(&tables);
    }
}
