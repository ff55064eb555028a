//! The tags of what the kernel itself sends by a device that has no VLAN device for them: ARP and neighbour
//! discovery, the gateway's own connections, probes. What the XDP programs send does not pass here.

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::bpf_skb_vlan_push,
    programs::TcContext,
};
use multihome_common::{framing::Framing, limits::MAX_VLAN_TAGS, port, wire::ethernet};

use crate::maps::Maps;

/// Gives a frame that leaves the device's tags, unless it has some; other filters may follow.
#[inline(always)]
pub fn tag(context: &TcContext) -> i32 {
    let skb = context.skb.skb;
    // SAFETY: the kernel handed a socket buffer to the program.
    let (ifindex, tagged) = unsafe { ((*skb).ifindex, is_tagged(&*skb)) };
    let maps = Maps::without_context();
    let Some(entry) = port::find(&maps, ifindex) else {
        return TC_ACT_UNSPEC;
    };
    let tags = Framing(entry.kernel_tags.into());
    if tagged || tags.is_plain() {
        return TC_ACT_UNSPEC;
    }
    for place in (0..MAX_VLAN_TAGS).rev() {
        if place < tags.tag_count() {
            let (kind, id) = tags.tag(place);
            // SAFETY: the buffer is the one that the kernel handed to the program.
            if unsafe { bpf_skb_vlan_push(skb, kind.to_be(), id) } != 0 {
                // Untagged it would go to whoever has that on the line.
                return TC_ACT_SHOT;
            }
        }
    }
    TC_ACT_UNSPEC
}

/// Whether a frame has a tag: beside it, as VLAN devices give it, or in it.
#[inline(always)]
fn is_tagged(skb: &__sk_buff) -> bool {
    skb.vlan_present != 0 || ethernet::is_tag(u16::from_be(skb.protocol as u16))
}
