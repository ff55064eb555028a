//! The flow and port tables: how large they are, which ports are the kernel's own, and the sweep that
//! takes away flows whose time is up.

use std::ops::{Range, RangeInclusive};

use aya::{Ebpf, EbpfLoader, maps::MapData};
use multihome_common::{
    abi,
    flow::{
        lifetime::Timeouts,
        slot::FlowSlot,
        table::FlowMemory,
        tag::{Tag, TagLine, WAYS},
    },
    nat44::{
        open,
        ports::{LINE, LINES, PortLine, PortMemory, RESERVED, SPACES, Space, line_of},
    },
};

use super::{DataplaneError, load::take, shared::SharedArray};

/// How large the tables are that the configuration sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Flows that there is room for: 1 or more.
    pub flows: u32,
    /// Outside addresses that there is room for: 1 or more.
    pub addresses: u32,
}

impl Sizes {
    /// Buckets of the flow table. Half as many places more than flows, or some of the last ones would
    /// not find a free one in the two buckets that each may stand in.
    pub const fn buckets(&self) -> u32 {
        (self.flows / 2 * 3).div_ceil(WAYS as u32) + 1
    }

    const fn port_lines(&self) -> u32 {
        self.addresses * SPACES * LINES
    }

    /// Tells the loader; maps that are adopted keep their sizes.
    pub(super) fn apply(&self, loader: &mut EbpfLoader<'_>) {
        loader
            .map_max_entries(abi::FLOW_TAGS, self.buckets())
            .map_max_entries(abi::FLOWS, self.buckets() * WAYS as u32)
            .map_max_entries(abi::NAT_PORTS, self.port_lines());
    }
}

/// The tables, in memory that the programs share.
#[derive(Debug)]
pub struct FlowTables {
    tags: SharedArray<TagLine>,
    flows: SharedArray<FlowSlot>,
    ports: SharedArray<PortLine>,
}

impl FlowTables {
    pub(super) fn map(ebpf: &mut Ebpf) -> Result<Self, DataplaneError> {
        Ok(Self {
            tags: SharedArray::map(&take(ebpf, abi::FLOW_TAGS)?, abi::FLOW_TAGS)?,
            flows: SharedArray::map(&take(ebpf, abi::FLOWS)?, abi::FLOWS)?,
            ports: SharedArray::map(&take(ebpf, abi::NAT_PORTS)?, abi::NAT_PORTS)?,
        })
    }

    /// Buckets of the flow table.
    pub fn buckets(&self) -> u32 {
        self.tags.len() as u32
    }

    /// Outside addresses that there is room for.
    pub fn addresses(&self) -> u32 {
        self.ports.len() as u32 / (SPACES * LINES)
    }

    /// Keeps the ports of one outside address that are not in these ranges from being given out, and
    /// gives back those that were kept before and are. Ports that have flows stay as they are until
    /// these end.
    pub fn reserve(&self, pool: u16, ranges: &[RangeInclusive<u16>]) {
        for space in [Space::Tcp, Space::Udp] {
            for port in 0..=u16::MAX {
                let free = ranges.iter().any(|range| range.contains(&port));
                let Some(line) = self.port_line(line_of(pool, space, port)) else {
                    return;
                };
                let word = &line.0[usize::from(port) % LINE];
                let old = word.load();
                // A change that another CPU was faster with is one that gave the port out.
                if free && old == RESERVED {
                    word.change(old, 0);
                } else if !free && old as u16 == 0 {
                    word.change(old, RESERVED);
                }
            }
        }
    }

    /// Takes away the flows in these buckets whose time is up; how many there were, and how many
    /// are left.
    pub fn sweep(&self, buckets: Range<u32>, timeouts: &Timeouts, now: u32) -> Swept {
        let mut swept = Swept::default();
        for bucket in buckets {
            let Some(line) = self.tags(bucket) else {
                break;
            };
            for (way, tag) in line.0.iter().enumerate() {
                if !Tag(tag.load()).is_live() {
                    continue;
                }
                let index = bucket * WAYS as u32 + way as u32;
                // A moment more than the programs give: none of them may be about to use the flow.
                let expired = self
                    .flow(index)
                    .is_some_and(|slot| slot.is_expired(timeouts, now.saturating_sub(1)));
                if expired {
                    open::close(self, index);
                    swept.ended += 1;
                } else {
                    swept.live += 1;
                }
            }
        }
        swept
    }
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Flows that were taken away.
    pub ended: u64,
    /// Flows that are left.
    pub live: u64,
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

/// The entries that a map really has, which is not what the configuration says when it was adopted.
pub(super) fn entries(data: &MapData) -> Option<usize> {
    Some(data.info().ok()?.max_entries() as usize)
}
