//! The edge of the programs: a frame's tags and session header are taken off when it comes in, put on when
//! it is sent, and put back where the kernel gets it.

use super::Framing;
use crate::{
    limits::MAX_VLAN_TAGS,
    packet::Packet,
    parse,
    port::{self, NO_SLOT, PORT_KERNEL, PortEntry},
    tables::Tables,
    wire::{
        ethernet,
        ipv4::Ipv4,
        ipv6::{self, Ipv6},
        pppoe,
    },
};

/// Words of four bytes that may stand between the MACs and the type: two tags, and what a session has.
const WORDS: usize = MAX_VLAN_TAGS + pppoe::LEN / 4;

/// What was taken off a frame, to be put back.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// What stood behind the MACs, but for the last two bytes: they became the type.
    words: [[u8; 4]; WORDS],
    /// How many of the words there are.
    count: u32,
    /// How many of them are tags.
    tags: u32,
    /// How many bytes shorter the frame is, padding included.
    pub bytes: u64,
}

/// What a frame's link header says.
struct Seen {
    /// Its tags.
    tags: Framing,
    /// How many tags there are, those without a VLAN id included.
    tag_count: usize,
    /// The type behind the tags.
    ethertype: u16,
    /// Data of a PPPoE session.
    session: Option<Session>,
}

/// IP in a PPPoE session.
struct Session {
    id: u16,
    /// The type that the packet has on Ethernet.
    ethertype: u16,
    /// Where the packet ends, from the frame's start.
    end: usize,
}

impl Seen {
    /// Reads a link header; `None` where the frame ends in it.
    #[inline(always)]
    fn read<P: Packet>(packet: &P) -> Option<Self> {
        let mut tags = Framing::PLAIN;
        let mut tag_count = 0;
        let mut at = ethernet::TYPE_AT;
        let mut kind = u16::from_be_bytes(*packet.bytes(at)?);
        for _ in 0..MAX_VLAN_TAGS {
            if !ethernet::is_tag(kind) {
                break;
            }
            let tag: &[u8; ethernet::TAG_LEN] = packet.bytes(at + 2)?;
            tags = tags.tagged(kind, u16::from_be_bytes([tag[0], tag[1]]));
            kind = u16::from_be_bytes([tag[2], tag[3]]);
            tag_count += 1;
            at += ethernet::TAG_LEN;
        }
        let session = if kind == ethernet::PPPOE_SESSION {
            Session::read(packet, at + 2)
        } else {
            None
        };
        Some(Self {
            tags,
            tag_count,
            ethertype: kind,
            session,
        })
    }
}

impl Session {
    /// Reads the session header at `at`; `None` for what the kernel is to have: PPP's own protocols, and
    /// what is broken.
    #[inline(always)]
    fn read<P: Packet>(packet: &P, at: usize) -> Option<Self> {
        let header: [u8; pppoe::LEN] = *packet.bytes(at)?;
        let id = u16::from_be_bytes([header[2], header[3]]);
        let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let protocol = u16::from_be_bytes([header[6], header[7]]);
        // Behind the session header: the length counts PPP's protocol number.
        let end = at + pppoe::LEN - pppoe::PROTOCOL_LEN + len;
        if header[0] != pppoe::SESSION_DATA[0]
            || header[1] != pppoe::SESSION_DATA[1]
            || len < pppoe::PROTOCOL_LEN
            || end > packet.len()
        {
            return None;
        }
        let ethertype = match protocol {
            pppoe::IPV4 => ethernet::IPV4,
            pppoe::IPV6 => ethernet::IPV6,
            _ => return None,
        };
        Some(Self { id, ethertype, end })
    }
}

/// Whose a frame is that came in on a device whose ports are told apart by their framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// The kernel's.
    Kernel,
    /// That of the port at this place of the port table.
    Port(u32),
    /// Nobody's: it has no tag, and the kernel would take it for one of this slot's port.
    Stray(u32),
}

