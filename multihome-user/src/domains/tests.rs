//! Messages as hosts and servers send them, and as somebody else might.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use multihome_common::rules::{RuleSet, Target};
use proptest::prelude::*;
use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, ResourceRecord, TYPE,
    rdata::{A, AAAA, CNAME, RData},
};

use super::*;
use crate::policy::Rule;

const HOST: &str = "10.1.0.10:40000";
const SERVER: &str = "203.0.113.53:53";

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

/// A UDP datagram between two IPv4 ends.
fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (from.ip(), to.ip()) else {
        panic!("IPv4 ends");
    };
    let length = payload.len() as u16 + 8;
    let mut packet = vec![0x45, 0];
    packet.extend((length + 20).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    for number in [from.port(), to.port(), length, 0] {
        packet.extend(number.to_be_bytes());
    }
    packet.extend(payload);
    packet
}

fn question(name: &'static str, ipv6: bool) -> Question<'static> {
    let kind = if ipv6 { TYPE::AAAA } else { TYPE::A };
    let name = Name::new_unchecked(name);
    Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false)
}

fn query(id: u16, name: &'static str) -> Vec<u8> {
    let mut message = Packet::new_query(id);
    message.questions.push(question(name, false));
    let bytes = message.build_bytes_vec().expect("it fits");
    datagram(at(HOST), at(SERVER), &bytes)
}

fn record(name: &'static str, ttl: u32, data: RData<'static>) -> ResourceRecord<'static> {
    ResourceRecord::new(Name::new_unchecked(name), CLASS::IN, ttl, data)
}

fn a(last: u8) -> RData<'static> {
    let address = Ipv4Addr::new(192, 0, 2, last).to_bits();
    RData::A(A { address })
}

