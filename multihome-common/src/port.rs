//! Ports: what packets come in on, found by the device's ifindex and by the port's framing.

use crate::{
    framing::Framing,
    limits::{MAX_UPLINKS, PORT_TABLE_PROBES, PORT_TABLE_SIZE},
    tables::Tables,
};

/// What the programs know of a port that packets come in on; 64 bytes.
///
/// A device whose ports are told apart by their framing has an entry of its own besides theirs, with
/// [`PORT_TRUNK`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PortEntry {
    /// The ifindex of the device that frames come in on; 0 marks a free place.
    pub ifindex: u32,
    /// The port's [`Framing::key`].
    pub framing: u32,
    /// The port's slot: an uplink's id, or [`MAX_UPLINKS`] + the LAN port's number; [`NO_SLOT`] for a device
    /// that is no port itself.
    pub slot: u32,
    /// The port's MTU: the largest IP packet in bytes.
    pub mtu: u32,
    /// A set of `PORT_*` flags.
    pub flags: u32,
    /// The ifindex of the device that the kernel knows the port's addresses and routes by.
    pub layer3: u32,
    /// The device's own MAC: frames for another are left alone.
    pub mac: [u8; 6],
    /// The other station of a PPPoE session; zeroes for other ports.
    pub peer: [u8; 6],
    /// The source of ICMP errors sent from here; 0.0.0.0 = none can be sent.
    pub address4: [u8; 4],
    /// The source of ICMPv6 errors sent from here; `::` = none can be sent.
    pub address6: [u8; 16],
    /// The PPPoE session's id; zero for other ports.
    pub session: u32,
    /// The tags that frames get which the kernel sends by this device without any, as the word of a
    /// [`Framing`]; zero for none.
    pub kernel_tags: u32,
}

const _: () = assert!(size_of::<PortEntry>() == 64);

/// Frames that come in on this device belong to ports by their framing.
pub const PORT_TRUNK: u32 = 1;
/// The port has a framing of its own.
pub const PORT_FRAMED: u32 = 2;
/// The kernel has a device for the port's tags, and gets frames with them.
pub const PORT_RESTORE: u32 = 4;
/// All that comes in here is the kernel's.
pub const PORT_KERNEL: u32 = 8;

/// The slot of what is no port.
pub const NO_SLOT: u32 = u32::MAX;

/// Bit of a [`HostEntry`](crate::uplink::HostEntry)'s slot that says that the port has a framing of its own.
pub const SLOT_FRAMED: u16 = 1 << 15;

impl PortEntry {
    /// The station of a port that talks to many.
    pub const ANY: [u8; 6] = [0; 6];

    /// Whether this is a LAN port, not an uplink.
    pub const fn is_lan(&self) -> bool {
        self.slot as usize >= MAX_UPLINKS
    }

    /// Whether the port has a framing of its own.
    #[inline(always)]
    pub const fn is_framed(&self) -> bool {
        self.flags & PORT_FRAMED != 0
    }

    /// The slot as what is sent by this port has it: [`SLOT_FRAMED`] included.
    #[inline(always)]
    pub const fn slot_to_send(&self) -> u16 {
        let framed = (self.flags & PORT_FRAMED) as u16 * (SLOT_FRAMED / PORT_FRAMED as u16);
        self.slot as u16 & (SLOT_FRAMED - 1) | framed
    }

    /// Whether this is the entry of the same port.
    #[inline(always)]
    pub fn is_same(&self, other: &Self) -> bool {
        self.ifindex == other.ifindex
            && self.framing == other.framing
            && self.session == other.session
            && self.peer == other.peer
    }
}

/// The places in the port table where a port may stand, nearest first.
pub fn places(entry: &PortEntry) -> impl Iterator<Item = u32> {
    let (ifindex, framing, session) = (entry.ifindex, entry.framing, entry.session);
    (0..PORT_TABLE_PROBES as u32).map(move |n| place(ifindex, framing, session, n))
}

#[inline(always)]
const fn place(ifindex: u32, framing: u32, session: u32, probe: u32) -> u32 {
    // Fibonacci hashing: neighbouring VLAN ids and sessions are spread, and a plain port stands where its ifindex
    // says.
    let framing = framing.wrapping_add(session.rotate_left(16));
    let home = ifindex.wrapping_add(framing.wrapping_mul(0x9e37_79b1) >> 22);
    home.wrapping_add(probe) % PORT_TABLE_SIZE as u32
}

/// The place where the device itself may stand, this many after its home.
#[inline(always)]
pub const fn plain_place(ifindex: u32, probe: u32) -> u32 {
    place(ifindex, 0, 0, probe)
}

/// The entry of the device with this ifindex.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, ifindex: u32) -> Option<&PortEntry> {
    find_placed(tables, ifindex).map(|(_, entry)| entry)
}

/// The entry of the device with this ifindex, and its place.
#[inline(always)]
pub fn find_placed<T: Tables>(tables: &T, ifindex: u32) -> Option<(u32, &PortEntry)> {
    for probe in 0..PORT_TABLE_PROBES as u32 {
        let place = plain_place(ifindex, probe);
        let entry = tables.port(place)?;
        if entry.ifindex == ifindex && entry.framing == 0 {
            return Some((place, entry));
        }
    }
    None
}

/// The entry of the port with this framing on a device, and its place; `station` is who sent the frame, and
/// counts for sessions alone: two of them may have the same id on one device, with different stations.
#[inline(always)]
pub fn find_framed<'t, T: Tables>(
    tables: &'t T,
    ifindex: u32,
    framing: Framing,
    station: &[u8; 6],
) -> Option<(u32, &'t PortEntry)> {
    let session = u32::from(framing.session().unwrap_or_default());
    for probe in 0..PORT_TABLE_PROBES as u32 {
        let place = place(ifindex, framing.key(), session, probe);
        let entry = tables.port(place)?;
        if entry.ifindex == ifindex
            && entry.framing == framing.key()
            && entry.session == session
            && entry.peer == *station
        {
            return Some((place, entry));
        }
    }
    None
}

// SAFETY: `repr(C)`, no padding (6 x 4 + 6 + 6 + 4 + 16 + 2 x 4 = 64), every field takes any bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for PortEntry {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sim::SimTables;

    proptest! {
        #[test]
        fn every_device_that_was_entered_is_found_and_no_other(
            devices in proptest::collection::btree_set(1u32..2000, 0..60), other in 1u32..2000
        ) {
            let mut tables = SimTables::default();
            // Devices whose places are all taken are refused, never put where they are not found.
            let entered = |&ifindex: &u32| {
                let slot = ifindex ^ 0x55;
                tables.add_port(PortEntry { ifindex, slot, ..PortEntry::default() })
            };
            let entered: std::vec::Vec<u32> = devices.iter().copied().filter(entered).collect();
            for &ifindex in &entered {
                prop_assert_eq!(find(&tables, ifindex).map(|entry| entry.slot), Some(ifindex ^ 0x55));
            }
            prop_assert_eq!(find(&tables, other).is_some(), entered.contains(&other));
        }
    }

    /// The last place of the table is followed by the first.
    #[test]
    fn places_wrap_around() {
        let last = PORT_TABLE_SIZE as u32 - 1;
        let found: std::vec::Vec<u32> = (0..8).map(|n| plain_place(u32::MAX, n)).collect();
        assert_eq!(found, [last, 0, 1, 2, 3, 4, 5, 6]);
    }
}
