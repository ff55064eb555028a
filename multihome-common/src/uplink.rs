//! Uplinks and LAN hosts: where a packet goes next on the link.

/// The two MACs of a frame to the next station on a link; 12 bytes, as they stand in the frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Hop {
    /// The next station's MAC.
    pub destination: [u8; 6],
    /// The MAC of the device that sends.
    pub source: [u8; 6],
}

/// What a packet to an uplink needs; 32 bytes, two to a cache line.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct UplinkEntry {
    /// The largest IP packet in bytes that the uplink takes.
    pub mtu: u32,
    /// Room for flags; zero.
    pub reserved: u32,
    /// The next hop of each family. Only those that the alive word of the family names are valid.
    pub next_hop: [Hop; 2],
}

/// Where a LAN host is; 16 bytes.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HostEntry {
    /// The host's MAC and its port's.
    pub hop: Hop,
    /// The largest IP packet in bytes that the host's port takes.
    pub mtu: u16,
    /// The slot of the host's port.
    pub slot: u16,
}

const _: () = assert!(size_of::<UplinkEntry>() == 32);
const _: () = assert!(size_of::<HostEntry>() == 16);

// SAFETY: `repr(C)`, no padding (4 + 4 + 2 x 12 = 32), every field takes any bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for UplinkEntry {}
// SAFETY: `repr(C)`, no padding (12 + 2 + 2 = 16), every field takes any bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for HostEntry {}
