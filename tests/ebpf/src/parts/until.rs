//! multihome's packet path, cut short: each program does what the ones before it do, and one part more.

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_PASS},
    macros::xdp,
    programs::XdpContext,
};
use multihome_common::{
    address::Class,
    family::{Family, V4, V6},
    flow::FlowKey,
    nat44::ports::{self, Space},
    packet::Packet,
    parse::Parsed,
    port::PortEntry,
    state::SharedState,
    tables::Tables,
    transport,
    verdict::Verdict,
    way::{
        self, Decision,
        steer::{Ask, Ends},
    },
    wire::ethernet,
};

use crate::{
    counters,
    maps::{self, Maps},
    packet::XdpPacket,
    stages::Kernel,
};

/// Finds the port and parses.
#[xdp]
pub fn until_parsed(context: XdpContext) -> u32 {
    ended(with_parsed(&context, |_| Some(())))
}

/// Then asks what the addresses are that the path asks about first: the destination, and from an
/// uplink the source.
#[xdp]
pub fn until_class(context: XdpContext) -> u32 {
    ended(with_parsed(&context, |at| classes(&at).map(drop)))
}

/// Then finds the uplink that the flow is pinned to, or notes by which one it came.
#[xdp]
pub fn until_pin(context: XdpContext) -> u32 {
    ended(with_parsed(&context, |at| {
        if at.parsed.ethertype == ethernet::IPV4 {
            pin::<V4>(&at)
        } else {
            pin::<V6>(&at)
        }
    }))
}

/// Then finds the LAN host.
#[xdp]
pub fn until_host(context: XdpContext) -> u32 {
    ended(with_parsed(&context, |at| {
        if at.parsed.ethertype == ethernet::IPV4 {
            host::<V4>(&at)
        } else {
            host::<V6>(&at)
        }
    }))
}

/// Parses, asks what the addresses are, and finds the flow: of a packet from outside by the owner of
/// its port.
#[xdp]
pub fn until_flow(context: XdpContext) -> u32 {
    ended(with_parsed(&context, |at| {
        let network = &at.parsed.v4;
        let packet = XdpPacket::new(at.context);
        if at.port.is_lan() {
            classes(&at)?;
            let ports = transport::read(&packet, network).ok()?.ports();
            let (inside, remote) = (network.source.0, network.destination.0);
            let key = FlowKey::v4(inside, remote, ports, network.protocol);
            return at.maps.find_flow(at.state, &key).map(drop);
        }
        let key = owner(&at, &packet)?;
        V4::class(&at.maps, at.state, network.source)?;
        at.maps.find_flow(at.state, &key).map(drop)
    }))
}

/// Parses, and finds the owner of the outside port.
#[xdp]
pub fn until_owner(context: XdpContext) -> u32 {
    ended(with_parsed(&context, |at| {
        owner(&at, &XdpPacket::new(at.context)).map(drop)
    }))
}

/// All but counting and sending, from a LAN port.
#[xdp]
pub fn until_sent_out(context: XdpContext) -> u32 {
    ended(all(&context, Kernel::decide_lan, way::stages::after_lan))
}

/// All but counting and sending, from an uplink.
#[xdp]
pub fn until_sent_in(context: XdpContext) -> u32 {
    ended(all(
        &context,
        Kernel::decide_uplink,
        way::stages::after_uplink,
    ))
}

/// All of the full way, from a LAN port.
#[xdp]
pub fn full_out(context: XdpContext) -> u32 {
    full(&context, Kernel::decide_lan, way::stages::after_lan)
}

/// All of the full way, from an uplink.
#[xdp]
pub fn full_in(context: XdpContext) -> u32 {
    full(&context, Kernel::decide_uplink, way::stages::after_uplink)
}

/// What a part needs.
struct At<'c> {
    context: &'c XdpContext,
    maps: Maps,
    port: &'c PortEntry,
    state: &'c SharedState,
    parsed: &'c Parsed,
}

/// A program that did what it is there for ends in another way than one that could not.
#[inline(always)]
fn ended(done: Option<()>) -> u32 {
    match done {
        Some(()) => XDP_PASS,
        None => XDP_ABORTED,
    }
}

/// The packet's port, as the program itself finds it and tells its functions.
#[inline(always)]
fn arrive(context: &XdpContext) -> Option<&'static PortEntry> {
    maps::note_port(context);
    maps::port()
}

