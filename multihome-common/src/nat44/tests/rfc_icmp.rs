//! What RFC 5508 asks of ICMP queries and of errors, and the other RFCs of what errors do to mappings:
//! docs/reference/rfc-compliance.md names these tests.

use std::prelude::v1::*;

use etherparse::{Ipv4Header, Ipv4Options, PacketBuilder};

use super::story::*;
use crate::{
    checksum,
    sim::{Frame, SimTables},
    testing::{self, GATEWAY, STATION},
    verdict::Verdict,
    way::{self, Decision},
    wire::{icmp, protocol},
};

const SHARED: [u8; 4] = [192, 0, 2, 1];
const ROUTER: [u8; 4] = [198, 51, 100, 7];
/// Where the IP header, the ICMP header, the quoted IP header and the quoted transport header stand.
const IP: usize = 14;
const ICMP: usize = IP + 20;
const QUOTED: usize = ICMP + 8;
const BEHIND: usize = QUOTED + 20;

/// An ICMP message that carries these bytes.
fn message(ends: ([u8; 4], [u8; 4]), kind: u8, code: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(STATION, GATEWAY)
        .ipv4(ends.0, ends.1, 60)
        .icmpv4_raw(kind, code, [0, 0, 5, 0x78])
        .write(&mut frame, body)
        .expect("it fits");
    frame
}

/// The packet of these ends as a router sees it, cut to so many bytes behind its IP header.
fn seen_far(number: u8, out: Seen, behind: usize) -> Vec<u8> {
    let packet = Packet {
        source: (out.source, out.source_port),
        destination: (out.destination, out.destination_port),
        ..Packet::out(number, 0)
    };
    let mut frame = if number == protocol::ICMP {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(STATION, GATEWAY)
            .ipv4(out.source, out.destination, 1)
            .icmpv4_echo_request(out.source_port, 7)
            .write(&mut frame, &[1, 2, 3])
            .expect("it fits");
        frame
    } else {
        packet.frame()
    };
    frame.truncate(IP + 20 + behind);
    frame.split_off(IP)
}

fn uplink(tables: &mut SimTables, frame: &[u8]) -> (Decision, Vec<u8>) {
    let mut frame = Frame::new(frame);
    let decision = way::from_uplink(&mut frame, tables, &testing::port(0));
    (decision, frame.as_slice().to_vec())
}

fn lan(tables: &mut SimTables, frame: &[u8]) -> (Decision, Vec<u8>) {
    let mut frame = Frame::new(frame);
    let decision = way::from_lan(&mut frame, tables, &testing::port(LAN));
    (decision, frame.as_slice().to_vec())
}

/// Whether the checksums of the IP header, of the message and of the quoted IP header are right.
fn sums(frame: &[u8]) -> [bool; 3] {
    let (outer, message) = Ipv4Header::from_slice(&frame[IP..]).expect("a header");
    let (quoted, _) = Ipv4Header::from_slice(&frame[QUOTED..]).expect("a header");
    let right = |header: &Ipv4Header| header.header_checksum == header.calc_header_checksum();
    // A sum over all of it, its own checksum included, is all ones (RFC 1071).
    let sum = message.chunks(2).map(|two| match two {
        &[high, low] => u64::from(u16::from_be_bytes([high, low])),
        _ => u64::from(two[0]) << 8,
    });
    let sum = checksum::fold(sum.sum());
    [right(&outer), sum == 0xffff, right(&quoted)]
}

fn address(frame: &[u8], at: usize) -> [u8; 4] {
    *frame[at..].first_chunk().expect("four bytes")
}

