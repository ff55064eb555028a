//! What the packet path asks of the flow and port tables, each step in a global function: the verifier
//! walks it once, on its own, and not once for each way that leads to it.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_jiffies64, bpf_ktime_get_coarse_ns},
    programs::XdpContext,
};
use multihome_common::{
    abi::Clock,
    flow::{
        self, FlowKey,
        fragment::{self, Course, Datagram},
        pin::{self, Pin, Place},
        table::{self, Claim},
    },
    hash::FlowHash,
    nat44::{
        open,
        ports::{self, Found},
    },
    tcp::{self, Segment},
    uplink::HostEntry,
    verdict::Verdict,
};

use crate::{
    maps::{Maps, scratch, state, uplink},
    packet::XdpPacket,
};

/// What [`multihome_find_flow`] answers when there is no such flow.
const NO_FLOW: u64 = u64::MAX;
/// What [`multihome_open_flow`] adds to a verdict's number.
const REFUSED: u64 = 1 << 32;

/// The slot of the live flow whose key is in the scratch memory.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_find_flow(now: u32) -> u64 {
    let (Some(state), Some(scratch)) = (state(), scratch()) else {
        return NO_FLOW;
    };
    let key = &scratch.key;
    match table::find(
        &Maps::without_context(),
        state,
        key,
        key.hash(state.seed),
        now,
    ) {
        Some(index) => index.into(),
        None => NO_FLOW,
    }
}

/// The slot of the live flow whose key is in the scratch memory, if it is in this bucket.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_find_in(bucket: u32, hash: u64, now: u32) -> u64 {
    let (Some(state), Some(scratch)) = (state(), scratch()) else {
        return NO_FLOW;
    };
    let (maps, hash) = (&Maps::without_context(), FlowHash(hash));
    match table::find_in(maps, bucket, &scratch.key, hash, now, &state.timeouts) {
        Some(index) => index.into(),
        None => NO_FLOW,
    }
}

/// See [`FlowMemory::known_by_tag`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_known_by_tag(count: u32, hash: u64) -> u64 {
    table::known_by_tag(&Maps::without_context(), count, FlowHash(hash)).into()
}

/// Opens the flow that is in the scratch memory; the slot, or the verdict with [`REFUSED`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_open_flow(now: u32) -> u64 {
    let refused = |verdict: Verdict| REFUSED | u64::from(verdict.number());
    let (Some(state), Some(scratch)) = (state(), scratch()) else {
        return refused(Verdict::DropInternal);
    };
    let opening = &scratch.opening;
    let id = opening.uplink as u8 & 63;
    let Some(uplink) = uplink(u32::from(id) * 2 + state.uplink_copy(id)) else {
        return refused(Verdict::DropInternal);
    };
    match open::open(&Maps::without_context(), state, uplink, opening, now) {
        Ok(index) => index.into(),
        Err(verdict) => refused(verdict),
    }
}

/// Ends the flow in this slot.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_close_flow(index: u32) -> u64 {
    open::close(&Maps::without_context(), index);
    0
}

/// See [`PortMemory::join_line`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_join_line(line: u32, owner: u64) -> u64 {
    ports::join_line(&Maps::without_context(), line, owner)
        .0
        .into()
}

/// See [`PortMemory::take_line`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_take_line(line: u32, owner: u64, start: u32, step: u32) -> u64 {
    ports::take_line(&Maps::without_context(), line, owner, start, step)
        .0
        .into()
}

/// See [`FlowMemory::claim_in`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_claim_in(bucket: u32, signature: u32, preferred: u32) -> u64 {
    table::claim_in(&Maps::without_context(), bucket, signature, preferred).0
}

/// See [`FlowMemory::age`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_age(index: u32, now: u32) -> u64 {
    match state() {
        Some(state) => table::age(&Maps::without_context(), index, now, &state.timeouts).into(),
        None => 0,
    }
}

/// See [`FlowMemory::displace`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_displace(first: u32, second: u32, signature: u32, now: u32) -> u64 {
    match state() {
        Some(state) => {
            table::displace(
                &Maps::without_context(),
                [first, second],
                signature,
                now,
                &state.timeouts,
            )
            .0
        }
        None => 0,
    }
}

/// See [`PinMemory::find_pin`].
///
/// [`PinMemory::find_pin`]: multihome_common::flow::pin::PinMemory::find_pin
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_find_pin(line: u32, signature: u32) -> u64 {
    pin::find_in(&Maps::without_context(), line, signature).0
}

/// See [`PinMemory::best_place`].
///
/// [`PinMemory::best_place`]: multihome_common::flow::pin::PinMemory::best_place
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_best_place(line: u32, hash: u64, now: u32) -> u64 {
    match state() {
        Some(state) => {
            let maps = &Maps::without_context();
            pin::best_place(maps, line, FlowHash(hash), now as u16, &state.timeouts).0
        }
        None => 0,
    }
}

/// What was done with the first fragment of the datagram in the scratch memory, which goes there too:
/// 1 = it is known.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_find_fragment(now: u32) -> u64 {
    let (Some(state), Some(scratch)) = (state(), scratch()) else {
        return 0;
    };
    let maps = &Maps::without_context();
    match fragment::find(maps, state.seed, &scratch.datagram, now) {
        Some(course) => {
            scratch.course = course;
            1
        }
        None => 0,
    }
}

/// Remembers the datagram that is in the scratch memory, and what is done with it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_remember_fragment(now: u32) -> u64 {
    if let (Some(state), Some(scratch)) = (state(), scratch()) {
        let maps = &Maps::without_context();
        fragment::remember(maps, state.seed, &scratch.datagram, &scratch.course, now);
    }
    0
}

