//! Random traffic with a memory: few hosts, ports and servers, so that flows meet; answers and errors
//! to what the gateway sent; and what has gone wrong on the way.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    build::{Head, frame, with_options},
    packet::{Packet, be, flag, number},
    random::Random,
    site::{GATEWAY, Port, SUBNETS, Site, host_mac, host4, host6},
};

/// How many packets that left are remembered.
pub(super) const REMEMBERED: usize = 48;

/// The traffic at a site.
pub struct Traffic {
    pub(super) random: Random,
    pub(super) site: Site,
    /// What left last, and by which uplink; answers come back to it.
    pub(super) left: VecDeque<(u8, Vec<u8>)>,
    /// What went to LAN hosts last.
    pub(super) arrived: VecDeque<Vec<u8>>,
    /// Fragments on their way.
    pub(super) parts: VecDeque<(Port, Vec<u8>)>,
    pub(super) identification: u16,
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
            0..42 => Some(self.ask()),
            42..74 => self.answer(),
            74..82 => self.error(),
            82..90 => self.unasked(),
            90..96 => self.hairpin(),
            _ => self.again(),
        };
        let whole = match found {
            Some(packet) => packet,
            None => self.ask(),
        };
        if self.random.one_in(12) {
            return self.in_parts(whole);
        }
        self.spoilt(whole)
    }

    pub(super) fn head(&mut self) -> Head {
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

    pub(super) fn payload(&mut self) -> Vec<u8> {
        let len = if self.random.one_in(20) {
            1250 + self.random.below(240)
        } else {
            self.random.below(70)
        };
        let first = self.random.number() as u8;
        (0..len)
            .map(|at| (at as u8).wrapping_mul(7) ^ first)
            .collect()
    }

    pub(super) fn protocol(&mut self, v6: bool) -> u8 {
        let icmp = if v6 { number::ICMP6 } else { number::ICMP };
        let tcp = number::TCP;
        let udp = number::UDP;
        self.random
            .of(&[tcp, tcp, tcp, tcp, udp, udp, udp, udp, icmp, icmp, 47, 50])
    }

    pub(super) fn kind(&mut self, protocol: u8, begins: bool) -> u8 {
        match protocol {
            number::TCP if begins => {
                let rare = self.random.number() as u8 & 0x3f;
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

    /// The options of a TCP segment that opens a connection, broken ones too; none of any other packet.
    pub(super) fn options(&self, protocol: u8, kind: u8) -> Vec<u8> {
        // Numbers of their own, so that what a seed tells besides is what it told without options.
        let mut random = Random(self.random.0 ^ 0x0204_05b4);
        if protocol != number::TCP || kind & flag::SYN == 0 || random.one_in(6) {
            return Vec::new();
        }
        let mut options = Vec::new();
        for _ in 0..random.below(7) {
            let value = random.of(&[1460, 1440, 1360, 1341, 1002, 1001, 536, 8960, 0xffff]);
            let value: [u8; 2] = u16::to_be_bytes(value);
            let other = random.number().to_be_bytes();
            let parts: [&[u8]; 9] = [
                &[2, 4, value[0], value[1]],
                &[2, 4, value[0], value[1]],
                &[1],
                &[1],
                &[4, 2],
                &[3, 3, 7],
                &[8, 10, 1, 2, 3, 4, 0, 0, 0, 0],
                &[0],
                &other[..1 + random.below(8)],
            ];
            options.extend(random.of(&parts));
        }
        options.truncate(40);
        options.resize(options.len().next_multiple_of(4), random.of(&[0, 1, 2]));
        options
    }

    pub(super) fn server4(&mut self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 0, 1 + self.random.below(5) as u8)
    }

    pub(super) fn server6(&mut self) -> Ipv6Addr {
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
    pub(super) fn lan_ends(&mut self, v6: bool) -> ([u8; 6], IpAddr, IpAddr) {
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
    fn ask(&mut self) -> (Port, Vec<u8>) {
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
        let options = self.options(protocol, kind);
        let message = with_options((from, to), protocol, ports, kind, &options, &payload);
        let head = self.head();
        (Port::Lan, frame(mac, (from, to), protocol, head, &message))
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
        let options = self.options(protocol, kind);
        let message = with_options((from, to), protocol, ports, kind, &options, &payload);
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
        let options = self.options(protocol, kind);
        let message = with_options((from, to), protocol, ports, kind, &options, &payload);
        let head = self.head();
        Some((Port::Lan, frame(mac, (from, to), protocol, head, &message)))
    }
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
