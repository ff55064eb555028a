//! Packets and bytes by ingress slot and column, for each CPU: one count a packet.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE, helpers::bpf_get_smp_processor_id, macros::map, maps::Array,
};
use multihome_common::{abi::SIZED_AT_START, counters::CounterTable};

/// A table for each CPU. Written by the programs, read by the controller through memory it maps. Not a
/// map for each CPU, which cannot be mapped: the controller looks at what passes by uplinks every few
/// milliseconds, and would need a system call for each cell.
#[map]
static COUNTERS: Array<CounterTable> =
    Array::with_max_entries(SIZED_AT_START as u32, BPF_F_MMAPABLE);

/// Counts one packet of `bytes` bytes.
#[inline(always)]
pub fn count(slot: u32, column: u32, bytes: u64) {
    // SAFETY: the helper has no arguments and no failure.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    // The table is this CPU's own, and XDP programs on one CPU do not interrupt each other.
    if let Some(cell) = COUNTERS.get(cpu).and_then(|table| table.cell(slot, column)) {
        cell.count(bytes);
    }
}

/// Counts bytes of a packet that is counted already.
#[inline(always)]
pub fn count_more(slot: u32, column: u32, bytes: u64) {
    // SAFETY: the helper has no arguments and no failure.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(cell) = COUNTERS.get(cpu).and_then(|table| table.cell(slot, column)) {
        cell.count_more(bytes);
    }
}
