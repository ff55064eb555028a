//! A gateway that translates, packets through it, and whether its tables are whole.

use std::{collections::BTreeMap, prelude::v1::*, vec};

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

use crate::{
    address::{Address4, AddressTable, Class},
    flow::{
        slot::Outside,
        tag::{Tag, WAYS},
        ticks,
    },
    nat44::ports::{self, LINES, PortWord, SPACES, Space},
    sim::{Frame, SimTables},
    state::IPV4,
    testing::{self, GATEWAY, STATION},
    uplink::{HostEntry, MODE_NAT44, UPLINK_OPEN_FILTER},
    verdict::Verdict,
    way::{self, Decision},
    wire::{protocol, tcp},
};

pub(super) const LAN: u32 = 64;
pub(super) const INSIDE: [u8; 4] = [10, 0, 0, 5];
pub(super) const REMOTE: [u8; 4] = [203, 0, 113, 1];
pub(super) const OTHER: [u8; 4] = [203, 0, 113, 2];

pub(super) fn outside(uplink: u8) -> [u8; 4] {
    [192, 0, 2, uplink + 1]
}

/// Three uplinks that translate, each with one address, and a flow table of so many buckets.
pub(super) fn tables(buckets: u32) -> SimTables {
    let mut tables = testing::tables();
    tables.track(buckets, 3);
    tables.state.alive[IPV4] = 0b111;
    tables.state.groups[0].eligible[IPV4] = 0b111;
    for (index, uplink) in tables.uplinks.iter_mut().enumerate() {
        let id = (index / 2) as u8;
        uplink.mode[IPV4] = MODE_NAT44;
        uplink.outside_count = 1;
        uplink.outside[0] = u32::from_be_bytes(outside(id));
        uplink.pool = u16::from(id);
    }
    tables
}

/// A packet's ends and what it carries, as an independent library reads them; all checksums are
/// right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) source: [u8; 4],
    pub(super) source_port: u16,
    pub(super) destination: [u8; 4],
    pub(super) destination_port: u16,
    pub(super) ttl: u8,
}

pub(super) fn read(frame: &[u8]) -> Seen {
    let packet = SlicedPacket::from_ethernet(frame).expect("a frame");
    let Some(NetSlice::Ipv4(ip)) = &packet.net else {
        unreachable!("no IPv4: {packet:?}");
    };
    let header = ip.header();
    assert_eq!(
        header.header_checksum(),
        header.to_header().calc_header_checksum()
    );
    let ip = header.to_header();
    let (source_port, destination_port) = match packet.transport.expect("a transport header") {
        TransportSlice::Tcp(tcp) => {
            let right = tcp.to_header().calc_checksum_ipv4(&ip, tcp.payload());
            assert_eq!(Ok(tcp.checksum()), right);
            (tcp.source_port(), tcp.destination_port())
        }
        TransportSlice::Udp(udp) => {
            if udp.checksum() != 0 {
                let right = udp.to_header().calc_checksum_ipv4(&ip, udp.payload());
                assert_eq!(Ok(udp.checksum()), right);
            }
            (udp.source_port(), udp.destination_port())
        }
        TransportSlice::Icmpv4(icmp) => {
            let right = icmp.header().icmp_type.calc_checksum(icmp.payload());
            assert_eq!(icmp.checksum(), right);
            let [a, b, ..] = icmp.bytes5to8();
            let identifier = u16::from_be_bytes([a, b]);
            (identifier, identifier)
        }
        TransportSlice::Icmpv6(_) | TransportSlice::Igmp(_) => unreachable!("no flow is of these"),
    };
    Seen {
        source: header.source(),
        source_port,
        destination: header.destination(),
        destination_port,
        ttl: header.ttl(),
    }
}

/// What a packet is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) protocol: u8,
    pub(super) source: ([u8; 4], u16),
    pub(super) destination: ([u8; 4], u16),
    pub(super) flags: u8,
    pub(super) payload: usize,
}

impl Packet {
    /// From the LAN host to the far end.
    pub(super) fn out(protocol: u8, port: u16) -> Self {
        Self {
            protocol,
            source: (INSIDE, port),
            destination: (REMOTE, 443),
            flags: tcp::SYN,
            payload: 11,
        }
    }

    pub(super) fn flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    pub(super) fn from(self, address: [u8; 4]) -> Self {
        Self {
            source: (address, self.source.1),
            ..self
        }
    }

    pub(super) fn to(self, address: [u8; 4]) -> Self {
        Self {
            destination: (address, self.destination.1),
            ..self
        }
    }

    pub(super) fn frame(self) -> Vec<u8> {
        let payload: Vec<u8> = (0..self.payload).map(|n| n as u8).collect();
        let builder =
            PacketBuilder::ethernet2(STATION, GATEWAY).ipv4(self.source.0, self.destination.0, 64);
        let mut frame = Vec::new();
        let (source, destination) = (self.source.1, self.destination.1);
        match self.protocol {
            protocol::TCP => {
                let mut step = builder.tcp(source, destination, 1000, 4096);
                if self.flags & tcp::SYN != 0 {
                    step = step.syn();
                }
                if self.flags & tcp::FIN != 0 {
                    step = step.fin();
                }
                if self.flags & tcp::RST != 0 {
                    step = step.rst();
                }
                if self.flags & tcp::ACK != 0 {
                    step = step.ack(2000);
                }
                step.write(&mut frame, &payload)
            }
            protocol::UDP => builder.udp(source, destination).write(&mut frame, &payload),
            // The identifier of an answer is the one of the query.
            _ if self.source.0[0] == INSIDE[0] => builder
                .icmpv4_echo_request(source, 7)
                .write(&mut frame, &payload),
            _ => builder
                .icmpv4_echo_reply(destination, 7)
                .write(&mut frame, &payload),
        }
        .expect("it fits");
        frame
    }
}

