//! What the model remembers: flows, whose the outside ports are, pins, datagrams, and what it has
//! learned of how uplinks rank.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use super::site::Host;

/// A flow, as seen from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    /// The LAN host.
    pub inside: IpAddr,
    /// The far end.
    pub remote: IpAddr,
    /// The protocol.
    pub protocol: u8,
    /// The LAN host's port, or the identifier of a query.
    pub inside_port: u16,
    /// The far end's port.
    pub remote_port: u16,
}

/// A flow's record, as a table of the programs has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The flow.
    pub ends: Ends,
    /// Its uplink.
    pub uplink: u8,
    /// Its outside address.
    pub outside: Ipv4Addr,
    /// Its outside port or identifier.
    pub port: u16,
    /// The address's part of the port table.
    pub pool: u16,
    /// Its port is a forward.
    pub forward: bool,
}

/// A flow that the model knows.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Its record.
    pub record: Record,
    /// Where the LAN host is.
    pub host: Host,
    /// A packet from outside opened it.
    pub inbound: bool,
    /// Something went out.
    pub asked: bool,
    /// Something came in.
    pub answered: bool,
}

/// What tells outside ports apart: the protocol, or the far end where there are no ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Number {
    /// TCP port.
    Tcp(u16),
    /// UDP port.
    Udp(u16),
    /// Identifier of an ICMP query.
    Query(u16),
    /// Far end and protocol.
    Pair(Ipv4Addr, u8),
}

impl Number {
    /// Of a protocol.
    pub fn of(protocol: u8, port: u16, remote: Ipv4Addr) -> Self {
        match protocol {
            6 => Self::Tcp(port),
            17 => Self::Udp(port),
            1 => Self::Query(port),
            _ => Self::Pair(remote, protocol),
        }
    }
}

/// Whose an outside port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The LAN host.
    pub inside: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// How many flows it has; forwards are not counted.
    pub flows: u16,
    /// It is a forward.
    pub forward: bool,
}

/// The uplink of a flow without a record.
#[derive(Clone, Copy, Debug)]
pub struct Pin {
    /// The uplink.
    pub uplink: u8,
    /// The flow came in by it.
    pub inbound: bool,
}

/// A datagram in fragments, as it comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datagram {
    /// The port that it comes in on.
    pub port: super::site::Port,
    /// The source.
    pub source: Ipv4Addr,
    /// The destination.
    pub destination: Ipv4Addr,
    /// The protocol.
    pub protocol: u8,
    /// The identification.
    pub identification: u16,
}

/// What was done with a datagram's first fragment.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// The source afterwards.
    pub source: Ipv4Addr,
    /// The destination afterwards.
    pub destination: Ipv4Addr,
    /// The uplink that it left by.
    pub uplink: Option<u8>,
    /// The host that it went to, if it did not leave.
    pub host: Option<Host>,
}

/// All that the model remembers.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Flows that are translated.
    pub flows: BTreeMap<Ends, Flow>,
    /// Owners of outside numbers, by address.
    pub numbers: BTreeMap<(Ipv4Addr, Number), Mapping>,
    /// Numbers that stand for far ends.
    pub pairs: BTreeMap<(Ipv4Addr, u8), u16>,
    /// Outside addresses of LAN hosts, by uplink.
    pub paired: BTreeMap<(Ipv4Addr, u8), Ipv4Addr>,
    /// Pins of flows without a record.
    pub pins: BTreeMap<Ends, Pin>,
    /// Uplinks of LAN hosts whose flows keep together, as far as they are known.
    pub relations: BTreeMap<IpAddr, BTreeSet<u8>>,
    /// Datagrams in fragments.
    pub datagrams: BTreeMap<Datagram, Course>,
    /// Orders of the uplinks that nothing seen speaks against, by what is hashed.
    rankings: BTreeMap<Ends, Vec<[u8; 3]>>,
}

const ORDERS: [[u8; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

fn first_of(order: [u8; 3], word: u64) -> Option<u8> {
    order.into_iter().find(|id| word >> id & 1 == 1)
}

impl Tables {
    /// The uplinks that may rank first for this flow among those of the word.
    pub fn firsts(&self, ends: &Ends, word: u64) -> BTreeSet<u8> {
        let all = ORDERS.to_vec();
        let orders = self.rankings.get(ends).unwrap_or(&all);
        orders
            .iter()
            .filter_map(|&order| first_of(order, word))
            .collect()
    }

    /// The uplinks that all of a LAN host's flows may be kept together on: without a new flow, those
    /// that it has flows on, which are asked now and then.
    pub fn related(&self, inside: IpAddr) -> BTreeSet<u8> {
        if let Some(related) = self.relations.get(&inside) {
            return related.clone();
        }
        let flows = self
            .flows
            .values()
            .filter(|flow| flow.record.ends.inside == inside);
        let pins = self.pins.iter().filter(|(ends, _)| ends.inside == inside);
        let uplinks = flows.map(|flow| flow.record.uplink);
        uplinks.chain(pins.map(|(_, pin)| pin.uplink)).collect()
    }

    /// Learns which of them do.
    pub fn learn(&mut self, ends: &Ends, word: u64, may: impl Fn(u8) -> bool) {
        let orders = self
            .rankings
            .entry(*ends)
            .or_insert_with(|| ORDERS.to_vec());
        orders.retain(|&order| first_of(order, word).is_some_and(&may));
    }
}
