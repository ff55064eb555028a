//! What the unit tests are built from: packets of every form, put together by etherparse, each with
//! what a parser must find in it; and a gateway to run them through.

use std::{prelude::v1::*, vec};

use etherparse::{
    IpAuthHeader, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6FragmentHeader, Ipv6Header,
    Ipv6RawExtHeader,
};
use proptest::{collection::vec, prelude::*};

use crate::{
    address::{Address4, Address6, AddressTable, Class},
    limits::MAX_EXTENSION_HEADERS,
    port::PortEntry,
    rank::RankRow,
    sim::SimTables,
    uplink::{Hop, HostEntry, UplinkEntry},
};

/// The gateway's MAC, on every port.
pub const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The station that sends the samples.
pub const STATION: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The MAC of every next hop and LAN host.
pub const NEXT: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// A well-formed frame, and what is in it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The frame.
    pub frame: Vec<u8>,
    /// It is IPv6.
    pub v6: bool,
    /// Where the IP header stands.
    pub network_at: usize,
    /// The IP packet's length.
    pub len: usize,
    /// Where the walk over the headers must end.
    pub transport_at: usize,
    /// The protocol that the walk must end with.
    pub protocol: u8,
    /// Both ports as one number, where there are any that count.
    pub ports: u32,
    /// It is a fragment.
    pub fragment: bool,
    /// It is a fragment, and not the first.
    pub later_fragment: bool,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// The source address; an IPv4 one in the first four bytes.
    pub source: [u8; 16],
    /// The destination address, likewise.
    pub destination: [u8; 16],
}

/// What a sample is made from.
#[derive(Clone, Debug)]
pub struct Form {
    /// Tags: priority and VLAN id of each, outermost first.
    pub tags: Vec<u16>,
    /// IPv6, not IPv4.
    pub v6: bool,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// The source address; IPv4 takes the first four bytes.
    pub source: [u8; 16],
    /// The destination address, likewise.
    pub destination: [u8; 16],
    /// IPv4 options, in words.
    pub options: usize,
    /// IPv6 extension headers: number, and length beyond the shortest in its units.
    pub extensions: Vec<(u8, u8)>,
    /// Offset, and whether more follow, of a fragment header behind so many extension headers.
    pub fragment: Option<(u16, bool, usize)>,
    /// IPv4 identification.
    pub identification: u16,
    /// The payload's protocol.
    pub protocol: u8,
    /// Ports, or whatever the protocol begins with.
    pub head: [u8; 4],
    /// Bytes of payload behind `head`.
    pub payload: usize,
    /// Bytes behind the packet.
    pub padding: usize,
}

/// Forms of every kind.
pub fn forms() -> impl Strategy<Value = Form> {
    let address = any::<[u8; 16]>();
    let extension = (
        prop_oneof![Just(0u8), Just(43), Just(51), Just(60), Just(135)],
        0u8..4,
    );
    let fragment = (
        prop_oneof![Just(0u16), 1u16..8192],
        any::<bool>(),
        0usize..8,
    );
    let link = (
        vec(any::<u16>(), 0..=2),
        any::<bool>(),
        any::<u8>(),
        0usize..20,
    );
    let network = (
        address,
        address,
        0usize..=10,
        vec(extension, 0..8),
        any::<u16>(),
    );
    let protocol =
        prop_oneof![3 => Just(6u8), 3 => Just(17), 2 => Just(1), 2 => Just(58), 1 => 150u8..=254];
    let transport = (
        proptest::option::weighted(0.3, fragment),
        protocol,
        any::<[u8; 4]>(),
        0usize..1500,
    );
    (link, network, transport).prop_map(|(link, network, transport)| {
        let (tags, v6, hop_limit, padding) = link;
        let (source, destination, options, extensions, identification) = network;
        let (fragment, protocol, head, payload) = transport;
        Form {
            tags,
            v6,
            hop_limit,
            source,
            destination,
            options,
            extensions,
            fragment,
            identification,
            protocol,
            head,
            payload,
            padding,
        }
    })
}

/// Samples of every form.
pub fn samples() -> impl Strategy<Value = Sample> {
    forms().prop_map(|form| form.sample())
}

