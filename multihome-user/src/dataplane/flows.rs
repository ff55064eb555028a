//! The tables of flows, outside ports and pins: how large they are, and their memory, which the
//! programs share.

use aya::{Ebpf, EbpfLoader, maps::MapData};
use multihome_common::{
    abi,
    flow::{
        pin::{PinLine, PinMemory},
        slot::FlowSlot,
        table::FlowMemory,
        tag::{TagLine, WAYS},
    },
    nat44::ports::{LINES, PortLine, PortMemory, SPACES},
};

use super::{DataplaneError, load::take, windows::WindowedArray};

/// Lines of the pin table at least.
const MIN_PIN_LINES: u32 = 1024;

/// How large the tables are that the configuration sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Flows that there is room for.
    pub flows: u32,
    /// Outside addresses that there is room for; without any, no flow is ever translated, and there
    /// is no table of flows to speak of.
    pub pools: u16,
}

impl Sizes {
    /// Buckets of the flow table. Half as many places more than flows, or some of the last ones would
    /// not find a free one in the two buckets that each may stand in.
    pub const fn buckets(&self) -> u32 {
        if self.pools == 0 {
            return 1;
        }
        (self.flows / 2 * 3).div_ceil(WAYS as u32) + 1
    }

    /// Lines of the pin table: two places for each flow, since pins find their place by one line
    /// alone.
    pub const fn pin_lines(&self) -> u32 {
        let lines = (self.flows * 2).div_ceil(WAYS as u32);
        if lines < MIN_PIN_LINES {
            MIN_PIN_LINES
        } else {
            lines
        }
    }

    /// Lines of the port table; a map has one entry at least.
    const fn port_lines(&self) -> u32 {
        if self.pools == 0 {
            return 1;
        }
        self.pools as u32 * SPACES * LINES
    }

    /// Tells the loader; maps that are adopted keep their sizes.
    pub(super) fn apply(&self, loader: &mut EbpfLoader<'_>) {
        loader
            .map_max_entries(abi::FLOW_TAGS, self.buckets())
            .map_max_entries(abi::FLOWS, self.buckets() * WAYS as u32)
            .map_max_entries(abi::NAT_PORTS, self.port_lines())
            .map_max_entries(abi::PINS, self.pin_lines());
    }
}

/// The tables, in memory that the programs share, of which little is mapped at a time.
#[derive(Debug)]
pub struct FlowTables {
    tags: WindowedArray<TagLine>,
    flows: WindowedArray<FlowSlot>,
    ports: WindowedArray<PortLine>,
    pins: WindowedArray<PinLine>,
}

impl FlowTables {
    pub(super) fn map(ebpf: &mut Ebpf) -> Result<Self, DataplaneError> {
        Ok(Self {
            tags: WindowedArray::new(&take(ebpf, abi::FLOW_TAGS)?, abi::FLOW_TAGS)?,
            flows: WindowedArray::new(&take(ebpf, abi::FLOWS)?, abi::FLOWS)?,
            ports: WindowedArray::new(&take(ebpf, abi::NAT_PORTS)?, abi::NAT_PORTS)?,
            pins: WindowedArray::new(&take(ebpf, abi::PINS)?, abi::PINS)?,
        })
    }

    /// Buckets of the flow table.
    pub fn buckets(&self) -> u32 {
        self.tags.len() as u32
    }

    /// Lines of the pin table.
    pub fn pin_lines(&self) -> u32 {
        self.pins.len() as u32
    }

    /// Lines of the port table.
    pub fn port_lines(&self) -> u32 {
        self.ports.len() as u32
    }

    /// Outside addresses that there is room for.
    pub fn pools(&self) -> u16 {
        (self.port_lines() / (SPACES * LINES)) as u16
    }

    /// Gives the memory that was looked at back to the kernel, but for a little of it.
    pub fn give_back(&mut self) {
        self.tags.give_back();
        self.flows.give_back();
        self.ports.give_back();
        self.pins.give_back();
    }

    /// Flows that there are places for.
    pub fn capacity(&self) -> u32 {
        self.buckets() * WAYS as u32
    }
}

impl FlowMemory for FlowTables {
    fn tags(&self, bucket: u32) -> Option<&TagLine> {
        self.tags.get(bucket)
    }

    fn flow(&self, index: u32) -> Option<&FlowSlot> {
        self.flows.get(index)
    }
}

impl PortMemory for FlowTables {
    fn port_line(&self, index: u32) -> Option<&PortLine> {
        self.ports.get(index)
    }
}

impl PinMemory for FlowTables {
    fn pin_line(&self, index: u32) -> Option<&PinLine> {
        self.pins.get(index)
    }
}

/// The entries that a map really has, which is not what the configuration says when it was adopted.
pub(super) fn entries(data: &MapData) -> Option<usize> {
    Some(data.info().ok()?.max_entries() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_have_room_for_what_is_configured() {
        for flows in [1024, 262_144, 16_777_216] {
            let sizes = Sizes { flows, pools: 3 };
            assert!(sizes.buckets() * WAYS as u32 >= flows / 4 * 5, "{flows}");
            assert!(sizes.pin_lines() >= 1024 && sizes.pin_lines() * WAYS as u32 >= flows * 2);
            assert_eq!(sizes.port_lines(), 3 * SPACES * LINES);
        }
    }

    #[test]
    fn a_gateway_that_translates_nothing_takes_no_memory_for_it() {
        let sizes = Sizes {
            flows: 262_144,
            pools: 0,
        };
        assert_eq!((sizes.buckets(), sizes.port_lines()), (1, 1));
        assert_eq!(sizes.pin_lines(), 65_536, "routed flows have pins");
    }
}