/// Finds the port of a frame that came in on a device whose ports are told apart by their framing, and
/// takes that framing off.
#[inline(always)]
pub fn enter<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    ifindex: u32,
    removed: &mut Removed,
) -> Entered {
    match place_of(packet, tables, ifindex, removed) {
        Some(place) => Entered::Port(place),
        // What has lost its tags here is no stray.
        None if removed.count > 0 => Entered::Kernel,
        None => match stray(packet, tables, ifindex) {
            Some(slot) => Entered::Stray(slot),
            None => Entered::Kernel,
        },
    }
}

/// The slot of the port that the kernel would take an untagged frame for, since its addresses stand on the
/// device itself; `None` for other frames and devices, and what is about the link alone, such as LLDP.
#[inline(always)]
fn stray<P: Packet, T: Tables>(packet: &P, tables: &T, ifindex: u32) -> Option<u32> {
    let (_, device) = port::find_placed(tables, ifindex)?;
    let tags = Framing(device.kernel_tags.into());
    if tags.is_plain() {
        return None;
    }
    let seen = Seen::read(packet)?;
    let is_for_hosts = matches!(
        seen.ethertype,
        ethernet::IPV4
            | ethernet::IPV6
            | ethernet::ARP
            | ethernet::PPPOE_DISCOVERY
            | ethernet::PPPOE_SESSION
    );
    if !seen.tags.is_plain() || !is_for_hosts {
        return None;
    }
    let (_, port) = port::find_framed(tables, ifindex, tags, &PortEntry::ANY)?;
    Some(port.slot)
}

/// The port's place in the port table. `None` when the frame is the kernel's, by then without the tags that the
/// kernel has no device for.
#[inline(always)]
fn place_of<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    ifindex: u32,
    removed: &mut Removed,
) -> Option<u32> {
    removed.count = 0;
    removed.tags = 0;
    removed.bytes = 0;
    let seen = Seen::read(packet)?;
    // Without the tags before it, the next one would lead the kernel to a VLAN that the frame is not of.
    if ethernet::is_tag(seen.ethertype) {
        return None;
    }
    if let Some(session) = &seen.session {
        let station = *packet.bytes::<6>(ethernet::SOURCE_AT)?;
        let framing = seen.tags.in_session(session.id);
        if let Some((place, _)) = port::find_framed(tables, ifindex, framing, &station) {
            let words = seen.tag_count + pppoe::LEN / 4;
            let before = packet.len();
            // What stands behind the packet is padding.
            packet.truncate(session.end)?;
            let padding = before - session.end;
            take_off(packet, words, seen.tag_count, session.ethertype, removed)?;
            removed.bytes += padding as u64;
            return Some(place);
        }
    }
    if seen.tags.is_plain() {
        let (place, device) = port::find_placed(tables, ifindex)?;
        let is_port = device.slot != NO_SLOT && device.flags & PORT_KERNEL == 0;
        return is_port.then_some(place);
    }
    let (place, port) = port::find_framed(tables, ifindex, seen.tags, &PortEntry::ANY)?;
    let (count, kind) = (seen.tag_count, seen.ethertype);
    take_off(packet, count, count, kind, removed)?;
    (port.flags & PORT_KERNEL == 0).then_some(place)
}

/// Takes the first words behind the MACs away, of which some are tags; `ethertype` is the type from then on.
#[inline(always)]
fn take_off<P: Packet>(
    packet: &mut P,
    words: usize,
    tags: usize,
    ethertype: u16,
    removed: &mut Removed,
) -> Option<()> {
    let macs: [u8; 12] = *packet.bytes(0)?;
    for place in 0..WORDS {
        if place < words {
            removed.words[place] = *packet.bytes(ethernet::TYPE_AT + place * 4)?;
        }
    }
    packet.shrink_front(words * 4)?;
    *packet.bytes_mut(0)? = macs;
    *packet.bytes_mut(ethernet::TYPE_AT)? = ethertype.to_be_bytes();
    removed.count = words as u32;
    removed.tags = tags as u32;
    removed.bytes = words as u64 * 4;
    Some(())
}