#[inline(always)]
fn with_parsed(context: &XdpContext, part: impl FnOnce(At<'_>) -> Option<()>) -> Option<()> {
    let maps = Maps::new(context);
    let port = arrive(context)?;
    if Kernel::new(context).parse().verdict_number() != Verdict::Forwarded.number() {
        return None;
    }
    part(At {
        context,
        maps,
        port,
        state: maps::state()?,
        parsed: &maps::scratch()?.parsed,
    })
}

#[inline(always)]
fn all(
    context: &XdpContext,
    decide: impl FnOnce(&mut Kernel) -> Decision,
    after: impl FnOnce(&mut Kernel, Decision) -> Decision,
) -> Option<()> {
    arrive(context)?;
    decided(context, decide, after).map(drop)
}

/// As the gateway's own program does it with a packet that the short way leaves.
#[inline(always)]
fn full(
    context: &XdpContext,
    decide: impl FnOnce(&mut Kernel) -> Decision,
    after: impl FnOnce(&mut Kernel, Decision) -> Decision,
) -> u32 {
    let Some(port) = arrive(context) else {
        return XDP_ABORTED;
    };
    let bytes = (context.data_end() - context.data()) as u64;
    let Some(decision) = decided(context, decide, after) else {
        return XDP_ABORTED;
    };
    counters::count(port.slot, decision.counter_column(), bytes);
    maps::redirect(decision.egress())
}

/// What the full way decides of a packet that it forwards.
#[inline(always)]
fn decided(
    context: &XdpContext,
    decide: impl FnOnce(&mut Kernel) -> Decision,
    after: impl FnOnce(&mut Kernel, Decision) -> Decision,
) -> Option<Decision> {
    let mut kernel = Kernel::new(context);
    if kernel.parse().verdict_number() != Verdict::Forwarded.number() {
        return None;
    }
    let mut decision = decide(&mut kernel);
    if decision.is_stage() {
        decision = after(&mut kernel, decision);
    }
    (decision.verdict_number() == Verdict::Forwarded.number()).then_some(decision)
}

#[inline(always)]
fn classes(at: &At<'_>) -> Option<Class> {
    if at.parsed.ethertype == ethernet::IPV4 {
        classes_of::<V4>(at)
    } else {
        classes_of::<V6>(at)
    }
}

#[inline(always)]
fn classes_of<F: Family>(at: &At<'_>) -> Option<Class> {
    let network = F::network(at.parsed);
    let class = F::class(&at.maps, at.state, network.destination)?;
    if at.port.is_lan() {
        return Some(class);
    }
    F::class(&at.maps, at.state, network.source)
}

#[inline(always)]
fn pin<F: Family>(at: &At<'_>) -> Option<()> {
    classes_of::<F>(at)?;
    let network = F::network(at.parsed);
    let id = at.port.slot as u8 & 63;
    let (ends, ask) = if at.port.is_lan() {
        (Ends::outward(network), Ask::pinned(0))
    } else {
        let inside = inside::<F>(at)?;
        (Ends::inward(network, inside), Ask::note_inward(id, 0))
    };
    F::steer(&at.maps, at.state, &ends, ask).ok().map(drop)
}

#[inline(always)]
fn inside<F: Family>(at: &At<'_>) -> Option<F::Address> {
    let id = at.port.slot & 63;
    let copy = at.state.uplink_copy(id as u8);
    let uplink = at.maps.uplink(id * 2 + copy)?;
    F::inside_of(uplink, F::network(at.parsed).destination).ok()
}

#[inline(always)]
fn host<F: Family>(at: &At<'_>) -> Option<()> {
    pin::<F>(at)?;
    F::host(&at.maps, inside::<F>(at)?).map(drop)
}

#[inline(always)]
fn owner<P: Packet>(at: &At<'_>, packet: &P) -> Option<FlowKey> {
    let network = &at.parsed.v4;
    let id = at.port.slot & 63;
    let uplink = at.maps.uplink(id * 2 + at.state.uplink_copy(id as u8))?;
    let pool = uplink.pool + uplink.outside_place(network.destination.0)?;
    let ports = transport::read(packet, network).ok()?.ports();
    let space = Space::of(network.protocol);
    let owner = ports::look(&at.maps, pool, space, ports as u16)?;
    if owner.is_free() {
        return None;
    }
    Some(FlowKey::v4(
        owner.inside(),
        network.source.0,
        u32::from(owner.inside_port()) << 16 | ports >> 16,
        network.protocol,
    ))
}
