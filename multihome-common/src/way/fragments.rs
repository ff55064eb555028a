//! Later fragments of IPv4 datagrams while uplinks translate: they go the way of the first one.

use super::{Decision, lan, stages::UNKNOWN, steer, uplink::hand_over, uplink_entry};
use crate::{
    checksum::Difference,
    family::V4,
    flow::{
        fragment::{Course, Datagram, TO_HOST, TURNED_ROUND},
        slot::Direction,
    },
    packet::Packet,
    parse::Parsed,
    port::PortEntry,
    state::{GroupWords, IPV4, SharedState},
    tables::Tables,
    uplink::{HostEntry, UplinkEntry},
    verdict::Verdict,
    wire::ipv4,
};

/// A later fragment.
///
/// # Errors
/// The verdict of one whose datagram is not known, or that is not sent.
#[inline(always)]
pub fn later<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    port: &PortEntry,
    parsed: &Parsed,
) -> Result<Decision, Verdict> {
    let network = &parsed.v4;
    let state = tables.state().ok_or(Verdict::DropInternal)?;
    let datagram = datagram(packet, port, parsed).ok_or(Verdict::DropTruncated)?;
    let course = match course(tables, state, &datagram) {
        Some(course) => course,
        // It may be the gateway's own; if it is not, the kernel waits in vain for the others.
        None if !port.is_lan() || tables.outside(network.destination).is_some() => {
            return Err(Verdict::PassFragment);
        }
        None => return Err(Verdict::DropEarlyFragment),
    };
    let mtu = match course.uplink() {
        Some(id) => uplink_entry(tables, state, id)?.mtu,
        None => course.host.mtu,
    };
    // An answer must not come after a part was sent.
    if network.len > usize::from(mtu) {
        return Err(Verdict::DropTooBig);
    }
    if network.hop_limit <= 1 {
        return Err(Verdict::DropHopLimit);
    }
    let uplink = match course.uplink() {
        Some(id) => {
            let group = steer::group(state, parsed.judged.group());
            let uplink = still_serves(tables, state, group, &course, &datagram, id)?;
            Some((id, uplink))
        }
        None => None,
    };
    note(packet, tables, &course, datagram.addresses);
    rewrite(packet, parsed, datagram.addresses, course.translated).ok_or(Verdict::DropTruncated)?;
    match uplink {
        Some((id, uplink)) => lan::send::<V4, P>(packet, parsed, uplink, id),
        None => hand_over::<V4, P>(packet, parsed, &course.host),
    }
}

/// What was done with the first fragment, twice if it was turned round.
#[inline(always)]
fn course<T: Tables>(tables: &T, state: &SharedState, datagram: &Datagram) -> Option<Course> {
    let course = tables.find_fragment(state, datagram)?;
    if !course.is_turned_round() {
        return Some(course);
    }
    let translated = Datagram {
        addresses: course.translated,
        ..*datagram
    };
    let translated = translated.turned_round(course.outside_port());
    let course = tables.find_fragment(state, &translated)?;
    (!course.is_turned_round()).then_some(course)
}

/// The uplink that a datagram's first fragment left by, if the others can follow.
#[inline(always)]
fn still_serves<'t, T: Tables>(
    tables: &'t T,
    state: &SharedState,
    group: &GroupWords,
    course: &Course,
    datagram: &Datagram,
    id: u8,
) -> Result<&'t UplinkEntry, Verdict> {
    let uplink = uplink_entry(tables, state, id)?;
    let translated = course.translated != datagram.addresses;
    let outside = (course.translated >> 32) as u32;
    let has_outside = !translated || uplink.outside_place(outside).is_some();
    // The rest of a datagram is of no use over another uplink.
    let serves = state.is_alive(IPV4, id) || group.eligible(IPV4) == 0;
    if has_outside && serves {
        Ok(uplink)
    } else {
        Err(Verdict::DropEarlyFragment)
    }
}

/// Remembers what was done with a datagram's first fragment, which left by uplink `id`.
#[inline(always)]
pub(super) fn remember_outward<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    state: &SharedState,
    port: &PortEntry,
    parsed: &Parsed,
    translated: u64,
    (flow, id): (u32, u8),
) {
    let course = Course {
        translated,
        way: u64::from(flow) << 32 | u64::from(id),
        host: HostEntry::default(),
    };
    remember(packet, tables, state, port, parsed, &course);
}

/// Remembers what was done with a datagram's first fragment, which went to a LAN host.
#[inline(always)]
pub(super) fn remember_inward<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    state: &SharedState,
    port: &PortEntry,
    parsed: &Parsed,
    translated: u64,
    (flow, host): (u32, &HostEntry),
) {
    let course = Course {
        translated,
        way: u64::from(flow) << 32 | TO_HOST,
        host: *host,
    };
    remember(packet, tables, state, port, parsed, &course);
}

/// Remembers that a datagram's first fragment was turned round: what was done then is remembered with
/// the translated addresses.
#[inline(always)]
pub(super) fn remember_turned_round<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    state: &SharedState,
    port: &PortEntry,
    parsed: &Parsed,
    (translated, port_number): (u64, u16),
) {
    let course = Course {
        translated,
        way: u64::from(UNKNOWN) << 32 | u64::from(port_number) << 8 | TURNED_ROUND,
        host: HostEntry::default(),
    };
    remember(packet, tables, state, port, parsed, &course);
}

#[inline(always)]
fn remember<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    state: &SharedState,
    port: &PortEntry,
    parsed: &Parsed,
    course: &Course,
) {
    if let Some(datagram) = datagram(packet, port, parsed) {
        tables.remember_fragment(state, &datagram, course);
    }
}

/// The datagram of a fragment, as it came in or was turned round.
#[inline(always)]
fn datagram<P: Packet>(packet: &P, port: &PortEntry, parsed: &Parsed) -> Option<Datagram> {
    let network = &parsed.v4;
    let identification = packet.bytes::<2>(parsed.network_at + ipv4::IDENTIFICATION_AT)?;
    let datagram = Datagram::new(
        u64::from(network.source.0) << 32 | u64::from(network.destination.0),
        u16::from_be_bytes(*identification),
        network.protocol,
        port.slot,
    );
    // A fragment has no ports here, but for one that was turned round.
    Some(datagram.turned_round((network.ports >> 16) as u16))
}

/// Counts a later fragment in the flow of the first, if that still is in its slot.
#[inline(always)]
fn note<P: Packet, T: Tables>(packet: &P, tables: &T, course: &Course, addresses: u64) {
    if course.flow() == UNKNOWN {
        return;
    }
    let Some(slot) = tables.flow(course.flow()) else {
        return;
    };
    let (direction, ends) = match course.uplink() {
        Some(_) => (Direction::Outward, addresses),
        None => (Direction::Inward, course.translated.rotate_left(32)),
    };
    if slot.connects(ends) {
        slot.note(direction, tables.now(), 0, packet.len() as u64, false);
    }
}

/// Sets both addresses, and mends the header's checksum.
#[inline(always)]
fn rewrite<P: Packet>(packet: &mut P, parsed: &Parsed, old: u64, new: u64) -> Option<()> {
    if old == new {
        return Some(());
    }
    let at = parsed.network_at;
    *packet.bytes_mut::<8>(at + ipv4::SOURCE_AT)? = new.to_be_bytes();
    let difference = Difference::of_u32((old >> 32) as u32, (new >> 32) as u32)
        .and(Difference::of_u32(old as u32, new as u32));
    let sum = packet.bytes_mut::<2>(at + ipv4::CHECKSUM_AT)?;
    *sum = difference.apply(*sum);
    Some(())
}