/// The answer to a packet as it left.
pub(super) fn reply(protocol: u8, sent: Seen) -> Packet {
    Packet {
        protocol,
        source: (sent.destination, sent.destination_port),
        destination: (sent.source, sent.source_port),
        flags: tcp::SYN | tcp::ACK,
        payload: 3,
    }
}

pub(super) fn from_lan(tables: &mut SimTables, packet: Packet) -> (Decision, Vec<u8>) {
    let mut frame = Frame::new(&packet.frame());
    let decision = way::from_lan(&mut frame, tables, &testing::port(LAN));
    (decision, frame.as_slice().to_vec())
}

pub(super) fn from_uplink(tables: &mut SimTables, id: u8, packet: Packet) -> (Decision, Vec<u8>) {
    let mut frame = Frame::new(&packet.frame());
    let decision = way::from_uplink(&mut frame, tables, &testing::port(id.into()));
    (decision, frame.as_slice().to_vec())
}

/// A packet from an uplink that must reach a LAN host, as it does.
pub(super) fn received(tables: &mut SimTables, id: u8, packet: Packet) -> Seen {
    let (decision, frame) = from_uplink(tables, id, packet);
    assert_eq!(decision.verdict(), Verdict::Forwarded, "{packet:?}");
    read(&frame)
}

/// What becomes of a packet from an uplink.
pub(super) fn fate(tables: &mut SimTables, id: u8, packet: Packet) -> Verdict {
    from_uplink(tables, id, packet).0.verdict()
}

/// Lets so many seconds pass, or up to one tick less.
pub(super) fn pass(tables: &mut SimTables, seconds: u64) {
    tables.now += ticks(seconds * 1_000_000_000);
}

/// The first uplink alone, with these outside addresses, and the LAN hosts that it may find; the
/// outside addresses can be reached from the LAN.
pub(super) fn one_uplink(buckets: u32, addresses: &[[u8; 4]], hosts: &[[u8; 4]]) -> SimTables {
    let mut tables = tables(buckets);
    tables.track(buckets, addresses.len() as u32);
    tables.state.groups[0].eligible[IPV4] = 1;
    let mut classes = vec![
        (Address4(0), Class::Lan),
        (Address4(1 << 31), Class::Internet),
    ];
    for (place, &address) in addresses.iter().enumerate() {
        let address = Address4::from_bytes(address);
        for uplink in &mut tables.uplinks[..2] {
            uplink.outside_count = addresses.len() as u8;
            uplink.outside[place] = address.0;
            uplink.pool = 0;
        }
        tables.outsides.insert(address, (0, place as u16));
        classes.push((address, Class::Gateway));
    }
    let next = Address4(classes[classes.len() - 1].0.0 + 1);
    classes.push((next, Class::Internet));
    *tables.addresses4 = AddressTable::new(&classes).expect("few segments");
    for &host in hosts {
        let entry = HostEntry {
            slot: LAN as u16,
            ..testing::host()
        };
        tables.hosts4.insert(Address4::from_bytes(host), entry);
    }
    tables
}

/// Lets everybody's packets reach the hosts that have a port.
pub(super) fn filter_nothing(tables: &mut SimTables) {
    for uplink in &mut tables.uplinks {
        uplink.flags = UPLINK_OPEN_FILTER;
    }
}

/// Sends a packet that must be forwarded; the uplink, and what left.
pub(super) fn sent(tables: &mut SimTables, packet: Packet) -> (u8, Seen) {
    let (decision, frame) = from_lan(tables, packet);
    assert_eq!(decision.verdict(), Verdict::Forwarded, "{packet:?}");
    (decision.egress(), read(&frame))
}

/// Each live flow is counted by the one port that it has, and each port counts its flows: nothing is
/// half there, and no port is given out twice.
pub(super) fn check(tables: &SimTables) {
    let mut flows: BTreeMap<(u16, u8, u16), u16> = BTreeMap::new();
    for (index, slot) in tables.flows.iter().enumerate() {
        let tag = Tag(tables.tags[index / WAYS].0[index % WAYS].load());
        assert!(!tag.is_busy());
        if tag.is_free() {
            continue;
        }
        let space = Space::of(slot.protocol());
        let Outside { port, pool, .. } = slot.outside();
        let word = ports::look(tables, pool, space, port).unwrap();
        let (inside, inside_port) = match space {
            Space::Pair => (slot.inside4().0, port),
            Space::Tcp | Space::Udp | Space::Query => slot.inside4(),
        };
        assert_eq!((word.inside(), word.inside_port()), (inside, inside_port));
        *flows.entry((pool, space as u8, port)).or_default() += 1;
    }
    for (index, line) in tables.port_lines.iter().enumerate() {
        for (place, word) in line.0.iter().enumerate() {
            let word = PortWord(word.load());
            if word.is_free() || word.flows() == ports::PERMANENT {
                continue;
            }
            let index = index as u32;
            let port = (index % LINES) as usize * ports::LINE + place;
            let space = (index / LINES % SPACES) as u8;
            let pool = (index / LINES / SPACES) as u16;
            assert_eq!(flows.get(&(pool, space, port as u16)), Some(&word.flows()));
        }
    }
}
