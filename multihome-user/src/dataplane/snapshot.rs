//! The maps of a gateway as the packet path sees them, to be looked at and never written to: what the path
//! writes goes into copies that nobody else sees.
//!
//! The words are those of one moment. Of the tables only what the path asks for is copied, when it asks, so
//! that a table of millions costs nothing.

use std::{
    cell::{Cell, OnceCell},
    path::Path,
};

use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData},
};
use multihome_common::{
    abi::{self, MemberTiers, SlotName},
    address::{Address4, Address6, AddressTable, Class},
    fault::Fault,
    flow::{
        FlowKey, TICK_SHIFT,
        fragment::{FragmentMemory, FragmentSlot},
        pin::{PinLine, PinMemory},
        slot::FlowSlot,
        table::FlowMemory,
        tag::TagLine,
    },
    framing::Framing,
    limits::{MAX_SLOTS, MAX_UPLINKS},
    nat44::{
        open::Opening,
        ports::{PortLine, PortMemory},
    },
    port::PortEntry,
    rank::RankRow,
    rules::{DomainKey, RuleSet, Rulebook},
    state::SharedState,
    tables::{Answer, Tables},
    tcp::{TcpMemory, counts::TcpCounts},
    uplink::{HostEntry, UplinkEntry},
    verdict::Verdict,
    way::whole::Prepared,
    word::Word,
};

use super::{
    DataplaneError,
    load::refused,
    names,
    pinned::{PinnedError, Pins},
    read_only::ReadOnlyArray,
    rules,
};

/// The maps, and what the path has written.
pub struct Snapshot {
    /// The words, to be changed at will.
    pub state: SharedState,
    /// The names by slot, then the groups' by id; `None` where there is none.
    pub names: Vec<Option<String>>,
    /// The gateway's devices are those of this network namespace.
    pub is_here: bool,
    ports: Array<MapData, PortEntry>,
    addresses4: Array<MapData, AddressTable<Address4>>,
    addresses6: Array<MapData, AddressTable<Address6>>,
    rows: Array<MapData, u64>,
    uplinks: Array<MapData, UplinkEntry>,
    hosts4: HashMap<MapData, u32, HostEntry>,
    hosts6: HashMap<MapData, [u64; 2], HostEntry>,
    outsides: HashMap<MapData, u32, u64>,
    members: Array<MapData, MemberTiers>,
    framings: Array<MapData, u64>,
    rules: MapData,
    domains: HashMap<MapData, [u64; 3], u64>,
    domain_sets: Array<MapData, RuleSet>,
    tags: ReadOnlyArray<TagLine>,
    flows: ReadOnlyArray<FlowSlot>,
    nat_ports: ReadOnlyArray<PortLine>,
    pins: ReadOnlyArray<PinLine>,
    fragments: ReadOnlyArray<FragmentSlot>,
    now: u32,
    copies: Copies,
    opening: Cell<Opening>,
    kernel_was_asked: Cell<bool>,
}

/// What was looked at.
#[derive(Default)]
struct Copies {
    ports: List<u32, PortEntry>,
    classes4: List<u32, Box<AddressTable<Address4>>>,
    classes6: List<u32, Box<AddressTable<Address6>>>,
    uplinks: List<u32, UplinkEntry>,
    rulebooks: List<u32, Box<Rulebook>>,
    domain_sets: List<u32, RuleSet>,
    hosts4: List<Address4, HostEntry>,
    hosts6: List<Address6, HostEntry>,
    tags: List<u32, TagLine>,
    flows: List<u32, FlowSlot>,
    nat_ports: List<u32, PortLine>,
    pins: List<u32, PinLine>,
    fragments: List<u32, FragmentSlot>,
}

impl Snapshot {
    /// Opens what is pinned below this run directory: for this network namespace, or for another one if
    /// there is only one.
    ///
    /// # Errors
    /// When nothing is pinned there, or it may not be read.
    pub fn open(run_dir: &Path) -> Result<Self, PinnedError> {
        let pins = Pins::find(run_dir)?;
        let snapshot = Self::of(|name| pins.open(name))?;
        Ok(Self {
            is_here: pins.are_here(),
            ..snapshot
        })
    }

