//! What RFC 4787 and RFC 7857 ask of mappings and filters, and of UDP: docs/reference/rfc-compliance.md
//! names these tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    prelude::v1::*,
};

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use super::story::*;
use crate::{
    flow::{FlowKey, lifetime::Kind, table::FlowMemory as _},
    nat44::open::Opening,
    nat44::ports::{self, PortRanges, Space},
    sim::SimTables,
    state::{GroupWords, Policy},
    tables::Tables as _,
    testing,
    verdict::Verdict,
    wire::protocol,
};

const OTHER_INSIDE: [u8; 4] = [10, 0, 0, 6];
const SHARED: [u8; 4] = [192, 0, 2, 1];
const ADDRESSES: [[u8; 4]; 4] = [SHARED, [192, 0, 2, 2], [192, 0, 2, 3], [192, 0, 2, 4]];

fn host(n: u8) -> [u8; 4] {
    [10, 0, 1, n]
}

/// One line of the port table, of eight ports, is all that may be given out.
fn few_ports(tables: &mut SimTables) {
    tables.state.port_ranges = PortRanges::new((5000, 5007), (0, 0));
}

/// RFC 4787 REQ-1, across uplinks: where the source alone is hashed.
#[test]
fn a_host_that_is_hashed_by_its_source_has_one_mapping_on_all_uplinks() {
    let mut tables = tables(64);
    tables.pin(16);
    tables.state.groups[0].conduct = GroupWords::conduct([Policy::Source; 2], 0);
    let packet = Packet::out(protocol::UDP, 40_000);
    let (id, first) = sent(&mut tables, packet);
    for last in 0..100 {
        let (other, out) = sent(&mut tables, packet.to([203, 0, 114, last]));
        assert_eq!((other, out.source_port), (id, first.source_port));
        assert_eq!(out.source, first.source);
    }
}

/// RFC 4787 REQ-2: paired.
#[test]
fn all_mappings_of_a_host_have_one_address_of_several() {
    let mut tables = one_uplink(512, &ADDRESSES, &[]);
    let mut used = BTreeSet::new();
    for n in 0..40 {
        let of_host: BTreeSet<[u8; 4]> = (0..20)
            .map(|port| {
                let number = [protocol::TCP, protocol::UDP, protocol::ICMP][usize::from(port) % 3];
                let packet = Packet::out(number, 5000 + port).from(host(n));
                sent(&mut tables, packet.to([203, 0, 113, port as u8]))
                    .1
                    .source
            })
            .collect();
        assert_eq!(of_host.len(), 1, "{of_host:?}");
        used.extend(of_host);
    }
    assert_eq!(used, BTreeSet::from(ADDRESSES));
    check(&tables);
}

/// RFC 4787 REQ-3 and REQ-4, RFC 5382 REQ-7: under pressure too.
#[test]
fn who_comes_when_all_ports_are_taken_gets_none_and_nobody_loses_his() {
    for (number, port, room) in [
        (protocol::TCP, 5001, 8),
        (protocol::UDP, 5001, 4),
        (protocol::UDP, 5002, 4),
        (protocol::ICMP, 5001, 8),
    ] {
        let mut tables = one_uplink(64, &[SHARED], &[]);
        few_ports(&mut tables);
        let mut owners = BTreeMap::new();
        for n in 0..room {
            let (_, out) = sent(&mut tables, Packet::out(number, port).from(host(n)));
            let parity = number == protocol::UDP && out.source_port % 2 != port % 2;
            assert!(!parity, "{out:?}");
            assert_eq!(owners.insert(out.source_port, (host(n), out)), None);
        }
        for n in room..20 {
            let packet = Packet::out(number, port).from(host(n));
            assert_eq!(
                from_lan(&mut tables, packet).0.verdict(),
                Verdict::DropNoPort
            );
        }
        for (owner, out) in owners.values() {
            let back = received(&mut tables, 0, reply(number, *out));
            assert_eq!((back.destination, back.destination_port), (*owner, port));
        }
        check(&tables);
    }
}

/// RFC 7857 section 4: pairing is not given up for want of ports.
#[test]
fn a_host_whose_address_has_no_port_left_gets_none_of_another() {
    let mut tables = one_uplink(512, &ADDRESSES[..2], &[]);
    few_ports(&mut tables);
    let mut used = BTreeMap::new();
    let mut without = 0;
    for n in 0..60 {
        let packet = Packet::out(protocol::TCP, 5000).from(host(n));
        let (decision, frame) = from_lan(&mut tables, packet);
        if decision.verdict() == Verdict::Forwarded {
            *used.entry(read(&frame).source).or_insert(0) += 1;
        } else {
            assert_eq!(decision.verdict(), Verdict::DropNoPort);
            without += 1;
        }
    }
    assert_eq!(used.into_values().collect::<Vec<_>>(), [8, 8]);
    assert_eq!(without, 60 - 16);
}

