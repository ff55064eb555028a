//! Echo packets checked against etherparse, and replies broken in every place.

use etherparse::{Icmpv4Type, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;

const SOURCE4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const TARGET4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const SOURCE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const TARGET6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);

fn echo(source: impl Into<IpAddr>, destination: impl Into<IpAddr>) -> Echo {
    Echo {
        source: source.into(),
        destination: destination.into(),
        ident: 0xabcd,
        seq: 7,
        cookie: 0x0123_4567_89ab_cdef,
    }
}

/// What a correct host sends back, built by etherparse.
fn reply(request: &Echo) -> Vec<u8> {
    let header = etherparse::IcmpEchoHeader {
        id: request.ident,
        seq: request.seq,
    };
    let mut packet = Vec::new();
    match (request.destination, request.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            etherparse::PacketBuilder::ipv4(from.octets(), to.octets(), 60)
                .icmpv4_echo_reply(header.id, header.seq)
                .write(&mut packet, &request.cookie.to_be_bytes())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            etherparse::PacketBuilder::ipv6(from.octets(), to.octets(), 60)
                .icmpv6_echo_reply(header.id, header.seq)
                .write(&mut packet, &request.cookie.to_be_bytes())
        }
        mixed => panic!("mixed families: {mixed:?}"),
    }
    .expect("writing to a vector");
    packet
}

fn answered(request: &Echo) -> Echo {
    Echo {
        source: request.destination,
        destination: request.source,
        ..*request
    }
}

fn check_request4(request: &Echo) {
    let packet = request.request().expect("one family");
    let sliced = SlicedPacket::from_ip(&packet).expect("a valid packet");
    let Some(NetSlice::Ipv4(ip)) = &sliced.net else {
        panic!("not IPv4")
    };
    let header = ip.header().to_header();
    assert!(header.dont_fragment && !header.more_fragments);
    assert_eq!(
        (header.time_to_live, header.header_checksum),
        (64, header.calc_header_checksum())
    );
    assert_eq!(IpAddr::from(header.source), request.source);
    assert_eq!(IpAddr::from(header.destination), request.destination);
    let Some(TransportSlice::Icmpv4(icmp)) = &sliced.transport else {
        panic!("not ICMP")
    };
    let Icmpv4Type::EchoRequest(echo) = icmp.icmp_type() else {
        panic!("not a request")
    };
    assert_eq!((echo.id, echo.seq), (request.ident, request.seq));
    assert_eq!(icmp.payload(), request.cookie.to_be_bytes());
    let checksum = icmp.icmp_type().calc_checksum(icmp.payload());
    assert_eq!(icmp.header().checksum, checksum);
}

fn check_request6(request: &Echo) {
    let packet = request.request().expect("one family");
    let sliced = SlicedPacket::from_ip(&packet).expect("a valid packet");
    let Some(NetSlice::Ipv6(ip)) = &sliced.net else {
        panic!("not IPv6")
    };
    assert_eq!(ip.header().hop_limit(), 64);
    assert_eq!(IpAddr::from(ip.header().source()), request.source);
    assert_eq!(IpAddr::from(ip.header().destination()), request.destination);
    let Some(TransportSlice::Icmpv6(icmp)) = &sliced.transport else {
        panic!("not ICMPv6")
    };
    let Icmpv6Type::EchoRequest(echo) = icmp.icmp_type() else {
        panic!("not a request")
    };
    assert_eq!((echo.id, echo.seq), (request.ident, request.seq));
    assert_eq!(icmp.payload(), request.cookie.to_be_bytes());
    assert!(icmp.is_checksum_valid(ip.header().source(), ip.header().destination()));
}

#[test]
fn a_mixed_pair_of_addresses_is_an_error() {
    let error = echo(SOURCE4, TARGET6)
        .request()
        .expect_err("families differ");
    assert!(error.to_string().contains("192.0.2.2"), "{error}");
    assert!(echo(SOURCE6, TARGET4).request().is_err());
}

#[test]
fn an_ipv4_reply_with_options_and_padding_is_read() {
    let request = echo(SOURCE4, TARGET4);
    let mut header = etherparse::Ipv4Header::new(
        16,
        60,
        etherparse::IpNumber::ICMP,
        TARGET4.octets(),
        SOURCE4.octets(),
    )
    .expect("a short payload");
    header.options = [7, 7, 4, 0, 0, 0, 0, 0].into();
    header.set_payload_len(16).expect("a short payload");
    header.header_checksum = header.calc_header_checksum();
    let plain = reply(&request);
    let mut packet = header.to_bytes().to_vec();
    packet.extend_from_slice(&plain[IPV4_LEN..]);
    packet.extend([0xee; 10]);
    let parsed = Echo::parse_reply(Family::Ipv4, &packet, IcmpChecksum::Verify);
    assert_eq!(parsed, Ok(answered(&request)));
}

