//! The measurements' XDP programs: one makes traffic, one counts what arrives, one forwards with no
//! more work than it takes.
#![no_std]
#![no_main]
#![expect(
    missing_docs,
    reason = "the xdp macro makes functions without their comments"
)]

mod tagged;

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS},
    helpers::{bpf_redirect, bpf_xdp_adjust_tail},
    macros::{map, xdp},
    maps::{Array, DevMap, PerCpuArray},
    programs::XdpContext,
};
use bench_traffic::{
    Flow, HEADERS4, HEADERS6, HOSTS4, HOSTS6, MIXED_LEN, PORT, Traffic, mixed_len, number,
};

/// Which traffic [`generate`] makes.
#[map]
static TRAFFIC: Array<Traffic> = Array::with_max_entries(1, 0);

/// Packets that each CPU has made.
#[map]
static MADE: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// What has arrived, by the device's ifindex: packets that were translated, packets that were not.
#[map]
static ARRIVED: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(256, 0);

/// Packets that [`bare`] has forwarded on each CPU.
#[map]
static TURN: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The two devices that [`bare`] forwards to.
#[map]
static OUT: DevMap = DevMap::with_max_entries(2, 0);

/// Makes a frame: run by BPF_PROG_TEST_RUN with live frames. The frames' memory is used again as the
/// last receiver left it, so all headers are written each time.
#[xdp]
pub fn generate(context: XdpContext) -> u32 {
    let (Some(traffic), Some(made)) = (TRAFFIC.get(0), MADE.get_ptr_mut(0)) else {
        return XDP_ABORTED;
    };
    // SAFETY: the element is this CPU's own.
    let count = unsafe {
        let count = *made;
        *made = count + 1;
        count
    };
    if traffic.mixed != 0 {
        let by = mixed_len(count) as i32 - MIXED_LEN as i32;
        // SAFETY: the context is the one that the kernel handed over.
        if unsafe { bpf_xdp_adjust_tail(context.as_ptr().cast(), by) } != 0 {
            return XDP_ABORTED;
        }
    }
    let flow = Flow::new(number(traffic, count.wrapping_add(traffic.begin)));
    let (start, end) = (context.data(), context.data_end());
    if traffic.family == 4 {
        if start + HEADERS4 > end {
            return XDP_ABORTED;
        }
        // SAFETY: the bounds were compared.
        let frame = unsafe { &mut *(start as *mut [u8; HEADERS4]) };
        bench_traffic::write4(frame, &traffic.macs, flow, end - start);
    } else {
        if start + HEADERS6 > end {
            return XDP_ABORTED;
        }
        // SAFETY: the bounds were compared.
        let frame = unsafe { &mut *(start as *mut [u8; HEADERS6]) };
        bench_traffic::write6(frame, &traffic.macs, flow, end - start);
    }
    // SAFETY: the helper takes numbers.
    unsafe { bpf_redirect(traffic.ifindex, 0) as u32 }
}

/// Counts and drops the traffic; all else is the kernel's.
#[xdp]
pub fn sink(context: XdpContext) -> u32 {
    let (start, end) = (context.data(), context.data_end());
    if start + HEADERS4 > end {
        return XDP_PASS;
    }
    // SAFETY: the bounds were compared.
    let headers = unsafe { &*(start as *const [u8; HEADERS4]) };
    let port = PORT.to_be_bytes();
    let inside = match [headers[12], headers[13]] {
        [0x08, 0x00] if headers[23] == 17 && headers[36..38] == port => {
            headers[26] == HOSTS4.to_be_bytes()[0]
        }
        [0x86, 0xdd] if headers[20] == 17 && start + HEADERS6 <= end => {
            // SAFETY: the bounds were compared.
            let headers = unsafe { &*(start as *const [u8; HEADERS6]) };
            if headers[56..58] != port {
                return XDP_PASS;
            }
            headers[22] == HOSTS6.to_be_bytes()[0]
        }
        _ => return XDP_PASS,
    };
    if let Some(arrived) = ARRIVED.get_ptr_mut(context.ingress_ifindex() as u32 & 0xff) {
        // SAFETY: the element is this CPU's own.
        unsafe {
            if inside {
                (*arrived)[1] += 1;
            } else {
                (*arrived)[0] += 1;
            }
        }
    }
    XDP_DROP
}

/// The limit of what a program can forward: it looks at nothing, and sends to both devices in turn.
#[xdp]
pub fn bare(_: XdpContext) -> u32 {
    let Some(turn) = TURN.get_ptr_mut(0) else {
        return XDP_ABORTED;
    };
    // SAFETY: the element is this CPU's own.
    let turn = unsafe {
        *turn += 1;
        *turn
    };
    match OUT.redirect(turn as u32 & 1, 0) {
        Ok(action) | Err(action) => action,
    }
}

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
