//! What measured packets carry, and how it is found again in a captured packet.

use crate::traffic::clock;

/// Marks packets of these tests.
const MAGIC: u32 = 0x6d68_7465;

/// Bytes that a stamp takes.
pub const STAMP_LEN: usize = 24;

/// What a measured UDP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The number of the flow.
    pub flow: u32,
    /// The number of the packet within its flow, from 0.
    pub sequence: u32,
    /// When it was sent, in nanoseconds of [`clock::now`].
    pub sent: u64,
}

impl Stamp {
    /// A stamp for a packet that is sent now.
    pub fn now(flow: u32, sequence: u32) -> Self {
        Self {
            flow,
            sequence,
            sent: clock::now(),
        }
    }

    /// As payload of a packet to this port.
    ///
    /// The port is part of it so that captures tell one measurement's packets from another's,
    /// also after the server has sent them back.
    pub fn to_bytes(self, port: u16) -> [u8; STAMP_LEN] {
        let mut bytes = [0; STAMP_LEN];
        bytes[..4].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[4..8].copy_from_slice(&u32::from(port).to_be_bytes());
        bytes[8..12].copy_from_slice(&self.flow.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[16..].copy_from_slice(&self.sent.to_be_bytes());
        bytes
    }

    /// The stamp in an IP packet, if it carries one of this port.
    pub fn in_packet(packet: &[u8], port: u16) -> Option<Self> {
        let (_, udp) = transport(packet, 17)?;
        let stamp: &[u8; STAMP_LEN] = udp.get(8..)?.first_chunk()?;
        let word = |at: usize| {
            u32::from_be_bytes([stamp[at], stamp[at + 1], stamp[at + 2], stamp[at + 3]])
        };
        if word(0) != MAGIC || word(4) != u32::from(port) {
            return None;
        }
        let sent = u64::from(word(16)) << 32 | u64::from(word(20));
        Some(Self {
            flow: word(8),
            sequence: word(12),
            sent,
        })
    }
}

/// The source port of the TCP connection that an IP packet to this port opens.
pub fn syn_source_port(packet: &[u8], port: u16) -> Option<u16> {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let (_, tcp) = transport(packet, 6)?;
    let flags = tcp.get(13)? & (SYN | ACK);
    let to = u16::from_be_bytes([*tcp.get(2)?, *tcp.get(3)?]);
    (flags == SYN && to == port).then(|| u16::from_be_bytes([tcp[0], tcp[1]]))
}

/// The identification of the datagram that an IP packet is a fragment of.
pub fn fragment_of(packet: &[u8]) -> Option<u32> {
    match packet.first()? >> 4 {
        4 => {
            let offset_and_flags = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]);
            // More fragments, or not the first.
            (offset_and_flags & 0x3fff != 0)
                .then(|| u16::from_be_bytes([packet[4], packet[5]]).into())
        }
        6 => {
            let header = packet.get(40..48)?;
            (packet[6] == 44)
                .then(|| u32::from_be_bytes([header[4], header[5], header[6], header[7]]))
        }
        _ => None,
    }
}

/// The IP version and the transport header of an unfragmented packet of a protocol, without
/// IPv6 extension headers.
fn transport(packet: &[u8], protocol: u8) -> Option<(u8, &[u8])> {
    match packet.first()? >> 4 {
        4 if *packet.get(9)? == protocol && fragment_of(packet).is_none() => {
            Some((4, packet.get(usize::from(packet[0] & 15) * 4..)?))
        }
        6 if *packet.get(6)? == protocol => Some((6, packet.get(40..)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_in_the_packet_that_carries_it() {
        let stamp = Stamp {
            flow: 7,
            sequence: 70_000,
            sent: 1 << 40,
        };
        let payload = stamp.to_bytes(9001);
        let mut v4 = Vec::new();
        etherparse::PacketBuilder::ipv4([10, 1, 0, 1], [10, 1, 0, 2], 64)
            .udp(1, 2)
            .write(&mut v4, &payload)
            .expect("a vector takes all");
        let mut v6 = Vec::new();
        etherparse::PacketBuilder::ipv6([1; 16], [2; 16], 64)
            .udp(1, 2)
            .write(&mut v6, &payload)
            .expect("a vector takes all");
        for packet in [v4, v6] {
            assert_eq!(Stamp::in_packet(&packet, 9001), Some(stamp));
            assert_eq!(
                Stamp::in_packet(&packet, 9002),
                None,
                "another measurement's"
            );
            for length in 0..packet.len() {
                assert_eq!(
                    Stamp::in_packet(&packet[..length], 9001),
                    None,
                    "cut at {length}"
                );
            }
        }
    }

    #[test]
    fn only_the_opening_packet_of_a_connection_counts() {
        let packet = |syn: bool, ack: bool| {
            let builder = etherparse::PacketBuilder::ipv4([10, 1, 0, 1], [10, 1, 0, 2], 64);
            let mut tcp = builder.tcp(4000, 80, 1, 1000);
            if syn {
                tcp = tcp.syn();
            }
            if ack {
                tcp = tcp.ack(1);
            }
            let mut bytes = Vec::new();
            tcp.write(&mut bytes, &[]).expect("a vector takes all");
            bytes
        };
        assert_eq!(syn_source_port(&packet(true, false), 80), Some(4000));
        assert_eq!(syn_source_port(&packet(true, false), 81), None);
        assert_eq!(syn_source_port(&packet(true, true), 80), None);
        assert_eq!(syn_source_port(&packet(false, true), 80), None);
    }
}
