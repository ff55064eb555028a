//! Forwards: ports of outside addresses that lead to a host of the LAN.

use std::net::SocketAddrV4;

use super::{Mode, Mode4, UplinkConfig, value::PortRange};

/// Packets to these ports of an uplink's outside addresses go to a host of the LAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardConfig {
    /// The protocol of the ports.
    pub protocol: Protocol,
    /// The ports on the uplinks' outside addresses.
    pub outside: PortRange,
    /// The host, and the port that the first of `outside` leads to; the others follow it, up to
    /// 65535 at most.
    pub inside: SocketAddrV4,
    /// Names of the uplinks that have it, all of which translate IPv4; none is all that do.
    pub uplinks: Vec<String>,
}

/// A protocol with ports that can be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The word for it in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl Mode {
    /// Whether a forward may name an uplink of this mode: it says that IPv4 is translated, or
    /// leaves all to what is there.
    pub const fn takes_forwards(self) -> bool {
        match self {
            Self::Auto | Self::Nat44 | Self::Nat44Nptv6 => true,
            Self::Routed | Self::Nptv6 => false,
        }
    }
}

impl ForwardConfig {
    /// Whether `uplink` has this forward, if it translates IPv4.
    pub fn is_on(&self, uplink: &UplinkConfig) -> bool {
        if self.uplinks.is_empty() {
            uplink.mode.ipv4() != Mode4::Routed
        } else {
            self.uplinks.contains(&uplink.name)
        }
    }
}