fn alias(of: &'static str) -> RData<'static> {
    RData::CNAME(CNAME(Name::new_unchecked(of)))
}

fn answer(id: u16, name: &'static str, records: Vec<ResourceRecord<'static>>) -> Vec<u8> {
    let mut message = Packet::new_reply(id);
    message.set_flags(PacketFlag::RESPONSE);
    message.questions.push(question(name, false));
    message.answers = records;
    let bytes = message.build_bytes_vec().expect("it fits");
    datagram(at(SERVER), at(HOST), &bytes)
}

fn addresses(packet: &[u8]) -> Vec<(IpAddr, u32)> {
    match Message::read(packet) {
        Some(Message::Answer(answer)) => answer.addresses,
        other => panic!("{other:?}"),
    }
}

fn of(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

#[test]
fn aliases_are_followed_within_the_answer() {
    let records = vec![
        record("cdn.example.org", 30, a(2)),
        record("www.example.net", 20, alias("x.example.org")),
        record("X.example.org", 300, alias("cdn.example.org")),
        record("cdn.example.org", 10, a(3)),
        record("stranger.example", 10, a(4)),
    ];
    let found = addresses(&answer(7, "WWW.example.net", records));
    // No address holds for longer than the way to it.
    assert_eq!(found, [(of(2), 20), (of(3), 10)]);
    let circle = vec![
        record("a.net", 1, alias("b.net")),
        record("b.net", 1, alias("a.net")),
    ];
    assert_eq!(addresses(&answer(7, "a.net", circle)), []);
}

#[test]
fn only_the_answer_to_a_query_that_was_seen_counts_and_once() {
    let now = Instant::now();
    let take = |queries: &mut Queries, packet: &[u8], now| {
        queries.take(Message::read(packet).expect("a message"), now)
    };
    let good = |id| answer(id, "a.net", vec![record("a.net", 5, a(1))]);
    let mut queries = Queries::default();
    assert_eq!(take(&mut queries, &good(7), now), None, "nobody has asked");
    assert_eq!(take(&mut queries, &query(7, "a.net"), now), None);
    let other = answer(7, "b.net", vec![record("b.net", 5, a(1))]);
    for forged in [good(8), other] {
        assert_eq!(take(&mut queries, &forged, now), None);
    }
    let found = take(&mut queries, &good(7), now).expect("it was asked for");
    assert_eq!(found.addresses, [(of(1), 5)]);
    assert_eq!(take(&mut queries, &good(7), now), None, "it was answered");
    take(&mut queries, &query(9, "a.net"), now);
    let late = now + Duration::from_secs(11);
    assert_eq!(take(&mut queries, &good(9), late), None, "too late");
    for id in 0..10_000 {
        take(&mut queries, &query(id, "a.net"), now);
    }
    assert_eq!(
        take(&mut queries, &good(0), now),
        None,
        "the oldest gave way"
    );
    assert!(take(&mut queries, &good(9_999), now).is_some());
}

fn rule(domains: &[&str]) -> Rule {
    let patterns = domains.iter().map(|text| text.parse().expect("a domain"));
    Rule {
        domains: (!domains.is_empty()).then(|| patterns.collect()),
        ..Rule::any(Target::DROP)
    }
}

fn told(name: &str, addresses: &[(u8, u32)]) -> Answer {
    Answer {
        query: Query {
            host: at(HOST),
            server: at(SERVER),
            id: 1,
            name: name.to_owned(),
            ipv6: false,
        },
        addresses: addresses
            .iter()
            .map(|(last, ttl)| (of(*last), *ttl))
            .collect(),
    }
}

fn set(rules: &[usize]) -> RuleSet {
    let mut set = RuleSet::NONE;
    for rule in rules {
        set.insert(*rule);
    }
    set
}

#[test]
fn addresses_belong_to_what_their_names_do_until_their_time_is_up() {
    let now = Instant::now();
    let seconds = |n| now + Duration::from_secs(n);
    let mut domains = Domains::new(
        &[rule(&["*.a.net"]), rule(&[]), rule(&["b.net", "*.a.net"])],
        &[],
        Instant::now(),
    );
    assert_eq!(domains.begin(), [Change::Class(0, set(&[1]))]);
    assert_eq!(domains.learn(&told("c.net", &[(1, 600)]), now), []);
    let first = domains.learn(&told("x.a.net", &[(1, 600), (2, 5)]), now);
    let both = Change::Class(1, set(&[0, 1, 2]));
    let is = |last, class| Change::Address(of(last), class);
    assert_eq!(first, [both, is(1, Some(1)), is(2, Some(1))]);
    assert_eq!(
        domains.learn(&told("y.a.net", &[(1, 60)]), now),
        [],
        "known"
    );
    let second = domains.learn(&told("b.net", &[(1, 100), (3, 100)]), seconds(1));
    let combined = Change::Class(2, set(&[0, 1, 2]));
    let alone = Change::Class(3, set(&[1, 2]));
    assert_eq!(second, [combined, is(1, Some(2)), alone, is(3, Some(3))]);
    // A TTL of seconds counts for a minute.
    assert_eq!(domains.expire(seconds(59)), []);
    assert_eq!(domains.expire(seconds(60)), [is(2, None)]);
    let mut later = domains.expire(seconds(101));
    later.sort_by_key(|change| format!("{change:?}"));
    assert_eq!(later, [is(1, Some(1)), is(3, None)]);
    assert_eq!(domains.expire(seconds(600)), [is(1, None)]);
    assert!(domains.is_empty());
}

/// What one controller has learned the next one knows, whatever rules ask for the domains then, and for no longer.
#[test]
fn what_was_learned_is_handed_on() {
    let now = Instant::now();
    let seconds = |n| now + Duration::from_secs(n);
    let mut before = Domains::new(&[rule(&["*.a.net"]), rule(&["b.net"])], &[], now);
    before.learn(&told("x.a.net", &[(1, 600)]), now);
    before.learn(&told("b.net", &[(2, 600)]), now);
    let known = before.known(seconds(100));
    assert_eq!(known.len(), 2);
    let rules = [rule(&[]), rule(&["*.a.net"])];
    let mut after = Domains::new(&rules, &known, seconds(100));
    let class = |number, rules: &[usize]| Change::Class(number, set(rules));
    let is = |last, class| Change::Address(of(last), class);
    assert_eq!(
        after.begin(),
        [class(0, &[0]), class(1, &[0, 1]), is(1, Some(1))]
    );
    assert_eq!(after.expire(seconds(599)), []);
    assert_eq!(after.expire(seconds(600)), [is(1, None)]);
}

#[test]
fn there_is_no_end_of_addresses_but_of_room() {
    let mut domains = Domains::new(&[rule(&["*.a.net"])], &[], Instant::now());
    let mut answer = told("x.a.net", &[]);
    answer.addresses = (0..20_000_u128)
        .map(|n| (Ipv6Addr::from_bits(n).into(), 60))
        .collect();
    domains.learn(&answer, Instant::now());
    assert_eq!(
        domains.len(),
        multihome_common::limits::MAX_DOMAIN_ADDRESSES
    );
}

proptest! {
    #[test]
    fn no_packet_makes_it_panic(packet in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::read(&packet);
        let _ = Message::read(&datagram(at(SERVER), at(HOST), &packet));
    }

    /// Damage reaches deeper into a good message than noise does.
    #[test]
    fn no_damage_makes_it_panic(places in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6), cut in 0..60_usize) {
        let records = vec![
            record("www.a.net", 20, alias("x.a.net")),
            record("x.a.net", 10, a(3)),
            record("x.a.net", 10, RData::AAAA(AAAA { address: 5 })),
        ];
        let mut packet = answer(7, "www.a.net", records);
        for (place, byte) in places {
            let place = place % packet.len();
            packet[place] = byte;
        }
        packet.truncate(packet.len() - cut);
        let _ = Message::read(&packet);
    }
}
