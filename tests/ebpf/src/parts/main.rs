//! The XDP programs that the cost of multihome's programs is measured with: one that feeds another
//! with packets, and multihome's packet path cut short after each of its parts.
//!
//! The parts are multihome's own code, from its own files, over the maps of the gateway that is
//! measured: nothing of the path is written here a second time, and the gateway's own programs know
//! nothing of it.
#![no_std]
#![no_main]
#![expect(
    missing_docs,
    reason = "the xdp macro makes functions without their comments"
)]

#[path = "../../../../multihome-ebpf/src/counters.rs"]
mod counters;
mod feed;
#[path = "../../../../multihome-ebpf/src/flows.rs"]
mod flows;
#[path = "../../../../multihome-ebpf/src/maps/mod.rs"]
mod maps;
#[path = "../../../../multihome-ebpf/src/packet.rs"]
mod packet;
#[path = "../../../../multihome-ebpf/src/route.rs"]
mod route;
#[path = "../../../../multihome-ebpf/src/stages.rs"]
mod stages;
#[path = "../../../../multihome-ebpf/src/steer.rs"]
mod steer;
mod until;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Panics cannot be reached: the verifier would have to see this loop end.
    loop {}
}

/// The kernel's name for the project's licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
