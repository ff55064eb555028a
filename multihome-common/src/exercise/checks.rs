//! What must hold for every packet and all tables, told without the packet path's own code.

use std::{
    collections::{BTreeMap, BTreeSet},
    prelude::v1::*,
};

use super::{Exercise, UPLINKS, outside};
use crate::{
    fault::Share,
    flow::tag::{Tag, WAYS},
    limits::MAX_UPLINKS,
    nat44::ports::{LINE, PortWord, Space, line_of},
    port::PortEntry,
    sim::SimTables,
    verdict::{Disposition, Verdict},
    way::{Decision, line::Fate, whole},
};

/// The ones' complement sum of all words (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| low.into()));
    words.fold(0, |sum, word| {
        let sum = u32::from(sum) + word;
        ((sum & 0xffff) + (sum >> 16)) as u16
    })
}

/// Makes an IPv4 header's checksum right, if the frame holds a whole one.
pub fn mend_header(frame: &mut [u8]) {
    let Some(at) = network_at(frame).filter(|&at| frame[at] >> 4 == 4) else {
        return;
    };
    let len = usize::from(frame[at] & 15) * 4;
    if len < 20 || frame.len() < at + len {
        return;
    }
    frame[at + 10..at + 12].fill(0);
    let sum = !sum(&frame[at..at + len]);
    frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
}

/// Where the IP header stands.
fn network_at(frame: &[u8]) -> Option<usize> {
    let mut at = 12;
    while at < 20 && matches!(frame.get(at..at + 2)?, [0x81, 0] | [0x88, 0xa8]) {
        at += 4;
    }
    frame.get(at + 2).map(|_| at + 2)
}

/// Checks that each checksum is as right, or as wrong, as it was.
fn sums_hold(before: &[u8], after: &[u8]) {
    for (at, what) in sums(before) {
        let there = sums(after).into_iter().find(|(other, _)| *other == at);
        assert_eq!(there, Some((at, what)), "{before:02x?}\n{after:02x?}");
    }
}

/// Checks one packet, before and after.
pub fn packet(before: &[u8], after: &[u8], decision: Decision) {
    let verdict = decision.verdict();
    assert_ne!(verdict, Verdict::DropInternal, "{before:02x?}");
    match decision.disposition() {
        // The kernel looks for a LAN host by its inside address.
        Disposition::Pass if verdict == Verdict::PassNoNeighbour => {
            assert_eq!(before.len(), after.len());
            assert_eq!(before[..14], after[..14]);
            sums_hold(before, after);
        }
        Disposition::Pass => assert_eq!(before, after, "{verdict:?}"),
        // What becomes of its bytes matters to nobody.
        Disposition::Drop => {}
        Disposition::Forward => {
            assert_eq!(before.len(), after.len());
            assert_eq!(before[12..14], after[12..14]);
            sums_hold(before, after);
        }
        Disposition::Reply => {
            let right = sums(after);
            let v4 = network_at(after).is_some_and(|at| after[at] >> 4 == 4);
            // The header's, where there is one, and the message's.
            assert_eq!(right.len(), if v4 { 2 } else { 1 }, "{after:02x?}");
        }
    }
}

/// Where the packet's right checksums stand, and what each is of.
fn sums(frame: &[u8]) -> Vec<(usize, &'static str)> {
    let Some(at) = network_at(frame) else {
        return Vec::new();
    };
    let mut right = Vec::new();
    let (transport, end, protocol, addresses) = match frame[at] >> 4 {
        4 => {
            let Some(header) = frame.get(at..at + 20) else {
                return right;
            };
            let len = usize::from(header[0] & 15) * 4;
            let end = at + usize::from(u16::from_be_bytes([header[2], header[3]]));
            let whole = frame.get(at..at + len);
            if whole.is_some_and(|header| sum(header) == 0xffff) {
                right.push((at + 10, "header"));
            }
            // A fragment's checksum is that of the whole datagram.
            if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
                return right;
            }
            (at + len, end, header[9], &frame[at + 12..at + 20])
        }
        6 => {
            let Some(header) = frame.get(at..at + 40) else {
                return right;
            };
            let end = at + 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
            (at + 40, end, header[6], &frame[at + 8..at + 40])
        }
        _ => return right,
    };
    let Some(message) = frame.get(transport..end) else {
        return right;
    };
    let (sum_at, needed) = match protocol {
        6 => (16, 20),
        17 => (6, 8),
        1 | 58 => (2, 8),
        _ => return right,
    };
    let none = protocol == 17 && message.get(6..8) == Some(&[0, 0]);
    if message.len() < needed || none {
        return right;
    }
    let mut covered = Vec::new();
    if protocol != 1 {
        covered.extend_from_slice(addresses);
        covered.extend((message.len() as u32).to_be_bytes());
        covered.extend([0, protocol]);
    }
    covered.extend_from_slice(message);
    if sum(&covered) == 0xffff {
        right.push((transport + sum_at, "transport"));
    }
    right
}

