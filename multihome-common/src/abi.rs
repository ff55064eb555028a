//! The map ABI: which maps there are and how large their entries are, and a hash of all that.
//!
//! Pins live in a directory whose name bears the hash, so a program never adopts maps that it
//! would read wrongly.

use crate::{
    address::{Address4, Address6, AddressTable},
    counters::CounterTable,
    fault::Fault,
    flow::{
        FlowKey,
        fragment::{Course, Datagram, FragmentSlot},
        pin::PinLine,
        slot::FlowSlot,
        tag::TagLine,
    },
    framing::{Framing, edge::Removed},
    limits::{
        FRAGMENT_SLOTS, MAX_DOMAIN_ADDRESSES, MAX_DOMAIN_CLASSES, MAX_GROUPS, MAX_HOSTS, MAX_NAMES,
        MAX_OUTSIDES, MAX_ROWS, MAX_SLOTS, MAX_UPLINKS, PORT_TABLE_SIZE,
    },
    nat44::{open::Opening, ports::PortLine},
    parse::Parsed,
    port::PortEntry,
    rate_limit::TokenBucket,
    rules::{RuleCounts, RuleSet, Rulebook},
    state::SharedState,
    tcp::{counts::TcpCounts, handshake, sequence},
    uplink::{HostEntry, UplinkEntry},
    way::steer::Ends,
    word::Word,
};

/// One map: its name and the sizes that both sides rely on, in bytes and entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapAbi {
    /// The map's name in the object and in the pin directory.
    pub name: &'static str,
    /// Size of a key.
    pub key: u32,
    /// Size of a value.
    pub value: u32,
    /// Entries.
    pub entries: u32,
}

/// Packets, and what they were long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of their frames, link header included, as they came in.
    pub bytes: u64,
}

impl Count {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }
}

/// Name of the shared state's map.
pub const STATE: &str = "STATE";
/// Name of the port table's map.
pub const PORTS: &str = "PORTS";
/// Name of the IPv4 address tables' map.
pub const ADDRESSES4: &str = "ADDRESSES4";
/// Name of the IPv6 address tables' map.
pub const ADDRESSES6: &str = "ADDRESSES6";
/// Name of the rulebooks' map.
pub const RULES: &str = "RULES";
/// Name of the map that tells what domains an address belongs to.
pub const DOMAINS: &str = "DOMAINS";
/// Name of the map of the rules that packets of each class of domains may match.
pub const DOMAIN_SETS: &str = "DOMAIN_SETS";
/// Name of the ring of messages of DNS. It is not pinned: each controller reads what its own programs put there.
pub const SAMPLES: &str = "SAMPLES";
/// Name of the map of what each rule has matched.
pub const RULE_COUNTS: &str = "RULE_COUNTS";
/// Name of the rank rows' map.
pub const ROWS: &str = "ROWS";
/// Name of the uplinks' map.
pub const UPLINKS: &str = "UPLINKS";
/// Name of the IPv4 LAN hosts' map.
pub const HOSTS4: &str = "HOSTS4";
/// Name of the IPv6 LAN hosts' map.
pub const HOSTS6: &str = "HOSTS6";
/// Name of the devices' map, by slot.
pub const DEVICES: &str = "DEVICES";
/// Name of the counters' map.
pub const COUNTERS: &str = "COUNTERS";
/// Name of the map of what frames get that are sent.
pub const FRAMINGS: &str = "FRAMINGS";
/// Name of the map of the programs that go on behind the one of devices with several ports.
pub const PROGRAMS: &str = "PROGRAMS";
/// Place of the program for LAN ports among them.
pub const PROGRAM_LAN: u32 = 0;
/// Place of the program for uplinks among them.
pub const PROGRAM_UPLINK: u32 = 1;
/// Name of the map of faults in the uplinks' lines.
pub const FAULTS: &str = "FAULTS";
/// Name of the map of outstanding TCP handshakes.
pub const HANDSHAKES: &str = "HANDSHAKES";
/// Name of the map that knows how far TCP flows of the sample have come.
pub const SEQUENCES: &str = "SEQUENCES";
/// Name of the map of what is counted of TCP.
pub const TCP_COUNTS: &str = "TCP_COUNTS";
/// Name of the flow table's tags' map.
pub const FLOW_TAGS: &str = "FLOW_TAGS";
/// Name of the flow table's slots' map.
pub const FLOWS: &str = "FLOWS";
/// Name of the port table's map.
pub const NAT_PORTS: &str = "NAT_PORTS";
/// Name of the pins' map.
pub const PINS: &str = "PINS";
/// Name of the map of fragmented datagrams.
pub const FRAGMENTS: &str = "FRAGMENTS";
/// Name of the map that tells whose an outside address is.
pub const OUTSIDES: &str = "OUTSIDES";
/// Name of the map that keeps what is known of the packet in hand.
pub const SCRATCH: &str = "SCRATCH";
/// Name of the rate limit's map.
pub const REPLY_BUCKET: &str = "REPLY_BUCKET";
/// Name of the map that keeps the names behind the slots for the next controller.
pub const NAMES: &str = "NAMES";

/// Name of the map that keeps the tiers of the groups' members.
pub const MEMBERS: &str = "MEMBERS";

/// The tiers of a group's members by their ids, 0 for uplinks that are none.
pub type MemberTiers = [u8; MAX_UPLINKS];

/// A slot's name, padded with zeroes: an uplink's name or a LAN port's device.
pub type SlotName = [u8; 32];

/// Bytes of a message of DNS that are copied, from the IP header on; a longer one is not.
pub const SAMPLE_BYTES: usize = 1472;