impl Form {
    /// The frame of this form.
    pub fn sample(&self) -> Sample {
        let mut frame = [GATEWAY, STATION].concat();
        for (place, control) in self.tags.iter().enumerate() {
            let outer_of_two = place == 0 && self.tags.len() == 2;
            frame.extend(if outer_of_two {
                [0x88, 0xa8]
            } else {
                [0x81, 0x00]
            });
            frame.extend(control.to_be_bytes());
        }
        frame.extend(if self.v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        let network_at = frame.len();
        let payload: Vec<u8> = (0..self.payload).map(|at| (at * 13) as u8).collect();
        let transport = [self.head.as_slice(), &payload].concat();
        let mut sample = Sample {
            frame,
            v6: self.v6,
            network_at,
            len: 0,
            transport_at: 0,
            protocol: self.protocol,
            ports: 0,
            fragment: false,
            later_fragment: false,
            hop_limit: self.hop_limit,
            source: [0; 16],
            destination: [0; 16],
        };
        if self.v6 {
            self.write6(&mut sample, &transport);
        } else {
            self.write4(&mut sample, &transport);
        }
        sample.len = sample.frame.len() - network_at;
        if matches!(sample.protocol, 6 | 17) && !sample.fragment {
            sample.ports = u32::from_be_bytes(self.head);
        }
        sample.frame.resize(sample.frame.len() + self.padding, 0xee);
        sample
    }

    fn write4(&self, sample: &mut Sample, transport: &[u8]) {
        let four = |address: [u8; 16]| *address.first_chunk::<4>().expect("sixteen bytes");
        sample.source[..4].copy_from_slice(&four(self.source));
        sample.destination[..4].copy_from_slice(&four(self.destination));
        let mut header = Ipv4Header {
            identification: self.identification,
            time_to_live: self.hop_limit,
            protocol: IpNumber(self.protocol),
            source: four(self.source),
            destination: four(self.destination),
            options: Ipv4Options::try_from(vec![1; self.options * 4].as_slice()).expect("0 to 40"),
            ..Ipv4Header::default()
        };
        if let Some((offset, more, _)) = self.fragment {
            header.fragment_offset = IpFragOffset::try_new(offset).expect("13 bits");
            header.more_fragments = more;
            (sample.fragment, sample.later_fragment) = (more || offset > 0, offset > 0);
        }
        header.set_payload_len(transport.len()).expect("64 kB");
        header.header_checksum = header.calc_header_checksum();
        sample.transport_at = sample.network_at + header.header_len();
        sample.frame.extend(header.to_bytes());
        sample.frame.extend(transport);
    }

    fn write6(&self, sample: &mut Sample, transport: &[u8]) {
        (sample.source, sample.destination) = (self.source, self.destination);
        let mut numbers: Vec<u8> = self.extensions.iter().map(|&(number, _)| number).collect();
        let fragment_at = self.fragment.map(|(_, _, at)| at.min(numbers.len()));
        if let Some(at) = fragment_at {
            numbers.insert(at, 44);
        }
        let next = |at: usize| numbers.get(at).copied().unwrap_or(self.protocol);
        let mut lengths = self
            .extensions
            .iter()
            .map(|&(_, length)| usize::from(length));
        let mut headers = Vec::new();
        // What the walk must find: it ends at the limit, or behind a real fragment's header.
        let mut walk = Some(0);
        for (at, number) in numbers.iter().enumerate() {
            let after = IpNumber(next(at + 1));
            let header: Vec<u8> = match (number, self.fragment) {
                (44, Some((offset, more, _))) => {
                    let offset = IpFragOffset::try_new(offset).expect("13 bits");
                    Ipv6FragmentHeader::new(after, offset, more, 77)
                        .to_bytes()
                        .to_vec()
                }
                (51, _) => {
                    let icv = vec![7; lengths.next().unwrap_or(0) * 4];
                    let header = IpAuthHeader::new(after, 1, 2, &icv).expect("by fours");
                    header.to_bytes().to_vec()
                }
                _ => {
                    let content = vec![1; lengths.next().unwrap_or(0) * 8 + 6];
                    let header = Ipv6RawExtHeader::new_raw(after, &content).expect("by eights");
                    header.to_bytes().to_vec()
                }
            };
            headers.extend(header);
            if walk.is_some() && at < MAX_EXTENSION_HEADERS {
                walk = Some(headers.len());
                sample.protocol = after.0;
                if let (44, Some((offset, more, _))) = (number, self.fragment)
                    && (more || offset > 0)
                {
                    (sample.fragment, sample.later_fragment) = (true, offset > 0);
                    sample.transport_at = sample.network_at + 40 + headers.len();
                    walk = None;
                }
            }
        }
        if let Some(walked) = walk {
            // Behind the limit the number stays that of the next header, whatever it is.
            let reached = numbers.len().min(MAX_EXTENSION_HEADERS);
            sample.protocol = next(reached);
            sample.transport_at = sample.network_at + 40 + walked;
        }
        let header = Ipv6Header {
            next_header: IpNumber(next(0)),
            hop_limit: self.hop_limit,
            payload_length: (headers.len() + transport.len()) as u16,
            source: self.source,
            destination: self.destination,
            ..Ipv6Header::default()
        };
        sample.frame.extend(header.to_bytes());
        sample.frame.extend(headers);
        sample.frame.extend(transport);
    }
}

/// A gateway's port: an uplink's where `slot` is below 64, else a LAN's.
pub fn port(slot: u32) -> PortEntry {
    PortEntry {
        ifindex: 1,
        slot,
        mtu: 1500,
        layer3: 1,
        mac: GATEWAY,
        address4: [10, 0, 0, 1],
        address6: *b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01",
        ..PortEntry::default()
    }
}

/// Tables of a gateway with three uplinks, whose LAN has the lower half of all addresses, and all
/// hosts in it at one MAC.
pub fn tables() -> SimTables {
    let mut tables = SimTables::default();
    let hop = Hop::new(NEXT, GATEWAY);
    tables.state.seed = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
    tables.state.groups[0].eligible = [0b111; 2];
    let middle6 = Address6 {
        high: 1 << 63,
        low: 0,
    };
    let classes4 = [
        (Address4(0), Class::Lan),
        (Address4(1 << 31), Class::Internet),
    ];
    let classes6 = [
        (Address6::default(), Class::Lan),
        (middle6, Class::Internet),
    ];
    *tables.addresses4 = AddressTable::new(&classes4).expect("two segments fit");
    *tables.addresses6 = AddressTable::new(&classes6).expect("two segments fit");
    // Each uplink is first in a third of the buckets.
    for id in 0..3 {
        let row = RankRow::new([id, (id + 1) % 3, (id + 2) % 3]);
        for place in tables.rows.iter_mut().skip(usize::from(id)).step_by(3) {
            *place = row;
        }
    }
    for uplink in &mut tables.uplinks {
        *uplink = UplinkEntry {
            mtu: 1400,
            next_hop: [hop; 2],
            ..UplinkEntry::default()
        };
    }
    tables
}

/// The entry of every LAN host.
pub fn host() -> HostEntry {
    HostEntry {
        hop: Hop::new(NEXT, GATEWAY),
        mtu: 1400,
        slot: 64,
    }
}
