//! What rules ask about a packet beside addresses and ports.

use std::{fmt, str::FromStr};

use multihome_common::wire::protocol;

use super::{super::suggest, ValueError, is_label};

/// A rule's name: 1 to 32 letters, digits, `_`, `.` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleName(pub String);

impl FromStr for RuleName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_label(text) {
            Ok(Self(text.into()))
        } else {
            Err(ValueError::RuleName(text.into()))
        }
    }
}

/// A protocol that a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP, of IPv6 ICMPv6.
    Icmp,
    /// The protocol of this number (IANA), 1 to 255.
    Number(u8),
}

impl RuleProtocol {
    const NAMED: [(&'static str, Self); 3] =
        [("tcp", Self::Tcp), ("udp", Self::Udp), ("icmp", Self::Icmp)];

    /// Whether packets of this protocol may have it in their IP header.
    pub const fn has(self, number: u8) -> bool {
        match self {
            Self::Tcp => number == protocol::TCP,
            Self::Udp => number == protocol::UDP,
            Self::Icmp => number == protocol::ICMP || number == protocol::ICMP6,
            Self::Number(own) => number == own,
        }
    }

    /// Whether its packets have ports that a rule can ask for.
    pub const fn has_ports(self) -> bool {
        self.has(protocol::TCP) || self.has(protocol::UDP)
    }
}

impl FromStr for RuleProtocol {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((_, protocol)) = Self::NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(*protocol);
        }
        match number(text) {
            Some(protocol::TCP) => Ok(Self::Tcp),
            Some(protocol::UDP) => Ok(Self::Udp),
            Some(number) if number > 0 => Ok(Self::Number(number)),
            Some(_) | None => Err(ValueError::RuleProtocol {
                given: text.into(),
                suggestion: suggest::closest(text, Self::NAMED.map(|(name, _)| name)),
            }),
        }
    }
}

impl fmt::Display for RuleProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Icmp => f.write_str("icmp"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// A differentiated services codepoint (RFC 2474): 0 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dscp(pub u8);

impl Dscp {
    /// RFC 2474 (CS), RFC 2597 (AF), RFC 3246 (EF), RFC 5865 (VA) and RFC 8622 (LE).
    const NAMED: [(&'static str, u8); 23] = [
        ("cs0", 0),
        ("le", 1),
        ("cs1", 8),
        ("af11", 10),
        ("af12", 12),
        ("af13", 14),
        ("cs2", 16),
        ("af21", 18),
        ("af22", 20),
        ("af23", 22),
        ("cs3", 24),
        ("af31", 26),
        ("af32", 28),
        ("af33", 30),
        ("cs4", 32),
        ("af41", 34),
        ("af42", 36),
        ("af43", 38),
        ("cs5", 40),
        ("va", 44),
        ("ef", 46),
        ("cs6", 48),
        ("cs7", 56),
    ];
}

impl FromStr for Dscp {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        if let Some((_, number)) = Self::NAMED.iter().find(|(name, _)| *name == lower) {
            return Ok(Self(*number));
        }
        match number(text) {
            Some(number) if number < 64 => Ok(Self(number)),
            Some(_) | None => Err(ValueError::Dscp(text.into())),
        }
    }
}

impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMED.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A number in digits; a sign is none.
fn number(text: &str) -> Option<u8> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_words_or_numbers() {
        for (text, numbers) in [
            ("tcp", &[6][..]),
            ("udp", &[17]),
            ("icmp", &[1, 58]),
            ("50", &[50]),
            ("255", &[255]),
        ] {
            let protocol: RuleProtocol = text.parse().expect(text);
            let has: Vec<u8> = (0..=255).filter(|number| protocol.has(*number)).collect();
            assert_eq!((&has[..], protocol.to_string()), (numbers, text.into()));
        }
        assert_eq!("6".parse(), Ok(RuleProtocol::Tcp));
        for bad in ["", "0", "256", "-1", "+6", "tpc", "TCP"] {
            assert!(bad.parse::<RuleProtocol>().is_err(), "{bad}");
        }
        let message = "icmpv6".parse::<RuleProtocol>().unwrap_err().to_string();
        assert!(message.contains("did you mean \"icmp\"?"), "{message}");
    }

    #[test]
    fn codepoints_are_names_or_numbers() {
        for number in 0..64 {
            let text = Dscp(number).to_string();
            assert_eq!(text.parse(), Ok(Dscp(number)));
            assert_eq!(number.to_string().parse(), Ok(Dscp(number)));
        }
        assert_eq!("EF".parse(), Ok(Dscp(46)));
        assert_eq!(Dscp(34).to_string(), "af41");
        for bad in ["", "64", "-1", "af14", "+1"] {
            assert_eq!(bad.parse::<Dscp>(), Err(ValueError::Dscp(bad.into())));
        }
    }
}
