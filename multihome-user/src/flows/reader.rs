//! Reading the flow table while the programs change it: one flow after the other, none of them torn.

use std::sync::atomic::{Ordering, fence};

use multihome_common::flow::{
    lifetime::Timeouts,
    table::FlowMemory,
    tag::{Tag, WAYS},
};

use super::record::Flow;

/// The flows of a table of so many buckets, in the table's order; `now` tells the time in ticks.
///
/// They are read as they are asked for, so the table may be of any size. A slot that changes hands
/// while it is read is passed over: its flow has just ended, and the next one has just begun.
pub fn flows<'a, M: FlowMemory>(
    memory: &'a M,
    buckets: u32,
    timeouts: &'a Timeouts,
    now: impl Fn() -> u32 + 'a,
) -> impl Iterator<Item = Flow> + 'a {
    (0..buckets * WAYS as u32).filter_map(move |index| read(memory, index, timeouts, &now))
}

fn read<M: FlowMemory>(
    memory: &M,
    index: u32,
    timeouts: &Timeouts,
    now: &impl Fn() -> u32,
) -> Option<Flow> {
    let tag = &memory.tags(index / WAYS as u32)?.0[index as usize % WAYS];
    let before = tag.load();
    if !Tag(before).is_live() {
        return None;
    }
    // The slot is read after the tag, and the tag again after the slot: whoever takes the slot over
    // changes the tag first.
    fence(Ordering::Acquire);
    let flow = Flow::of(memory.flow(index)?, timeouts, now());
    fence(Ordering::Acquire);
    (tag.load() == before).then_some(flow)?
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use multihome_common::{
        flow::{FlowKey, lifetime, slot::FlowSlot, tag::TagLine},
        nat44::open,
        sim::SimTables,
        wire::protocol,
    };

    use super::{super::tests::Gateway, *};

    /// A table whose slot changes hands between two looks at it.
    struct Changing<'a> {
        tables: &'a SimTables,
        armed: Cell<bool>,
    }

    impl FlowMemory for Changing<'_> {
        fn tags(&self, bucket: u32) -> Option<&TagLine> {
            self.tables.tags(bucket)
        }

        fn flow(&self, index: u32) -> Option<&FlowSlot> {
            if self.armed.take() {
                open::close(self.tables, index);
            }
            self.tables.flow(index)
        }
    }

    #[test]
    fn a_slot_that_changes_hands_is_passed_over() {
        let gateway = Gateway::new(8);
        let tables = &gateway.tables;
        for port in 0..2 {
            gateway.open(
                FlowKey::v4(1, 2, (5000 + port) << 16 | 443, protocol::TCP),
                0,
            );
        }
        let timeouts = &tables.state.timeouts;
        let count = |armed| {
            let changing = Changing {
                tables,
                armed: Cell::new(armed),
            };
            flows(&changing, 8, timeouts, || tables.now).count()
        };
        assert_eq!(count(false), 2);
        assert_eq!(count(true), 1);
        assert_eq!(count(false), 1);
    }

    #[test]
    fn a_flow_whose_time_is_up_is_none() {
        let gateway = Gateway::new(8);
        let tables = &gateway.tables;
        gateway.open(FlowKey::v4(1, 2, 5000 << 16 | 53, protocol::UDP), 0);
        let timeouts = &tables.state.timeouts;
        let at = |now| flows(tables, 8, timeouts, move || now).next();
        let last = tables.now + timeouts.get(lifetime::Kind::UdpUnanswered);
        assert_eq!(at(last).map(|flow| flow.left.as_secs()), Some(0));
        assert_eq!(at(last + 1), None);
        // Another CPU's clock may be a moment ahead.
        let early = at(tables.now - 1).map(|flow| (flow.age.as_secs(), flow.idle.as_secs()));
        assert_eq!(early, Some((0, 0)));
    }
}
