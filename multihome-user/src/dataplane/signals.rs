//! What the traffic itself says of an uplink: what leaves by it, and whether anything comes back.
//!
//! It is read from the [counters](super::CounterReader) that the programs keep anyway, in memory that
//! they share, without a system call. A look at one uplink is a handful of loads for each CPU and LAN
//! port, so it can be repeated every few milliseconds.

use multihome_common::{
    abi::Count,
    counters::{self, CounterTable},
    limits::MAX_UPLINKS,
    state::{IPV4, IPV6},
};

use super::CounterReader;

/// Any slot of a LAN port: what is forwarded to it is counted alike for all of them.
const ANY_LAN: u8 = MAX_UPLINKS as u8;

/// What has passed by one uplink in one family, since the maps were made. Numbers only grow, and wrap
/// around at 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// IP packets of LAN hosts that were sent out of the uplink, by the short way or the full one.
    /// What the gateway sends itself, such as probes, is not among them.
    pub out: Count,
    /// IP packets that came in on the uplink for LAN hosts and were handed to them, translated where the
    /// uplink translates. They are signs of life from beyond the link, or from the next hop itself when
    /// they are ICMP errors that it made. What the gateway gets itself, such as answers to probes, ARP
    /// and neighbour discovery, is not among them: the next hop alone would keep that up.
    pub back: Count,
}

/// What has passed by one uplink, by family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals(pub [Passed; 2]);

impl Signals {
    /// Both families together.
    pub fn total(&self) -> Passed {
        let [v4, v6] = self.0;
        Passed {
            out: v4.out.plus(v6.out),
            back: v4.back.plus(v6.back),
        }
    }

    /// What these tables of all CPUs say of the uplink `id`, with LAN ports in these slots.
    ///
    /// What went out is read before what came back. So a sample never has an answer missing to a packet
    /// that it has: if `out` has grown since an earlier sample and `back` has not, then nothing that was
    /// sent until the first moment of the later sample was answered until its last.
    pub fn read<'t>(
        tables: impl Iterator<Item = &'t CounterTable> + Clone,
        lan: &[u32],
        id: u8,
    ) -> Self {
        let sum = |slot, column| counters::sum(tables.clone(), slot, column);
        let out = [IPV4, IPV6].map(|family| {
            let column = counters::forwarded(family, id);
            lan.iter().fold(Count::default(), |total, &slot| {
                total.plus(sum(slot, column))
            })
        });
        // Loads of different words are not ordered by themselves.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let back = [IPV4, IPV6].map(|family| {
            let column = counters::forwarded(family, ANY_LAN);
            sum(u32::from(id), column)
        });
        Self([0, 1].map(|family| Passed {
            out: out[family],
            back: back[family],
        }))
    }
}

/// Reads signals; clones share the map, and may live in other threads.
#[derive(Clone, Debug)]
pub struct SignalReader {
    counters: CounterReader,
    lan: Vec<u32>,
}

impl SignalReader {
    /// Reads what LAN ports of these slots have sent. The slots must be all that are in use, and the
    /// same for samples that are compared.
    pub fn new(counters: CounterReader, lan: impl IntoIterator<Item = u32>) -> Self {
        Self {
            counters,
            lan: lan.into_iter().collect(),
        }
    }

    /// What has passed by the uplink of this id so far; see [`Signals::read`] for what a sample holds.
    pub fn of(&self, id: u8) -> Signals {
        Signals::read(self.counters.tables(), &self.lan, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uplinks_and_families_are_told_apart_and_cpus_and_ports_added_up() {
        let tables = [CounterTable::empty(), CounterTable::empty()];
        let lan = [64, 66];
        let bump = |cpu: usize, slot: u32, column: u32, times: u64| {
            let cell = tables[cpu].cell(slot, column).expect("it is there");
            (0..times).for_each(|_| cell.count(100));
        };
        bump(0, 64, counters::forwarded(IPV4, 3), 1);
        bump(1, 66, counters::forwarded(IPV4, 3), 2);
        bump(1, 64, counters::forwarded(IPV6, 3), 4);
        bump(0, 64, counters::forwarded(IPV4, 4), 8);
        bump(0, 65, counters::forwarded(IPV4, 3), 16);
        bump(0, 3, counters::forwarded(IPV4, 70), 32);
        bump(1, 3, counters::forwarded(IPV6, 64), 64);
        // From one LAN host to another, and what the gateway got itself.
        bump(0, 64, counters::forwarded(IPV4, 64), 128);
        bump(0, 3, 3, 256);
        let read = |id| Signals::read(tables.iter().map(|table| &**table), &lan, id);
        let count = |packets| Count {
            packets,
            bytes: packets * 100,
        };
        let passed = |out, back| Passed {
            out: count(out),
            back: count(back),
        };
        assert_eq!(read(3), Signals([passed(3, 32), passed(4, 64)]));
        assert_eq!(read(3).total(), passed(7, 96));
        assert_eq!(read(4), Signals([passed(8, 0), passed(0, 0)]));
        assert_eq!(read(5), Signals::default());
    }
}
