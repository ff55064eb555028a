//! Placeholder: a program that passes everything.
#![no_std]
#![no_main]

use aya_ebpf::{bindings::xdp_action::XDP_PASS, macros::xdp, programs::XdpContext};

/// Passes every packet.
#[xdp]
pub fn multihome_lan(_context: XdpContext) -> u32 {
    XDP_PASS
}

/// Passes every packet.
#[xdp]
pub fn multihome_uplink(_context: XdpContext) -> u32 {
    XDP_PASS
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
