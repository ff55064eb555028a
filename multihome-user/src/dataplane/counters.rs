//! Reading the counters: sums over CPUs, by ingress slot, in memory that the programs share.

use std::sync::Arc;

use aya::{
    maps::{Map, MapData},
    util::nr_cpus,
};
use multihome_common::{
    abi::{self, Count},
    counters::{self, CounterTable},
    state::{IPV4, IPV6},
    tcp::counts::{self, TcpCounts},
    verdict::Verdict,
    word::Words,
};

use super::{DataplaneError, RuleReader, TcpMeasure, load::refused, read_only::ReadOnlyArray};

/// Reads counters; clones share the map, and may live in other threads.
#[derive(Clone, Debug)]
pub struct CounterReader {
    tables: Arc<ReadOnlyArray<CounterTable>>,
    id: u32,
    tcp: Arc<ReadOnlyArray<TcpCounts>>,
    rules: RuleReader,
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
    pub(super) fn map(counters: &Map, tcp: &Map, rules: &Map) -> Result<Self, DataplaneError> {
        Ok(Self {
            tables: Arc::new(mapped(counters, abi::COUNTERS)?),
            id: array(counters, abi::COUNTERS)?
                .info()
                .map_err(refused(abi::COUNTERS))?
                .id(),
            tcp: Arc::new(mapped(tcp, abi::TCP_COUNTS)?),
            rules: RuleReader::map(rules)?,
        })
    }

    /// The kernel's number of the counters: another one for those that are made anew.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What each rule has matched.
    pub const fn rules(&self) -> &RuleReader {
        &self.rules
    }

    /// What is counted of TCP that passes by the uplink of this id.
    pub fn tcp(&self, id: u8) -> TcpMeasure {
        let cpus = self.tables.len() as u32;
        let places = (0..cpus).map(|cpu| counts::place(cpu, id));
        TcpMeasure::sum(places.filter_map(|place| self.tcp.get(place)))
    }

    /// What came in on the port of this slot; forwarded packets are told apart for `uplinks`.
    pub fn port(&self, slot: u32, uplinks: impl IntoIterator<Item = u8>) -> PortCounters {
        let verdicts = Verdict::ALL
            .iter()
            .map(|&verdict| {
                let count = self.sum(slot, u32::from(verdict.number()));
                let also = if verdict == Verdict::Forwarded {
                    self.sum(slot, counters::FORWARDED_TO_LAN6)
                } else {
                    Count::default()
                };
                (verdict, count.plus(also))
            })
            .collect();
        let to_uplinks = uplinks
            .into_iter()
            .map(|id| (id, self.to_uplink(slot, id)))
            .collect();
        PortCounters {
            verdicts,
            to_uplinks,
        }
    }

    /// What came in on the port of this slot and was forwarded to this uplink.
    pub fn to_uplink(&self, slot: u32, id: u8) -> Count {
        let of = |family| self.sum(slot, counters::forwarded(family, id));
        of(IPV4).plus(of(IPV6))
    }

    /// The tables of all CPUs.
    pub(super) fn tables(&self) -> impl Iterator<Item = &CounterTable> + Clone {
        (0..self.tables.len() as u32).filter_map(|cpu| self.tables.get(cpu))
    }

    fn sum(&self, slot: u32, column: u32) -> Count {
        counters::sum(self.tables(), slot, column)
    }
}

fn array<'m>(map: &'m Map, name: &'static str) -> Result<&'m MapData, DataplaneError> {
    let Map::Array(data) = map else {
        return Err(DataplaneError::Missing(name));
    };
    Ok(data)
}

fn mapped<T: Words>(map: &Map, name: &'static str) -> Result<ReadOnlyArray<T>, DataplaneError> {
    ReadOnlyArray::map(array(map, name)?, name)
}

/// How many tables there must be: one for each CPU that the machine may ever have.
///
/// # Errors
/// When the kernel does not say.
pub(super) fn cpus() -> Result<u32, DataplaneError> {
    let count = nr_cpus().map_err(|(path, source)| DataplaneError::Path {
        action: "read",
        path: path.into(),
        source,
    })?;
    Ok(count as u32)
}
