//! BFD on an uplink: whether, with whom, and how fast.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

/// BFD on an uplink. At least one family has a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdConfig {
    /// The time from one packet to the next that is wished for, in both directions: 10 ms to 60 s.
    pub interval: Duration,
    /// Packets in a row that may be missed: 1 to 255.
    pub multiplier: u8,
    /// Nothing is sent before the peer has spoken.
    pub passive: bool,
    /// The IPv4 session, if there is to be one.
    pub ipv4: Option<BfdPeer<Ipv4Addr>>,
    /// The IPv6 session, if there is to be one.
    pub ipv6: Option<BfdPeer<Ipv6Addr>>,
}

/// Who speaks BFD at the other end of an uplink's link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BfdPeer<A> {
    /// The next hop, whoever that is.
    #[default]
    NextHop,
    /// This address on the link.
    Address(A),
}

impl<A: Copy> BfdPeer<A> {
    /// The address, if it is a given one.
    pub const fn address(self) -> Option<A> {
        match self {
            Self::NextHop => None,
            Self::Address(address) => Some(address),
        }
    }
}

impl BfdConfig {
    /// What FRR and most others have by default.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_millis(300);
    /// The same of the multiplier.
    pub const DEFAULT_MULTIPLIER: u8 = 3;

    /// The peer of the session of a family, if there is to be one.
    pub fn peer(&self, ipv4: bool) -> Option<BfdPeer<IpAddr>> {
        fn any<A: Copy + Into<IpAddr>>(peer: BfdPeer<A>) -> BfdPeer<IpAddr> {
            peer.address()
                .map_or(BfdPeer::NextHop, |address| BfdPeer::Address(address.into()))
        }
        if ipv4 {
            self.ipv4.map(any)
        } else {
            self.ipv6.map(any)
        }
    }
}
