//! Packets and bytes by ingress slot and column, for each CPU: one count a packet.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use multihome_common::{
    abi::Count,
    limits::{COUNTER_COLUMNS, MAX_SLOTS},
};

/// Written by the programs, summed over CPUs by the controller. A row is an ingress slot; its
/// columns are those of `Decision::counter_column`.
#[map]
static COUNTERS: PerCpuArray<Count> =
    PerCpuArray::with_max_entries((MAX_SLOTS * COUNTER_COLUMNS) as u32, 0);

/// Counts one packet of `bytes` bytes.
#[inline(always)]
pub fn count(slot: u32, column: u32, bytes: u64) {
    let Some(cell) = COUNTERS.get_ptr_mut(slot * COUNTER_COLUMNS as u32 + column) else {
        return;
    };
    // SAFETY: the element is this CPU's own, and XDP programs on one CPU do not interrupt each
    // other.
    unsafe {
        (*cell).packets += 1;
        (*cell).bytes += bytes;
    }
}
