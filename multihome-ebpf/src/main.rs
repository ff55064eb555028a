//! The XDP programs: one for LAN ports, one for uplinks, and one before them on devices whose ports are told
//! apart by their framing. Each turns the decision of the shared packet path into an XDP verdict, and counts
//! it.
#![no_std]
#![expect(
    missing_docs,
    reason = "the xdp macro makes functions without their comments"
)]
#![no_main]

mod counters;
mod edge;
mod egress;
mod flows;
mod lines;
mod maps;
mod packet;
mod route;
mod stages;
mod steer;

use aya_ebpf::{
    bindings::xdp_action::{XDP_DROP, XDP_PASS},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use aya_log_ebpf::error;
use multihome_common::{
    port::PortEntry,
    state::SharedState,
    verdict::{Disposition, Verdict},
    way::{self, Decision},
};

use crate::{maps::Maps, packet::XdpPacket, stages::Kernel};

/// Packets that LAN hosts send.
#[xdp]
pub fn multihome_lan(context: XdpContext) -> u32 {
    run(
        &context,
        Side::Lan,
        way::known::from_lan,
        Kernel::decide_lan,
        way::stages::after_lan,
    )
}

/// Packets that come back from the internet.
#[xdp]
pub fn multihome_uplink(context: XdpContext) -> u32 {
    run(
        &context,
        Side::Uplink,
        way::known::from_uplink,
        Kernel::decide_uplink,
        way::stages::after_uplink,
    )
}

/// Frames of devices whose ports are told apart by their framing: what is a port's goes on plain, as if it
/// had come in on a device of its own.
#[xdp]
pub fn multihome_trunk(context: XdpContext) -> u32 {
    edge::trunk(&context)
}

/// Frames that the kernel itself sends by a device whose tags it has no VLAN device for.
#[classifier]
pub fn multihome_egress(context: TcContext) -> i32 {
    egress::tag(&context)
}

/// Where a program's packets come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Lan,
    Uplink,
}

#[inline(always)]
fn run(
    context: &XdpContext,
    side: Side,
    known: impl FnOnce(&mut XdpPacket, &Maps, &PortEntry) -> Option<Decision>,
    decide: impl FnOnce(&mut Kernel) -> Decision,
    after: impl FnOnce(&mut Kernel, Decision) -> Decision,
) -> u32 {
    let maps = Maps::new(context);
    let Some(port) = maps::arrived(context) else {
        return XDP_PASS;
    };
    let is_faulty = |slot| maps::state().is_some_and(|state| state.is_faulty(slot));
    // As it came: an answer may be longer.
    let bytes = || (context.data_end() - context.data()) as u64;
    if side == Side::Uplink && is_faulty(port.slot) {
        maps::note_port(context);
        if lines::loses_inward(context) {
            return XDP_DROP;
        }
    }
    let (mut decision, bytes) = match known(&mut XdpPacket::new(context), &maps, port) {
        Some(decision) => (decision, bytes()),
        None => {
            let bytes = bytes();
            maps::note_port(context);
            let mut kernel = Kernel::new(context);
            let mut decision = kernel.parse();
            let observes = maps::state().is_some_and(SharedState::observes_dns);
            if side == Side::Lan
                && decision.verdict_number() == Verdict::Forwarded.number()
                && let Some(in_force) = maps::state().and_then(SharedState::rulebook)
            {
                // Before its source is translated, as answers are seen after their destination is.
                if observes {
                    kernel.observe();
                }
                decision = kernel.judge(in_force);
            }
            if decision.verdict_number() == Verdict::Forwarded.number() {
                decision = decide(&mut kernel);
            }
            if decision.is_stage() || decision.disposition() as u8 == Disposition::Reply as u8 {
                decision = after(&mut kernel, decision);
            }
            if decision.disposition() as u8 == Disposition::Forward as u8 {
                match side {
                    Side::Lan => {
                        kernel.watch_outward(decision);
                        kernel.clamp(decision.egress());
                    }
                    Side::Uplink => {
                        kernel.watch_inward(decision);
                        kernel.clamp(port.slot as u8);
                        if observes {
                            kernel.observe();
                        }
                    }
                }
            }
            (decision, bytes)
        }
    };
    if side == Side::Uplink && is_faulty(port.slot) {
        decision = lines::went_on(port.slot, decision);
    }
    counters::count(port.slot, decision.counter_column(), bytes);
    if decision.is_framed() || port.is_framed() {
        return edge::end(context, port, decision);
    }
    match decision.disposition() {
        Disposition::Forward => {
            let egress = u32::from(decision.egress());
            if side == Side::Lan && is_faulty(egress) {
                return lines::send(context, egress);
            }
            maps::redirect(decision.egress())
        }
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
