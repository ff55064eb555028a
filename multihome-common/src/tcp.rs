//! What TCP tells of an uplink while it passes: how long handshakes take over the network, and how much
//! is sent again.
//!
//! Two small tables of words, each place of which belongs to whoever wrote it last, remember what is
//! needed; a flood of connections makes them forget, and nothing else. Every segment that opens a connection is looked
//! at. Of the others only those of a sample of flows are, so that most packets pay one comparison.

pub mod counts;
pub mod handshake;
pub mod sequence;

use crate::{
    flow::slot::Direction,
    hash::FlowHash,
    packet::Packet,
    parse::Network,
    wire::{ethernet, ipv4, ipv6, protocol, tcp},
    word::Word,
};
use counts::TcpCounts;

/// One flow in this many is in the sample.
pub const SAMPLE: u64 = 16;
/// Shorter segments say nothing: a keep-alive repeats one byte or none (RFC 9293 section 3.8.4), and so
/// does a probe of a closed window.
const SHORTEST: u32 = 2;

/// Whether the data of a flow is looked at.
#[inline(always)]
pub const fn is_sampled(hash: FlowHash) -> bool {
    hash.0.is_multiple_of(SAMPLE)
}

/// Set in a place for IPv6.
const FAMILY: u32 = 1 << 9;

/// Where a segment passes: the uplink's id in bits 0 to 7, the direction in bit 8, the family in bit 9.
#[inline(always)]
pub const fn place(id: u8, direction: Direction, family: usize) -> u32 {
    let inward = matches!(direction, Direction::Inward) as u32;
    id as u32 | inward << 8 | (family as u32 & 1) << 9
}

/// A segment, where it passes, and by which uplink.
///
/// Two words, so that the kernel can hand it to a function of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The sequence number in bits 0 to 31, the payload's length in bits 32 to 63.
    pub data: u64,
    /// Its [`place`], and TCP's flags in bits 16 to 23.
    pub place: u32,
}

impl Segment {
    /// The segment of a packet of TCP that is no fragment.
    #[inline(always)]
    pub fn read<P: Packet, A>(packet: &P, network: &Network<A>, place: u32) -> Option<Self> {
        Self::at(packet, network.transport_at, network.end, place)
    }

    /// The segment of a packet of TCP whose frame has no tags, and whose IP header no options or
    /// extensions; `None` for other protocols.
    #[inline(always)]
    pub fn plain<P: Packet>(packet: &P, place: u32) -> Option<Self> {
        let (protocol_at, len_at, header) = if place & FAMILY == 0 {
            (9, 2, ipv4::LEN)
        } else {
            (6, 4, ipv6::LEN)
        };
        let protocol: &[u8; 1] = packet.bytes(ethernet::LEN + protocol_at)?;
        let len: &[u8; 2] = packet.bytes(ethernet::LEN + len_at)?;
        let len = usize::from(u16::from_be_bytes(*len));
        // IPv4 tells the length of the packet, IPv6 that of its payload.
        let end = ethernet::LEN + len + if place & FAMILY == 0 { 0 } else { header };
        if protocol[0] != protocol::TCP {
            return None;
        }
        Self::at(packet, ethernet::LEN + header, end, place)
    }

    #[inline(always)]
    fn at<P: Packet>(packet: &P, transport_at: usize, end: usize, place: u32) -> Option<Self> {
        let header: &[u8; tcp::LEN] = packet.bytes(transport_at)?;
        let sequence = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let payload_at = transport_at + tcp::header_len(header);
        let len = end.saturating_sub(payload_at) as u64;
        let flags = u32::from(header[tcp::FLAGS_AT]);
        Some(Self {
            data: u64::from(sequence) | len << 32,
            place: place | flags << 16,
        })
    }

    #[inline(always)]
    const fn id(self) -> u8 {
        self.place as u8 & 63
    }

    #[inline(always)]
    const fn inward(self) -> u32 {
        self.place >> 8 & 1
    }

    #[inline(always)]
    const fn family(self) -> usize {
        (self.place >> 9) as usize & 1
    }

    #[inline(always)]
    const fn has(self, flags: u8) -> bool {
        (self.place >> 16) as u8 & flags != 0
    }

    #[inline(always)]
    const fn len(self) -> u32 {
        (self.data >> 32) as u32
    }

    /// The sequence number behind the payload.
    #[inline(always)]
    const fn end(self) -> u32 {
        (self.data as u32).wrapping_add(self.len())
    }
}

/// The tables.
pub trait TcpMemory {
    /// A place of the table of [handshakes](handshake).
    fn handshake(&self, index: u32) -> Option<&Word>;
    /// A place of the table of [sequence numbers](sequence).
    fn sequence(&self, index: u32) -> Option<&Word>;
    /// This CPU's counts of an uplink.
    fn tcp_counts(&self, id: u8) -> Option<&TcpCounts>;
    /// The time in nanoseconds of CLOCK_MONOTONIC.
    fn tcp_clock(&self) -> u64;
    /// Takes note of a segment of the flow of this hash.
    fn note_segment(&self, hash: FlowHash, segment: Segment)
    where
        Self: Sized,
    {
        note(self, hash, segment);
    }
    /// Takes note of a packet of the short way, which may be one of TCP, whose flow has this hash.
    fn note_plain<P: Packet>(&self, packet: &P, hash: FlowHash, place: u32)
    where
        Self: Sized,
    {
        if let Some(segment) = Segment::plain(packet, place) {
            self.note_segment(hash, segment);
        }
    }
}

/// See [`TcpMemory::note_segment`].
#[inline(always)]
pub fn note<M: TcpMemory>(memory: &M, hash: FlowHash, segment: Segment) {
    let Some(counts) = memory.tcp_counts(segment.id()) else {
        return;
    };
    if segment.has(tcp::SYN) {
        let Some(place) = memory.handshake(handshake::place(hash)) else {
            return;
        };
        // Only what is opened from inside: for what is opened from outside, the gateway sees the way to
        // the LAN host and back.
        if segment.has(tcp::ACK) {
            if segment.inward() == 1
                && let Some(time) =
                    handshake::answered(place, hash, segment.id(), memory.tcp_clock())
            {
                counts.handshakes[segment.family()].count(time);
            }
        } else if segment.inward() == 0
            && handshake::sent(place, hash, segment.id(), memory.tcp_clock())
        {
            counts.syn.add(1);
        }
        return;
    }
    if segment.has(tcp::RST) || segment.len() < SHORTEST || !is_sampled(hash) {
        return;
    }
    let Some(place) = memory.sequence(sequence::place(hash, segment.inward())) else {
        return;
    };
    counts.sampled.add(1);
    if sequence::is_repeated(place, hash, segment.end()) {
        counts.data.add(1);
    }
}

#[cfg(test)]
mod tests;
