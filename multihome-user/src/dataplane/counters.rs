//! Reading the counters: sums over CPUs, by ingress slot.

use std::sync::Arc;

use aya::maps::{MapData, PerCpuArray};
use multihome_common::{
    abi::{self, Count},
    limits::{COUNTER_COLUMNS, FORWARDED_COLUMNS},
    verdict::Verdict,
};

use super::{DataplaneError, load::refused};

/// Reads counters; clones share the map, and may live in other threads.
#[derive(Clone)]
pub struct CounterReader {
    map: Arc<PerCpuArray<MapData, Count>>,
}

/// What came in on one port, since the maps were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// By verdict; what was forwarded to uplinks is in [`PortCounters::to_uplinks`] alone.
    pub verdicts: Vec<(Verdict, Count)>,
    /// Forwarded to uplinks, by uplink id, for the ids that were asked for.
    pub to_uplinks: Vec<(u8, Count)>,
}

impl CounterReader {
    pub(super) fn new(map: PerCpuArray<MapData, Count>) -> Self {
        Self { map: Arc::new(map) }
    }

    /// What came in on the port of this slot; forwarded packets are told apart for `uplinks`.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn port(
        &self,
        slot: u32,
        uplinks: impl IntoIterator<Item = u8>,
    ) -> Result<PortCounters, DataplaneError> {
        let verdicts = Verdict::ALL
            .iter()
            .map(|&verdict| Ok((verdict, self.cell(slot, u32::from(verdict.number()))?)))
            .collect::<Result<_, DataplaneError>>()?;
        let to_uplinks = uplinks
            .into_iter()
            .map(|id| Ok((id, self.to_uplink(slot, id)?)))
            .collect::<Result<_, DataplaneError>>()?;
        Ok(PortCounters {
            verdicts,
            to_uplinks,
        })
    }

    /// What came in on the port of this slot and was forwarded to this uplink.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn to_uplink(&self, slot: u32, id: u8) -> Result<Count, DataplaneError> {
        self.cell(slot, FORWARDED_COLUMNS + u32::from(id))
    }

    fn cell(&self, slot: u32, column: u32) -> Result<Count, DataplaneError> {
        let index = slot * COUNTER_COLUMNS as u32 + column;
        let values = self.map.get(&index, 0).map_err(refused(abi::COUNTERS))?;
        Ok(values.iter().fold(Count::default(), |sum, count| Count {
            packets: sum.packets + count.packets,
            bytes: sum.bytes + count.bytes,
        }))
    }
}
