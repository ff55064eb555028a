//! Feeding a program: each run writes the headers of the ring's next packet and calls the program.

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP},
    macros::{map, xdp},
    maps::{Array, PerCpuArray, ProgramArray},
    programs::XdpContext,
};
use bench_traffic::{
    HEADERS4, HEADERS6,
    ring::{Listed, MAX_LISTED, Ring},
};
use multihome_common::word::Word;

/// What the program is fed with.
#[map]
static RING: Array<Ring> = Array::with_max_entries(1, 0);

/// The flows of a ring that has a list.
#[map]
static LIST: Array<u64> = Array::with_max_entries(MAX_LISTED, 0);

/// The place of the next packet, and a word that nobody reads.
#[map]
static PLACE: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);

/// The programs that may be fed.
#[map]
static NEXT: ProgramArray = ProgramArray::with_max_entries(64, 0);

/// Run by BPF_PROG_TEST_RUN, many times in one call. The program that is fed leaves the frame as it
/// has changed it, so all headers are written each time.
#[xdp]
pub fn feed(context: XdpContext) -> u32 {
    let (Some(ring), Some(place)) = (RING.get(0), PLACE.get_ptr_mut(0)) else {
        return XDP_ABORTED;
    };
    // SAFETY: the element is this CPU's own.
    let cell = unsafe { &mut *place };
    let now = if cell[0] < ring.len { cell[0] } else { 0 };
    cell[0] = now + 1;
    let listed = if ring.listed == 0 {
        ring.at(now)
    } else {
        let Some(word) = LIST.get(now as u32) else {
            return XDP_ABORTED;
        };
        Listed::from_word(*word)
    };
    let (start, end) = (context.data(), context.data_end());
    if ring.family == 4 {
        if start + HEADERS4 > end {
            return XDP_ABORTED;
        }
        // SAFETY: the bounds were compared.
        let frame = unsafe { &mut *(start as *mut [u8; HEADERS4]) };
        ring.write4(frame, listed, end - start);
    } else {
        if start + HEADERS6 > end {
            return XDP_ABORTED;
        }
        // SAFETY: the bounds were compared.
        let frame = unsafe { &mut *(start as *mut [u8; HEADERS6]) };
        ring.write6(frame, listed, end - start);
    }
    // A full barrier: the frame is in the cache before it is read, as it is when a device has put it
    // there, and what this program does is done when the other one begins.
    // SAFETY: a word is eight aligned bytes of any value, and the element is this CPU's own.
    unsafe { &*(&raw mut cell[1]).cast::<Word>() }.subtract_one();
    // SAFETY: nothing is left to be dropped.
    unsafe { NEXT.tail_call(&context, ring.next) };
    XDP_ABORTED
}

/// Does nothing: what feeding alone costs.
#[xdp]
pub fn nothing(_: XdpContext) -> u32 {
    XDP_DROP
}
