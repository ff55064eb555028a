//! XDP memory as a [`Packet`]: the one place where packet pointers are made.

use core::hint::black_box;

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use multihome_common::packet::{self, Packet};

/// No header that is summed up begins behind this.
const MAX_OFFSET: u32 = 0xff;

/// No access is behind this: six extension headers of 2 KiB each end at 12 KiB.
const MAX_ACCESS: usize = 0x3fff;

/// The frame that a program runs on.
pub struct XdpPacket {
    context: *mut xdp_md,
    data: usize,
    end: usize,
    /// Equal to `end - data`, but hidden from the compiler: else it would prove bounds from lengths
    /// and leave out comparisons that the verifier wants to see.
    len: usize,
}

impl XdpPacket {
    /// The frame of this context.
    #[inline(always)]
    pub fn new(context: &XdpContext) -> Self {
        let mut packet = Self {
            context: context.as_ptr().cast(),
            data: 0,
            end: 0,
            len: 0,
        };
        packet.refresh();
        packet
    }

    /// Reads the frame's bounds again, after a helper that may have moved it.
    #[inline(always)]
    fn refresh(&mut self) {
        let context = XdpContext::new(self.context);
        self.data = context.data();
        self.end = context.data_end();
        self.len = black_box(self.end - self.data);
    }

    /// The address of `N` bytes at `offset`, if the frame has them.
    #[inline(always)]
    fn checked<const N: usize>(&self, offset: usize) -> Option<usize> {
        // Offsets are far smaller, but the verifier has forgotten the bounds of those that were
        // kept in a map.
        let start = self.data + (offset & MAX_ACCESS);
        // For one byte the compiler would compare `start < end`, from which the verifier learns
        // nothing. That the MACs are there it concludes from any access behind them, which the
        // verifier does not.
        let limit = if N == 1 || N == 12 {
            black_box(start + N)
        } else {
            start + N
        };
        (limit <= self.end).then_some(start)
    }
}

impl Packet for XdpPacket {
    #[inline(always)]
    fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        // SAFETY: `checked` compared the range with the frame's end, and the verifier proves it;
        // a byte array has no alignment and takes any bytes. The borrow of `self` keeps helpers
        // that move the frame away.
        self.checked::<N>(offset)
            .map(|start| unsafe { &*(start as *const [u8; N]) })
    }

    #[inline(always)]
    fn bytes_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        // SAFETY: as in `bytes`; the exclusive borrow makes this the only reference.
        self.checked::<N>(offset)
            .map(|start| unsafe { &mut *(start as *mut [u8; N]) })
    }

    #[inline(always)]
    fn grow_front(&mut self, by: usize) -> Option<()> {
        // SAFETY: the context is the one the kernel handed to the program.
        let result = unsafe { bpf_xdp_adjust_head(self.context, -(by as i32)) };
        self.refresh();
        (result == 0).then_some(())
    }

    #[inline(always)]
    fn shrink_front(&mut self, by: usize) -> Option<()> {
        // SAFETY: the context is the one the kernel handed to the program.
        let result = unsafe { bpf_xdp_adjust_head(self.context, by as i32) };
        self.refresh();
        (result == 0).then_some(())
    }

    #[inline(always)]
    fn truncate(&mut self, len: usize) -> Option<()> {
        let by = len as i32 - self.len() as i32;
        if by > 0 {
            return None;
        }
        // SAFETY: the context is the one the kernel handed to the program.
        let result = unsafe { bpf_xdp_adjust_tail(self.context, by) };
        self.refresh();
        (result == 0).then_some(())
    }

    #[inline(always)]
    fn sum_from(&self, at: usize) -> u64 {
        multihome_sum_from(self.context, at as u32)
    }
}

/// The sum of the frame's bytes from `at` on.
///
/// A global function: the verifier walks its loop once, on its own, and not once for each way that
/// leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_sum_from(context: *mut xdp_md, at: u32) -> u64 {
    if context.is_null() || at > MAX_OFFSET {
        return 0;
    }
    let packet = XdpPacket::new(&XdpContext::new(context));
    packet::sum_from(&packet, at as usize)
}
