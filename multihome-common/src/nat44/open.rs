//! Opening a flow: an outside port, a slot of the flow table, and both filled; or neither.

use super::ports::{self, PortMemory, Request, Space};
use crate::{
    flow::{
        FlowKey,
        slot::{FLAG_FORWARD, FLAG_INBOUND, FlowSlot, Outside},
        table::{self, FlowMemory},
        tag::Tag,
    },
    state::SharedState,
    uplink::{HostEntry, UplinkEntry},
    verdict::Verdict,
};

/// A flow that is to be opened.
///
/// Words, because the kernel's copy lies where the verifier wants alignment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening {
    /// The flow.
    pub key: FlowKey,
    /// Where the LAN host is.
    pub host: HostEntry,
    /// The uplink's id.
    pub uplink: u64,
    /// The outside end as one word, when a packet from outside opens the flow; else 0, and an
    /// outside end is sought.
    pub outside: u64,
}

/// A hash of what one mapping is for: the inside address and port.
#[inline(always)]
const fn mapping_hash(state: &SharedState, inside: u32, port: u16, space: Space) -> u64 {
    let word = (inside as u64) << 32 | (port as u64) << 8 | space as u64;
    let hash = (word ^ state.seed[0]).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash ^ hash >> 32 ^ state.seed[1]).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// The number in place of a port for protocols that have none: one for each remote address and
/// protocol, so that what comes back finds its owner without one.
#[inline(always)]
pub const fn pair_number(state: &SharedState, remote: u32, protocol: u8) -> u16 {
    (mapping_hash(state, remote, protocol as u16, Space::Pair) >> 48) as u16
}

/// Which outside address an inside address has on an uplink: always the same one (RFC 4787 REQ-2).
#[inline(always)]
fn outside_address(state: &SharedState, uplink: &UplinkEntry, inside: u32) -> Option<(u32, u16)> {
    if uplink.outside_count == 0 {
        return None;
    }
    let hash = mapping_hash(state, inside, 0, Space::Tcp);
    let place = ((hash >> 32) * uplink.outside_count as u64) >> 32;
    let address = *uplink.outside.get(place as usize & 7)?;
    Some((address, uplink.pool + place as u16))
}

/// Opens the flow; the slot's index.
///
/// # Errors
/// The verdict of a packet whose flow cannot be opened.
#[inline(always)]
pub fn open<M: FlowMemory + PortMemory>(
    memory: &M,
    state: &SharedState,
    uplink: &UplinkEntry,
    opening: &Opening,
    now: u32,
) -> Result<u32, Verdict> {
    let key = &opening.key;
    let space = Space::of(key.protocol());
    let (outside, forward) = if opening.outside == 0 {
        let (address, pool) =
            outside_address(state, uplink, key.inside4()).ok_or(Verdict::DropNoPort)?;
        let port = match space {
            Space::Pair => pair_number(state, key.remote4(), key.protocol()),
            Space::Tcp | Space::Udp | Space::Query => key.inside_port(),
        };
        let request = Request {
            pool,
            space,
            inside: key.inside4(),
            port,
            ranges: state.port_ranges,
            hash: mapping_hash(state, key.inside4(), port, space),
        };
        let mapping = request.map(memory).ok_or(Verdict::DropNoPort)?;
        let port = mapping.port;
        (
            Outside {
                address,
                port,
                pool,
            },
            mapping.forward,
        )
    } else {
        let outside = Outside::from_word(opening.outside);
        let mapping = ports::join(memory, outside.pool, space, outside.port, key);
        (outside, mapping.ok_or(Verdict::DropNoPort)?)
    };
    let flags = if forward { FLAG_FORWARD } else { 0 }
        | if opening.outside != 0 {
            FLAG_INBOUND
        } else {
            0
        };
    let hash = key.hash(state.seed);
    let claim = table::claim(memory, state, hash, now);
    if !claim.is_some() {
        if !forward {
            ports::release(memory, outside.pool, space, outside.port);
        }
        return Err(Verdict::DropNoFlow);
    }
    let slot = memory.flow(claim.index()).ok_or(Verdict::DropInternal)?;
    if claim.displaces() {
        slot.end();
        release(memory, slot);
    }
    slot.fill(
        key,
        opening.uplink as u8,
        flags,
        outside,
        &opening.host,
        now,
    );
    table::settle(memory, claim, Tag::signature(hash));
    Ok(claim.index())
}

/// Gives back the outside port of a flow whose slot the caller has claimed.
#[inline(always)]
pub fn release<M: PortMemory>(memory: &M, slot: &FlowSlot) {
    if !slot.is_forward() {
        let outside = slot.outside();
        ports::release(
            memory,
            outside.pool,
            Space::of(slot.protocol()),
            outside.port,
        );
    }
}

/// Ends a flow: its port is given back and its slot is free. Nothing happens when it has gone.
#[inline(always)]
pub fn close<M: FlowMemory + PortMemory>(memory: &M, index: u32) {
    if let Some(tag) = table::tag_of(memory, index) {
        close_tagged(memory, index, tag);
    }
}

/// As [`close`], the flow that had this tag: nothing happens when another one is in its slot by now.
#[inline(always)]
pub fn close_tagged<M: FlowMemory + PortMemory>(memory: &M, index: u32, tag: Tag) {
    let claim = table::evict(memory, index, tag);
    if !claim.is_some() {
        return;
    }
    if let Some(slot) = memory.flow(index) {
        slot.end();
        release(memory, slot);
    }
    table::abandon(memory, claim);
}