/// Nothing leaves by an uplink that translates under another address than its own.
pub fn source(translates: bool, after: &[u8], decision: Decision) {
    let id = decision.egress();
    let forwarded = decision.verdict() == Verdict::Forwarded && usize::from(id) < MAX_UPLINKS;
    let Some(at) = network_at(after).filter(|&at| after[at] >> 4 == 4) else {
        return;
    };
    if forwarded && translates {
        assert!(id < UPLINKS);
        assert_eq!(after[at + 12..at + 16], outside(id), "a source that leaks");
    }
}

/// What a fault loses, and what it leaves alone, in every packet that passes a line.
pub fn line(tables: &SimTables, port: &PortEntry, before: &[u8], fate: Fate, decision: Decision) {
    let faulty = |slot: u32| slot < u32::from(UPLINKS) && tables.state.faulty >> slot & 1 == 1;
    let (effect, _) = tables.faults[0].in_force(0).expect("one without an end");
    let all = effect.loss == Share::ALL;
    let ip =
        network_at(before).is_some_and(|at| matches!(before[at - 2..at], [0x08, 0] | [0x86, 0xdd]));
    if !faulty(port.slot) || (effect.beyond_next_hop && !ip) {
        assert_eq!(fate, Fate::Spared, "{before:02x?}");
    } else if !effect.beyond_next_hop {
        assert_ne!(fate, Fate::Spared, "{before:02x?}");
    }
    assert!(
        !all || fate != Fate::Passed,
        "all is lost, but {before:02x?}"
    );
    let (after, line) = if port.slot < u32::from(UPLINKS) {
        (whole::goes_on(tables, port, fate, decision), port.slot)
    } else {
        (whole::leaves(tables, decision), decision.egress().into())
    };
    if after == decision {
        let sent = decision.verdict() == Verdict::Forwarded && port.slot >= u32::from(UPLINKS);
        assert!(!(sent && faulty(line) && all), "sent in spite of a fault");
        return;
    }
    assert!(faulty(line), "lost without a fault");
    let expected = match decision.disposition() {
        Disposition::Pass => Verdict::DropFaultIn,
        Disposition::Forward | Disposition::Reply => Verdict::DropFaultOut,
        Disposition::Drop => std::panic!("lost twice"),
    };
    assert_eq!(after.verdict(), expected);
    assert_ne!(decision.verdict(), Verdict::PassNoNeighbour);
}

impl Exercise {
    /// Each port has as many flows as it counts, all of its owner; no flow is there twice.
    pub(super) fn check_tables(&self) {
        let tables = &self.tables;
        let mut flows: BTreeMap<(u16, u8, u16), u16> = BTreeMap::new();
        let mut keys = BTreeSet::new();
        for (flow, slot) in tables.flows.iter().enumerate() {
            if !Tag(tables.tags[flow / WAYS].0[flow % WAYS].load()).is_live() {
                continue;
            }
            let (key, out) = (slot.key(), slot.outside());
            // One whose time is up may still be there, but is not found any more.
            if !slot.is_expired(&tables.state.timeouts, tables.now) {
                let first = keys.insert((key.addresses, key.ends));
                assert!(first, "{key:?} is there twice");
            }
            let space = Space::of(key.protocol());
            if slot.is_forward() {
                continue;
            }
            *flows.entry((out.pool, space as u8, out.port)).or_default() += 1;
            let word = self.word(out.pool, space as u8, out.port);
            assert_eq!(word.inside(), key.inside4(), "{key:?} has another's port");
            assert!(space as u8 == Space::Pair as u8 || word.inside_port() == key.inside_port());
        }
        for &(pool, space, port) in &self.used {
            let counted = flows.get(&(pool, space, port)).copied().unwrap_or(0);
            assert_eq!(self.word(pool, space, port).flows(), counted, "port {port}");
        }
    }

    fn word(&self, pool: u16, space: u8, port: u16) -> PortWord {
        let spaces = [Space::Tcp, Space::Udp, Space::Query, Space::Pair];
        let line = line_of(pool, spaces[usize::from(space)], port) as usize;
        PortWord(self.tables.port_lines[line].0[usize::from(port) % LINE].load())
    }
}
