//! The parsers against what etherparse wrote, and against bytes of any kind.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    prelude::v1::*,
};

use etherparse::Ipv4HeaderSlice;
use proptest::prelude::*;

use super::*;
use crate::{
    address::{Address4, Address6},
    limits::MAX_EXTENSION_HEADERS,
    sim::Frame,
    testing::{Form, Sample, forms, samples},
    wire::ipv4,
};

const SEED: Seed = [0x5eed, 0xfeed];

fn parse<F: Family>(frame: &[u8], at: usize) -> Result<Network<F::Address>, Verdict> {
    F::parse(&Frame::new(frame), at)
}

/// All that a parser finds, in the terms of a [`Sample`].
#[derive(Debug, PartialEq, Eq)]
struct Found {
    addresses: [[u8; 16]; 2],
    protocol: u8,
    hop_limit: u8,
    fragment: [bool; 2],
    len: usize,
    transport_at: usize,
    ports: u32,
}

fn found<A>(network: &Network<A>, addresses: [[u8; 16]; 2]) -> Found {
    Found {
        addresses,
        protocol: network.protocol,
        hop_limit: network.hop_limit,
        fragment: [network.fragment, network.later_fragment],
        len: network.len,
        transport_at: network.transport_at,
        ports: network.ports,
    }
}

/// What the parser of the sample's family finds in these bytes.
fn read(sample: &Sample, frame: &[u8]) -> Result<Found, Verdict> {
    if sample.v6 {
        let network = parse::<V6>(frame, sample.network_at)?;
        let addresses = [network.source.bytes(), network.destination.bytes()];
        Ok(found(&network, addresses))
    } else {
        let network = parse::<V4>(frame, sample.network_at)?;
        let padded = |address: Address4| {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.bytes());
            bytes
        };
        let addresses = [padded(network.source), padded(network.destination)];
        Ok(found(&network, addresses))
    }
}

fn hash(sample: &Sample) -> FlowHash {
    if sample.v6 {
        V6::hash(
            SEED,
            Policy::FiveTuple,
            &Ends::outward(&parse::<V6>(&sample.frame, sample.network_at).unwrap()),
        )
    } else {
        V4::hash(
            SEED,
            Policy::FiveTuple,
            &Ends::outward(&parse::<V4>(&sample.frame, sample.network_at).unwrap()),
        )
    }
}

