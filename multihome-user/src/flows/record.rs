//! One flow as it is listed: what its slot says, in words and units that do not depend on the table.

use std::{borrow::Cow, net::Ipv4Addr, time::Duration};

use multihome_common::{
    flow::{
        TICK_SHIFT,
        lifetime::{self, Kind, Timeouts},
        slot::{Carried, FlowSlot},
    },
    state::IPV4,
    wire::{protocol, tcp},
};

/// A translated flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The IP protocol's number.
    pub protocol: u8,
    /// The LAN host's end.
    pub inside: End,
    /// What the LAN host's end is translated to.
    pub outside: End,
    /// The far end.
    pub remote: End,
    /// The uplink's id.
    pub uplink: u8,
    /// How far it has come.
    pub state: State,
    /// The outside port is a forward of the configuration.
    pub forward: bool,
    /// How long ago it began.
    pub age: Duration,
    /// How long ago its last packet passed.
    pub idle: Duration,
    /// How long it is kept if no other packet comes.
    pub left: Duration,
    /// Packets and bytes.
    pub carried: Carried,
}

/// One end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The address.
    pub address: Ipv4Addr,
    /// What tells the host's flows apart.
    pub number: Number,
}

/// What tells the flows of one address apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// A TCP or UDP port.
    Port(u16),
    /// The identifier of an ICMP query.
    Identifier(u16),
    /// Nothing does.
    None,
}

/// How far a flow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing came back yet.
    Unanswered,
    /// Not TCP: something came back.
    Answered,
    /// TCP: something came back, but not both ends have opened.
    Opening,
    /// TCP: both ends have opened, and not both have ended.
    Established,
    /// TCP: both ends have ended, or one has reset the connection.
    Closing,
}

impl State {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unanswered => "unanswered",
            Self::Answered => "answered",
            Self::Opening => "opening",
            Self::Established => "established",
            Self::Closing => "closing",
        }
    }

    fn of(slot: &FlowSlot) -> Self {
        match lifetime::kind(slot) {
            Kind::TcpUnanswered | Kind::UdpUnanswered => Self::Unanswered,
            Kind::TcpEstablished => Self::Established,
            Kind::TcpTransitory => {
                let (outward, inward) = slot.tcp_flags();
                if (outward | inward) & (tcp::FIN | tcp::RST) == 0 {
                    Self::Opening
                } else {
                    Self::Closing
                }
            }
            Kind::Udp => Self::Answered,
            Kind::Icmp | Kind::Other if slot.is_answered() => Self::Answered,
            Kind::Icmp | Kind::Other => Self::Unanswered,
        }
    }
}

impl Flow {
    /// The flow in this slot at `now`, in ticks; `None` when its time is up, or it is not IPv4: IPv6
    /// is translated without remembering flows.
    pub fn of(slot: &FlowSlot, timeouts: &Timeouts, now: u32) -> Option<Self> {
        let (key, outside) = (slot.key(), slot.outside());
        let protocol = key.protocol();
        let idle = slot.idle(now);
        let left = timeouts.of(slot).checked_sub(idle)?;
        let end = |address, number| End {
            address: Ipv4Addr::from_bits(address),
            number,
        };
        let remote = match protocol {
            // The other end has no identifier of its own.
            protocol::ICMP => Number::None,
            _ => Number::of(protocol, key.remote_port()),
        };
        (key.family() == IPV4).then(|| Self {
            protocol,
            inside: end(key.inside4(), Number::of(protocol, key.inside_port())),
            outside: end(outside.address, Number::of(protocol, outside.port)),
            remote: end(key.remote4(), remote),
            uplink: slot.uplink(),
            state: State::of(slot),
            forward: slot.is_forward(),
            age: duration(now.saturating_sub(slot.began())),
            idle: duration(idle),
            left: duration(left),
            carried: slot.carried(),
        })
    }

    /// The protocol's name, or its number if it has no common one.
    pub fn protocol_name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self.protocol {
            protocol::ICMP => "icmp",
            2 => "igmp",
            4 => "ipip",
            protocol::TCP => "tcp",
            protocol::UDP => "udp",
            33 => "dccp",
            41 => "ipv6",
            47 => "gre",
            50 => "esp",
            protocol::AUTHENTICATION => "ah",
            132 => "sctp",
            136 => "udplite",
            number => return Cow::Owned(number.to_string()),
        })
    }
}

impl Number {
    const fn of(protocol: u8, number: u16) -> Self {
        match protocol {
            protocol::TCP | protocol::UDP => Self::Port(number),
            protocol::ICMP => Self::Identifier(number),
            _ => Self::None,
        }
    }

    /// The port, if it is one.
    pub const fn port(self) -> Option<u16> {
        match self {
            Self::Port(port) => Some(port),
            Self::Identifier(_) | Self::None => None,
        }
    }

    /// The identifier, if it is one.
    pub const fn identifier(self) -> Option<u16> {
        match self {
            Self::Identifier(identifier) => Some(identifier),
            Self::Port(_) | Self::None => None,
        }
    }
}

fn duration(ticks: u32) -> Duration {
    Duration::from_nanos(u64::from(ticks) << TICK_SHIFT)
}
