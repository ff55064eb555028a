//! How long a flow may be idle: by protocol, and for TCP by what both ends have said.

use super::slot::FlowSlot;
use crate::wire::{protocol, tcp};

/// The kinds of flows that have a time of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// TCP, both ends have opened and neither has ended (RFC 5382 REQ-5: at least 2 h 4 min).
    TcpEstablished = 0,
    /// TCP, opening or closing (RFC 5382 REQ-5, RFC 7857 section 2: at least 4 min).
    TcpTransitory = 1,
    /// TCP, nothing came back yet.
    TcpUnanswered = 2,
    /// UDP, answered (RFC 4787 REQ-5: at least 2 min, 5 min recommended).
    Udp = 3,
    /// UDP, nothing came back yet.
    UdpUnanswered = 4,
    /// ICMP queries (RFC 5508 REQ-2: at least 60 s).
    Icmp = 5,
    /// Other protocols.
    Other = 6,
}

/// Idle times in ticks, by [`Kind`]; the last word is room.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts(pub [u32; 8]);

impl Default for Timeouts {
    /// What the configuration says when it says nothing.
    fn default() -> Self {
        Self([6930, 224, 28, 280, 28, 56, 280, 0])
    }
}

impl Timeouts {
    /// The time of one kind.
    #[inline(always)]
    pub const fn get(&self, kind: Kind) -> u32 {
        self.0[kind as usize]
    }

    /// The idle time of a flow as it stands now.
    #[inline(always)]
    pub fn of(&self, slot: &FlowSlot) -> u32 {
        self.get(kind(slot))
    }
}

/// The kind of a flow as it stands now.
#[inline(always)]
pub fn kind(slot: &FlowSlot) -> Kind {
    let answered = slot.is_answered();
    match slot.protocol() {
        protocol::TCP => {
            let (outward, inward) = slot.tcp_flags();
            if !answered {
                Kind::TcpUnanswered
            } else if (outward | inward) & tcp::RST != 0
                || outward & inward & tcp::FIN != 0
                || outward & inward & tcp::SYN == 0
            {
                Kind::TcpTransitory
            } else {
                Kind::TcpEstablished
            }
        }
        protocol::UDP if answered => Kind::Udp,
        protocol::UDP => Kind::UdpUnanswered,
        protocol::ICMP | protocol::ICMP6 => Kind::Icmp,
        _ => Kind::Other,
    }
}