/// RFC 4787 REQ-11: a mapping to another port is of the same kind.
#[test]
fn a_mapping_whose_port_was_taken_is_as_independent_of_the_far_end() {
    let mut tables = one_uplink(64, &[SHARED], &[]);
    let packet = Packet::out(protocol::UDP, 5001);
    sent(&mut tables, packet.from(OTHER_INSIDE));
    let (_, out) = sent(&mut tables, packet);
    assert_ne!(out.source_port, 5001);
    for last in 0..100 {
        let (_, again) = sent(&mut tables, packet.to([203, 0, 114, last]));
        assert_eq!(again.source_port, out.source_port);
    }
    check(&tables);
}

/// RFC 7857 sections 5 and 6.
#[test]
fn tcp_and_udp_ports_of_one_number_are_mapped_and_filtered_apart() {
    let mut tables = one_uplink(64, &[SHARED], &[INSIDE, OTHER_INSIDE]);
    filter_nothing(&mut tables);
    let (_, datagram) = sent(&mut tables, Packet::out(protocol::UDP, 5000));
    let stranger = reply(protocol::TCP, datagram).from(OTHER);
    assert_eq!(fate(&mut tables, 0, stranger), Verdict::PassGateway);
    let segment = Packet::out(protocol::TCP, 5000).from(OTHER_INSIDE);
    let (_, segment) = sent(&mut tables, segment);
    assert_eq!((datagram.source_port, segment.source_port), (5000, 5000));
    for (number, inside) in [(protocol::UDP, INSIDE), (protocol::TCP, OTHER_INSIDE)] {
        let stranger = reply(number, segment).from(OTHER);
        assert_eq!(received(&mut tables, 0, stranger).destination, inside);
    }
    check(&tables);
}

/// RFC 4787 REQ-5 and REQ-6.
#[test]
fn a_datagram_flow_lives_five_minutes_from_the_last_packet_of_either_side() {
    let mut tables = tables(64);
    let packet = Packet::out(protocol::UDP, 5000);
    let (id, out) = sent(&mut tables, packet);
    received(&mut tables, id, reply(protocol::UDP, out));
    for _ in 0..3 {
        pass(&mut tables, 299);
        received(&mut tables, id, reply(protocol::UDP, out));
    }
    for _ in 0..3 {
        pass(&mut tables, 299);
        assert_eq!(sent(&mut tables, packet), (id, out));
    }
    pass(&mut tables, 299);
    received(&mut tables, id, reply(protocol::UDP, out));
    pass(&mut tables, 303);
    let late = fate(&mut tables, id, reply(protocol::UDP, out));
    assert_eq!(late, Verdict::DropFiltered);
}

/// RFC 4787 REQ-5: the deviation of the defaults, and the setting without it.
#[test]
fn datagrams_that_nobody_answers_are_forgotten_after_the_configured_time() {
    for (configured, lives, ends) in [(None, 29, 33), (Some(112), 120, 123)] {
        let gap = |seconds| {
            let mut tables = tables(64);
            if let Some(time) = configured {
                tables.state.timeouts.0[Kind::UdpUnanswered as usize] = time;
            }
            let packet = Packet::out(protocol::UDP, 5000);
            let (id, out) = sent(&mut tables, packet);
            // Sending goes on: that keeps the mapping as well.
            pass(&mut tables, lives);
            sent(&mut tables, packet);
            pass(&mut tables, seconds);
            fate(&mut tables, id, reply(protocol::UDP, out))
        };
        assert_eq!(gap(lives), Verdict::Forwarded);
        assert_eq!(gap(ends), Verdict::DropFiltered);
    }
}

/// RFC 7857 section 11, for all protocols: a mapping is that of its flows.
#[test]
fn a_mapping_ends_with_its_last_flow() {
    let mut tables = one_uplink(64, &[SHARED], &[]);
    for number in [protocol::TCP, protocol::UDP, protocol::ICMP] {
        let packet = Packet::out(number, 5000);
        sent(&mut tables, packet);
        sent(&mut tables, packet.to(OTHER));
        let flows = |tables: &SimTables| {
            let word = ports::look(tables, 0, Space::of(number), 5000);
            word.expect("a port").flows()
        };
        let close = |tables: &SimTables, remote| {
            let far = if number == protocol::ICMP { 0 } else { 443 };
            let ends = 5000 << 16 | far;
            let (inside, remote) = (u32::from_be_bytes(INSIDE), u32::from_be_bytes(remote));
            let key = FlowKey::v4(inside, remote, ends, number);
            tables.close_flow(tables.find_flow(&tables.state, &key).expect("a flow"));
        };
        assert_eq!(flows(&tables), 2);
        close(&tables, REMOTE);
        assert_eq!(flows(&tables), 1);
        close(&tables, OTHER);
        assert_eq!(flows(&tables), 0);
    }
    check(&tables);
}