#[test]
fn a_fragment_is_refused() {
    for flags in [0x2000_u16, 0x0001, 0x1fff] {
        let mut packet = reply(&echo(SOURCE4, TARGET4));
        packet[6..8].copy_from_slice(&flags.to_be_bytes());
        packet[10..12].fill(0);
        let checksum = finish(sum(&packet[..IPV4_LEN]));
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        let parsed = Echo::parse_reply(Family::Ipv4, &packet, IcmpChecksum::Verify);
        assert_eq!(parsed, Err(BadReply::NotAReply), "{flags:#x}");
    }
}

#[test]
fn a_request_is_no_reply() {
    for (family, request) in [
        (Family::Ipv4, echo(SOURCE4, TARGET4)),
        (Family::Ipv6, echo(SOURCE6, TARGET6)),
    ] {
        let packet = request.request().expect("one family");
        let parsed = Echo::parse_reply(family, &packet, IcmpChecksum::Verify);
        assert_eq!(parsed, Err(BadReply::NotAReply));
    }
}

#[test]
fn more_or_less_data_than_a_probe_carries_is_refused() {
    for data in [&[0; 7][..], &[0; 9], &[]] {
        let mut packet = Vec::new();
        etherparse::PacketBuilder::ipv4(TARGET4.octets(), SOURCE4.octets(), 60)
            .icmpv4_echo_reply(0xabcd, 7)
            .write(&mut packet, data)
            .expect("writing to a vector");
        let parsed = Echo::parse_reply(Family::Ipv4, &packet, IcmpChecksum::Verify);
        assert_eq!(parsed, Err(BadReply::ForeignData), "{} bytes", data.len());
    }
}

#[test]
fn a_checksum_left_to_the_card_is_not_looked_at() {
    for (family, request) in [
        (Family::Ipv4, echo(SOURCE4, TARGET4)),
        (Family::Ipv6, echo(SOURCE6, TARGET6)),
    ] {
        let mut packet = reply(&request);
        let at = packet.len() - ECHO_LEN + 2;
        packet[at] ^= 0x55;
        let parsed = Echo::parse_reply(family, &packet, IcmpChecksum::Verify);
        assert_eq!(parsed, Err(BadReply::Checksum));
        let parsed = Echo::parse_reply(family, &packet, IcmpChecksum::NotComputed);
        assert_eq!(parsed, Ok(answered(&request)));
    }
}

#[test]
fn every_truncation_is_refused() {
    for (family, request) in [
        (Family::Ipv4, echo(SOURCE4, TARGET4)),
        (Family::Ipv6, echo(SOURCE6, TARGET6)),
    ] {
        let packet = reply(&request);
        for len in 0..packet.len() {
            let parsed = Echo::parse_reply(family, &packet[..len], IcmpChecksum::Verify);
            assert_eq!(parsed, Err(BadReply::Truncated), "{family} cut to {len}");
        }
    }
}

#[test]
fn every_flipped_bit_of_the_ipv4_packet_is_noticed() {
    let packet = reply(&echo(SOURCE4, TARGET4));
    for bit in 0..packet.len() * 8 {
        let mut packet = packet.clone();
        packet[bit / 8] ^= 1 << (bit % 8);
        assert!(
            Echo::parse_reply(Family::Ipv4, &packet, IcmpChecksum::Verify).is_err(),
            "bit {bit} of byte {}",
            bit / 8
        );
    }
}

proptest! {
    #[test]
    fn requests_are_what_etherparse_calls_valid(
        source4: [u8; 4], target4: [u8; 4], source6: [u8; 16], target6: [u8; 16],
        ident: u16, seq: u16, cookie: u64,
    ) {
        check_request4(&Echo { source: source4.into(), destination: target4.into(), ident, seq, cookie });
        check_request6(&Echo { source: source6.into(), destination: target6.into(), ident, seq, cookie });
    }

    #[test]
    fn replies_built_by_etherparse_are_read(
        source4: [u8; 4], target4: [u8; 4], source6: [u8; 16], target6: [u8; 16],
        ident: u16, seq: u16, cookie: u64,
    ) {
        for request in [
            Echo { source: source4.into(), destination: target4.into(), ident, seq, cookie },
            Echo { source: source6.into(), destination: target6.into(), ident, seq, cookie },
        ] {
            let parsed = Echo::parse_reply(Family::of(request.source), &reply(&request), IcmpChecksum::Verify);
            prop_assert_eq!(parsed, Ok(answered(&request)));
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), first in 0_u8..16) {
        let mut bytes = bytes;
        for version in [0x40, 0x60] {
            if let Some(byte) = bytes.first_mut() {
                *byte = version | first;
            }
            for checksum in [IcmpChecksum::Verify, IcmpChecksum::NotComputed] {
                let _ = Echo::parse_reply(Family::Ipv4, &bytes, checksum);
                let _ = Echo::parse_reply(Family::Ipv6, &bytes, checksum);
            }
        }
    }
}
