//! The packet path's surroundings on the host: a frame in a buffer and tables in plain memory.
//!
//! Tests, the fuzzer and whatever must say what the kernel would do run the path over these.

use std::{boxed::Box, collections::HashMap, sync::Mutex, vec, vec::Vec};

use crate::{
    address::{Address4, Address6, AddressTable, Class},
    fault::Fault,
    flow::{
        FlowKey, TICK_SHIFT,
        fragment::{FragmentMemory, FragmentSlot},
        lifetime::Timeouts,
        pin::{PinLine, PinMemory},
        slot::FlowSlot,
        table::FlowMemory,
        tag::{TagLine, WAYS},
    },
    framing::Framing,
    limits::{BUCKETS, FRAGMENT_SLOTS, MAX_SLOTS, MAX_UPLINKS, PORT_TABLE_SIZE},
    nat44::open::Opening,
    nat44::ports::{LINES, PortLine, PortMemory, PortRanges, SPACES},
    packet::Packet,
    port::{self, PortEntry},
    rank::RankRow,
    rules::{DomainKey, RuleCounts, RuleSet, Rulebook},
    state::{GroupWords, SharedState},
    tables::{Answer, Tables},
    tcp::{TcpMemory, counts::TcpCounts, handshake, sequence},
    uplink::{HostEntry, UplinkEntry},
    verdict::Verdict,
    way::whole::Prepared,
    word::Word,
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

    fn shrink_front(&mut self, by: usize) -> Option<()> {
        (by <= self.len()).then(|| self.start += by)
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
    /// The copies of the rulebook.
    pub rulebooks: [Option<Box<Rulebook>>; 2],
    /// The classes of domains, by side and address.
    pub domains: HashMap<(u32, DomainKey), u32>,
    /// The rules that packets of each class may match; empty = there are no classes.
    pub domain_sets: Vec<RuleSet>,
    /// How many packets each rule has matched.
    pub rule_counts: RuleCounts,
    /// The rank rows of group 0.
    pub rows: Vec<RankRow>,
    /// Uplink entries: index = 2 x id + copy.
    pub uplinks: Vec<UplinkEntry>,
    /// LAN hosts.
    pub hosts4: HashMap<Address4, HostEntry>,
    /// LAN hosts.
    pub hosts6: HashMap<Address6, HostEntry>,
    /// The flow table, made by [`SimTables::track`].
    pub tags: Vec<TagLine>,
    /// Its slots.
    pub flows: Vec<FlowSlot>,
    /// The port table, made by [`SimTables::track`].
    pub port_lines: Vec<PortLine>,
    /// Where flows keep to.
    pub pins: Vec<PinLine>,
    /// Fragmented datagrams.
    pub fragments: Vec<FragmentSlot>,
    /// Whose outside addresses are: uplink id and part of the port table.
    pub outsides: HashMap<Address4, (u8, u16)>,
    /// What frames that are sent for a slot get before them.
    pub framings: Vec<Framing>,
    /// The faults of the uplinks' lines.
    pub faults: Vec<Fault>,
    /// Outstanding handshakes.
    pub handshakes: Vec<Word>,
    /// How far flows have come.
    pub sequences: Vec<Word>,
    /// What is counted of TCP, by uplink.
    pub tcp_counts: Vec<TcpCounts>,
    /// The flow that is to be opened.
    pub opening: Mutex<Opening>,
    /// The clock for flows, in ticks.
    pub now: u32,
    /// What [`Tables::may_answer`] answers.
    pub may_reply: bool,
    /// How often it was asked.
    pub asked: u32,
}

impl Default for SimTables {
    fn default() -> Self {
        let everything4 = [(Address4::default(), Class::Internet)];
        let everything6 = [(Address6::default(), Class::Internet)];
        Self {
            state: Box::new(SharedState {
                seed: [0; 2],
                faulty: 0,
                address_copies: 0,
                uplink_copies: 0,
                alive: [0; 2],
                tracked: 0,
                flow_buckets: 0,
                port_ranges: PortRanges::new((1024, 32767), (61000, 65535)),
                timeouts: Timeouts::default(),
                pin_lines: 0,
                changed: 0,
                heartbeat: 0,
                rules: 0,
                reserved: [0; 6],
                groups: [GroupWords::ZERO; crate::limits::MAX_GROUPS],
            }),
            ports: vec![PortEntry::default(); PORT_TABLE_SIZE],
            addresses4: Box::new(AddressTable::new(&everything4).expect("one segment fits")),
            addresses6: Box::new(AddressTable::new(&everything6).expect("one segment fits")),
            rulebooks: [None, None],
            domains: HashMap::new(),
            domain_sets: Vec::new(),
            rule_counts: RuleCounts::empty(),
            rows: vec![RankRow::EMPTY; BUCKETS],
            uplinks: vec![UplinkEntry::default(); 2 * MAX_UPLINKS],
            hosts4: HashMap::new(),
            hosts6: HashMap::new(),
            tags: Vec::new(),
            flows: Vec::new(),
            port_lines: Vec::new(),
            pins: Vec::new(),
            fragments: Vec::new(),
            outsides: HashMap::new(),
            framings: vec![Framing::PLAIN; MAX_SLOTS],
            faults: (0..MAX_UPLINKS).map(|_| Fault::default()).collect(),
            handshakes: (0..handshake::PLACES).map(|_| Word::default()).collect(),
            sequences: (0..sequence::PLACES).map(|_| Word::default()).collect(),
            tcp_counts: (0..MAX_UPLINKS).map(|_| TcpCounts::default()).collect(),
            opening: Mutex::default(),
            now: 1000,
            may_reply: true,
            asked: 0,
        }
    }
}

impl SimTables {
    /// Makes room for flows of IPv4: so many buckets of eight, and so many outside addresses.
    pub fn track(&mut self, buckets: u32, pools: u32) {
        self.state.tracked = 1;
        self.state.flow_buckets = u64::from(buckets);
        self.tags.resize_with(buckets as usize, TagLine::default);
        self.flows
            .resize_with(buckets as usize * WAYS, FlowSlot::default);
        self.port_lines
            .resize_with((pools * SPACES * LINES) as usize, PortLine::default);
        self.fragments
            .resize_with(FRAGMENT_SLOTS, FragmentSlot::default);
    }

    /// Something has changed that the short way does not look at; see [`SharedState::changed`].
    pub fn unsettle(&mut self) {
        self.state.changed = SharedState::calm_after(self.now);
    }

    /// Makes room for pins: so many lines of eight.
    pub fn pin(&mut self, lines: u32) {
        self.state.pin_lines = u64::from(lines);
        self.pins.resize_with(lines as usize, PinLine::default);
    }

    /// Enters a port into the port table; `false` when its places are taken.
    pub fn add_port(&mut self, entry: PortEntry) -> bool {
        for place in port::places(&entry) {
            let slot = &mut self.ports[place as usize];
            if slot.ifindex == 0 || slot.is_same(&entry) {
                *slot = entry;
                return true;
            }
        }
        false
    }
}

impl FlowMemory for SimTables {
    fn tags(&self, bucket: u32) -> Option<&TagLine> {
        self.tags.get(bucket as usize)
    }

    fn flow(&self, index: u32) -> Option<&FlowSlot> {
        self.flows.get(index as usize)
    }
}

impl PortMemory for SimTables {
    fn port_line(&self, index: u32) -> Option<&PortLine> {
        self.port_lines.get(index as usize)
    }
}

impl PinMemory for SimTables {
    fn pin_line(&self, index: u32) -> Option<&PinLine> {
        self.pins.get(index as usize)
    }
}

impl FragmentMemory for SimTables {
    fn fragment(&self, index: u32) -> Option<&FragmentSlot> {
        self.fragments.get(index as usize)
    }
}

impl TcpMemory for SimTables {
    fn handshake(&self, index: u32) -> Option<&Word> {
        self.handshakes.get(index as usize)
    }

    fn sequence(&self, index: u32) -> Option<&Word> {
        self.sequences.get(index as usize)
    }

    fn tcp_counts(&self, id: u8) -> Option<&TcpCounts> {
        self.tcp_counts.get(usize::from(id))
    }

    fn tcp_clock(&self) -> u64 {
        self.nanoseconds()
    }
}

impl Prepared for SimTables {
    fn prepared(&self) -> Result<Opening, Verdict> {
        let opening = self.opening.lock().map_err(|_| Verdict::DropInternal)?;
        Ok(*opening)
    }
}

impl Tables for SimTables {
    fn prepare_flow(
        &self,
        key: &FlowKey,
        host: &HostEntry,
        id: u8,
        outside: u64,
    ) -> Result<(), Verdict> {
        let mut opening = self.opening.lock().map_err(|_| Verdict::DropInternal)?;
        *opening = Opening {
            key: *key,
            host: *host,
            uplink: id.into(),
            outside,
        };
        Ok(())
    }

    fn outside(&self, address: Address4) -> Option<(u8, u16)> {
        self.outsides.get(&address).copied()
    }

    fn now(&self) -> u32 {
        self.now
    }

    fn nanoseconds(&self) -> u64 {
        u64::from(self.now) << TICK_SHIFT
    }

    fn framing(&self, slot: u8) -> Option<Framing> {
        self.framings.get(usize::from(slot)).copied()
    }

    fn fault(&self, id: u8) -> Option<&Fault> {
        self.faults.get(usize::from(id))
    }

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

    fn rulebook(&self, copy: u32) -> Option<&Rulebook> {
        self.rulebooks.get(copy as usize)?.as_deref()
    }

    fn domain(&self, side: u32, key: DomainKey) -> u32 {
        self.domains.get(&(side, key)).copied().unwrap_or(0)
    }

    fn domain_set(&self, index: u32) -> Option<&RuleSet> {
        self.domain_sets.get(index as usize)
    }

    fn note_rule(&self, rule: u32) {
        self.rule_counts.place(rule).add(1);
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

    fn may_answer(&mut self, _: Answer) -> bool {
        self.asked += 1;
        self.may_reply
    }
}
