//! Uplinks and LAN hosts: where a packet goes next on the link, and under which address.

use crate::{limits::MAX_OUTSIDE, nptv6::Translation, port::SLOT_FRAMED};

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

/// The uplink's packets keep their addresses.
pub const MODE_ROUTED: u8 = 0;
/// The uplink's IPv4 packets get an outside address and port.
pub const MODE_NAT44: u8 = 1;
/// The uplink's IPv6 packets get another prefix (RFC 6296).
pub const MODE_NPTV6: u8 = 2;

/// Any host may answer to a mapped port (RFC 4787 section 5: endpoint-independent filtering).
pub const UPLINK_OPEN_FILTER: u8 = 1;
/// What comes in for an outside address unasked is dropped, not left to the kernel.
pub const UPLINK_DROP_UNASKED: u8 = 2;

/// The uplink has a framing of its own.
pub const UPLINK_FRAMED: u8 = 1 << 7;

/// What a packet to an uplink needs; two cache lines, of which IPv4 needs the first alone.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct UplinkEntry {
    /// The largest IP packet in bytes that the uplink takes.
    pub mtu: u16,
    /// The part of the port table of the first outside address; the others' follow.
    pub pool: u16,
    /// What is done with addresses, for each family: a `MODE_*`.
    pub mode: [u8; 2],
    /// How many of `outside` there are.
    pub outside_count: u8,
    /// A set of `UPLINK_*` flags.
    pub flags: u8,
    /// The next hop of each family. Only those that the alive word of the family names are valid.
    pub next_hop: [Hop; 2],
    /// The outside IPv4 addresses, in host order.
    pub outside: [u32; MAX_OUTSIDE],
    /// The LAN's IPv6 prefix and the uplink's.
    pub prefix: Translation,
    /// The largest MSS in bytes that a connection by the uplink may open with, for each family; 0 for any.
    pub mss: [u16; 2],
    /// Room for later fields; zero.
    pub reserved: [u32; 7],
}

impl UplinkEntry {
    /// The uplink's slot as what is sent by it has it: [`SLOT_FRAMED`] included.
    #[inline(always)]
    pub const fn slot_to_send(&self, id: u8) -> u16 {
        id as u16 | ((self.flags & UPLINK_FRAMED) as u16 * (SLOT_FRAMED / UPLINK_FRAMED as u16))
    }

    /// Which of the outside addresses this is.
    #[inline(always)]
    pub fn outside_place(&self, address: u32) -> Option<u16> {
        for place in 0..MAX_OUTSIDE {
            if place < self.outside_count as usize && self.outside[place] == address {
                return Some(place as u16);
            }
        }
        None
    }
}

/// Where a LAN host is; 16 bytes.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HostEntry {
    /// The host's MAC and its port's.
    pub hop: Hop,
    /// The largest IP packet in bytes that the host's port takes.
    pub mtu: u16,
    /// The slot of the host's port, with [`SLOT_FRAMED`] if that has a framing of its own.
    pub slot: u16,
}

impl HostEntry {
    /// The entry as two words.
    #[inline(always)]
    pub const fn words(&self) -> [u64; 2] {
        let [a, b, c] = self.hop.0;
        [
            a as u64 | (b as u64) << 32,
            c as u64 | (self.mtu as u64) << 32 | (self.slot as u64) << 48,
        ]
    }

    /// The entry that [`HostEntry::words`] gave.
    #[inline(always)]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self {
            hop: Hop([words[0] as u32, (words[0] >> 32) as u32, words[1] as u32]),
            mtu: (words[1] >> 32) as u16,
            slot: (words[1] >> 48) as u16,
        }
    }
}

const _: () = assert!(size_of::<UplinkEntry>() == 128);
const _: () = assert!(size_of::<HostEntry>() == 16);

// SAFETY: `repr(C)`, no padding (8 + 2 x 12 + 8 x 4 + 32 + 2 x 2 + 7 x 4 = 128), every field takes any bytes.
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