/// What was done with the first fragment of a datagram.
#[inline(always)]
pub fn find_fragment(datagram: &Datagram) -> Option<Course> {
    scratch()?.datagram = *datagram;
    if multihome_find_fragment(now()) == 0 {
        return None;
    }
    Some(scratch()?.course)
}

/// Remembers what was done with the first fragment of a datagram.
#[inline(always)]
pub fn remember_fragment(datagram: &Datagram, course: &Course) {
    if let Some(scratch) = scratch() {
        scratch.datagram = *datagram;
        scratch.course = *course;
        multihome_remember_fragment(now());
    }
}

/// See [`tcp::note`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_note_segment(hash: u64, data: u64, place: u32) -> u64 {
    tcp::note(
        &Maps::without_context(),
        FlowHash(hash),
        Segment { data, place },
    );
    0
}

/// See [`tcp::TcpMemory::note_plain`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_note_plain(context: *mut xdp_md, hash: u64, place: u32) -> u64 {
    if context.is_null() {
        return 0;
    }
    let packet = XdpPacket::new(&XdpContext::new(context));
    if let Some(segment) = Segment::plain(&packet, place) {
        note_segment(FlowHash(hash), segment);
    }
    0
}

/// See [`tcp::TcpMemory::note_plain`].
#[inline(always)]
pub fn note_plain(context: *mut xdp_md, hash: FlowHash, place: u32) {
    multihome_note_plain(context, hash.0, place);
}

/// See [`tcp::note`].
#[inline(always)]
pub fn note_segment(hash: FlowHash, segment: Segment) {
    multihome_note_segment(hash.0, segment.data, segment.place);
}

/// See [`pin::find_in`].
#[inline(always)]
pub fn find_pin(line: u32, signature: u32) -> Pin {
    Pin(multihome_find_pin(line, signature))
}

/// See [`pin::best_place`].
#[inline(always)]
pub fn best_place(line: u32, hash: FlowHash, now: u16) -> Place {
    Place(multihome_best_place(line, hash.0, now.into()))
}

/// The clock for flows, in ticks.
///
/// It is read anew once in a jiffy, which is as often as it moves: the verifier turns the call for
/// jiffies into one load, while that for the time stays a call.
#[inline(always)]
pub fn now() -> u32 {
    // SAFETY: the helpers have no arguments and no failure.
    let (jiffies, read) = unsafe { (bpf_jiffies64(), || bpf_ktime_get_coarse_ns()) };
    let Some(scratch) = scratch() else {
        return flow::ticks(read());
    };
    if scratch.clock.jiffies != jiffies {
        scratch.clock = Clock {
            jiffies,
            ticks: flow::ticks(read()).into(),
        };
    }
    scratch.clock.ticks as u32
}

/// The slot of a live flow.
#[inline(always)]
pub fn find(key: &FlowKey, now: u32) -> Option<u32> {
    scratch()?.key = *key;
    let found = multihome_find_flow(now);
    (found != NO_FLOW).then_some(found as u32)
}

/// See [`table::find_in`]; the key is in the scratch memory.
#[inline(always)]
pub fn find_in(bucket: u32, hash: FlowHash, now: u32) -> Option<u32> {
    let found = multihome_find_in(bucket, hash.0, now);
    (found != NO_FLOW).then_some(found as u32)
}

/// See [`table::known_by_tag`].
#[inline(always)]
pub fn known_by_tag(count: u32, hash: FlowHash) -> u32 {
    multihome_known_by_tag(count, hash.0) as u32
}

/// Prepares a flow to be opened by [`open`]. See [`Tables::prepare_flow`].
///
/// [`Tables::prepare_flow`]: multihome_common::tables::Tables::prepare_flow
#[inline(always)]
pub fn prepare(key: &FlowKey, host: &HostEntry, id: u8, outside: u64) -> Result<(), Verdict> {
    // Field by field, because the stack has no room for all of it.
    let opening = &mut scratch().ok_or(Verdict::DropInternal)?.opening;
    opening.key = *key;
    opening.host = *host;
    opening.uplink = id.into();
    opening.outside = outside;
    Ok(())
}

/// Opens the flow that was prepared; the slot, or the verdict of its packet.
#[inline(always)]
pub fn open() -> Result<u32, Verdict> {
    let opened = multihome_open_flow(now());
    if opened & REFUSED != 0 {
        return Err(Verdict::from_number(opened as u8).unwrap_or(Verdict::DropInternal));
    }
    Ok(opened as u32)
}

/// Ends a flow.
#[inline(always)]
pub fn close(index: u32) {
    multihome_close_flow(index);
}

/// See [`ports::join_line`].
#[inline(always)]
pub fn join_line(line: u32, owner: u64) -> Found {
    Found(multihome_join_line(line, owner) as u32)
}

/// See [`ports::take_line`].
#[inline(always)]
pub fn take_line(line: u32, owner: u64, start: u32, step: u32) -> Found {
    Found(multihome_take_line(line, owner, start, step) as u32)
}

/// See [`table::claim_in`].
#[inline(always)]
pub fn claim_in(bucket: u32, signature: u32, preferred: u32) -> Claim {
    Claim(multihome_claim_in(bucket, signature, preferred))
}

/// See [`table::age`].
#[inline(always)]
pub fn age(index: u32, now: u32) -> u32 {
    multihome_age(index, now) as u32
}

/// See [`table::displace`].
#[inline(always)]
pub fn displace(buckets: [u32; 2], signature: u32, now: u32) -> Claim {
    Claim(multihome_displace(buckets[0], buckets[1], signature, now))
}
