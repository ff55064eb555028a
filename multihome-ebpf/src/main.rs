//! The XDP programs: one for LAN ports, one for uplinks. Each turns the decision of the shared
//! packet path into an XDP verdict, and counts it.
#![no_std]
#![expect(
    missing_docs,
    reason = "the xdp macro makes functions without their comments"
)]
#![no_main]

mod counters;
mod flows;
mod maps;
mod packet;
mod route;

use aya_ebpf::{
    bindings::{
        xdp_action::{XDP_DROP, XDP_PASS},
        xdp_md,
    },
    macros::xdp,
    programs::XdpContext,
};
use aya_log_ebpf::error;
use multihome_common::{
    icmp_error,
    parse::{self, Parsed},
    port::{self, PortEntry},
    reset,
    verdict::{Disposition, Verdict},
    way::{self, Decision},
};

use crate::{maps::Maps, packet::XdpPacket};

/// Packets that LAN hosts send.
#[xdp]
pub fn multihome_lan(context: XdpContext) -> u32 {
    run(&context, way::lan::decide, |context| {
        multihome_error_outward(context)
    })
}

/// Packets that come back from the internet.
#[xdp]
pub fn multihome_uplink(context: XdpContext) -> u32 {
    run(&context, way::uplink::decide, |context| {
        multihome_error_inward(context)
    })
}

#[inline(always)]
fn run(
    context: &XdpContext,
    decide: impl FnOnce(&mut XdpPacket, &Maps, &PortEntry, &Parsed) -> Decision,
    quoted: impl FnOnce(*mut xdp_md) -> u64,
) -> u32 {
    let maps = Maps::new(context);
    // No entry: the controller is just about to write it, or has given the device up.
    let Some(port) = port::find(&maps, context.ingress_ifindex() as u32) else {
        return XDP_PASS;
    };
    let bytes = (context.data_end() - context.data()) as u64;
    let mut decision = Decision::from_word(multihome_parse(context.ctx));
    if decision.verdict_number() == Verdict::Forwarded.number() {
        let mut packet = XdpPacket::new(context);
        decision = match maps::scratch() {
            Some(scratch) => decide(&mut packet, &maps, port, &scratch.parsed),
            None => Verdict::DropInternal.into(),
        };
    }
    if decision == Decision::QUOTED {
        decision = Decision::from_word(quoted(context.ctx));
    }
    if let Disposition::Reply = decision.disposition() {
        decision = Decision::from_word(
            if decision.verdict_number() == Verdict::ReplyReset.number() {
                multihome_reset(context.ctx)
            } else {
                multihome_answer(context.ctx, decision.word())
            },
        );
    }
    counters::count(port.slot, decision.counter_column(), bytes);
    match decision.disposition() {
        Disposition::Forward => maps::redirect(decision.egress()),
        Disposition::Pass => XDP_PASS,
        // Not XDP_TX: for that, veth wakes its peer only if the peer runs an XDP program itself.
        Disposition::Reply => maps::redirect(port.slot as u8),
        Disposition::Drop => {
            if decision.verdict_number() == Verdict::DropInternal.number() {
                report_internal(context, port.slot);
            }
            XDP_DROP
        }
    }
}

/// Parses the packet into the scratch memory; a decision other than "forwarded" ends its way.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_parse(context: *mut xdp_md) -> u64 {
    let internal = Decision::from(Verdict::DropInternal).word();
    if context.is_null() {
        return internal;
    }
    let context = XdpContext::new(context);
    let maps = Maps::new(&context);
    let Some(port) = port::find(&maps, context.ingress_ifindex() as u32) else {
        return internal;
    };
    let Some(scratch) = maps::scratch() else {
        return internal;
    };
    let packet = XdpPacket::new(&context);
    match parse::headers(&packet, port, &mut scratch.parsed) {
        Ok(()) => Decision::from(Verdict::Forwarded).word(),
        Err(verdict) => Decision::from(verdict).word(),
    }
}

/// Translates an ICMP error from the LAN, which is in the scratch memory as parsed.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_error_outward(context: *mut xdp_md) -> u64 {
    error(context, |packet, maps, _, parsed| {
        way::errors::outward(packet, maps, parsed)
    })
}

/// Translates an ICMP error from an uplink, likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_error_inward(context: *mut xdp_md) -> u64 {
    error(context, |packet, maps, port, parsed| {
        way::errors::inward(packet, maps, port, parsed)
    })
}

#[inline(always)]
fn error(
    context: *mut xdp_md,
    translate: impl FnOnce(&mut XdpPacket, &Maps, &PortEntry, &Parsed) -> Result<Decision, Verdict>,
) -> u64 {
    let internal = Decision::from(Verdict::DropInternal).word();
    if context.is_null() {
        return internal;
    }
    let context = XdpContext::new(context);
    let maps = Maps::new(&context);
    let port = port::find(&maps, context.ingress_ifindex() as u32);
    let (Some(port), Some(scratch)) = (port, maps::scratch()) else {
        return internal;
    };
    let mut packet = XdpPacket::new(&context);
    match translate(&mut packet, &maps, port, &scratch.parsed) {
        Ok(decision) => decision.word(),
        Err(verdict) => Decision::from(verdict).word(),
    }
}

/// Answers the packet: the second half of its way.
///
/// A global function: it has a stack of its own, and the verifier walks it once, on its own, and
/// not once for each way that leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_answer(context: *mut xdp_md, decision: u64) -> u64 {
    let internal = Decision::from(Verdict::DropInternal).word();
    if context.is_null() {
        return internal;
    }
    let context = XdpContext::new(context);
    let mut maps = Maps::new(&context);
    let ports = Maps::new(&context);
    let Some(port) = port::find(&ports, context.ingress_ifindex() as u32) else {
        return internal;
    };
    let mut packet = XdpPacket::new(&context);
    icmp_error::answer(&mut packet, &mut maps, port, Decision::from_word(decision)).word()
}

/// Answers the packet with a TCP reset; a global function for the same reasons.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_reset(context: *mut xdp_md) -> u64 {
    if context.is_null() {
        return Decision::from(Verdict::DropInternal).word();
    }
    let context = XdpContext::new(context);
    let mut maps = Maps::new(&context);
    let mut packet = XdpPacket::new(&context);
    Decision::from(reset::answer(&mut packet, &mut maps)).word()
}

/// Tells the controller of a defect; off the way, because a log record needs much stack.
#[inline(never)]
fn report_internal(context: &XdpContext, slot: u32) {
    error!(context, "a lookup that cannot fail did, on slot {}", slot);
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Panics cannot be reached: the verifier would have to see this loop end.
    loop {}
}

/// The kernel lets only programs of a GPL-compatible licence call the routing helper; the
/// project's MIT licence is one, under the name that the kernel knows.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
