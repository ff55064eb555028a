//! Why a packet that came in for a session is not taken.

/// Why a packet is discarded, in the order in which it is looked at: RFC 5881 section 5, then RFC 5880
/// section 6.8.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub enum Discard {
    /// A length or checksum of the IP or UDP header is wrong.
    #[error("no whole UDP datagram")]
    Datagram,
    /// It came over a router, or a neighbour wants others to think so (GTSM, RFC 5082).
    #[error("TTL or hop limit is not 255")]
    HopLimit,
    /// Not version 1.
    #[error("not of version 1")]
    Version,
    /// Shorter than a packet can be, or longer than its datagram.
    #[error("wrong length")]
    Length,
    /// The detection multiplier is zero.
    #[error("detection multiplier is zero")]
    DetectMult,
    /// The multipoint bit is set.
    #[error("multipoint bit is set")]
    Multipoint,
    /// The sender's discriminator is zero.
    #[error("the sender's discriminator is zero")]
    MyDiscriminator,
    /// It names a session that is not ours.
    #[error("of no session of ours")]
    UnknownSession,
    /// It names no session, and its state says that the sender knows one.
    #[error("names no session although it is of one")]
    NoDiscriminator,
    /// It is authenticated, which is not in use here.
    #[error("authenticated, which is not in use")]
    Authentication,
    /// The session is held down at this end.
    #[error("the session is administratively down")]
    AdminDown,
}

impl Discard {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Datagram,
        Self::HopLimit,
        Self::Version,
        Self::Length,
        Self::DetectMult,
        Self::Multipoint,
        Self::MyDiscriminator,
        Self::UnknownSession,
        Self::NoDiscriminator,
        Self::Authentication,
        Self::AdminDown,
    ];

    /// The word for it in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Datagram => "datagram",
            Self::HopLimit => "hop_limit",
            Self::Version => "version",
            Self::Length => "length",
            Self::DetectMult => "detect_mult",
            Self::Multipoint => "multipoint",
            Self::MyDiscriminator => "my_discriminator",
            Self::UnknownSession => "unknown_session",
            Self::NoDiscriminator => "no_discriminator",
            Self::Authentication => "authentication",
            Self::AdminDown => "admin_down",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_number() {
        for (n, reason) in Discard::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, n, "{reason:?}");
        }
    }
}
