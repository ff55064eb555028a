//! Connections as they pass, and what is made of them.

use std::{boxed::Box, cell::Cell, prelude::v1::*};

use proptest::prelude::*;

use super::{counts::BOUNDS, *};
use crate::limits::MAX_UPLINKS;

const MS: u64 = 1_000_000;
const OUT: Direction = Direction::Outward;
/// In the sample.
const FLOW: u64 = 0x1234_5678_9abc_def0;
const IN: Direction = Direction::Inward;

struct Memory {
    handshakes: Vec<Word>,
    sequences: Vec<Word>,
    counts: Box<[TcpCounts]>,
    now: Cell<u64>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            handshakes: (0..handshake::PLACES).map(|_| Word::default()).collect(),
            sequences: (0..sequence::PLACES).map(|_| Word::default()).collect(),
            counts: (0..MAX_UPLINKS).map(|_| TcpCounts::default()).collect(),
            now: Cell::new(1 << 40),
        }
    }
}

impl TcpMemory for Memory {
    fn handshake(&self, index: u32) -> Option<&Word> {
        self.handshakes.get(index as usize)
    }

    fn sequence(&self, index: u32) -> Option<&Word> {
        self.sequences.get(index as usize)
    }

    fn tcp_counts(&self, id: u8) -> Option<&TcpCounts> {
        self.counts.get(usize::from(id))
    }

    fn tcp_clock(&self) -> u64 {
        self.now.get()
    }
}

impl Memory {
    fn pass(&self, hash: u64, id: u8, direction: Direction, flags: u8, sequence: u32, len: u32) {
        let inward = u32::from(matches!(direction, Direction::Inward));
        let segment = Segment {
            data: u64::from(sequence) | u64::from(len) << 32,
            place: u32::from(id) | inward << 8 | u32::from(flags) << 16,
        };
        self.note_segment(FlowHash(hash), segment);
    }

    fn later(&self, time: u64) {
        self.now.set(self.now.get() + time);
    }

    /// Handshakes by bucket, SYNs again, data again, data.
    fn of(&self, id: u8) -> (Vec<u64>, u64, u64, u64) {
        let counts = &self.counts[usize::from(id)];
        let buckets = counts.handshakes[0].buckets.iter().map(Word::load);
        (
            buckets.take(BOUNDS.len() + 1).collect(),
            counts.syn.load(),
            counts.data.load(),
            counts.sampled.load(),
        )
    }

    fn timed(&self, id: u8) -> u64 {
        self.of(id).0.iter().sum()
    }
}

#[test]
fn a_handshake_is_timed_once_and_for_its_uplink() {
    let memory = Memory::default();
    let hash = 0xdead_beef_0123_4567;
    memory.pass(hash, 5, OUT, tcp::SYN, 100, 0);
    memory.later(30 * MS);
    memory.pass(hash, 5, IN, tcp::SYN | tcp::ACK, 900, 0);
    memory.pass(hash, 5, IN, tcp::SYN | tcp::ACK, 900, 0);
    let (buckets, syn, ..) = memory.of(5);
    assert_eq!(buckets, [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], "50 ms");
    assert_eq!(syn, 0);
    let sum = memory.counts[5].handshakes[0].sum.load();
    assert!(sum.abs_diff(30 * MS) <= 2048, "{sum}");
    // The ends open a new connection.
    memory.pass(hash, 5, OUT, tcp::SYN, 5000, 0);
    assert_eq!(memory.of(5).1, 0);
}

#[test]
fn a_syn_that_was_sent_again_is_counted_and_its_handshake_not_timed() {
    let memory = Memory::default();
    for _ in 0..3 {
        memory.pass(77, 1, OUT, tcp::SYN, 100, 0);
        memory.later(1000 * MS);
    }
    memory.pass(77, 1, IN, tcp::SYN | tcp::ACK, 900, 0);
    assert_eq!((memory.of(1).1, memory.timed(1)), (2, 0));
    // By another uplink it is a new attempt, and an answer by the first one is none to it.
    memory.pass(78, 1, OUT, tcp::SYN, 100, 0);
    memory.later(1000 * MS);
    memory.pass(78, 2, OUT, tcp::SYN, 100, 0);
    memory.pass(78, 1, IN, tcp::SYN | tcp::ACK, 900, 0);
    memory.later(7 * MS);
    memory.pass(78, 2, IN, tcp::SYN | tcp::ACK, 900, 0);
    assert_eq!((memory.of(1).1, memory.of(2).1), (2, 0));
    assert_eq!((memory.timed(1), memory.timed(2)), (0, 1));
    // Nobody waits for so long.
    memory.pass(79, 1, OUT, tcp::SYN, 100, 0);
    memory.later(129_000 * MS);
    memory.pass(79, 1, OUT, tcp::SYN, 100, 0);
    assert_eq!(memory.of(1).1, 2);
}

