//! The packet path's surroundings on the host: a frame in a buffer and tables in plain memory.
//!
//! Tests, the fuzzer and whatever must say what the kernel would do run the path over these.

use std::{boxed::Box, collections::HashMap, vec, vec::Vec};

use crate::{
    address::{Address4, Address6, AddressTable, Class},
    limits::{BUCKETS, MAX_UPLINKS, PORT_TABLE_SIZE},
    packet::Packet,
    port::{self, PortEntry},
    rank::RankRow,
    state::{GroupWords, SharedState},
    tables::Tables,
    uplink::{HostEntry, UplinkEntry},
};

/// Room before the frame, as the kernel guarantees it (XDP_PACKET_HEADROOM).
const HEADROOM: usize = 256;

/// A frame in a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    buffer: Vec<u8>,
    start: usize,
}

impl Frame {
    /// A frame of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let mut buffer = vec![0; HEADROOM];
        buffer.extend_from_slice(bytes);
        Self {
            buffer,
            start: HEADROOM,
        }
    }

    /// The frame's bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

impl Packet for Frame {
    fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.as_slice().get(offset..)?.first_chunk()
    }

    fn bytes_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        self.buffer[self.start..]
            .get_mut(offset..)?
            .first_chunk_mut()
    }

    fn grow_front(&mut self, by: usize) -> Option<()> {
        self.start = self.start.checked_sub(by)?;
        Some(())
    }

    fn truncate(&mut self, len: usize) -> Option<()> {
        (len <= self.len()).then(|| self.buffer.truncate(self.start + len))
    }
}

/// Tables in plain memory.
pub struct SimTables {
    /// The shared state.
    pub state: Box<SharedState>,
    /// The port table, filled by [`SimTables::add_port`].
    pub ports: Vec<PortEntry>,
    /// The IPv4 address table.
    pub addresses4: Box<AddressTable<Address4>>,
    /// The IPv6 address table.
    pub addresses6: Box<AddressTable<Address6>>,
    /// The rank rows of group 0.
    pub rows: Vec<RankRow>,
    /// Uplink entries: index = 2 x id + copy.
    pub uplinks: Vec<UplinkEntry>,
    /// LAN hosts.
    pub hosts4: HashMap<Address4, HostEntry>,
    /// LAN hosts.
    pub hosts6: HashMap<Address6, HostEntry>,
    /// What [`Tables::may_reply`] answers.
    pub may_reply: bool,
}

impl Default for SimTables {
    fn default() -> Self {
        let everything4 = [(Address4::default(), Class::Internet)];
        let everything6 = [(Address6::default(), Class::Internet)];
        Self {
            state: Box::new(SharedState {
                seed: [0; 2],
                heartbeat: 0,
                address_copies: 0,
                uplink_copies: 0,
                alive: [0; 2],
                reserved: 0,
                groups: [GroupWords::ZERO; crate::limits::MAX_GROUPS],
            }),
            ports: vec![PortEntry::default(); PORT_TABLE_SIZE],
            addresses4: Box::new(AddressTable::new(&everything4).expect("one segment fits")),
            addresses6: Box::new(AddressTable::new(&everything6).expect("one segment fits")),
            rows: vec![RankRow::EMPTY; BUCKETS],
            uplinks: vec![UplinkEntry::default(); 2 * MAX_UPLINKS],
            hosts4: HashMap::new(),
            hosts6: HashMap::new(),
            may_reply: true,
        }
    }
}

impl SimTables {
    /// Enters a device into the port table; `false` when its places are taken.
    pub fn add_port(&mut self, entry: PortEntry) -> bool {
        for place in port::places(entry.ifindex) {
            let slot = &mut self.ports[place as usize];
            if slot.ifindex == 0 || slot.ifindex == entry.ifindex {
                *slot = entry;
                return true;
            }
        }
        false
    }
}

impl Tables for SimTables {
    fn state(&self) -> Option<&SharedState> {
        Some(&self.state)
    }

    fn port(&self, place: u32) -> Option<&PortEntry> {
        self.ports.get(place as usize)
    }

    fn class4(&self, _copy: u32, address: Address4) -> Option<Class> {
        Some(self.addresses4.class(address))
    }

    fn class6(&self, _copy: u32, address: Address6) -> Option<Class> {
        Some(self.addresses6.class(address))
    }

    fn row(&self, index: u32) -> Option<RankRow> {
        self.rows.get(index as usize).copied()
    }

    fn uplink(&self, index: u32) -> Option<&UplinkEntry> {
        self.uplinks.get(index as usize)
    }

    fn host4(&self, address: Address4) -> Option<&HostEntry> {
        self.hosts4.get(&address)
    }

    fn host6(&self, address: Address6) -> Option<&HostEntry> {
        self.hosts6.get(&address)
    }

    fn kernel_route4(&self, _: u32, _: Address4, _: Address4) -> Option<HostEntry> {
        None
    }

    fn kernel_route6(&self, _: u32, _: Address6, _: Address6) -> Option<HostEntry> {
        None
    }

    fn may_reply(&mut self) -> bool {
        self.may_reply
    }
}