proptest! {
    #[test]
    fn a_parser_finds_what_was_written(sample in samples()) {
        let expected = Found {
            addresses: [sample.source, sample.destination],
            protocol: sample.protocol,
            hop_limit: sample.hop_limit,
            fragment: [sample.fragment, sample.later_fragment],
            len: sample.len,
            transport_at: sample.transport_at,
            ports: sample.ports,
        };
        prop_assert_eq!(read(&sample, &sample.frame), Ok(expected));
    }

    /// A frame that ends before its packet does is never taken for a whole one.
    #[test]
    fn a_packet_cut_anywhere_is_truncated(sample in samples()) {
        for len in 0..sample.network_at + sample.len {
            prop_assert_eq!(read(&sample, &sample.frame[..len]), Err(Verdict::DropTruncated));
        }
    }

    /// Whatever the bytes: what is found lies inside the packet, and the packet inside the frame.
    #[test]
    fn nothing_is_found_outside_of_the_frame(
        mut sample in samples(),
        edits in proptest::collection::vec((0usize..80, any::<u8>()), 1..6),
    ) {
        let mut frame = core::mem::take(&mut sample.frame);
        for (at, byte) in edits {
            let place = sample.network_at + at;
            if place < frame.len() {
                frame[place] = byte;
            }
        }
        if !sample.v6 {
            // The right checksum again, or hardly any of these would be looked into.
            let at = sample.network_at;
            let sum = Ipv4HeaderSlice::from_slice(&frame[at..])
                .map_or(0, |header| header.to_header().calc_header_checksum());
            frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
        }
        if let Ok(found) = read(&sample, &frame) {
            let end = sample.network_at + found.len;
            let fixed = if sample.v6 { 40 } else { 20 };
            prop_assert!(end <= frame.len());
            prop_assert!(found.transport_at >= sample.network_at + fixed);
            prop_assert!(found.transport_at <= end);
            let has_ports = matches!(found.protocol, 6 | 17) && !found.fragment[0];
            if has_ports {
                prop_assert!(found.transport_at + 4 <= end);
                let ports = frame[found.transport_at..][..4].try_into().unwrap();
                prop_assert_eq!(found.ports, u32::from_be_bytes(ports));
            } else {
                prop_assert_eq!(found.ports, 0);
            }
            prop_assert!(found.fragment[0] || !found.fragment[1]);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(frame in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..30) {
        let (v4, v6) = (parse::<V4>(&frame, at), parse::<V6>(&frame, at));
        prop_assert!(v4.is_err() || v6.is_err(), "both versions at once");
    }

    #[test]
    fn one_hop_less_and_the_checksum_right(form in forms(), written_as_minus_zero in any::<bool>()) {
        let form = Form { hop_limit: form.hop_limit.max(1), ..form };
        let mut sample = form.sample();
        let at = sample.network_at;
        let sum_at = at + ipv4::CHECKSUM_AT;
        if !sample.v6 && written_as_minus_zero && sample.frame[sum_at..sum_at + 2] == [0, 0] {
            // Both mean zero in ones' complement.
            sample.frame[sum_at..sum_at + 2].fill(0xff);
        }
        let mut after = Frame::new(&sample.frame);
        if sample.v6 {
            V6::decrement_hop_limit(&mut after, at).unwrap();
        } else {
            V4::decrement_hop_limit(&mut after, at).unwrap();
        }
        let expected = Form { hop_limit: form.hop_limit - 1, ..form }.sample();
        prop_assert_eq!(after.as_slice(), expected.frame.as_slice());
    }

    /// Later fragments have no ports, so none of a datagram's fragments may be told by them, nor by
    /// anything else that differs between them.
    #[test]
    fn all_fragments_of_a_datagram_hash_alike(
        form in forms(),
        others in proptest::collection::vec((1u16..8192, any::<bool>(), any::<[u8; 4]>(), 0usize..100), 1..10),
    ) {
        // Behind the limit nobody sees that it is a fragment; nor are ports seen there.
        let behind = form.fragment.map_or(0, |(_, _, at)| at).min(form.extensions.len());
        let first = Form { fragment: Some((0, true, behind)), ..form };
        for (offset, more, head, payload) in others {
            let fragment = Some((offset, more, behind));
            let later = Form { fragment, head, payload, ..first.clone() };
            prop_assert_eq!(hash(&later.sample()), hash(&first.sample()));
        }
    }

    /// Each of the five fields tells flows apart, and nothing else does.
    #[test]
    fn a_flow_is_told_by_its_five_fields(form in forms(), other in forms(), bit in 0u8..32) {
        let form = Form { fragment: None, extensions: Vec::new(), ..form };
        let base = hash(&form.sample());
        let same = Form {
            tags: other.tags,
            hop_limit: other.hop_limit,
            options: other.options,
            extensions: other.extensions.into_iter().take(MAX_EXTENSION_HEADERS).collect(),
            identification: other.identification,
            payload: other.payload,
            padding: other.padding,
            ..form.clone()
        };
        prop_assert_eq!(hash(&same.sample()), base);
        let flip = |bytes: &mut [u8]| bytes[usize::from(bit / 8)] ^= 1 << (bit % 8);
        let (mut source, mut destination, mut ports) = (form.clone(), form.clone(), form.clone());
        flip(&mut source.source);
        flip(&mut destination.destination);
        flip(&mut ports.head);
        prop_assert_ne!(hash(&source.sample()), base);
        prop_assert_ne!(hash(&destination.sample()), base);
        let has_ports = matches!(form.protocol, 6 | 17);
        prop_assert_eq!(hash(&ports.sample()) != base, has_ports);
        let protocol = Form { protocol: if form.protocol == 17 { 6 } else { 17 }, ..form };
        prop_assert_ne!(hash(&protocol.sample()), base);
    }

    #[test]
    fn martian_sources_are_those_that_no_one_can_have(bytes in any::<[u8; 16]>(), prefix in 0usize..12) {
        // Random addresses would hardly ever be in the small ranges.
        let prefixes: [&[u8]; 12] = [
            &[], &[0], &[127], &[169, 254], &[224], &[239], &[240], &[255, 255, 255, 255],
            &[0xfe, 0x80], &[0xff], &[0; 15], &[0; 16],
        ];
        let mut bytes = bytes;
        bytes[..prefixes[prefix].len()].copy_from_slice(prefixes[prefix]);
        let a4 = Ipv4Addr::from(*bytes.first_chunk::<4>().unwrap());
        let martian4 = a4.octets()[0] == 0 || a4.is_loopback() || a4.is_link_local()
            || a4.is_multicast() || a4.octets()[0] >= 240;
        prop_assert_eq!(V4::is_martian_source(Address4::from_bytes(a4.octets())), martian4);
        let a6 = Ipv6Addr::from(bytes);
        let martian6 = a6.is_unspecified() || a6.is_loopback() || a6.is_unicast_link_local()
            || a6.is_multicast();
        prop_assert_eq!(V6::is_martian_source(Address6::from_bytes(bytes)), martian6);
    }
}

/// Where checksums wrap around: for each value of the field there is a header that has it.
#[test]
fn every_checksum_is_changed_rightly() {
    let form = Form {
        tags: Vec::new(),
        v6: false,
        hop_limit: 1,
        source: [10; 16],
        destination: [192; 16],
        options: 0,
        extensions: Vec::new(),
        fragment: None,
        identification: 0,
        protocol: 17,
        head: [0; 4],
        payload: 8,
        padding: 0,
    };
    for identification in 0..=u16::MAX {
        let form = Form {
            identification,
            hop_limit: (identification % 255) as u8 + 1,
            ..form.clone()
        };
        let mut after = Frame::new(&form.sample().frame);
        V4::decrement_hop_limit(&mut after, 14).unwrap();
        let expected = Form {
            hop_limit: form.hop_limit - 1,
            ..form
        }
        .sample();
        assert_eq!(
            after.as_slice(),
            expected.frame,
            "identification {identification}"
        );
    }
}

/// RFC 1122 section 3.2.2 and RFC 4443 section 2.4 (e): of ICMP only queries and their answers.
#[test]
fn only_queries_of_icmp_are_answered() {
    let answers = |v6: bool, kind: u8, fragment| {
        let form = Form {
            tags: Vec::new(),
            v6,
            hop_limit: 1,
            source: [10; 16],
            destination: [192; 16],
            options: 3,
            extensions: Vec::new(),
            fragment,
            identification: 0,
            protocol: if v6 { 58 } else { 1 },
            head: [kind, 0, 0, 0],
            payload: 8,
            padding: 0,
        };
        let frame = Frame::new(&form.sample().frame);
        if v6 {
            V6::may_answer(&frame, &V6::parse(&frame, 14).unwrap())
        } else {
            V4::may_answer(&frame, &V4::parse(&frame, 14).unwrap())
        }
    };
    // IANA "ICMP Type Numbers" and "ICMPv6 type Numbers": the errors, and redirect.
    let errors4 = [3, 4, 5, 11, 12];
    let queries4 = [0, 8, 9, 10, 13, 14, 15, 16, 17, 18];
    for kind in errors4 {
        assert!(!answers(false, kind, None), "ICMP error {kind}");
    }
    for kind in queries4 {
        assert!(answers(false, kind, None), "ICMP query {kind}");
    }
    for kind in 0..=255 {
        assert_eq!(
            answers(true, kind, None),
            kind >= 128 && kind != 137,
            "ICMPv6 type {kind}"
        );
    }
    for v6 in [false, true] {
        assert!(
            answers(v6, if v6 { 128 } else { 8 }, Some((0, true, 0))),
            "a first fragment"
        );
        assert!(
            !answers(v6, if v6 { 128 } else { 8 }, Some((3, true, 0))),
            "a later fragment"
        );
    }
}
