//! Ethernet II with 802.1Q and 802.1ad tags.

use crate::packet::Packet;

/// Length of the header without tags, in bytes.
pub const LEN: usize = 14;
/// Length of one tag, in bytes.
pub const TAG_LEN: usize = 4;
/// Where the sender's MAC stands.
pub const SOURCE_AT: usize = 6;
/// Where the type stands in an untagged frame.
pub const TYPE_AT: usize = 12;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// Type of an 802.1Q customer tag.
pub const VLAN: u16 = 0x8100;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// Type of an 802.1ad service tag.
pub const SERVICE_VLAN: u16 = 0x88a8;
/// EtherType of PPPoE's discovery stage (RFC 2516 section 4).
pub const PPPOE_DISCOVERY: u16 = 0x8863;
/// EtherType of PPPoE's session stage (RFC 2516 section 4).
pub const PPPOE_SESSION: u16 = 0x8864;

/// A frame's first 14 bytes.
#[derive(Clone, Copy)]
pub struct Ethernet<'p>(&'p [u8; LEN]);

impl<'p> Ethernet<'p> {
    /// The header at the frame's start.
    #[inline(always)]
    pub fn of<P: Packet>(packet: &'p P) -> Option<Self> {
        packet.bytes(0).map(Self)
    }

    /// Destination and source, as they stand in the frame.
    #[inline(always)]
    pub fn destination(self) -> [u8; 6] {
        let b = self.0;
        [b[0], b[1], b[2], b[3], b[4], b[5]]
    }

    /// The type, or the first tag's.
    #[inline(always)]
    pub fn ethertype(self) -> u16 {
        u16::from_be_bytes([self.0[12], self.0[13]])
    }
}

/// Whether this type announces a tag.
#[inline(always)]
pub const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, VLAN | SERVICE_VLAN)
}