/// RFC 4787 REQ-9 and RFC 5382 REQ-8: hairpinning, from the outside address and port.
#[test]
fn two_hosts_meet_by_their_outside_addresses() {
    for number in [protocol::TCP, protocol::UDP] {
        let mut tables = one_uplink(64, &[SHARED], &[INSIDE, OTHER_INSIDE]);
        let (a, b) = ((INSIDE, 4000), (OTHER_INSIDE, 4001));
        let a_calls = Packet {
            destination: (SHARED, 4001),
            ..Packet::out(number, 4000)
        };
        let b_calls = Packet {
            source: b,
            destination: (SHARED, 4000),
            ..a_calls
        };
        // Both have a mapping already, from talking to a server.
        sent(&mut tables, Packet::out(number, 4000));
        sent(&mut tables, Packet::out(number, 4001).from(OTHER_INSIDE));
        // The filter holds for neighbours as for strangers: the first one opens it for the other.
        let (decision, _) = from_lan(&mut tables, a_calls);
        assert_eq!(decision.verdict(), Verdict::DropFiltered);
        for (call, from, to) in [(b_calls, 4001, a), (a_calls, 4000, b), (b_calls, 4001, a)] {
            let (egress, seen) = sent(&mut tables, call);
            assert_eq!(egress, LAN as u8);
            assert_eq!((seen.source, seen.source_port), (SHARED, from));
            assert_eq!((seen.destination, seen.destination_port), to);
        }
        check(&tables);
        // Without a filter the first packet arrives.
        let mut tables = one_uplink(64, &[SHARED], &[INSIDE, OTHER_INSIDE]);
        filter_nothing(&mut tables);
        sent(&mut tables, Packet::out(number, 4001).from(OTHER_INSIDE));
        let (_, seen) = sent(&mut tables, a_calls);
        assert_eq!((seen.source, seen.source_port), (SHARED, 4000));
        assert_eq!((seen.destination, seen.destination_port), b);
        check(&tables);
    }
}

/// RFC 4787 REQ-10 and RFC 5382 REQ-6: no application level gateways.
#[test]
fn no_payload_is_looked_into() {
    for (number, port) in [(protocol::UDP, 5060), (protocol::TCP, 21)] {
        let mut tables = tables(64);
        let mut packet = Packet::out(number, 5000);
        packet.destination.1 = port;
        let sent = packet.frame();
        let (decision, left) = from_lan(&mut tables, packet);
        assert_eq!(decision.verdict(), Verdict::Forwarded);
        assert_eq!(left.len(), sent.len());
        let payload = sent.len() - packet.payload;
        assert_eq!(left[payload..], sent[payload..]);
    }
}

/// RFC 4787 REQ-1: also when packets to two far ends come on two CPUs at once.
#[test]
fn two_cpus_make_one_mapping_for_one_inside_port() {
    const ROUNDS: u32 = 4000;
    let tables = one_uplink(8192, &[SHARED], &[]);
    let gate = AtomicU32::new(0);
    let ports = |cpu: u32| -> Vec<u16> {
        (0..ROUNDS)
            .map(|round| {
                let (inside, remote) = (u32::from_be_bytes(INSIDE), 0xcb00_7101 + cpu);
                let ends = (1024 + round * 8) << 16 | 443;
                let opening = Opening {
                    key: FlowKey::v4(inside, remote, ends, protocol::UDP),
                    host: testing::host(),
                    uplink: 0,
                    outside: 0,
                };
                gate.fetch_add(1, SeqCst);
                while gate.load(SeqCst) < 2 * (round + 1) {
                    core::hint::spin_loop();
                }
                let index = tables.open_flow(&tables.state, &opening).expect("room");
                tables.flow(index).expect("a flow").outside().port
            })
            .collect()
    };
    let [one, other] = std::thread::scope(|scope| {
        [0, 1]
            .map(|cpu| {
                let ports = &ports;
                scope.spawn(move || ports(cpu))
            })
            .map(|thread| thread.join().expect("no panic"))
    });
    assert_eq!(one, other);
    check(&tables);
}
