//! The stages of a packet's way, each in a global function: it has a stack of its own, and the verifier
//! walks it once, on its own, and not once for each way that leads to it.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use multihome_common::{
    icmp_error,
    parse::{self, Parsed},
    port::PortEntry,
    reset,
    verdict::Verdict,
    way::{self, Decision, stages::Stages},
    wire::ethernet,
};

use crate::{
    flows,
    maps::{self, Maps},
    packet::XdpPacket,
};

/// Runs the stages on the packet of this context, which is in the scratch memory as parsed.
pub struct Kernel {
    context: *mut xdp_md,
}

impl Kernel {
    /// For the packet of this context.
    #[inline(always)]
    pub fn new(context: &XdpContext) -> Self {
        Self {
            context: context.ctx,
        }
    }

    /// Parses the packet into the scratch memory; a decision other than "forwarded" ends its way.
    #[inline(always)]
    pub fn parse(&mut self) -> Decision {
        Decision::from_word(multihome_parse(self.context))
    }

    /// [`way::policy::judge`], by the rules in force; a decision other than "forwarded" ends the way.
    #[inline(always)]
    pub fn judge(&mut self, in_force: u32) -> Decision {
        Decision::from_word(multihome_judge(self.context, in_force))
    }

    /// Copies the packet for the controller, as it is now, if it is a message of DNS.
    #[inline(always)]
    pub fn observe(&mut self) {
        multihome_observe(self.context);
    }

    /// [`way::watch::outward`].
    #[inline(always)]
    pub fn watch_outward(&mut self, decision: Decision) {
        multihome_watch_outward(self.context, decision.word());
    }

    /// [`way::watch::inward`].
    #[inline(always)]
    pub fn watch_inward(&mut self, decision: Decision) {
        multihome_watch_inward(self.context, decision.word());
    }

    /// [`way::mss::clamp`].
    #[inline(always)]
    pub fn clamp(&mut self, id: u8) {
        multihome_clamp(self.context, u32::from(id));
    }

    /// [`way::lan::decide`].
    #[inline(always)]
    pub fn decide_lan(&mut self) -> Decision {
        Decision::from_word(multihome_decide_lan(self.context))
    }

    /// [`way::uplink::decide`].
    #[inline(always)]
    pub fn decide_uplink(&mut self) -> Decision {
        Decision::from_word(multihome_decide_uplink(self.context))
    }
}

impl Stages for Kernel {
    #[inline(always)]
    fn outward(&mut self, flow: u32) -> Decision {
        Decision::from_word(multihome_outward(self.context, flow))
    }

    #[inline(always)]
    fn hairpin(&mut self, flow: u32) -> Decision {
        Decision::from_word(multihome_hairpin(self.context, flow))
    }

    #[inline(always)]
    fn inward(&mut self, decision: Decision, flow: u32) -> Decision {
        Decision::from_word(multihome_inward(self.context, decision.word(), flow))
    }

    #[inline(always)]
    fn outward_error(&mut self) -> Decision {
        Decision::from_word(multihome_outward_error(self.context))
    }

    #[inline(always)]
    fn inward_error(&mut self, decision: Decision) -> Decision {
        Decision::from_word(multihome_inward_error(self.context, decision.word()))
    }

    #[inline(always)]
    fn fragment(&mut self) -> Decision {
        Decision::from_word(multihome_fragment(self.context))
    }

    #[inline(always)]
    fn open(&mut self) -> Result<u32, Verdict> {
        flows::open()
    }

    #[inline(always)]
    fn reset(&mut self) -> Decision {
        Decision::from_word(multihome_reset(self.context))
    }

    #[inline(always)]
    fn error(&mut self, decision: Decision) -> Decision {
        Decision::from_word(multihome_answer(self.context, decision.word()))
    }
}

/// See [`Kernel::parse`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_parse(context: *mut xdp_md) -> u64 {
    with_packet(context, |packet, _, port, parsed| {
        parse::headers(packet, port, parsed).map(|()| Verdict::Forwarded.into())
    })
}

/// See [`Kernel::judge`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_judge(context: *mut xdp_md, in_force: u32) -> u64 {
    with_packet(context, |packet, maps, port, parsed| {
        way::policy::judge(packet, maps, port, parsed, in_force).map(|()| Verdict::Forwarded.into())
    })
}

/// See [`Kernel::observe`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_observe(context: *mut xdp_md) -> u64 {
    let Some(scratch) = maps::scratch() else {
        return 0;
    };
    let parsed = &scratch.parsed;
    if context.is_null() || !way::policy::is_dns(parsed) {
        return 0;
    }
    let len = if parsed.ethertype == ethernet::IPV4 {
        parsed.v4.len
    } else {
        parsed.v6.len
    };
    maps::copy_sample(context, parsed.network_at as u32, len as u32);
    0
}

