//! How large the segments of connections by an uplink may be.

/// What a connection by an uplink may open with: the largest TCP payload of a packet that either end
/// asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MssClamp {
    /// What fits the uplink's MTU, where that is smaller than a LAN port's.
    #[default]
    Auto,
    /// So many bytes in IPv4, 536 to 65 495, and 20 less in IPv6, whose header is longer by that; never
    /// more than fits the uplink's MTU.
    At(u16),
    /// Whatever they ask for.
    Off,
}