/// Puts back what [`enter`] took off, the tags only if they are wanted. `None` when there is no room: then
/// the frame is not what the kernel wants.
#[inline(always)]
pub fn put_back<P: Packet>(packet: &mut P, removed: &Removed, tags: bool) -> Option<()> {
    let count = removed.count as usize;
    let first = if tags { 0 } else { removed.tags as usize };
    if first >= count {
        return Some(());
    }
    let macs: [u8; 12] = *packet.bytes(0)?;
    let mut kind: [u8; 2] = *packet.bytes(ethernet::TYPE_AT)?;
    if count > removed.tags as usize {
        kind = ppp_protocol(u16::from_be_bytes(kind)).to_be_bytes();
    }
    packet.grow_front((count - first) * 4)?;
    *packet.bytes_mut(0)? = macs;
    let mut at = ethernet::TYPE_AT;
    for place in 0..WORDS {
        if place >= first && place < count {
            *packet.bytes_mut(at)? = removed.words[place];
            at += 4;
        }
    }
    *packet.bytes_mut(at)? = kind;
    Some(())
}

/// Gives a frame that is to be sent this framing. `None` when the device leaves no room before the frame.
#[inline(always)]
pub fn put_on<P: Packet>(packet: &mut P, framing: Framing) -> Option<()> {
    // All that may stand there is a tag with a priority and no VLAN, which does not go further.
    let link = parse::link(packet).ok()?;
    let mut kind = link.ethertype;
    let mut payload = 0;
    if framing.has_session() {
        let len = packet_len(packet, link.ethertype, link.len)?;
        // Padding would count as the session's data.
        packet.truncate(link.len + len)?;
        payload = (len + pppoe::PROTOCOL_LEN) as u16;
        kind = ppp_protocol(link.ethertype);
    }
    let macs: [u8; 12] = *packet.bytes(0)?;
    let wanted = framing.link_len();
    if wanted >= link.len {
        packet.grow_front(wanted - link.len)?;
    } else {
        packet.shrink_front(link.len - wanted)?;
    }
    *packet.bytes_mut(0)? = macs;
    let mut at = ethernet::TYPE_AT;
    for place in 0..MAX_VLAN_TAGS {
        if place < framing.tag_count() {
            let (kind, id) = framing.tag(place);
            *packet.bytes_mut(at)? = (u32::from(kind) << 16 | u32::from(id)).to_be_bytes();
            at += ethernet::TAG_LEN;
        }
    }
    if let Some(session) = framing.session() {
        let [version, code] = pppoe::SESSION_DATA;
        let first =
            u32::from(ethernet::PPPOE_SESSION) << 16 | u32::from(version) << 8 | u32::from(code);
        let second = u32::from(session) << 16 | u32::from(payload);
        *packet.bytes_mut(at)? = first.to_be_bytes();
        *packet.bytes_mut(at + 4)? = second.to_be_bytes();
        at += pppoe::LEN;
    }
    *packet.bytes_mut(at)? = kind.to_be_bytes();
    Some(())
}

/// Length of the IP packet at `at`, headers included.
#[inline(always)]
fn packet_len<P: Packet>(packet: &P, ethertype: u16, at: usize) -> Option<usize> {
    if ethertype == ethernet::IPV4 {
        Some(Ipv4::at(packet, at)?.total_len())
    } else {
        Some(Ipv6::at(packet, at)?.payload_len() + ipv6::LEN)
    }
}

/// PPP's number for what has this type on Ethernet.
#[inline(always)]
const fn ppp_protocol(ethertype: u16) -> u16 {
    if ethertype == ethernet::IPV4 {
        pppoe::IPV4
    } else {
        pppoe::IPV6
    }
}
