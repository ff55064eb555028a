//! What is asked: a packet by its ends and protocol, as a person writes it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use multihome_common::wire::protocol;
use thiserror::Error;

use crate::config::suggest;

/// The source port that is taken where none is given.
pub const SOURCE_PORT: u16 = 50_000;
/// The destination port that is taken where none is given.
pub const DESTINATION_PORT: u16 = 443;

/// Why a text is no part of a question.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QueryError {
    /// No address.
    #[error("{0:?} is no address; give 192.0.2.1, 192.0.2.1:80, 2001:db8::1 or [2001:db8::1]:80")]
    Endpoint(String),
    /// No protocol.
    #[error(
        "{given:?} is no protocol; give a number from 0 to 255 or one of: {}{}",
        NAMES.map(|(name, _)| name).join(", "),
        suggest::hint(.suggestion.as_deref())
    )]
    Protocol {
        /// What was given.
        given: String,
        /// The name that was probably meant.
        suggestion: Option<String>,
    },
    /// Nothing that could be otherwise.
    #[error("{0:?} says nothing of what might be; give down=UPLINK")]
    WhatIf(String),
}

/// An end of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port, where one was given.
    pub port: Option<u16>,
}

impl FromStr for Endpoint {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bracketed = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Ok(address) = bracketed.unwrap_or(text).parse::<IpAddr>() {
            if bracketed.is_some() && address.is_ipv4() {
                return Err(QueryError::Endpoint(text.into()));
            }
            return Ok(Self {
                address,
                port: None,
            });
        }
        let with_port: SocketAddr = text
            .parse()
            .map_err(|_| QueryError::Endpoint(text.into()))?;
        Ok(Self {
            address: with_port.ip(),
            port: Some(with_port.port()),
        })
    }
}

/// Protocols that have a name here.
const NAMES: [(&str, u8); 8] = [
    ("tcp", protocol::TCP),
    ("udp", protocol::UDP),
    ("icmp", protocol::ICMP),
    ("icmpv6", protocol::ICMP6),
    ("gre", 47),
    ("esp", 50),
    ("ah", protocol::AUTHENTICATION),
    ("sctp", 132),
];

/// The packet's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol(pub u8);

impl Protocol {
    /// Whether its packets have ports.
    pub const fn has_ports(self) -> bool {
        matches!(self.0, protocol::TCP | protocol::UDP)
    }
}

impl FromStr for Protocol {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_lowercase();
        let named = NAMES.iter().find(|(name, _)| *name == lower);
        let number = named
            .map(|(_, number)| *number)
            .or_else(|| text.parse().ok());
        number.map(Self).ok_or_else(|| QueryError::Protocol {
            given: text.into(),
            suggestion: suggest::closest(text, NAMES.map(|(name, _)| name)),
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "protocol {}", self.0),
        }
    }
}

/// What might be otherwise than it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhatIf {
    /// The uplink of this name carries nothing.
    Down(String),
}

impl FromStr for WhatIf {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some(("down", name)) if !name.is_empty() => Ok(Self::Down(name.into())),
            _ => Err(QueryError::WhatIf(text.into())),
        }
    }
}

/// The question: a packet that a LAN host sends, and in what circumstances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The LAN host.
    pub source: Endpoint,
    /// The far end.
    pub destination: Endpoint,
    /// The protocol.
    pub protocol: Protocol,
    /// The differentiated services code point, 0 to 63 (RFC 2474).
    pub dscp: u8,
    /// The VLAN id of the frame's tag, 1 to 4094.
    pub vlan: Option<u16>,
    /// The LAN's device that it comes in on.
    pub lan: Option<String>,
    /// What might be otherwise.
    pub what_if: Vec<WhatIf>,
}

impl Query {
    /// Both ports: those given, or that are taken for the rest; zeroes where there are none.
    pub fn ports(&self) -> (u16, u16) {
        if !self.protocol.has_ports() {
            return (0, 0);
        }
        (
            self.source.port.unwrap_or(SOURCE_PORT),
            self.destination.port.unwrap_or(DESTINATION_PORT),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_end_is_an_address_with_or_without_a_port() {
        let end = |text: &str| text.parse::<Endpoint>();
        for (text, address, port) in [
            ("192.0.2.1", "192.0.2.1", None),
            ("192.0.2.1:80", "192.0.2.1", Some(80)),
            ("2001:db8::1", "2001:db8::1", None),
            ("2001:db8::1:443", "2001:db8::1:443", None),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("[2001:db8::1]:443", "2001:db8::1", Some(443)),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(end(text), Ok(Endpoint { address, port }), "{text}");
        }
        for bad in [
            "",
            "a.example",
            "192.0.2.1:",
            "192.0.2.1:65536",
            "[192.0.2.1]",
            "[::1",
            ":80",
        ] {
            assert_eq!(end(bad), Err(QueryError::Endpoint(bad.into())));
        }
    }

    #[test]
    fn a_protocol_has_a_name_or_a_number() {
        for (text, number) in [
            ("tcp", 6),
            ("UDP", 17),
            ("icmpv6", 58),
            ("esp", 50),
            ("89", 89),
        ] {
            assert_eq!(text.parse(), Ok(Protocol(number)));
        }
        for bad in ["", "256", "-1", "http"] {
            assert!(bad.parse::<Protocol>().is_err(), "{bad}");
        }
        let error = "icpm".parse::<Protocol>().unwrap_err().to_string();
        assert!(error.ends_with("(did you mean \"icmp\"?)"), "{error}");
        assert_eq!(Protocol(6).to_string(), "tcp");
        assert_eq!(Protocol(89).to_string(), "protocol 89");
    }

    #[test]
    fn what_may_be_otherwise_is_that_an_uplink_is_down() {
        assert_eq!("down=fiber".parse(), Ok(WhatIf::Down("fiber".into())));
        for bad in ["", "fiber", "down", "down=", "up=fiber"] {
            assert_eq!(bad.parse::<WhatIf>(), Err(QueryError::WhatIf(bad.into())));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = text.parse::<Endpoint>();
            let _ = text.parse::<Protocol>();
            let _ = text.parse::<WhatIf>();
        }
    }
}