/// A message of DNS as a program saw it.
#[repr(C)]
pub struct Sample {
    /// How many of the bytes are its.
    pub len: u64,
    /// It, from the IP header on.
    pub bytes: [u8; SAMPLE_BYTES],
}

impl Sample {
    /// The packet in an element of the ring; `None` if the element is no sample.
    pub fn packet(element: &[u8]) -> Option<&[u8]> {
        let (len, bytes) = element.split_first_chunk::<8>()?;
        bytes.get(..usize::try_from(u64::from_ne_bytes(*len)).ok()?)
    }
}

/// What the programs know of the packet in hand, and pass from one of their functions to another.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Scratch {
    /// What the parser found.
    pub parsed: Parsed,
    /// A flow that is sought.
    pub key: FlowKey,
    /// A flow that is to be opened.
    pub opening: Opening,
    /// An IPv4 flow whose uplink is asked for.
    pub ends4: Ends<Address4>,
    /// An IPv6 flow whose uplink is asked for.
    pub ends6: Ends<Address6>,
    /// A datagram whose fragments are sought.
    pub datagram: Datagram,
    /// What is done with them.
    pub course: Course,
    /// The clock for flows.
    pub clock: Clock,
    /// What the uplink's line did with the packet: a [`Fate`](crate::way::line::Fate).
    pub fate: u64,
    /// The place of the packet's port in the port table.
    pub port: u64,
    /// One more than the place of the port that [`enter`](crate::framing::edge::enter) has found; zero once
    /// it is known to the program that goes on.
    pub entered: u64,
    /// What it took off.
    pub removed: Removed,
}

/// The clock for flows, as it was when it was last read.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Clock {
    /// The kernel's count of jiffies then.
    pub jiffies: u64,
    /// The time in [ticks](crate::flow::ticks).
    pub ticks: u64,
}

/// Entries of a map whose size the configuration or the number of CPUs says.
pub const SIZED_AT_START: usize = 1;

/// Every map.
pub const MAPS: &[MapAbi] = &[
    map::<u32, SharedState>(STATE, 1),
    map::<u32, PortEntry>(PORTS, PORT_TABLE_SIZE),
    map::<u32, AddressTable<Address4>>(ADDRESSES4, 2),
    map::<u32, AddressTable<Address6>>(ADDRESSES6, 2),
    map::<u32, Rulebook>(RULES, 2),
    map::<u32, RuleCounts>(RULE_COUNTS, SIZED_AT_START),
    map::<[u64; 3], u64>(DOMAINS, 2 * MAX_DOMAIN_ADDRESSES),
    map::<u32, RuleSet>(DOMAIN_SETS, 2 * MAX_DOMAIN_CLASSES),
    map::<u32, u64>(ROWS, MAX_ROWS),
    map::<u32, UplinkEntry>(UPLINKS, 2 * MAX_UPLINKS),
    map::<u32, HostEntry>(HOSTS4, MAX_HOSTS),
    map::<[u64; 2], HostEntry>(HOSTS6, MAX_HOSTS),
    map::<u32, u64>(DEVICES, MAX_SLOTS),
    map::<u32, Word>(HANDSHAKES, handshake::PLACES),
    map::<u32, Word>(SEQUENCES, sequence::PLACES),
    map::<u32, TcpCounts>(TCP_COUNTS, SIZED_AT_START),
    map::<u32, Fault>(FAULTS, MAX_UPLINKS),
    map::<u32, Framing>(FRAMINGS, MAX_SLOTS),
    map::<u32, u32>(PROGRAMS, 2),
    map::<u32, CounterTable>(COUNTERS, SIZED_AT_START),
    map::<u32, TokenBucket>(REPLY_BUCKET, 2),
    map::<u32, Scratch>(SCRATCH, 1),
    map::<u32, TagLine>(FLOW_TAGS, SIZED_AT_START),
    map::<u32, FlowSlot>(FLOWS, SIZED_AT_START),
    map::<u32, PortLine>(NAT_PORTS, SIZED_AT_START),
    map::<u32, PinLine>(PINS, SIZED_AT_START),
    map::<u32, FragmentSlot>(FRAGMENTS, FRAGMENT_SLOTS),
    map::<u32, u64>(OUTSIDES, MAX_OUTSIDES),
    map::<u32, SlotName>(NAMES, MAX_NAMES),
    map::<u32, MemberTiers>(MEMBERS, MAX_GROUPS),
];

const fn map<K, V>(name: &'static str, entries: usize) -> MapAbi {
    MapAbi {
        name,
        key: size_of::<K>() as u32,
        value: size_of::<V>() as u32,
        entries: entries as u32,
    }
}

/// The value of [`OUTSIDES`] for an address of the uplink `id`, whose ports are this part of the port table.
pub const fn owner_word(id: u8, part: u16) -> u64 {
    (id as u64) << 16 | part as u64
}

/// The uplink, 0 to 63, and the part of the port table that [`owner_word`] was made of.
#[inline(always)]
pub const fn owner_of(word: u64) -> (u8, u16) {
    ((word >> 16) as u8 & 63, word as u16)
}

/// Raised when the meaning of a map changes and its sizes do not.
const REVISION: u32 = 3;

/// The hash of [`MAPS`] (FNV-1a, 64 bits).
pub const HASH: u64 = {
    let mut hash = fnv(0xcbf2_9ce4_8422_2325, &REVISION.to_le_bytes());
    let mut at = 0;
    while at < MAPS.len() {
        let map = MAPS[at];
        hash = fnv(hash, map.name.as_bytes());
        hash = fnv(hash, &map.key.to_le_bytes());
        hash = fnv(hash, &map.value.to_le_bytes());
        hash = fnv(hash, &map.entries.to_le_bytes());
        at += 1;
    }
    hash
};

const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}