#[test]
fn what_is_opened_from_outside_is_not_timed() {
    let memory = Memory::default();
    memory.pass(77, 1, IN, tcp::SYN, 100, 0);
    memory.later(MS);
    memory.pass(77, 1, OUT, tcp::SYN | tcp::ACK, 100, 0);
    memory.pass(77, 1, IN, tcp::SYN, 100, 0);
    assert_eq!((memory.of(1).1, memory.timed(1)), (0, 0));
}

#[test]
fn data_that_was_sent_again_is_counted_in_flows_of_the_sample() {
    let memory = Memory::default();
    let start = u32::MAX - 2000;
    for n in 0..4 {
        memory.pass(FLOW, 3, OUT, tcp::ACK, start.wrapping_add(n * 1000), 1000);
    }
    assert_eq!(memory.of(3).2, 0, "numbers begin anew behind 2^32");
    memory.pass(FLOW, 3, OUT, tcp::ACK, start.wrapping_add(1000), 1000);
    memory.pass(FLOW, 3, OUT, tcp::ACK, start.wrapping_add(3000), 1000);
    // The other direction counts by itself.
    memory.pass(FLOW, 3, IN, tcp::ACK, start, 1000);
    let (_, _, data, sampled) = memory.of(3);
    assert_eq!((data, sampled), (2, 7));
    // Keep-alives, probes of a closed window, bare acknowledgements, resets and ends say nothing.
    for (flags, len) in [(tcp::ACK, 1), (tcp::ACK, 0), (tcp::RST, 500), (tcp::FIN, 0)] {
        memory.pass(FLOW, 3, OUT, flags, start, len);
    }
    // Nor do flows that are not in the sample.
    memory.pass(FLOW + 1, 3, OUT, tcp::ACK, start, 1000);
    memory.pass(FLOW + 1, 3, OUT, tcp::ACK, start, 1000);
    assert_eq!((memory.of(3).2, memory.of(3).3), (2, 7));
    // A new connection of the same ends, whose numbers begin far away.
    memory.pass(FLOW, 3, OUT, tcp::ACK, start.wrapping_sub(1 << 31), 1000);
    assert_eq!(memory.of(3).2, 2);
}

proptest! {
    /// Each segment is sent in order, and some are sent again later: these are counted, all of them.
    #[test]
    fn as_many_are_counted_as_were_sent_again(
        start in any::<u32>(),
        signature in any::<u64>(),
        segments in proptest::collection::vec((2u32..1500, prop::option::of(0usize..8)), 1..200),
    ) {
        let memory = Memory::default();
        let hash = (signature | 1 << 63) & !0xf;
        let (mut next, mut again) = (start, 0);
        let mut sent: Vec<(u32, u32)> = Vec::new();
        for (len, back) in segments {
            memory.pass(hash, 0, OUT, tcp::ACK, next, len);
            sent.push((next, len));
            next = next.wrapping_add(len);
            if let Some(&(from, len)) = back.and_then(|back| sent.iter().rev().nth(back)) {
                memory.pass(hash, 0, OUT, tcp::ACK, from, len);
                again += 1;
            }
        }
        prop_assert_eq!(memory.of(0).2, again);
    }

    /// Whatever comes, every count is bounded by the segments, and nothing breaks.
    #[test]
    fn whatever_passes_is_bounded(
        segments in proptest::collection::vec(
            (0u64..64, any::<u8>(), any::<bool>(), any::<u8>(), any::<u64>(), 0u64..10_000_000_000), 0..300,
        ),
    ) {
        let memory = Memory::default();
        let count = segments.len() as u64;
        for (hash, id, inward, flags, data, later) in segments {
            memory.later(later);
            let place = u32::from(id) | u32::from(inward) << 8 | u32::from(flags) << 16;
            memory.note_segment(FlowHash(hash << 58 | hash), Segment { data, place });
        }
        let total: u64 = (0..64).map(|id| {
            let (buckets, syn, data, sampled) = memory.of(id);
            assert!(data <= sampled);
            buckets.iter().sum::<u64>() + syn + sampled
        }).sum();
        prop_assert!(total <= count);
    }
}
