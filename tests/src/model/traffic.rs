//! Random traffic with a memory: few hosts, ports and servers, so that flows meet; answers and errors
//! to what the gateway sent; and what has gone wrong on the way.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    build::{Head, frame, transport},
    packet::{Packet, be, flag, number},
    random::Random,
    site::{GATEWAY, Port, SUBNETS, Site, host_mac, host4, host6},
};

/// How many packets that left are remembered.
const REMEMBERED: usize = 48;

/// The traffic at a site.
pub struct Traffic {
    random: Random,
    site: Site,
    /// What left last, and by which uplink; answers come back to it.
    left: VecDeque<(u8, Vec<u8>)>,
    /// What went to LAN hosts last.
    arrived: VecDeque<Vec<u8>>,
    /// Fragments on their way.
    parts: VecDeque<(Port, Vec<u8>)>,
    identification: u16,
}

impl Traffic {
    /// Traffic at a site.
    pub fn new(site: Site, random: Random) -> Self {
        Self {
            random,
            site,
            left: VecDeque::new(),
            arrived: VecDeque::new(),
            parts: VecDeque::new(),
            identification: 0,
        }
    }

    /// Learns what became of a packet: it was forwarded, to an uplink or to a LAN host.
    pub fn forwarded(&mut self, uplink: Option<u8>, output: &[u8]) {
        // Where it went next, it would be received.
        let mut output = output.to_vec();
        output[..6].copy_from_slice(&GATEWAY);
        match uplink {
            Some(id) => {
                self.left.push_back((id, output));
                self.left.keep_last(REMEMBERED);
            }
            None => {
                self.arrived.push_back(output);
                self.arrived.keep_last(REMEMBERED);
            }
        }
    }

    /// The next packet, and the port that it comes in on.
    pub fn packet(&mut self) -> (Port, Vec<u8>) {
        if !self.parts.is_empty() && self.random.one_in(2) {
            let at = self.random.below(self.parts.len());
            let part = self.parts.swap_remove_back(at).expect("it is there");
            return self.spoilt(part);
        }
        let kind = self.random.below(100);
        let found = match kind {
            0..42 => Some(self.from_lan()),
            42..74 => self.answer(),
            74..82 => self.error(),
            82..90 => self.unasked(),
            90..96 => self.hairpin(),
            _ => self.again(),
        };
        let whole = match found {
            Some(packet) => packet,
            None => self.from_lan(),
        };
        if self.random.one_in(12) {
            return self.in_parts(whole);
        }
        self.spoilt(whole)
    }

    fn head(&mut self) -> Head {
        self.identification = self.identification.wrapping_add(1);
        Head {
            ttl: if self.random.one_in(30) {
                self.random.below(3) as u8
            } else {
                64
            },
            identification: self.identification,
            fragment: None,
            options: if self.random.one_in(30) {
                self.random.below(4)
            } else {
                0
            },
        }
    }

    fn payload(&mut self) -> Vec<u8> {
        let len = if self.random.one_in(20) {
            1250 + self.random.below(240)
        } else {
            self.random.below(70)
        };
        let first = self.random.next() as u8;
        (0..len)
            .map(|at| (at as u8).wrapping_mul(7) ^ first)
            .collect()
    }

    fn protocol(&mut self, v6: bool) -> u8 {
        let icmp = if v6 { number::ICMP6 } else { number::ICMP };
        let tcp = number::TCP;
        let udp = number::UDP;
        self.random
            .of(&[tcp, tcp, tcp, tcp, udp, udp, udp, udp, icmp, icmp, 47, 50])
    }

    fn kind(&mut self, protocol: u8, begins: bool) -> u8 {
        match protocol {
            number::TCP if begins => {
                let rare = self.random.next() as u8 & 0x3f;
                self.random.of(&[
                    flag::SYN,
                    flag::SYN,
                    flag::SYN,
                    flag::ACK,
                    flag::ACK,
                    flag::ACK | flag::FIN,
                    flag::RST,
                    rare,
                ])
            }
            number::TCP => self.random.of(&[
                flag::SYN | flag::ACK,
                flag::ACK,
                flag::ACK,
                flag::ACK,
                flag::ACK | flag::FIN,
                flag::RST,
            ]),
            number::ICMP => self.random.of(&[8, 8, 8, 13, 0, 17, 10]),
            _ => self.random.of(&[128, 128, 129, 135]),
        }
    }

