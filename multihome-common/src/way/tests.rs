//! The whole way, from both sides, under packets of every form and under bytes of any kind.

mod prefixes;

use std::{prelude::v1::*, vec};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    address::{Address4, Address6},
    counters,
    family::{Family, V4, V6},
    sim::{Frame, SimTables},
    testing::{self, Form, GATEWAY, NEXT, Sample, forms, samples},
    verdict::Disposition,
};

const LAN: u32 = 64;
const UPLINK: u32 = 0;

fn run(tables: &mut SimTables, slot: u32, frame: &[u8]) -> (Decision, Vec<u8>) {
    let mut out = Frame::new(frame);
    let port = testing::port(slot);
    let decision = if slot == LAN {
        from_lan(&mut out, tables, &port)
    } else {
        from_uplink(&mut out, tables, &port)
    };
    (decision, out.as_slice().to_vec())
}

/// Tables in which the sample's destination is a known LAN host, if it is in the LAN.
fn tables_with_host(sample: &Sample) -> SimTables {
    let mut tables = testing::tables();
    let four = *sample.destination.first_chunk::<4>().unwrap();
    tables
        .hosts4
        .insert(Address4::from_bytes(four), testing::host());
    tables
        .hosts6
        .insert(Address6::from_bytes(sample.destination), testing::host());
    tables
}

fn is_martian(sample: &Sample) -> bool {
    let four = *sample.source.first_chunk::<4>().unwrap();
    if sample.v6 {
        V6::is_martian_source(Address6::from_bytes(sample.source))
    } else {
        V4::is_martian_source(Address4::from_bytes(four))
    }
}

/// The lower half of all addresses is the LAN's.
fn in_lan(address: [u8; 16]) -> bool {
    address[0] < 0x80
}

/// The frame has a tag with a VLAN id.
fn in_vlan(sample: &Sample) -> bool {
    let tags = sample.frame[12..sample.network_at - 2].chunks(4);
    tags.into_iter()
        .any(|tag| u16::from_be_bytes([tag[2], tag[3]]) & 0xfff != 0)
}

