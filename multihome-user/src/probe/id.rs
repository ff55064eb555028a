//! Who is probed and how, and what became of one probe: small values that all parts share.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use super::Failure;

/// What a target stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// The uplink's next hop: the first hop is reachable.
    NextHop,
    /// An address beyond it: the path behind the first hop works.
    Remote,
}

/// How a target is asked, and what tells targets of one address apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// ICMP echo.
    Echo,
    /// A TCP connection, which must come about.
    Tcp {
        /// The port.
        port: u16,
    },
    /// A DNS query by UDP, which must be answered with a record of the expected type.
    Dns {
        /// The server's port.
        port: u16,
        /// The target's place in its uplink's list.
        number: u8,
    },
    /// An HTTP request, which must be answered with an expected status.
    Http {
        /// The server's port.
        port: u16,
        /// The target's place in its uplink's list.
        number: u8,
    },
    /// The same over TLS.
    Https {
        /// The server's port.
        port: u16,
        /// The target's place in its uplink's list.
        number: u8,
    },
}

impl Method {
    /// Packets that one probe sends when nothing is lost; answers are not counted. An HTTP server
    /// that answers in several segments may need one acknowledgement more than is usual, which is
    /// counted here.
    pub const fn packets(self) -> u32 {
        match self {
            Self::Echo | Self::Dns { .. } => 1,
            // SYN, and the reset that ends what was only opened to see whether it opens.
            Self::Tcp { .. } => 2,
            // SYN, request, acknowledgement, reset.
            Self::Http { .. } => 4,
            // SYN, hello, acknowledgements of the certificates, finished and request, reset.
            Self::Https { .. } => 7,
        }
    }

    /// Round trips from the first packet to the answer that counts: a timeout that is not measured
    /// yet allows for each of them.
    pub const fn round_trips(self) -> u32 {
        match self {
            Self::Echo | Self::Dns { .. } | Self::Tcp { .. } => 1,
            Self::Http { .. } => 2,
            // Two for the handshake of TLS 1.2.
            Self::Https { .. } => 4,
        }
    }
}

/// One address probed in one way over one uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId {
    /// The uplink's number, 0..=63.
    pub uplink: u8,
    /// The probed address.
    pub target: IpAddr,
    /// What it stands for.
    pub kind: TargetKind,
    /// How it is asked.
    pub method: Method,
}

impl TargetId {
    /// The next hop, which is pinged.
    pub const fn next_hop(uplink: u8, target: IpAddr) -> Self {
        Self {
            uplink,
            target,
            kind: TargetKind::NextHop,
            method: Method::Echo,
        }
    }

    /// A remote target that is pinged.
    pub const fn echo(uplink: u8, target: IpAddr) -> Self {
        Self::remote(uplink, target, Method::Echo)
    }

    /// A remote target.
    pub const fn remote(uplink: u8, target: IpAddr, method: Method) -> Self {
        Self {
            uplink,
            target,
            kind: TargetKind::Remote,
            method,
        }
    }
}

impl fmt::Display for TargetId {
    /// Without the uplink: an address, or as much of a URL as says who is asked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, port) = match self.method {
            Method::Echo => return self.target.fmt(f),
            Method::Tcp { port } => ("tcp", port),
            Method::Dns { port, .. } => ("dns", port),
            Method::Http { port, .. } => ("http", port),
            Method::Https { port, .. } => ("https", port),
        };
        write!(f, "{scheme}://{}", SocketAddr::new(self.target, port))
    }
}

/// What became of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered in time, as expected.
    Reply {
        /// The network's round-trip time: from sending to the kernel's receive timestamp of the
        /// first answer (echo reply, SYN-ACK, DNS answer).
        rtt: Duration,
    },
    /// Not answered in time.
    Lost,
    /// Answered, and not as expected. Counts as a lost one for the path, though the network itself
    /// may lose nothing.
    Failed(Failure),
}

impl Outcome {
    /// Whether the target answered as expected.
    pub const fn is_reply(self) -> bool {
        match self {
            Self::Reply { .. } => true,
            Self::Lost | Self::Failed(_) => false,
        }
    }
}

/// The outcome of one probe of one target. A target's outcomes come in the order of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeEvent {
    /// Who was asked.
    pub id: TargetId,
    /// What became of it.
    pub outcome: Outcome,
    /// When the probe was sent.
    pub sent: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_one_address_are_told_apart() {
        let address: IpAddr = [9, 9, 9, 9].into();
        let six: IpAddr = "2620:fe::fe".parse().expect("an address");
        let all = [
            (TargetId::echo(0, address), "9.9.9.9"),
            (
                TargetId::remote(0, address, Method::Tcp { port: 443 }),
                "tcp://9.9.9.9:443",
            ),
            (
                TargetId::remote(
                    0,
                    address,
                    Method::Dns {
                        port: 53,
                        number: 2,
                    },
                ),
                "dns://9.9.9.9:53",
            ),
            (
                TargetId::remote(
                    0,
                    six,
                    Method::Http {
                        port: 80,
                        number: 3,
                    },
                ),
                "http://[2620:fe::fe]:80",
            ),
            (
                TargetId::remote(
                    0,
                    six,
                    Method::Https {
                        port: 443,
                        number: 4,
                    },
                ),
                "https://[2620:fe::fe]:443",
            ),
        ];
        for (id, text) in all {
            assert_eq!(id.to_string(), text);
            assert_eq!(all.iter().filter(|(other, _)| *other == id).count(), 1);
        }
    }
}
