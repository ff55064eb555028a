//! The far side of a link with tags, where the kernel has no VLAN devices: one program takes the tags off what
//! comes in, the other gives them to what is sent.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        TC_ACT_OK, TC_ACT_SHOT,
        xdp_action::{XDP_DROP, XDP_PASS},
    },
    helpers::{bpf_skb_vlan_push, bpf_xdp_adjust_head},
    macros::{classifier, map, xdp},
    maps::Array,
    programs::{TcContext, XdpContext},
};

/// The tags of the link as they stand in frames, type and VLAN id, the outer one first; zero for none.
#[map]
static LINK_TAGS: Array<[u32; 2]> = Array::with_max_entries(1, 0);

/// Takes the link's tags off; what has others, or none, is nobody's on this link.
#[xdp]
pub fn untag(context: XdpContext) -> u32 {
    let Some(&[outer, inner]) = LINK_TAGS.get(0) else {
        return XDP_DROP;
    };
    if inner == 0 {
        take_off::<18>(&context, outer, 0)
    } else {
        take_off::<22>(&context, outer, inner)
    }
}

/// Takes tags off a frame whose link header has `LEN` bytes.
#[inline(always)]
fn take_off<const LEN: usize>(context: &XdpContext, outer: u32, inner: u32) -> u32 {
    let (start, end) = (context.data(), context.data_end());
    if start + LEN > end {
        return XDP_DROP;
    }
    let words = start as *const u32;
    // SAFETY: the bounds were compared; words need not be aligned.
    let word = |at: usize| unsafe { words.add(at).read_unaligned() };
    let macs = [word(0), word(1), word(2)];
    let tag = |at: usize| u32::from_be(word(at)) & 0xffff_0fff;
    if tag(3) != outer || (LEN == 22 && tag(4) != inner) {
        return XDP_DROP;
    }
    // SAFETY: the context is the one that the kernel handed over.
    if unsafe { bpf_xdp_adjust_head(context.as_ptr().cast(), (LEN - 14) as i32) } != 0 {
        return XDP_DROP;
    }
    let (start, end) = (context.data(), context.data_end());
    if start + 14 > end {
        return XDP_DROP;
    }
    let words = start as *mut u32;
    for (at, mac) in macs.into_iter().enumerate() {
        // SAFETY: the bounds were compared; words need not be aligned.
        unsafe { words.add(at).write_unaligned(mac) };
    }
    XDP_PASS
}

/// Gives the link's tags to what is sent.
#[classifier]
pub fn retag(context: TcContext) -> i32 {
    let Some(tags) = LINK_TAGS.get(0) else {
        return TC_ACT_SHOT;
    };
    for tag in [tags[1], tags[0]] {
        let (kind, id) = ((tag >> 16) as u16, tag as u16);
        // SAFETY: the buffer is the one that the kernel handed over.
        if tag != 0 && unsafe { bpf_skb_vlan_push(context.skb.skb, kind.to_be(), id) } != 0 {
            return TC_ACT_SHOT;
        }
    }
    TC_ACT_OK
}
