//! Sweeping the tables: taking away flows and pins whose time is up, and counting what is left.

use std::ops::Range;

use multihome_common::{
    flow::{
        lifetime::Timeouts,
        pin::{self, Pin, PinMemory},
        slot::FlowSlot,
        table::FlowMemory,
        tag::{Tag, WAYS},
    },
    limits::MAX_UPLINKS,
    nat44::{
        open,
        ports::{LINES, PortMemory, PortWord, SPACES},
    },
};

use super::FlowTables;

/// What a sweep found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Flows that were taken away because their time was up.
    pub expired: u64,
    /// Flows that were taken away because they could not go on.
    pub ended: u64,
    /// Flows that are left, by uplink.
    pub live: [u64; MAX_UPLINKS],
    /// Ports that flows have, by part of the port table.
    pub ports: Vec<u64>,
}

impl Swept {
    /// Nothing yet, in a table of so many parts.
    pub fn new(pools: u16) -> Self {
        Self {
            expired: 0,
            ended: 0,
            live: [0; MAX_UPLINKS],
            ports: vec![0; usize::from(pools)],
        }
    }

    /// Flows that are left.
    pub fn all(&self) -> u64 {
        self.live.iter().sum()
    }
}

impl FlowTables {
    /// Takes away the flows in these buckets whose time is up at `now`, in ticks, and those that
    /// `ends` says cannot go on.
    pub fn sweep(
        &self,
        buckets: Range<u32>,
        timeouts: &Timeouts,
        now: u32,
        ends: impl Fn(&FlowSlot) -> bool,
        swept: &mut Swept,
    ) {
        for bucket in buckets {
            let Some(line) = self.tags(bucket) else {
                break;
            };
            for (way, word) in line.0.iter().enumerate() {
                // Read before the flow: what is closed is the flow that was looked at, or none.
                let tag = Tag(word.load());
                if !tag.is_live() {
                    continue;
                }
                let index = bucket * WAYS as u32 + way as u32;
                let Some(slot) = self.flow(index) else {
                    continue;
                };
                // A moment more than the programs give: none of them may be about to use the flow.
                if slot.is_expired(timeouts, now.saturating_sub(1)) {
                    open::close_tagged(self, index, tag);
                    swept.expired += 1;
                } else if ends(slot) {
                    open::close_tagged(self, index, tag);
                    swept.ended += 1;
                } else {
                    swept.live[usize::from(slot.uplink()) % MAX_UPLINKS] += 1;
                }
            }
        }
    }

    /// Takes away the pins in these lines whose time is up at `now`, in ticks.
    pub fn sweep_pins(&self, lines: Range<u32>, timeouts: &Timeouts, now: u32) {
        for line in lines.filter_map(|line| self.pin_line(line)) {
            for word in &line.0 {
                let pin = Pin(word.load());
                // One that is used at this moment is changed by then, and stays.
                if pin.is_some() && pin.is_expired(pin::time(now), timeouts) {
                    word.change(pin.0, Pin::NONE.0);
                }
            }
        }
    }

    /// Counts the ports that flows have in these lines.
    pub fn count_ports(&self, lines: Range<u32>, swept: &mut Swept) {
        for number in lines {
            let Some(line) = self.port_line(number) else {
                break;
            };
            let used = line.0.iter().map(|word| PortWord(word.load()));
            let used =
                used.filter(|word| !(word.is_free() || word.is_reserved() || word.is_forward()));
            let pool = (number / (SPACES * LINES)) as usize;
            if let Some(count) = swept.ports.get_mut(pool) {
                *count += used.count() as u64;
            }
        }
    }
}
