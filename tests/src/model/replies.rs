//! Traffic that answers what the gateway has forwarded: replies, ICMP errors, and packets that come
//! in where they do not belong.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    build::{frame, transport, with_options},
    packet::{Packet, be, number},
    site::{Port, host_mac, host4, host6},
    traffic::{REMEMBERED, Traffic},
};

impl Traffic {
    /// One that left, or went to a LAN host, and the side that its answer comes from.
    fn remembered(&mut self) -> Option<(Port, [u8; 6], Vec<u8>)> {
        if self.random.one_in(4) {
            let packet = self.arrived.get(self.random.below(REMEMBERED))?.clone();
            let mac = host_mac(2 + self.random.below(5) as u8);
            return Some((Port::Lan, mac, packet));
        }
        let (id, packet) = self.left.get(self.random.below(REMEMBERED))?.clone();
        let id = if self.random.one_in(25) {
            self.random.below(3) as u8
        } else {
            id
        };
        Some((Port::Uplink(id), [2, 0, 0, 9, 9, id], packet))
    }

    /// The answer to a packet that was forwarded.
    pub(super) fn answer(&mut self) -> Option<(Port, Vec<u8>)> {
        let (port, mac, frame_out) = self.remembered()?;
        let packet = Packet::read(&frame_out).ok()?;
        if packet.later || packet.payload().len() < 8 {
            return None;
        }
        let header = packet.payload();
        let (mut from, to) = (packet.destination, packet.source);
        let mut ports = (be(&header[2..]), be(header));
        match self.random.below(20) {
            // A stranger's.
            0 => {
                from = if packet.is_v6() {
                    self.server6().into()
                } else {
                    self.server4().into()
                }
            }
            1 => ports.0 ^= 1,
            // One who pretends to be of ours.
            2 if !packet.is_v6() && self.random.one_in(4) => from = host4(3).into(),
            _ => {}
        }
        let mut kind = self.kind(packet.protocol, false);
        if matches!(packet.protocol, number::ICMP | number::ICMP6) {
            ports = (be(&header[4..]), 0);
            kind = match header[0] {
                8 => 0,
                13 => 14,
                128 => 129,
                other => other,
            };
        }
        let payload = self.payload();
        let options = self.options(packet.protocol, kind);
        let addresses = (from, to);
        let message = with_options(addresses, packet.protocol, ports, kind, &options, &payload);
        let head = self.head();
        Some((
            port,
            frame(mac, (from, to), packet.protocol, head, &message),
        ))
    }

    /// An ICMP error about a packet that was forwarded.
    pub(super) fn error(&mut self) -> Option<(Port, Vec<u8>)> {
        let (port, mac, frame_out) = self.remembered()?;
        let packet = Packet::read(&frame_out).ok()?;
        let mut quoted = frame_out[packet.at..packet.end].to_vec();
        let most = self.random.of(&[28, 28, 48, 60, 100, 520]);
        let most = if self.random.one_in(10) {
            self.random.below(28)
        } else {
            most
        };
        quoted.truncate(most + if packet.is_v6() { 20 } else { 0 });
        if self.random.one_in(10) {
            let at = self.random.below(quoted.len().max(1));
            if let Some(byte) = quoted.get_mut(at) {
                *byte ^= 1 << self.random.below(8);
            }
        }
        let router: IpAddr = match (port, packet.is_v6()) {
            (Port::Lan, false) => host4(self.random.of(&[2, 3, 5, 99])).into(),
            (Port::Lan, true) => host6(0, self.random.of(&[2, 3, 99])).into(),
            (Port::Uplink(_), false) => {
                Ipv4Addr::new(198, 19, 0, self.random.below(4) as u8).into()
            }
            (Port::Uplink(_), true) => self.server6().into(),
        };
        let router = if self.random.one_in(3) {
            packet.destination
        } else {
            router
        };
        let (kind, protocol) = if packet.is_v6() {
            (self.random.of(&[1, 2, 3, 4, 100, 137]), number::ICMP6)
        } else {
            (self.random.of(&[3, 3, 11, 12, 4, 5]), number::ICMP)
        };
        let message = transport((router, packet.source), protocol, (0, 0), kind, &quoted);
        let head = self.head();
        Some((
            port,
            frame(mac, (router, packet.source), protocol, head, &message),
        ))
    }

    /// A packet that left comes in again as it is, from the LAN or from another uplink.
    pub(super) fn again(&mut self) -> Option<(Port, Vec<u8>)> {
        let (_, _, packet) = self.remembered()?;
        let port = if self.random.one_in(2) {
            Port::Lan
        } else {
            Port::Uplink(self.random.below(3) as u8)
        };
        Some((port, packet))
    }
}
