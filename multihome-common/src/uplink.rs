//! Uplinks and LAN hosts: where a packet goes next on the link.

/// The two MACs of a frame to the next station on a link; 12 bytes, as they stand in the frame.
///
/// Kept as words, not as bytes, so that the kernel's copy lives in registers.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Hop([u32; 3]);

impl Hop {
    /// To the station `destination`, from the device whose MAC is `source`.
    #[inline(always)]
    pub const fn new(destination: [u8; 6], source: [u8; 6]) -> Self {
        let (d, s) = (destination, source);
        Self([
            u32::from_ne_bytes([d[0], d[1], d[2], d[3]]),
            u32::from_ne_bytes([d[4], d[5], s[0], s[1]]),
            u32::from_ne_bytes([s[2], s[3], s[4], s[5]]),
        ])
    }

    /// The frame's first 12 bytes, as three pieces.
    #[inline(always)]
    pub const fn pieces(&self) -> [[u8; 4]; 3] {
        [
            self.0[0].to_ne_bytes(),
            self.0[1].to_ne_bytes(),
            self.0[2].to_ne_bytes(),
        ]
    }

    /// The next station's MAC.
    pub const fn destination(&self) -> [u8; 6] {
        let [a, b, _] = self.pieces();
        [a[0], a[1], a[2], a[3], b[0], b[1]]
    }

    /// The sending device's MAC.
    pub const fn source(&self) -> [u8; 6] {
        let [_, b, c] = self.pieces();
        [b[2], b[3], c[0], c[1], c[2], c[3]]
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_is_the_first_twelve_bytes_of_a_frame() {
        let hop = Hop::new([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]);
        assert_eq!(
            hop.pieces().concat(),
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
        );
        assert_eq!(hop.destination(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(hop.source(), [7, 8, 9, 10, 11, 12]);
    }
}
