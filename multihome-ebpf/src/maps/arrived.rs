//! The port that a packet has come in on: found, and noted for the functions that the program calls.

use super::*;

/// The port of the packet in hand, as [`note_port`] was told.
#[inline(always)]
pub fn port() -> Option<&'static PortEntry> {
    port_in(scratch()?)
}

/// The same, for whoever has the scratch memory at hand.
#[inline(always)]
pub fn port_in(scratch: &Scratch) -> Option<&'static PortEntry> {
    PORTS.get(scratch.port as u32)
}

/// Tells the functions that the program calls which port the packet in hand came in on.
#[inline(always)]
pub fn note_port(context: &XdpContext) {
    multihome_note_port(context.ctx);
}

/// See [`note_port`]; beside the program, whose own memory has no room for the port's place. That of a port
/// which another program has found is noted already.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn multihome_note_port(context: *mut xdp_md) -> u64 {
    if context.is_null() {
        return 1;
    }
    let context = XdpContext::new(context);
    let maps = Maps::new(&context);
    let found = port::find_placed(&maps, context.ingress_ifindex() as u32);
    if let (Some((place, entry)), Some(scratch)) = (found, scratch())
        && entry.flags & PORT_TRUNK == 0
    {
        scratch.port = place.into();
    }
    0
}

/// The port that a packet came in on: the device itself, or what the program before this one has found on it.
/// `None` when the controller is just about to enter the device or to have it run another program, or has given
/// it up.
///
/// A function of its own, because the program's own stack is full.
#[inline(never)]
pub fn arrived(context: &XdpContext) -> Option<&'static PortEntry> {
    let ifindex = context.ingress_ifindex() as u32;
    for probe in 0..PORT_TABLE_PROBES as u32 {
        let entry = PORTS.get(port::plain_place(ifindex, probe))?;
        if entry.ifindex == ifindex && entry.framing == 0 {
            if entry.flags & PORT_TRUNK != 0 {
                return entered().or_else(|| itself(ifindex, probe, entry));
            }
            return Some(entry);
        }
    }
    None
}

/// The port that a device with several ports is itself: what comes in is its own while the device runs another
/// program than the table says, for the moment that it takes to change both. Tagged frames are the kernel's.
#[inline(always)]
fn itself(ifindex: u32, probe: u32, entry: &'static PortEntry) -> Option<&'static PortEntry> {
    if entry.slot == NO_SLOT || entry.flags & PORT_KERNEL != 0 {
        return None;
    }
    scratch()?.port = port::plain_place(ifindex, probe).into();
    Some(entry)
}

/// The port that the program before this one has found for the packet, and notes it.
#[inline(always)]
fn entered() -> Option<&'static PortEntry> {
    let scratch = scratch()?;
    // Zero when this program was run by the device itself.
    let place = core::mem::take(&mut scratch.entered).checked_sub(1)?;
    scratch.port = place;
    PORTS.get(place as u32)
}
