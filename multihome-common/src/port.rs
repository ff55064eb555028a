//! Ports: the devices that the programs are attached to, found by ifindex.

use crate::{
    limits::{MAX_UPLINKS, PORT_TABLE_PROBES, PORT_TABLE_SIZE},
    tables::Tables,
};

/// What the programs know of a device that packets come in on; 48 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PortEntry {
    /// The device's ifindex; 0 marks a free place.
    pub ifindex: u32,
    /// The device's slot: an uplink's id, or [`MAX_UPLINKS`] + the LAN port's number.
    pub slot: u32,
    /// The device's MTU: the largest IP packet in bytes.
    pub mtu: u32,
    /// A set of `PORT_*` flags.
    pub flags: u32,
    /// The device's own MAC: frames for another are left alone.
    pub mac: [u8; 6],
    /// Room; zero.
    pub reserved: [u8; 6],
    /// The source of ICMP errors sent from here; 0.0.0.0 = none can be sent.
    pub address4: [u8; 4],
    /// The source of ICMPv6 errors sent from here; `::` = none can be sent.
    pub address6: [u8; 16],
}

const _: () = assert!(size_of::<PortEntry>() == 48);

/// VLAN devices stand on this port: tagged frames are theirs.
pub const PORT_VLAN_DEVICES: u32 = 1;

impl PortEntry {
    /// Whether this is a LAN port, not an uplink.
    pub const fn is_lan(&self) -> bool {
        self.slot as usize >= MAX_UPLINKS
    }
}

/// The places in the port table where a device may stand, nearest first.
pub fn places(ifindex: u32) -> impl Iterator<Item = u32> {
    (0..PORT_TABLE_PROBES as u32).map(move |n| place(ifindex, n))
}

#[inline(always)]
const fn place(ifindex: u32, probe: u32) -> u32 {
    (ifindex.wrapping_add(probe)) % PORT_TABLE_SIZE as u32
}

/// The entry of the device with this ifindex.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, ifindex: u32) -> Option<&PortEntry> {
    for probe in 0..PORT_TABLE_PROBES as u32 {
        let entry = tables.port(place(ifindex, probe))?;
        if entry.ifindex == ifindex {
            return Some(entry);
        }
    }
    None
}

// SAFETY: `repr(C)`, no padding (4 x 4 + 6 + 6 + 4 + 16 = 48), every field takes any bytes.
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
        let found: std::vec::Vec<u32> = places(u32::MAX).collect();
        assert_eq!(found, [last, 0, 1, 2, 3, 4, 5, 6]);
    }
}
