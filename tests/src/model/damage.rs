//! What happens to packets on the way: they come in fragments, and some are changed, cut or grown.

use super::{
    build::{Head, frame},
    packet::Packet,
    site::Port,
    traffic::Traffic,
};

impl Traffic {
    /// A datagram in fragments: one of them comes now, the others among the packets that follow.
    pub(super) fn in_parts(&mut self, (port, whole): (Port, Vec<u8>)) -> (Port, Vec<u8>) {
        let Ok(packet) = Packet::read(&whole) else {
            return (port, whole);
        };
        let message = packet.payload();
        if packet.fragment || message.len() < 32 {
            return (port, whole);
        }
        let middle = 8 * (1 + self.random.below(message.len() / 8 - 2));
        // Sometimes the number of another datagram, which is not unheard of.
        let identification = if self.random.one_in(15) {
            3
        } else {
            self.identification
        };
        let mut head = Head {
            identification,
            ttl: packet.ttl,
            ..Head::default()
        };
        let cuts = [0, middle, message.len()];
        let mut parts = Vec::new();
        for cut in cuts.windows(2) {
            head.fragment = Some((cut[0] as u16 / 8, cut[1] < message.len()));
            let ends = (packet.source, packet.destination);
            let part = frame(
                packet.sender(),
                ends,
                packet.protocol,
                head,
                &message[cut[0]..cut[1]],
            );
            parts.push((port, part));
        }
        if self.random.one_in(8) {
            parts.reverse();
        }
        let first = parts.remove(0);
        self.parts.extend(parts);
        self.spoilt(first)
    }

    /// The packet, in some cases changed, cut or grown on the way.
    pub(super) fn spoilt(&mut self, (port, mut packet): (Port, Vec<u8>)) -> (Port, Vec<u8>) {
        if !self.random.one_in(9) {
            return (port, packet);
        }
        for _ in 0..self.random.below(3) {
            let reach = if self.random.one_in(4) {
                packet.len()
            } else {
                packet.len().min(70)
            };
            let at = self.random.below(reach);
            packet[at] = match self.random.below(3) {
                0 => self.random.number() as u8,
                1 => packet[at] ^ 1 << self.random.below(8),
                _ => self.random.of(&[0, 1, 0xff, 0x80]),
            };
        }
        match self.random.below(6) {
            0 => packet.truncate(14 + self.random.below(packet.len().saturating_sub(13).max(1))),
            1 => packet.resize(packet.len() + self.random.below(64), 0xa5),
            2 => self.shorten(&mut packet),
            _ => {}
        }
        if !self.random.one_in(3) {
            mend_header(&mut packet);
        }
        (port, packet)
    }

    /// Makes the IP header state less than there is: the rest is padding.
    fn shorten(&mut self, packet: &mut [u8]) {
        if packet.len() < 60 {
            return;
        }
        match packet[12..14] {
            [0x08, 0x00] => {
                let len = (20 + self.random.below(50)) as u16;
                packet[16..18].copy_from_slice(&len.to_be_bytes());
            }
            [0x86, 0xdd] => {
                let len = self.random.below(60) as u16;
                packet[18..20].copy_from_slice(&len.to_be_bytes());
            }
            _ => {}
        }
    }
}

/// Makes the checksum of an IPv4 header right, as one who changes it would.
fn mend_header(packet: &mut [u8]) {
    let Some([0x08, 0x00, first, ..]) = packet.get(12..) else {
        return;
    };
    let end = 14 + usize::from(first & 15) * 4;
    if end < 34 || packet.len() < end {
        return;
    }
    packet[24..26].fill(0);
    let sum = !super::rewrite::sum(&packet[14..end]);
    packet[24..26].copy_from_slice(&sum.to_be_bytes());
}
