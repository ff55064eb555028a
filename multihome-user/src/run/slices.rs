//! The sweep of the flow tables in slices: each short, since the loop has other work to do, and all
//! of them in a time that flows can be late by.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

/// How long a pass over all tables takes.
const PASS: Duration = Duration::from_secs(10);
/// Work in one slice; a unit takes some hundred nanoseconds at worst.
const UNITS: u64 = 8192;
/// A bucket of flows is eight slots, each in cache lines of its own.
const BUCKET_UNITS: u64 = 8;
/// Lines of ports are read one after the other, and only where there are flows: so many are one unit.
const PORT_LINES: u64 = 8;

/// How large the tables are, in the lines that they are swept by.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    /// Buckets of the flow table.
    pub buckets: u32,
    /// Lines of the pin table.
    pub pins: u32,
    /// Lines of the port table.
    pub ports: u32,
}

/// A slice of each table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Of the flow table's buckets.
    pub buckets: Range<u32>,
    /// Of the pin table's lines.
    pub pins: Range<u32>,
    /// Of the port table's lines.
    pub ports: Range<u32>,
    /// The pass ends with it.
    pub last: bool,
}

/// Which slice is next, and when.
#[derive(Clone, Copy, Debug)]
pub struct Slices {
    tables: Tables,
    count: u32,
    next: u32,
    due: Instant,
}

impl Slices {
    /// The first pass begins now.
    pub fn new(tables: Tables, now: Instant) -> Self {
        let units = u64::from(tables.buckets) * BUCKET_UNITS
            + u64::from(tables.pins)
            + u64::from(tables.ports) / PORT_LINES;
        Self {
            tables,
            count: units.div_ceil(UNITS).max(1) as u32,
            next: 0,
            due: now,
        }
    }

    /// When the next slice is due.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// The next slice; the one after it is due later, however late this one is.
    pub fn take(&mut self, now: Instant) -> Slice {
        let at = |lines: u32, slice: u32| {
            (u64::from(lines) * u64::from(slice) / u64::from(self.count)) as u32
        };
        let of = |lines: u32| at(lines, self.next)..at(lines, self.next + 1);
        let last = self.next + 1 == self.count;
        let slice = Slice {
            buckets: of(self.tables.buckets),
            pins: of(self.tables.pins),
            ports: of(self.tables.ports),
            last,
        };
        self.next = if last { 0 } else { self.next + 1 };
        self.due = (self.due + PASS / self.count).max(now);
        slice
    }

    /// All that is left of the pass.
    pub fn rest(&mut self, now: Instant) -> impl Iterator<Item = Slice> {
        let mut left = self.count - self.next;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            Some(self.take(now))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Each pass goes over each line once, in slices of the promised size and pace.
        #[test]
        fn a_pass_goes_over_all(buckets in 1u32..3_000_000, pins in 1u32..5_000_000, ports in 1u32..17_000_000) {
            let start = Instant::now();
            let mut slices = Slices::new(Tables { buckets, pins, ports }, start);
            let mut ends = [0; 3];
            loop {
                let now = slices.due();
                let slice = slices.take(now);
                let ranges = [slice.buckets, slice.pins, slice.ports];
                prop_assert_eq!([ranges[0].start, ranges[1].start, ranges[2].start], ends);
                ends = [ranges[0].end, ranges[1].end, ranges[2].end];
                let [buckets, pins, ports] = ranges.each_ref().map(|range| range.len() as u64);
                let units = buckets * BUCKET_UNITS + pins + ports / PORT_LINES;
                prop_assert!(units <= UNITS + 10, "{}", units);
                if slice.last {
                    break;
                }
            }
            prop_assert_eq!(ends, [buckets, pins, ports]);
            let took = slices.due() - start;
            prop_assert!(took <= PASS && took > PASS - Duration::from_millis(10), "{:?}", took);
            prop_assert_eq!(slices.take(start).buckets.start, 0);
        }
    }

    #[test]
    fn a_loop_that_was_held_up_does_not_catch_up_in_a_burst() {
        let tables = Tables {
            buckets: 100_000,
            pins: 1,
            ports: 1,
        };
        let start = Instant::now();
        let mut slices = Slices::new(tables, start);
        let late = start + Duration::from_secs(60);
        slices.take(late);
        assert!(slices.due() >= late);
    }

    #[test]
    fn the_rest_of_a_pass_ends_it() {
        let tables = Tables {
            buckets: 10_000,
            pins: 1024,
            ports: 65_536,
        };
        let start = Instant::now();
        let mut slices = Slices::new(tables, start);
        slices.take(start);
        let rest: Vec<Slice> = slices.rest(start).collect();
        assert!(rest.last().is_some_and(|slice| slice.last));
        assert_eq!(slices.rest(start).count(), rest.len() + 1);
    }
}
