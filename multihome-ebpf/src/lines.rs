//! The uplinks' lines and their faults, in global functions: they are seldom asked, and the verifier walks
//! them once.

use aya_ebpf::{
    bindings::{xdp_action::XDP_DROP, xdp_md},
    programs::XdpContext,
};
use multihome_common::{
    verdict::Verdict,
    way::{
        Decision,
        line::{self, Fate},
    },
};

use crate::{
    counters, edge,
    maps::{self, Maps, scratch, state},
    stages::Kernel,
};

/// What the line of the uplink does with the packet of this context: the [`Fate`], which goes into the
/// scratch memory too.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_came_in(context: *mut xdp_md) -> u64 {
    if context.is_null() {
        return Fate::Spared as u64;
    }
    let context = XdpContext::new(context);
    let maps = Maps::new(&context);
    let (Some(port), Some(state)) = (maps::port(), state()) else {
        return Fate::Spared as u64;
    };
    // Bounded once: Linux 6.1 forgets a bound that is found after the number went to the stack.
    let id = port.slot as u8 & 63;
    let fate = line::came_in(&maps, state, id, || {
        let decision = Kernel::new(&context).parse();
        let Some(scratch) = scratch() else {
            return true;
        };
        let parsed = match decision.verdict_number() {
            0 => Ok(&scratch.parsed),
            _ => Err(Verdict::PassNotIp),
        };
        line::is_links(&maps, state, parsed)
    });
    if let Some(scratch) = scratch() {
        scratch.fate = fate as u64;
    }
    if fate == Fate::Lost {
        let bytes = (context.data_end() - context.data()) as u64;
        let bytes = if port.is_framed() {
            bytes + edge::removed()
        } else {
            bytes
        };
        counters::count(id.into(), Verdict::DropFaultIn.number().into(), bytes);
    }
    fate as u64
}

/// See [`line::went_on`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_went_on(slot: u32, decision: u64) -> u64 {
    let decision = Decision::from_word(decision);
    let (Some(state), Some(scratch)) = (state(), scratch()) else {
        return decision.word();
    };
    let fate = if scratch.fate == Fate::Passed as u64 {
        Fate::Passed
    } else {
        Fate::Spared
    };
    let maps = &Maps::without_context();
    line::went_on(maps, state, slot as u8 & 63, fate, decision).word()
}

/// Sends the packet of this context out of the uplink of this slot, if its line does not lose it; the XDP
/// action.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_send(context: *mut xdp_md, slot: u32) -> u64 {
    let id = slot as u8 & 63;
    if context.is_null() {
        return XDP_DROP.into();
    }
    let lost =
        state().is_some_and(|state| line::loses_outward(&Maps::without_context(), state, id));
    if lost {
        let context = XdpContext::new(context);
        let bytes = (context.data_end() - context.data()) as u64;
        counters::count(id.into(), Verdict::DropFaultOut.number().into(), bytes);
        return XDP_DROP.into();
    }
    maps::redirect(id).into()
}

/// Whether the line loses the packet that came in; then it is counted.
#[inline(always)]
pub fn loses_inward(context: &XdpContext) -> bool {
    multihome_came_in(context.ctx) == Fate::Lost as u64
}

/// What becomes of a packet that came in on the uplink of this slot.
#[inline(always)]
pub fn went_on(slot: u32, decision: Decision) -> Decision {
    Decision::from_word(multihome_went_on(slot, decision.word()))
}

/// Sends a packet out of the uplink of this slot, whose line may lose it; the XDP action.
#[inline(always)]
pub fn send(context: &XdpContext, slot: u32) -> u32 {
    multihome_send(context.ctx, slot) as u32
}