/// See [`Kernel::decide_lan`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_decide_lan(context: *mut xdp_md) -> u64 {
    with_packet(context, |packet, maps, _, parsed| {
        Ok(way::lan::decide(packet, maps, parsed))
    })
}

/// See [`Kernel::decide_uplink`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_decide_uplink(context: *mut xdp_md) -> u64 {
    with_packet(context, |packet, maps, port, parsed| {
        Ok(way::uplink::decide(packet, maps, port, parsed))
    })
}

/// See [`Stages::outward`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_outward(context: *mut xdp_md, flow: u32) -> u64 {
    with_packet(context, |packet, maps, port, parsed| {
        way::outward::outward(packet, maps, port, parsed, flow)
    })
}

/// See [`Stages::hairpin`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_hairpin(context: *mut xdp_md, flow: u32) -> u64 {
    with_packet(context, |packet, maps, port, parsed| {
        way::hairpin::outward(packet, maps, port, parsed, flow)
    })
}

/// See [`Stages::inward`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_inward(context: *mut xdp_md, decision: u64, flow: u32) -> u64 {
    let decision = Decision::from_word(decision);
    with_packet(context, |packet, maps, port, parsed| {
        let there = (decision.egress(), decision.pool());
        way::inward::inward(packet, maps, port, parsed, there, flow)
    })
}

/// See [`Stages::outward_error`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_outward_error(context: *mut xdp_md) -> u64 {
    with_packet(context, |packet, maps, _, parsed| {
        way::errors::outward(packet, maps, parsed)
    })
}

/// See [`Stages::inward_error`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_inward_error(context: *mut xdp_md, decision: u64) -> u64 {
    let decision = Decision::from_word(decision);
    with_packet(context, |packet, maps, _, parsed| {
        way::errors::inward(packet, maps, parsed, (decision.egress(), decision.pool()))
    })
}

/// See [`Stages::fragment`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_fragment(context: *mut xdp_md) -> u64 {
    with_packet(context, |packet, maps, port, parsed| {
        way::fragments::later(packet, maps, port, parsed)
    })
}

/// See [`Stages::error`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_answer(context: *mut xdp_md, decision: u64) -> u64 {
    let internal = Decision::from(Verdict::DropInternal).word();
    if context.is_null() {
        return internal;
    }
    let context = XdpContext::new(context);
    let mut maps = Maps::new(&context);
    let Some(port) = maps::port() else {
        return internal;
    };
    let mut packet = XdpPacket::new(&context);
    icmp_error::answer(&mut packet, &mut maps, port, Decision::from_word(decision)).word()
}

/// See [`Stages::reset`].
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

/// See [`Kernel::watch_outward`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_watch_outward(context: *mut xdp_md, decision: u64) -> u64 {
    let decision = Decision::from_word(decision);
    with_packet(context, |packet, maps, _, parsed| {
        way::watch::outward(packet, maps, parsed, decision);
        Ok(decision)
    })
}

/// See [`Kernel::watch_inward`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_watch_inward(context: *mut xdp_md, decision: u64) -> u64 {
    let decision = Decision::from_word(decision);
    with_packet(context, |packet, maps, port, parsed| {
        way::watch::inward(packet, maps, parsed, port.slot as u8 & 63, decision);
        Ok(decision)
    })
}

/// See [`Kernel::clamp`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_clamp(context: *mut xdp_md, id: u32) -> u64 {
    with_packet(context, |packet, maps, _, parsed| {
        way::mss::clamp(packet, maps, parsed, id as u8);
        Ok(Verdict::Forwarded.into())
    })
}

/// Runs a stage with all that it needs.
#[inline(always)]
fn with_packet(
    context: *mut xdp_md,
    stage: impl FnOnce(&mut XdpPacket, &Maps, &PortEntry, &mut Parsed) -> Result<Decision, Verdict>,
) -> u64 {
    let internal = Decision::from(Verdict::DropInternal).word();
    if context.is_null() {
        return internal;
    }
    let context = XdpContext::new(context);
    let maps = Maps::new(&context);
    let Some(scratch) = maps::scratch() else {
        return internal;
    };
    let Some(port) = maps::port_in(scratch) else {
        return internal;
    };
    let mut packet = XdpPacket::new(&context);
    match stage(&mut packet, &maps, port, &mut scratch.parsed) {
        Ok(decision) => decision.word(),
        Err(verdict) => Decision::from(verdict).word(),
    }
}
