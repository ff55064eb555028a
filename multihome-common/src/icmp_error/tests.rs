//! The answers as etherparse reads them: whole, their checksums right, and of the sender's packet
//! neither more nor less than may be quoted.

use std::{prelude::v1::*, vec};

use etherparse::{Icmpv4Type, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;
use crate::{
    sim::Frame,
    testing::{self, Form, GATEWAY, STATION, Sample, forms},
    verdict::Disposition,
};

/// Why a packet is answered.
#[derive(Clone, Copy, Debug)]
enum Cause {
    TimeExceeded,
    TooBig(u32),
    Unreachable,
}

impl Cause {
    fn decision(self) -> Decision {
        match self {
            Self::TimeExceeded => Verdict::ReplyTimeExceeded.into(),
            Self::TooBig(mtu) => Decision::too_big(mtu),
            Self::Unreachable => Verdict::ReplyUnreachable.into(),
        }
    }

    /// The verdict when nothing is sent.
    fn silent(self) -> Verdict {
        match self {
            Self::TimeExceeded => Verdict::DropHopLimit,
            Self::TooBig(_) => Verdict::DropTooBig,
            Self::Unreachable => Verdict::DropNoUplink,
        }
    }

    fn icmp4(self) -> Icmpv4Type {
        use etherparse::icmpv4::{DestUnreachableHeader, TimeExceededCode};
        match self {
            Self::TimeExceeded => Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit),
            Self::TooBig(mtu) => {
                let next_hop_mtu = mtu as u16;
                Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded {
                    next_hop_mtu,
                })
            }
            Self::Unreachable => Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Network),
        }
    }

    fn icmp6(self) -> Icmpv6Type {
        use etherparse::icmpv6::{DestUnreachableCode, TimeExceededCode};
        match self {
            Self::TimeExceeded => Icmpv6Type::TimeExceeded(TimeExceededCode::HopLimitExceeded),
            Self::TooBig(mtu) => Icmpv6Type::PacketTooBig { mtu },
            Self::Unreachable => Icmpv6Type::DestinationUnreachable(DestUnreachableCode::NoRoute),
        }
    }
}

fn causes() -> impl Strategy<Value = Cause> {
    prop_oneof![
        Just(Cause::TimeExceeded),
        Just(Cause::Unreachable),
        (68u32..9000).prop_map(Cause::TooBig),
    ]
}

fn answered(sample: &Sample, decision: Decision, may_reply: bool) -> (Decision, Vec<u8>) {
    let mut frame = Frame::new(&sample.frame);
    let mut tables = testing::tables();
    tables.may_reply = may_reply;
    let result = answer(&mut frame, &mut tables, &testing::port(64), decision);
    (result, frame.as_slice().to_vec())
}

proptest! {
    #[test]
    fn an_answer_is_a_right_icmp_error(
        form in forms(), cause in causes(), tags in 0usize..=2, query in any::<bool>()
    ) {
        let mut form = Form { tags: vec![0x0064; tags], ..form };
        if matches!(form.protocol, 1 | 58) {
            form.protocol = if form.v6 { 58 } else { 1 };
            form.head[0] = match (form.v6, query) {
                (false, true) => 8,
                (true, true) => 128,
                (_, false) => 3,
            };
        }
        let sample = form.sample();
        let (result, out) = answered(&sample, cause.decision(), true);
        // Behind the limit of extension headers nobody looks for an ICMP header.
        let icmp = sample.protocol == if sample.v6 { 58 } else { 1 };
        if sample.later_fragment || (icmp && form.head[0] == 3) {
            prop_assert_eq!(result.disposition(), Disposition::Drop);
            prop_assert_eq!(out, sample.frame);
            return Ok(());
        }
        prop_assert_eq!(result, cause.decision());

        let mut link = sample.frame[..sample.network_at].to_vec();
        link[..6].copy_from_slice(&STATION);
        link[6..12].copy_from_slice(&GATEWAY);
        prop_assert_eq!(&out[..sample.network_at], &link, "back to the sender, tags kept");

        let packet = &sample.frame[sample.network_at..][..sample.len];
        let port = testing::port(64);
        let sliced = SlicedPacket::from_ethernet(&out).expect("an answer is well-formed");
        match (sliced.net.unwrap(), sliced.transport.unwrap()) {
            (NetSlice::Ipv4(ip), TransportSlice::Icmpv4(icmp)) => {
                let header = ip.header().to_header();
                prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
                prop_assert_eq!(header.source, port.address4);
                prop_assert_eq!(header.destination, *sample.source.first_chunk::<4>().unwrap());
                prop_assert_eq!(icmp.icmp_type(), cause.icmp4());
                let sum = icmp.icmp_type().calc_checksum(icmp.payload());
                prop_assert_eq!(icmp.checksum(), sum);
                prop_assert_eq!(icmp.payload(), &packet[..packet.len().min(576 - 28)]);
            }
            (NetSlice::Ipv6(ip), TransportSlice::Icmpv6(icmp)) => {
                let header = ip.header().to_header();
                prop_assert_eq!(header.source, port.address6);
                prop_assert_eq!(header.destination, sample.source);
                prop_assert_eq!(icmp.icmp_type(), cause.icmp6());
                prop_assert!(icmp.is_checksum_valid(header.source, header.destination));
                prop_assert_eq!(icmp.payload(), &packet[..packet.len().min(1280 - 48)]);
            }
            (net, transport) => prop_assert!(false, "{net:?} {transport:?}"),
        }
    }

    /// Without a token, or without an address to answer from, nothing is sent and nothing changed.
    #[test]
    fn what_must_not_be_sent_is_a_drop_of_its_own(form in forms(), cause in causes()) {
        let sample = form.sample();
        let (result, out) = answered(&sample, cause.decision(), false);
        prop_assert_eq!(result.verdict(), cause.silent());
        prop_assert_eq!(&out, &sample.frame);

        let mut frame = Frame::new(&sample.frame);
        let port = PortEntry { address4: [0; 4], address6: [0; 16], ..testing::port(64) };
        let result = answer(&mut frame, &mut testing::tables(), &port, cause.decision());
        prop_assert_eq!(result.verdict(), cause.silent());
        prop_assert_eq!(frame.as_slice(), sample.frame.as_slice());
    }
}

/// A packet that must not be answered costs no token: hostile ones cannot use them up.
#[test]
fn what_is_not_answered_takes_no_token() {
    for (protocol, head, tokens) in [(1, [8, 0, 0, 0], 1), (1, [11, 0, 0, 0], 0)] {
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
            protocol,
            head,
            payload: 8,
            padding: 0,
        };
        let mut tables = testing::tables();
        let mut frame = Frame::new(&form.sample().frame);
        let decision = Decision::from(Verdict::ReplyTimeExceeded);
        answer(&mut frame, &mut tables, &testing::port(64), decision);
        assert_eq!(tables.asked, tokens, "ICMP type {}", head[0]);
    }
}
