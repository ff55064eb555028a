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
    framing::edge::{self, Entered},
    limits::{MAX_SLOTS, MAX_UPLINKS},
    port::{PORT_RESTORE, PortEntry},
    tables::Tables as _,
    verdict::{Disposition, Verdict},
    way::Decision,
};

use crate::{
    counters, lines,
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
    if place & STRAY != 0 {
        let bytes = (context.data_end() - context.data()) as u64;
        counters::count(place as u32, Verdict::DropUntagged.number().into(), bytes);
        return XDP_DROP;
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

/// Flag of a slot in what [`multihome_enter`] returns.
const STRAY: u64 = 1 << 32;

/// See [`edge::enter`]: one more than the port's place, which goes into the scratch memory too; zero when the
/// frame is the kernel's, and the slot with [`STRAY`] when it is nobody's.
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
    scratch.entered = 0;
    match edge::enter(&mut packet, &maps, ifindex, &mut scratch.removed) {
        Entered::Kernel => {}
        Entered::Port(place) => scratch.entered = u64::from(place) + 1,
        Entered::Stray(slot) => return STRAY | u64::from(slot),
    }
    scratch.entered
}

/// Ends the way of a packet that came in by a port with a framing, or leaves by one; the XDP action. `port` is
/// the slot of the one that it came in by, with [`FRAMED`] if that has a framing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_end(context: *mut xdp_md, port: u32, decision: u64) -> u64 {
    if context.is_null() {
        return XDP_DROP.into();
    }
    let (context, decision) = (XdpContext::new(context), Decision::from_word(decision));
    let (slot, framed) = (port & !FRAMED, port & FRAMED != 0);
    if framed {
        // They came in with the packet that was counted.
        counters::count_more(slot, decision.counter_column(), removed());
    }
    let action = match decision.disposition() {
        Disposition::Forward => {
            let egress = u32::from(decision.egress());
            if decision.is_framed() && multihome_put_on(context.ctx, egress) != 0 {
                XDP_DROP
            } else if slot as usize >= MAX_UPLINKS
                && maps::state().is_some_and(|state| state.is_faulty(egress))
            {
                lines::send(&context, egress)
            } else {
                maps::redirect(decision.egress())
            }
        }
        Disposition::Pass => {
            if framed {
                // Room that the frame had a moment ago it has now.
                let _ = multihome_put_back(context.ctx);
            }
            XDP_PASS
        }
        Disposition::Reply => {
            if framed && multihome_put_on(context.ctx, slot) != 0 {
                XDP_DROP
            } else {
                maps::redirect(slot as u8)
            }
        }
        Disposition::Drop => XDP_DROP,
    };
    action.into()
}

/// Flag of the port's slot in [`multihome_end`].
const FRAMED: u32 = 1 << 31;

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

/// Ends the way of a packet that came in by a port with a framing, or leaves by one; the XDP action.
#[inline(always)]
pub fn end(context: &XdpContext, port: &PortEntry, decision: Decision) -> u32 {
    let framed = if port.is_framed() { FRAMED } else { 0 };
    multihome_end(context.ctx, port.slot | framed, decision.word()) as u32
}
