//! The edge of the programs, in global functions: what a port has besides plain Ethernet is taken off and put
//! on here, off the way of ports that have nothing. See [`multihome_common::framing::edge`].

use aya_ebpf::{
    bindings::{
        xdp_action::{XDP_DROP, XDP_PASS},
        xdp_md,
    },
    programs::XdpContext,
};
use multihome_common::{
    abi::{PROGRAM_LAN, PROGRAM_UPLINK},
    framing::edge,
    limits::MAX_SLOTS,
    port::PORT_RESTORE,
    tables::Tables as _,
    verdict::Verdict,
};

use crate::{
    counters,
    maps::{self, Maps},
    packet::XdpPacket,
};

/// Finds the port of a frame, takes its framing off, and goes on with the program of the port's side.
#[inline(always)]
pub fn trunk(context: &XdpContext) -> u32 {
    let place = multihome_enter(context.ctx);
    if place == 0 {
        return XDP_PASS;
    }
    let maps = Maps::new(context);
    let Some(port) = maps.port(place as u32 - 1) else {
        return XDP_PASS;
    };
    let slot = port.slot;
    let program = if port.is_lan() {
        PROGRAM_LAN
    } else {
        PROGRAM_UPLINK
    };
    maps::go_on(context, program);
    // There is none: a defect, since both are entered before any device runs this one.
    let bytes = (context.data_end() - context.data()) as u64;
    counters::count(slot, Verdict::DropInternal.number().into(), bytes);
    XDP_DROP
}

/// See [`edge::enter`]: one more than the port's place, which goes into the scratch memory too; zero when the
/// frame is the kernel's.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_enter(context: *mut xdp_md) -> u64 {
    if context.is_null() {
        return 0;
    }
    let context = XdpContext::new(context);
    let maps = Maps::new(&context);
    let Some(scratch) = maps::scratch() else {
        return 0;
    };
    let mut packet = XdpPacket::new(&context);
    let ifindex = context.ingress_ifindex() as u32;
    let place = edge::enter(&mut packet, &maps, ifindex, &mut scratch.removed);
    scratch.entered = place.map_or(0, |place| u64::from(place) + 1);
    scratch.entered
}

/// See [`edge::put_on`]; 0 = done.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_put_on(context: *mut xdp_md, slot: u32) -> u64 {
    if context.is_null() || slot as usize >= MAX_SLOTS {
        return 1;
    }
    let context = XdpContext::new(context);
    let maps = Maps::new(&context);
    let mut packet = XdpPacket::new(&context);
    let done = maps
        .framing(slot as u8)
        .and_then(|framing| edge::put_on(&mut packet, framing));
    if done.is_some() {
        return 0;
    }
    let bytes = (context.data_end() - context.data()) as u64;
    counters::count(slot, Verdict::DropNoRoom.number().into(), bytes);
    1
}

/// See [`edge::put_back`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_put_back(context: *mut xdp_md) -> u64 {
    if context.is_null() {
        return 1;
    }
    let context = XdpContext::new(context);
    let (Some(port), Some(scratch)) = (maps::port(), maps::scratch()) else {
        return 1;
    };
    let mut packet = XdpPacket::new(&context);
    let tags = port.flags & PORT_RESTORE != 0;
    edge::put_back(&mut packet, &scratch.removed, tags).map_or(1, |()| 0)
}

/// Bytes that were taken off the frame in hand.
#[inline(always)]
pub fn removed() -> u64 {
    maps::scratch().map_or(0, |scratch| scratch.removed.bytes)
}

/// Puts on what the port of this slot has; `false` when there is no room, which is counted then.
#[inline(always)]
pub fn put_on(context: &XdpContext, slot: u32) -> bool {
    multihome_put_on(context.ctx, slot) == 0
}

/// Gives the kernel the frame as it wants it.
#[inline(always)]
pub fn put_back(context: &XdpContext) {
    // Room that the frame had a moment ago it has now.
    let _ = multihome_put_back(context.ctx);
}