fn port(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

/// A gateway that has sent one packet of this protocol from port 5000, which is not what left.
fn gateway(number: u8) -> (SimTables, Seen) {
    let mut tables = one_uplink(64, &[SHARED], &[INSIDE, [10, 0, 0, 6]]);
    let packet = Packet::out(number, 5000);
    sent(&mut tables, packet.from([10, 0, 0, 6]));
    let (_, out) = sent(&mut tables, packet);
    assert_ne!(out.source_port, 5000);
    (tables, out)
}

/// RFC 5508 REQ-1a.
#[test]
fn an_identifier_is_mapped_alike_whatever_the_destination() {
    let (mut tables, out) = gateway(protocol::ICMP);
    for last in 0..100 {
        let packet = Packet::out(protocol::ICMP, 5000).to([203, 0, 114, last]);
        let (id, again) = sent(&mut tables, packet);
        assert_eq!(again.source_port, out.source_port);
        let back = received(&mut tables, id, reply(protocol::ICMP, again));
        assert_eq!((back.destination, back.destination_port), (INSIDE, 5000));
    }
    check(&tables);
}

/// RFC 5508 REQ-1: queries other than echo.
#[test]
fn a_timestamp_is_asked_for_and_comes_back() {
    let mut tables = one_uplink(64, &[SHARED], &[INSIDE]);
    let asked = message((INSIDE, REMOTE), icmp::V4_TIMESTAMP, 0, &[0; 12]);
    let (decision, left) = lan(&mut tables, &asked);
    assert_eq!(decision.verdict(), Verdict::Forwarded);
    assert_eq!(address(&left, IP + 12), SHARED);
    let answer = message((REMOTE, SHARED), icmp::V4_TIMESTAMP_REPLY, 0, &[0; 12]);
    let (decision, arrived) = uplink(&mut tables, &answer);
    assert_eq!(decision.verdict(), Verdict::Forwarded);
    assert_eq!(address(&arrived, IP + 16), INSIDE);
    // What nobody uses any more (RFC 6918): address mask request.
    let mut tables = one_uplink(64, &[SHARED], &[INSIDE]);
    let (decision, _) = lan(&mut tables, &message((INSIDE, REMOTE), 17, 0, &[0; 4]));
    assert_eq!(decision.verdict(), Verdict::DropUnknownError);
}

/// RFC 5508 REQ-2.
#[test]
fn a_query_is_remembered_for_a_minute() {
    for (seconds, verdict) in [(60, Verdict::Forwarded), (64, Verdict::DropFiltered)] {
        let (mut tables, out) = gateway(protocol::ICMP);
        pass(&mut tables, seconds);
        let late = fate(&mut tables, 0, reply(protocol::ICMP, out));
        assert_eq!(late, verdict);
    }
}

/// RFC 5508 REQ-4, RFC 5382 REQ-9, RFC 4787 REQ-12: from any router, about eight bytes of the
/// transport header or more.
#[test]
fn an_error_from_outside_becomes_one_about_what_the_host_has_sent() {
    for number in [protocol::TCP, protocol::UDP, protocol::ICMP] {
        for (kind, code) in [(3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (11, 0), (12, 0)] {
            for behind in [8, 64] {
                let (mut tables, out) = gateway(number);
                let quoted = seen_far(number, out, behind);
                let frame = message((ROUTER, SHARED), kind, code, &quoted);
                let (decision, came) = uplink(&mut tables, &frame);
                assert_eq!(decision.verdict(), Verdict::Forwarded);
                assert_eq!(sums(&came), [true; 3], "{number} {kind} {behind}");
                assert_eq!((came[ICMP], came[ICMP + 1]), (kind, code));
                // The router stays who it is; the rest is as the host knows it.
                assert_eq!(address(&came, IP + 12), ROUTER);
                assert_eq!(address(&came, IP + 16), INSIDE);
                assert_eq!(address(&came, QUOTED + 12), INSIDE);
                assert_eq!(address(&came, QUOTED + 16), REMOTE);
                let at = if number == protocol::ICMP { 4 } else { 0 };
                assert_eq!(port(&came, BEHIND + at), 5000);
            }
        }
    }
}

/// RFC 5508 REQ-3: nothing is verified, so what is wrong stays wrong; the quoted transport's is no
/// matter.
#[test]
fn a_wrong_checksum_in_an_error_stays_wrong() {
    for (flipped, right) in [
        (ICMP + 2, [true, false, true]),
        // The message's own sum covers the quoted one.
        (QUOTED + 10, [true, false, false]),
    ] {
        let (mut tables, out) = gateway(protocol::UDP);
        let quoted = seen_far(protocol::UDP, out, 8);
        let mut frame = message((ROUTER, SHARED), 3, 3, &quoted);
        frame[flipped] ^= 0x55;
        let (decision, came) = uplink(&mut tables, &frame);
        assert_eq!(decision.verdict(), Verdict::Forwarded);
        assert_eq!(sums(&came), right);
    }
    let (mut tables, out) = gateway(protocol::UDP);
    let mut quoted = seen_far(protocol::UDP, out, 8);
    quoted[26] ^= 0x55;
    let (decision, came) = uplink(&mut tables, &message((ROUTER, SHARED), 3, 3, &quoted));
    assert_eq!(decision.verdict(), Verdict::Forwarded);
    assert_eq!(sums(&came), [true; 3]);
}

/// RFC 5508 REQ-3b and REQ-3d: options before the quoted ports, extensions behind.
#[test]
fn quoted_options_are_stepped_over_and_extensions_left_alone() {
    let (mut tables, out) = gateway(protocol::UDP);
    let mut header = Ipv4Header::new(8, 1, etherparse::IpNumber::UDP, out.source, out.destination)
        .expect("a length that fits");
    header.options = Ipv4Options::try_from(&[1; 8][..]).expect("two words");
    header.header_checksum = header.calc_header_checksum();
    let [high, low] = out.source_port.to_be_bytes();
    let udp = [high, low, 1, 0xbb, 0, 8, 0, 0];
    let extension = [0x20, 0, 0xdf, 0xff, 0, 4, 1, 1];
    let body = [&header.to_bytes()[..], &udp, &[0; 92], &extension].concat();
    let (decision, came) = uplink(&mut tables, &message((ROUTER, SHARED), 11, 0, &body));
    assert_eq!(decision.verdict(), Verdict::Forwarded);
    assert_eq!(sums(&came), [true; 3]);
    assert_eq!(port(&came, BEHIND + 8), 5000);
    assert!(came.ends_with(&extension));
}

/// RFC 5508 REQ-4: an error that is about no mapping.
#[test]
fn an_error_about_no_flow_reaches_no_host() {
    let (mut tables, out) = gateway(protocol::UDP);
    let about = |seen: Seen| seen_far(protocol::UDP, seen, 8);
    let another_port = about(Seen {
        source_port: 9,
        ..out
    });
    let another_end = about(Seen {
        destination: OTHER,
        ..out
    });
    for (quoted, verdict) in [
        (another_port, Verdict::PassGateway),
        (another_end, Verdict::DropUnknownError),
        (about(out)[..22].to_vec(), Verdict::PassGateway),
    ] {
        let frame = message((ROUTER, SHARED), 3, 3, &quoted);
        let (decision, after) = uplink(&mut tables, &frame);
        assert_eq!((decision.verdict(), after), (verdict, frame));
    }
}

/// RFC 5508 REQ-5: from the host, or from a router before it.
#[test]
fn an_error_from_inside_leaves_in_the_name_of_the_outside_address() {
    for sender in [INSIDE, [10, 0, 9, 1]] {
        let (mut tables, out) = gateway(protocol::UDP);
        let came = reply(protocol::UDP, out);
        let inside = Packet {
            destination: (INSIDE, 5000),
            ..came
        };
        let quoted = inside.frame()[IP..IP + 28].to_vec();
        let (decision, left) = lan(&mut tables, &message((sender, REMOTE), 3, 3, &quoted));
        assert_eq!(decision.verdict(), Verdict::Forwarded);
        assert_eq!(sums(&left), [true; 3]);
        assert_eq!((left[ICMP], left[ICMP + 1]), (3, 3));
        assert_eq!(address(&left, IP + 12), SHARED);
        assert_eq!(address(&left, QUOTED + 16), SHARED);
        assert_eq!(port(&left, BEHIND + 2), out.source_port);
        // About a packet that never came.
        let never = inside.from(OTHER).frame()[IP..IP + 28].to_vec();
        let (decision, _) = lan(&mut tables, &message((sender, OTHER), 3, 3, &never));
        assert_eq!(decision.verdict(), Verdict::DropUnknownError);
    }
}

/// RFC 5508 REQ-6, RFC 4787 REQ-12, RFC 5382 REQ-10, RFC 7857 section 7.1.
#[test]
fn no_error_ends_or_refreshes_a_mapping() {
    for number in [protocol::TCP, protocol::UDP, protocol::ICMP] {
        let time = if number == protocol::ICMP { 60 } else { 30 };
        for (seconds, verdict) in [
            (time, Verdict::Forwarded),
            (time + 4, Verdict::DropFiltered),
        ] {
            let (mut tables, out) = gateway(number);
            pass(&mut tables, time - 10);
            for (kind, code) in [(3, 1), (3, 3), (11, 0), (12, 0)] {
                let quoted = seen_far(number, out, 8);
                let (decision, _) =
                    uplink(&mut tables, &message((ROUTER, SHARED), kind, code, &quoted));
                assert_eq!(decision.verdict(), Verdict::Forwarded);
            }
            pass(&mut tables, seconds - (time - 10));
            assert_eq!(fate(&mut tables, 0, reply(number, out)), verdict);
        }
    }
}

/// RFC 5508 REQ-7: about a packet that came from a neighbour by the outside address.
#[test]
fn an_error_goes_from_one_host_to_another_by_the_outside_address() {
    let (mut tables, out) = gateway(protocol::UDP);
    let neighbour = ([10, 0, 0, 6], 5000);
    let call = |source, destination| Packet {
        source,
        destination,
        ..Packet::out(protocol::UDP, 0)
    };
    // Both call, so that the filter lets both through; the neighbour's port stayed the same.
    from_lan(&mut tables, call((INSIDE, 5000), (SHARED, 5000)));
    let ask = call(neighbour, (SHARED, out.source_port));
    let (decision, asked) = from_lan(&mut tables, ask);
    assert_eq!(decision.verdict(), Verdict::Forwarded);
    let error = message((INSIDE, SHARED), 3, 3, &asked[IP..IP + 28]);
    let (decision, came) = lan(&mut tables, &error);
    assert_eq!(decision.verdict(), Verdict::Forwarded);
    assert_eq!(sums(&came), [true; 3]);
    assert_eq!((came[ICMP], came[ICMP + 1]), (3, 3));
    assert_eq!(address(&came, IP + 12), SHARED);
    assert_eq!(address(&came, IP + 16), neighbour.0);
    assert_eq!(address(&came, QUOTED + 12), neighbour.0);
    assert_eq!(address(&came, QUOTED + 16), SHARED);
    assert_eq!(port(&came, BEHIND), 5000);
    assert_eq!(port(&came, BEHIND + 2), out.source_port);
    check(&tables);
}
