//! The bytes of one frame behind bounds-checked reads and writes, over XDP memory or over a buffer.

/// A frame that the packet path reads and rewrites.
///
/// Offsets count from the first byte of the Ethernet header. Every access is checked against the
/// frame's end, so a wrong length in a packet can at worst end in `None`.
pub trait Packet {
    /// The frame's length in bytes.
    fn len(&self) -> usize;

    /// `N` bytes from `offset`, or `None` where the frame ends before.
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]>;

    /// `N` bytes from `offset` to write to, or `None` where the frame ends before.
    fn bytes_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]>;

    /// Puts `by` new bytes of undefined content before the first one.
    fn grow_front(&mut self, by: usize) -> Option<()>;

    /// Cuts the frame down to `len` bytes.
    fn truncate(&mut self, len: usize) -> Option<()>;

    /// Whether the frame has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
