//! What stands below the rows: how many flows there are, how many there may be, and what the tables
//! take of the kernel's memory.

use std::io::{self, Write};

use multihome_common::flow::tag::WAYS;

use crate::{
    dataplane::TableBytes,
    human::{bytes, grouped},
};

/// What was listed, and of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Flows that were shown.
    pub shown: u64,
    /// Flows in the table.
    pub live: u64,
    /// Buckets of the table.
    pub buckets: u32,
    /// What the tables take.
    pub bytes: TableBytes,
}

/// Flows that a table of so many buckets is made for: one bucket is to spare, and of three places of
/// the others two count, because the last ones are hard to fill ([`Sizes::buckets`]).
///
/// [`Sizes::buckets`]: crate::dataplane::Sizes::buckets
pub const fn room(buckets: u32) -> u32 {
    buckets.saturating_sub(1) * WAYS as u32 / 3 * 2
}

impl Summary {
    /// Writes it in words.
    ///
    /// # Errors
    /// When nothing can be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let (shown, live) = (grouped(self.shown), grouped(self.live));
        let room = u64::from(room(self.buckets));
        if room == 0 {
            return writeln!(out, "{shown} of {live} flows; no uplink translates IPv4");
        }
        let TableBytes { flows, ports, pins } = self.bytes;
        let each = |bytes: u64| grouped(bytes.div_ceil(room));
        writeln!(out, "{shown} of {live} flows; room for {}", grouped(room))?;
        writeln!(
            out,
            "Kernel memory: {}, {} bytes for each flow of room (flow table {}, outside ports {}, \
             pins {})",
            bytes(flows + ports + pins),
            each(flows + ports + pins),
            each(flows),
            each(ports),
            each(pins)
        )
    }
}

#[cfg(test)]
mod tests {
    use multihome_common::{
        flow::{pin::PinLine, slot::FlowSlot, tag::TagLine},
        word::Word,
    };

    use super::*;
    use crate::{config::NatConfig, dataplane::Sizes};

    #[test]
    fn there_is_room_for_what_was_configured() {
        for flows in [1024, 1025, 262_144, 1_000_000, 16_777_216] {
            let sizes = Sizes { flows, pools: 1 };
            let room = room(sizes.buckets());
            assert!((flows - 2..flows + 6).contains(&room), "{flows}: {room}");
        }
        assert_eq!(room(0), 0);
    }

    /// What the design promises: no more than 320 bytes for each flow that there is room for.
    #[test]
    fn the_tables_take_what_is_promised() {
        const SPACES: u64 = 4 * 65_536;
        let config = NatConfig::default();
        let (flows, pools) = (config.flows, 4);
        let sizes = Sizes { flows, pools };
        let buckets = sizes.buckets();
        let summary = Summary {
            shown: 3,
            live: 12,
            buckets,
            bytes: TableBytes {
                flows: u64::from(buckets)
                    * (size_of::<TagLine>() + 8 * size_of::<FlowSlot>()) as u64,
                ports: u64::from(pools) * SPACES * size_of::<Word>() as u64,
                pins: u64::from(sizes.pin_lines()) * size_of::<PinLine>() as u64,
            },
        };
        let mut text = Vec::new();
        summary.write(&mut text).expect("memory takes it");
        assert_eq!(
            String::from_utf8_lossy(&text),
            "3 of 12 flows; room for 262 144\n\
             Kernel memory: 66.1 MB, 253 bytes for each flow of room (flow table 205, outside ports \
             32, pins 16)\n"
        );
    }
}