/// What must become of a well-formed packet, told by what is in it.
fn expected(sample: &Sample, slot: u32) -> Verdict {
    if in_vlan(sample) {
        return Verdict::PassVlanDevice;
    }
    let (source_in_lan, to_lan) = (in_lan(sample.source), in_lan(sample.destination));
    match (slot == LAN, to_lan) {
        (true, true) => return Verdict::PassOnLink,
        (false, false) => return Verdict::PassNotOurs,
        (true, false) | (false, true) => {}
    }
    if is_martian(sample) || (slot != LAN && source_in_lan) {
        return Verdict::DropMartianSource;
    }
    let icmp = sample.protocol == if sample.v6 { 58 } else { 1 };
    let kind = sample.frame.get(sample.transport_at).copied().unwrap_or(0);
    let query = if sample.v6 {
        kind >= 128 && kind != 137
    } else {
        matches!(kind, 0 | 8..=10 | 13..=18)
    };
    let silent = sample.later_fragment || (icmp && !query);
    let (reply, drop) = if sample.hop_limit <= 1 {
        (Verdict::ReplyTimeExceeded, Verdict::DropHopLimit)
    } else if sample.len > 1400 {
        (Verdict::ReplyTooBig, Verdict::DropTooBig)
    } else {
        return Verdict::Forwarded;
    };
    if silent { drop } else { reply }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_well_formed_packet_has_the_verdict_that_its_fields_call_for(
        form in forms(), hop_limit in 0u8..4, slot in prop_oneof![Just(LAN), Just(UPLINK)]
    ) {
        let form = Form { hop_limit, ..form };
        let sample = form.sample();
        let (decision, out) = run(&mut tables_with_host(&sample), slot, &sample.frame);
        prop_assert_eq!(decision.verdict(), expected(&sample, slot));
        match decision.disposition() {
            Disposition::Forward => {
                let slots = if slot == LAN { 0..3 } else { 64..65 };
                prop_assert!(slots.contains(&decision.egress()));
                let mut forwarded = Form { hop_limit: hop_limit - 1, ..form }.sample().frame;
                forwarded[..6].copy_from_slice(&NEXT);
                forwarded[6..12].copy_from_slice(&GATEWAY);
                prop_assert_eq!(out, forwarded);
            }
            Disposition::Pass | Disposition::Drop => prop_assert_eq!(out, sample.frame),
            // What an answer must be is tested beside it.
            Disposition::Reply => prop_assert_ne!(out, sample.frame),
        }
    }

    /// The fuzzer's property: whatever comes in, nothing panics, what is not sent is not changed,
    /// and what is sent keeps its length and everything behind the header.
    #[test]
    fn mangled_packets_do_no_harm(
        mut sample in samples(),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        len in any::<prop::sample::Index>(),
        cut in any::<bool>(),
        slot in prop_oneof![Just(LAN), Just(UPLINK)],
    ) {
        let mut tables = tables_with_host(&sample);
        for (at, byte) in edits {
            // In the headers, mostly: that is where it matters.
            let at = at.index(sample.frame.len().min(100));
            sample.frame[at] = byte;
        }
        if cut {
            sample.frame.truncate(len.index(sample.frame.len() + 1));
        }
        let (decision, out) = run(&mut tables, slot, &sample.frame);
        match decision.disposition() {
            Disposition::Pass | Disposition::Drop => prop_assert_eq!(out, sample.frame),
            Disposition::Forward => {
                prop_assert_eq!(out.len(), sample.frame.len());
                let changed = (0..out.len()).filter(|&at| out[at] != sample.frame[at]);
                // MACs, TTL and checksum, or hop limit.
                for at in changed.filter(|&at| at >= 12) {
                    let at = at - if sample.frame[12] == 8 || sample.frame[12] == 0x86 { 14 } else { sample.network_at };
                    prop_assert!(matches!(at, 7 | 8 | 10 | 11), "byte {at} of the header changed");
                }
            }
            Disposition::Reply => prop_assert!(out.len() <= sample.network_at.max(22) + 1280),
        }
        prop_assert_ne!(decision.verdict(), Verdict::DropInternal);
    }

    #[test]
    fn any_bytes_do_no_harm(frame in vec(any::<u8>(), 0..120), slot in prop_oneof![Just(LAN), Just(UPLINK)]) {
        let (decision, out) = run(&mut testing::tables(), slot, &frame);
        // Random bytes are hardly ever for this gateway's MAC.
        prop_assert!(matches!(decision.disposition(), Disposition::Pass | Disposition::Drop));
        prop_assert_eq!(out, frame);
    }

    /// The same flow goes the same way however its packets look otherwise, and the kernel counts it
    /// under the uplink that it went to.
    #[test]
    fn packets_of_one_flow_take_one_uplink(form in forms(), other in forms()) {
        let mut form = Form { hop_limit: 64, payload: 100, fragment: None, ..form };
        form.extensions.truncate(crate::limits::MAX_EXTENSION_HEADERS);
        // Public, from an address that may be a source.
        (form.source[0], form.destination[0]) = (0x20, 0x90);
        // Of tags only those without a VLAN are part of a port's frames.
        let priorities = |tags: &[u16]| tags.iter().map(|tag| tag & 0xf000).collect::<Vec<_>>();
        form.tags = priorities(&form.tags);
        let again = Form {
            tags: priorities(&other.tags),
            hop_limit: other.hop_limit.max(2),
            options: other.options,
            payload: other.payload % 1000,
            identification: other.identification,
            padding: other.padding,
            ..form.clone()
        };
        let mut tables = testing::tables();
        let (first, _) = run(&mut tables, LAN, &form.sample().frame);
        let (second, _) = run(&mut tables, LAN, &again.sample().frame);
        prop_assert_eq!(first.verdict(), Verdict::Forwarded);
        prop_assert_eq!(first, second);
        let family = usize::from(form.v6);
        prop_assert_eq!(first.counter_column(), counters::forwarded(family, first.egress()));
    }

    #[test]
    fn a_decision_survives_as_a_word(slot in 0u8..128, family in 0usize..2, mtu in any::<u32>(), which in any::<prop::sample::Index>()) {
        let verdict = Verdict::ALL[which.index(Verdict::ALL.len())];
        for decision in [Decision::forward(slot.into(), family), Decision::too_big(mtu), verdict.into()] {
            prop_assert_eq!(Decision::from_word(decision.word()), decision);
        }
        prop_assert_eq!(Decision::forward(slot.into(), family).egress(), slot);
        prop_assert_eq!(Decision::forward(slot.into(), family).family(), family);
        prop_assert_eq!(Decision::too_big(mtu).mtu(), mtu);
        prop_assert_eq!(Decision::from(verdict).verdict(), verdict);
        prop_assert_eq!(Decision::from(verdict).disposition(), verdict.disposition());
    }
}

/// A frame for another station is never touched, whatever is in it.
#[test]
fn frames_for_other_stations_are_left_alone() {
    let form = Form {
        tags: vec![5],
        v6: false,
        hop_limit: 64,
        source: [10; 16],
        destination: [192; 16],
        options: 0,
        extensions: Vec::new(),
        fragment: None,
        identification: 0,
        protocol: 6,
        head: [0; 4],
        payload: 8,
        padding: 0,
    };
    let good = form.sample().frame;
    for bit in 0..48 {
        let mut frame = good.clone();
        frame[bit / 8] ^= 1 << (bit % 8);
        for slot in [LAN, UPLINK] {
            let (decision, out) = run(&mut testing::tables(), slot, &frame);
            assert_eq!(decision.verdict(), Verdict::PassOtherHost);
            assert_eq!(out, frame);
        }
    }
}