    fn server4(&mut self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 0, 1 + self.random.below(5) as u8)
    }

    fn server6(&mut self) -> Ipv6Addr {
        Ipv6Addr::new(
            0x2001,
            0xdb8,
            0x5000,
            0,
            0,
            0,
            0,
            1 + self.random.below(5) as u16,
        )
    }

    /// Addresses of a packet from a LAN host, and the host's MAC.
    fn lan_ends(&mut self, v6: bool) -> ([u8; 6], IpAddr, IpAddr) {
        let last = 2 + self.random.below(6) as u8;
        let odd = self.random.one_in(40);
        let mac = if self.random.one_in(60) {
            [2, 0, 0, 0, 3, last]
        } else {
            host_mac(last)
        };
        if v6 {
            let from = match odd {
                true => self.random.of(&[
                    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0),
                    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0xffff, 0xffff, 0xffff, 0xffff),
                    Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 5),
                    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 5),
                ]),
                false => host6(
                    self.random
                        .of(&[SUBNETS[0], SUBNETS[0], SUBNETS[1], SUBNETS[2]]),
                    last,
                ),
            };
            return (mac, from.into(), self.server6().into());
        }
        let from = match odd {
            true => self.random.of(&[
                Ipv4Addr::new(172, 16, 0, 5),
                Ipv4Addr::new(127, 0, 0, 1),
                Ipv4Addr::new(192, 0, 2, 2),
            ]),
            false => host4(last),
        };
        (mac, from.into(), self.server4().into())
    }

    /// From a LAN host to a server.
    fn from_lan(&mut self) -> (Port, Vec<u8>) {
        let v6 = self.random.one_in(5);
        let (mac, from, to) = self.lan_ends(v6);
        let protocol = self.protocol(v6);
        // Within two lines of the table of ports, so that they are short.
        let inside = self.random.of(&[
            80, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1008, 2022, 5353, 40_000,
        ]);
        let ports = (inside, self.random.of(&[53, 80, 443]));
        let kind = self.kind(protocol, true);
        let payload = self.payload();
        let message = transport((from, to), protocol, ports, kind, &payload);
        let head = self.head();
        (Port::Lan, frame(mac, (from, to), protocol, head, &message))
    }

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
    fn answer(&mut self) -> Option<(Port, Vec<u8>)> {
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
        let message = transport((from, to), packet.protocol, ports, kind, &payload);
        let head = self.head();
        Some((
            port,
            frame(mac, (from, to), packet.protocol, head, &message),
        ))
    }

    /// An ICMP error about a packet that was forwarded.
    fn error(&mut self) -> Option<(Port, Vec<u8>)> {
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

    /// From an uplink, for whom nobody asked.
    fn unasked(&mut self) -> Option<(Port, Vec<u8>)> {
        let id = self.random.below(3) as u8;
        let outside: Vec<Ipv4Addr> = self
            .site
            .uplinks
            .iter()
            .flat_map(|uplink| uplink.outside.clone())
            .collect();
        let v6 = self.random.one_in(6);
        let (from, to): (IpAddr, IpAddr) = if v6 {
            let word = self.random.of(&[1, 0xb0, 0xb1, 0xb2]);
            let subnet = self.random.of(&[0, 5, 0xffff, 0xfffe]);
            let to = Ipv6Addr::new(
                0x2001,
                0xdb8,
                word,
                subnet,
                0,
                0,
                0,
                self.random.below(8) as u16,
            );
            (self.server6().into(), to.into())
        } else {
            let to = if outside.is_empty() || self.random.one_in(4) {
                self.random.of(&[
                    host4(2),
                    host4(3),
                    host4(7),
                    Ipv4Addr::new(192, 0, 2, 9),
                    Ipv4Addr::new(10, 1, 0, 1),
                ])
            } else {
                self.random.of(&outside)
            };
            let from = match self.random.below(12) {
                0 => self.random.of(&[
                    host4(2),
                    Ipv4Addr::new(127, 0, 0, 1),
                    Ipv4Addr::new(169, 254, 1, 1),
                    Ipv4Addr::new(10, 1, 0, 1),
                    Ipv4Addr::new(224, 0, 0, 1),
                    Ipv4Addr::new(192, 0, 2, 2),
                ]),
                _ => self.server4(),
            };
            (from.into(), to.into())
        };
        let protocol = self.protocol(v6);
        let port = self
            .random
            .of(&[8080, 8080, 2022, 1000, 1001, 1002, 1003, 1005, 1006, 80, 22]);
        let ports = if protocol == number::ICMP {
            (port, 0)
        } else {
            (self.random.of(&[53, 80, 443]), port)
        };
        let begins = self.random.one_in(2);
        let kind = self.kind(protocol, begins);
        let payload = self.payload();
        let message = transport((from, to), protocol, ports, kind, &payload);
        let head = self.head();
        Some((
            Port::Uplink(id),
            frame([2, 0, 0, 9, 9, id], (from, to), protocol, head, &message),
        ))
    }

    /// From a LAN host for an outside address.
    fn hairpin(&mut self) -> Option<(Port, Vec<u8>)> {
        let (_, out) = self.left.get(self.random.below(REMEMBERED))?.clone();
        let other = Packet::read(&out).ok()?;
        if other.is_v6() || other.later || other.payload().len() < 8 {
            return None;
        }
        let (mac, from, _) = self.lan_ends(false);
        let to = other.source;
        let port = if self.random.one_in(3) {
            self.random.of(&[8080, 2022, 1005])
        } else {
            be(other.payload())
        };
        let protocol = if self.random.one_in(12) {
            self.protocol(false)
        } else {
            other.protocol
        };
        let ports = (self.random.of(&[80, 1000, 1001, 1003, 2022]), port);
        let kind = self.kind(protocol, true);
        let payload = self.payload();
        let message = transport((from, to), protocol, ports, kind, &payload);
        let head = self.head();
        Some((Port::Lan, frame(mac, (from, to), protocol, head, &message)))
    }

    /// A packet that left comes in again as it is, from the LAN or from another uplink.
    fn again(&mut self) -> Option<(Port, Vec<u8>)> {
        let (_, _, packet) = self.remembered()?;
        let port = if self.random.one_in(2) {
            Port::Lan
        } else {
            Port::Uplink(self.random.below(3) as u8)
        };
        Some((port, packet))
    }

    /// A datagram in fragments: one of them comes now, the others among the packets that follow.
    fn in_parts(&mut self, (port, whole): (Port, Vec<u8>)) -> (Port, Vec<u8>) {
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
    fn spoilt(&mut self, (port, mut packet): (Port, Vec<u8>)) -> (Port, Vec<u8>) {
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
                0 => self.random.next() as u8,
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

/// Forgetting the oldest.
trait KeepLast {
    fn keep_last(&mut self, most: usize);
}

impl<T> KeepLast for VecDeque<T> {
    fn keep_last(&mut self, most: usize) {
        while self.len() > most {
            self.pop_front();
        }
    }
}
