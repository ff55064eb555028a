//! The UDP ports of BFD (RFC 5881 section 4).

use std::ops::RangeInclusive;

use super::SessionId;
use crate::probe::Family;

/// Where control packets are sent to.
pub const CONTROL: u16 = 3784;
/// What they may be sent from.
pub const SOURCES: RangeInclusive<u16> = 49_152..=u16::MAX;
/// Sessions of one gateway: two families of 64 uplinks.
const SESSIONS: u16 = 128;

/// The ports that the sessions of one gateway send from, each its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePorts {
    first: u16,
}

impl SourcePorts {
    /// The ports that a random number chooses: nobody off the link is to know them.
    pub fn new(random: u16) -> Self {
        let room = SOURCES.end() - SOURCES.start() - SESSIONS + 2;
        Self {
            first: SOURCES.start() + random % room,
        }
    }

    /// The port of a session, the same for all of its packets.
    pub fn of(self, id: SessionId) -> u16 {
        let family = match id.family {
            Family::Ipv4 => 0,
            Family::Ipv6 => 1,
        };
        self.first + u16::from(id.uplink & 63) * 2 + family
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_session_has_a_port_of_its_own_in_the_range_of_the_standard() {
        for random in [0, 1, 16_256, 16_257, u16::MAX] {
            let ports = SourcePorts::new(random);
            let all: BTreeSet<u16> = (0..64)
                .flat_map(|uplink| {
                    [Family::Ipv4, Family::Ipv6]
                        .map(|family| ports.of(SessionId { uplink, family }))
                })
                .collect();
            assert_eq!(all.len(), usize::from(SESSIONS));
            assert!(all.iter().all(|port| SOURCES.contains(port)), "{random}");
        }
        // The last number leaves the last port.
        let last = SessionId {
            uplink: 63,
            family: Family::Ipv6,
        };
        assert_eq!(SourcePorts::new(16_256).of(last), u16::MAX);
    }
}
