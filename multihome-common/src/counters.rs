//! The counter table: packets and bytes by the port that they came in on, and by what was done with them.
//!
//! Each CPU has a table of its own, in memory that the controller maps. One cell is bumped for each
//! packet. A row is an ingress slot; its columns are the verdicts' numbers and, for what was forwarded,
//! one for each uplink and family. So one addition counts the port's total, the verdict, the uplink's
//! share and what passed by the uplink in either family; whoever asks adds up the rest.

use crate::{
    abi::Count,
    limits::{MAX_SLOTS, MAX_UPLINKS},
    verdict::Verdict,
    word::{Word, Words},
};

/// Where the columns that count by uplink begin: for each family one for each uplink, IPv4 first.
/// Before them is one for each verdict's number.
pub const FORWARDED_COLUMNS: u32 = 64;
/// The column of what was forwarded to LAN hosts over IPv6, a number that no verdict has; that of IPv4
/// is the verdict's own.
pub const FORWARDED_TO_LAN6: u32 = 63;
/// Columns of a row.
pub const COLUMNS: usize = FORWARDED_COLUMNS as usize + 2 * MAX_UPLINKS;

/// One cell of one CPU's table.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Cell {
    packets: Word,
    bytes: Word,
}

impl Cell {
    /// Counts a packet; only the CPU whose cell it is may do so.
    #[inline(always)]
    pub fn count(&self, bytes: u64) {
        self.packets.add(1);
        self.bytes.add(bytes);
    }

    /// Counts bytes of a packet that is counted already; only the CPU whose cell it is may do so.
    #[inline(always)]
    pub fn count_more(&self, bytes: u64) {
        self.bytes.add(bytes);
    }

    /// What was counted: two loads, so that of a packet that is just being counted the bytes may be
    /// missing.
    pub fn load(&self) -> Count {
        Count {
            packets: self.packets.load(),
            bytes: self.bytes.load(),
        }
    }
}

/// The table of one CPU.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct CounterTable([Cell; MAX_SLOTS * COLUMNS]);

// SAFETY: `repr(C)`, words only.
unsafe impl Words for CounterTable {}

impl CounterTable {
    /// The cell of a slot and a column.
    #[inline(always)]
    pub fn cell(&self, slot: u32, column: u32) -> Option<&Cell> {
        self.0.get(slot as usize * COLUMNS + column as usize)
    }

    /// A table in which nothing was counted.
    #[cfg(any(test, feature = "user"))]
    pub fn empty() -> std::boxed::Box<Self> {
        let mut table = std::boxed::Box::<Self>::new_uninit();
        // SAFETY: the memory is that of one table, and a table of zeroes is one.
        unsafe {
            table.as_mut_ptr().write_bytes(0, 1);
            table.assume_init()
        }
    }
}

/// The column of what was forwarded over a family to the device of a slot.
#[inline(always)]
pub const fn forwarded(family: usize, egress: u8) -> u32 {
    let family = family as u32 & 1;
    if (egress as usize) < MAX_UPLINKS {
        FORWARDED_COLUMNS + family * MAX_UPLINKS as u32 + egress as u32
    } else {
        family * FORWARDED_TO_LAN6
    }
}

/// What a column counts: the verdict, and the uplink and the family of what was forwarded to one.
/// `None` for a column that is not used.
pub const fn meaning(column: u32) -> Option<(Verdict, Option<(u8, usize)>)> {
    if column == FORWARDED_TO_LAN6 {
        return Some((Verdict::Forwarded, None));
    }
    let Some(place) = column.checked_sub(FORWARDED_COLUMNS) else {
        return match Verdict::from_number(column as u8) {
            Some(verdict) => Some((verdict, None)),
            None => None,
        };
    };
    let (family, id) = (place as usize / MAX_UPLINKS, place as usize % MAX_UPLINKS);
    if family > 1 {
        return None;
    }
    Some((Verdict::Forwarded, Some((id as u8, family))))
}

/// What all CPUs have counted in the cell of a slot and a column.
pub fn sum<'t>(
    tables: impl IntoIterator<Item = &'t CounterTable>,
    slot: u32,
    column: u32,
) -> Count {
    tables
        .into_iter()
        .filter_map(|table| table.cell(slot, column))
        .fold(Count::default(), |sum, cell| sum.plus(cell.load()))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, vec::Vec};

    use super::*;
    use crate::{
        state::{IPV4, IPV6},
        way::Decision,
    };

    #[test]
    fn every_decision_counts_in_a_column_of_its_own() {
        let mut decisions: Vec<(Decision, Option<(u8, usize)>)> = Verdict::ALL
            .iter()
            .filter(|verdict| **verdict != Verdict::Forwarded)
            .map(|&verdict| (verdict.into(), None))
            .collect();
        for family in [IPV4, IPV6] {
            for id in 0..MAX_UPLINKS as u8 {
                decisions.push((Decision::forward(id.into(), family), Some((id, family))));
            }
            decisions.push((Decision::forward(MAX_UPLINKS as u16, family), None));
        }
        let mut columns = BTreeSet::new();
        for (decision, uplink) in decisions {
            let column = decision.counter_column();
            assert!((column as usize) < COLUMNS && columns.insert(column));
            assert_eq!(meaning(column), Some((decision.verdict(), uplink)));
        }
        assert_eq!(meaning(COLUMNS as u32), None);
        assert!(Verdict::from_number(FORWARDED_TO_LAN6 as u8).is_none());
    }

    #[test]
    fn all_cpus_cells_are_added_up() {
        let tables = [CounterTable::empty(), CounterTable::empty()];
        for (table, bytes) in tables.iter().zip([60, 1500]) {
            table.cell(127, 3).expect("it is there").count(bytes);
        }
        let total = sum(tables.iter().map(|table| &**table), 127, 3);
        assert_eq!((total.packets, total.bytes), (2, 1560));
        assert!(tables[0].cell(MAX_SLOTS as u32, 0).is_none());
    }
}
