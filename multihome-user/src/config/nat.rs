//! What the configuration says of translated flows: how many, how long, and from whom.

use std::time::Duration;

use super::value::PortRange;

/// How translated flows are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatConfig {
    /// How many flows there may be at a time: 1024 to 16 777 216.
    pub flows: u32,
    /// Whose packets reach the host behind a binding.
    pub filtering: Filtering,
    /// What becomes of packets to an outside address that nobody asked for.
    pub unasked: Unasked,
    /// The ports that flows may get on outside addresses: at most 2 ranges, without a port in
    /// common; none takes all above 1023 that the kernel does not give to its own sockets.
    pub ports: Vec<PortRange>,
    /// How long a silent flow is kept.
    pub timeouts: NatTimeouts,
}

impl Default for NatConfig {
    fn default() -> Self {
        Self {
            flows: 262_144,
            filtering: Filtering::default(),
            unasked: Unasked::default(),
            ports: Vec::new(),
            timeouts: NatTimeouts::default(),
        }
    }
}

/// How long a flow without packets is kept, by what it is: 1 s to 24 h each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatTimeouts {
    /// An established TCP connection: at least 1 minute.
    pub tcp_established: Duration,
    /// A TCP connection that is being opened or closed.
    pub tcp_transitory: Duration,
    /// A TCP connection whose first packet nobody has answered.
    pub tcp_unanswered: Duration,
    /// UDP that goes both ways.
    pub udp: Duration,
    /// UDP that nobody has answered.
    pub udp_unanswered: Duration,
    /// ICMP queries, such as pings.
    pub icmp: Duration,
    /// Any other protocol.
    pub other: Duration,
}

impl Default for NatTimeouts {
    /// What RFC 5382 (TCP), RFC 4787 (UDP) and RFC 5508 (ICMP) ask for at least or recommend.
    fn default() -> Self {
        Self {
            tcp_established: Duration::from_secs(124 * 60),
            tcp_transitory: Duration::from_secs(4 * 60),
            tcp_unanswered: Duration::from_secs(30),
            udp: Duration::from_secs(5 * 60),
            udp_unanswered: Duration::from_secs(30),
            icmp: Duration::from_secs(60),
            other: Duration::from_secs(5 * 60),
        }
    }
}

/// Whose packets reach the host behind a binding (RFC 4787 section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filtering {
    /// Those from an address and port that the host has sent to.
    #[default]
    AddressAndPortDependent,
    /// Everybody's.
    EndpointIndependent,
}

impl Filtering {
    /// The word for it in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddressAndPortDependent => "address-and-port-dependent",
            Self::EndpointIndependent => "endpoint-independent",
        }
    }
}

/// What becomes of a packet to an outside address that belongs to no flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unasked {
    /// The kernel has it: it may be for a service of the gateway itself.
    #[default]
    Kernel,
    /// It is dropped.
    Drop,
}

impl Unasked {
    /// The word for it in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Drop => "drop",
        }
    }
}