    /// The maps that `open` gives by their names.
    ///
    /// # Errors
    /// When a map is missing, or may not be read.
    pub fn of<E: From<DataplaneError>>(
        open: impl Fn(&'static str) -> Result<MapData, E>,
    ) -> Result<Self, E> {
        let state: Array<MapData, SharedState> = array(&open, abi::STATE)?;
        let slots: Array<MapData, SlotName> = array(&open, abi::NAMES)?;
        let hosts4 = Map::HashMap(open(abi::HOSTS4)?);
        let hosts6 = Map::HashMap(open(abi::HOSTS6)?);
        let outsides = Map::HashMap(open(abi::OUTSIDES)?);
        let domains = Map::HashMap(open(abi::DOMAINS)?);
        Ok(Self {
            state: state.get(&0, 0).map_err(refused(abi::STATE))?,
            names: names::read(&slots)?,
            is_here: true,
            ports: array(&open, abi::PORTS)?,
            addresses4: array(&open, abi::ADDRESSES4)?,
            addresses6: array(&open, abi::ADDRESSES6)?,
            rows: array(&open, abi::ROWS)?,
            uplinks: array(&open, abi::UPLINKS)?,
            hosts4: hosts4.try_into().map_err(refused(abi::HOSTS4))?,
            hosts6: hosts6.try_into().map_err(refused(abi::HOSTS6))?,
            outsides: outsides.try_into().map_err(refused(abi::OUTSIDES))?,
            members: array(&open, abi::MEMBERS)?,
            framings: array(&open, abi::FRAMINGS)?,
            rules: open(abi::RULES)?,
            domains: domains.try_into().map_err(refused(abi::DOMAINS))?,
            domain_sets: array(&open, abi::DOMAIN_SETS)?,
            tags: ReadOnlyArray::map(&open(abi::FLOW_TAGS)?, abi::FLOW_TAGS)?,
            flows: ReadOnlyArray::map(&open(abi::FLOWS)?, abi::FLOWS)?,
            nat_ports: ReadOnlyArray::map(&open(abi::NAT_PORTS)?, abi::NAT_PORTS)?,
            pins: ReadOnlyArray::map(&open(abi::PINS)?, abi::PINS)?,
            fragments: ReadOnlyArray::map(&open(abi::FRAGMENTS)?, abi::FRAGMENTS)?,
            now: crate::flows::clock::now(),
            copies: Copies::default(),
            opening: Cell::default(),
            kernel_was_asked: Cell::new(false),
        })
    }

    /// The entries of all devices.
    pub fn devices(&self) -> Vec<PortEntry> {
        let all = self.ports.iter().filter_map(Result::ok);
        all.filter(|entry| entry.ifindex != 0).collect()
    }

    /// An uplink's name, or that of a LAN port's device.
    pub fn name(&self, slot: u8) -> Option<&str> {
        self.names.get(usize::from(slot))?.as_deref()
    }

    /// A group's name.
    pub fn group_name(&self, id: usize) -> Option<&str> {
        self.names.get(MAX_SLOTS + id)?.as_deref()
    }

    /// The tiers of a group's members by their ids, 0 for uplinks that are none.
    pub fn tiers(&self, id: usize) -> MemberTiers {
        let tiers = u32::try_from(id).ok().map(|id| self.members.get(&id, 0));
        match tiers {
            Some(Ok(tiers)) => tiers,
            Some(Err(_)) | None => [0; MAX_UPLINKS],
        }
    }

    /// Whether the path asked for a LAN host that only the kernel's routes may know: it was told that
    /// there is none.
    pub fn kernel_was_asked(&self) -> bool {
        self.kernel_was_asked.get()
    }
}

fn array<V: Pod, E: From<DataplaneError>>(
    open: impl Fn(&'static str) -> Result<MapData, E>,
    name: &'static str,
) -> Result<Array<MapData, V>, E> {
    let map = Map::Array(open(name)?);
    Ok(map.try_into().map_err(refused(name))?)
}

impl FlowMemory for Snapshot {
    fn tags(&self, bucket: u32) -> Option<&TagLine> {
        self.copies.tags.get(bucket, || self.tags.copy(bucket))
    }

    fn flow(&self, index: u32) -> Option<&FlowSlot> {
        self.copies.flows.get(index, || self.flows.copy(index))
    }
}

impl PortMemory for Snapshot {
    fn port_line(&self, index: u32) -> Option<&PortLine> {
        let line = || self.nat_ports.copy(index);
        self.copies.nat_ports.get(index, line)
    }
}

impl PinMemory for Snapshot {
    fn pin_line(&self, index: u32) -> Option<&PinLine> {
        self.copies.pins.get(index, || self.pins.copy(index))
    }
}

impl FragmentMemory for Snapshot {
    fn fragment(&self, index: u32) -> Option<&FragmentSlot> {
        let slot = || self.fragments.copy(index);
        self.copies.fragments.get(index, slot)
    }
}

impl TcpMemory for Snapshot {
    // What is measured by the way decides nothing.
    fn handshake(&self, _: u32) -> Option<&Word> {
        None
    }

    fn sequence(&self, _: u32) -> Option<&Word> {
        None
    }

    fn tcp_counts(&self, _: u8) -> Option<&TcpCounts> {
        None
    }

    fn tcp_clock(&self) -> u64 {
        self.nanoseconds()
    }
}

impl Tables for Snapshot {
    fn state(&self) -> Option<&SharedState> {
        Some(&self.state)
    }

    fn port(&self, place: u32) -> Option<&PortEntry> {
        let entry = || self.ports.get(&place, 0).ok();
        self.copies.ports.get(place, entry)
    }

    fn framing(&self, slot: u8) -> Option<Framing> {
        self.framings.get(&slot.into(), 0).ok().map(Framing)
    }

    fn class4(&self, copy: u32, address: Address4) -> Option<Class> {
        let table = || self.addresses4.get(&copy, 0).ok().map(Box::new);
        Some(self.copies.classes4.get(copy, table)?.class(address))
    }

    fn class6(&self, copy: u32, address: Address6) -> Option<Class> {
        let table = || self.addresses6.get(&copy, 0).ok().map(Box::new);
        Some(self.copies.classes6.get(copy, table)?.class(address))
    }

    fn rulebook(&self, copy: u32) -> Option<&Rulebook> {
        let book = || rules::read(&self.rules, copy).ok();
        Some(self.copies.rulebooks.get(copy, book)?)
    }

    fn domain(&self, side: u32, [high, low]: DomainKey) -> u32 {
        let class = self.domains.get(&[high, low, side.into()], 0);
        class.map_or(0, |class| class as u32)
    }

    fn domain_set(&self, index: u32) -> Option<&RuleSet> {
        let set = || self.domain_sets.get(&index, 0).ok();
        self.copies.domain_sets.get(index, set)
    }

    fn note_rule(&self, _: u32) {
        // A packet that is only spoken of counts nowhere.
    }

    fn row(&self, index: u32) -> Option<RankRow> {
        self.rows.get(&index, 0).ok().map(RankRow)
    }

    fn uplink(&self, index: u32) -> Option<&UplinkEntry> {
        let entry = || self.uplinks.get(&index, 0).ok();
        self.copies.uplinks.get(index, entry)
    }

    fn host4(&self, address: Address4) -> Option<&HostEntry> {
        let entry = || self.hosts4.get(&address.key(), 0).ok();
        self.copies.hosts4.get(address, entry)
    }

    fn host6(&self, address: Address6) -> Option<&HostEntry> {
        let entry = || self.hosts6.get(&address.key(), 0).ok();
        self.copies.hosts6.get(address, entry)
    }

    fn kernel_route4(&self, _: u32, _: Address4, _: Address4) -> Option<HostEntry> {
        self.kernel_was_asked.set(true);
        None
    }

    fn kernel_route6(&self, _: u32, _: Address6, _: Address6) -> Option<HostEntry> {
        self.kernel_was_asked.set(true);
        None
    }

    fn now(&self) -> u32 {
        self.now
    }

    fn nanoseconds(&self) -> u64 {
        u64::from(self.now) << TICK_SHIFT
    }

    fn fault(&self, _: u8) -> Option<&Fault> {
        // Whether the line loses the packet behind the device is chance's.
        None
    }

    fn prepare_flow(
        &self,
        key: &FlowKey,
        host: &HostEntry,
        id: u8,
        outside: u64,
    ) -> Result<(), Verdict> {
        self.opening.set(Opening {
            key: *key,
            host: *host,
            uplink: id.into(),
            outside,
        });
        Ok(())
    }

    fn outside(&self, address: Address4) -> Option<(u8, u16)> {
        let word = self.outsides.get(&address.0, 0).ok()?;
        Some(abi::owner_of(word))
    }

    fn may_answer(&mut self, _: Answer) -> bool {
        true
    }
}

impl Prepared for Snapshot {
    fn prepared(&self) -> Result<Opening, Verdict> {
        Ok(self.opening.get())
    }
}

/// Things by their keys, to which more are added while those that are there are in use.
///
/// It is walked from its beginning: the path looks at a few dozen entries, however large a table is.
struct List<K, T>(OnceCell<Box<Node<K, T>>>);

struct Node<K, T> {
    key: K,
    /// `None` where the table has nothing.
    value: Option<T>,
    rest: List<K, T>,
}

impl<K, T> Default for List<K, T> {
    fn default() -> Self {
        Self(OnceCell::new())
    }
}

impl<K: PartialEq, T> List<K, T> {
    /// What was read under this key, or is read now.
    fn get(&self, key: K, read: impl FnOnce() -> Option<T>) -> Option<&T> {
        let mut place = &self.0;
        while let Some(node) = place.get() {
            if node.key == key {
                return node.value.as_ref();
            }
            place = &node.rest.0;
        }
        let node = place.get_or_init(|| {
            Box::new(Node {
                key,
                value: read(),
                rest: Self::default(),
            })
        });
        node.value.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_once_stays_as_the_path_left_it() {
        let list = List::default();
        let first = list.get(7, || Some(Cell::new(1))).expect("it is there");
        let none = list.get(8, || None);
        assert!(none.is_none());
        first.set(2);
        let again = list.get(7, || unreachable!("it is known"));
        assert_eq!(again.map(Cell::get), Some(2));
        assert!(list.get(8, || unreachable!("it is known")).is_none());
    }
}
