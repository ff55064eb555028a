//! What the port table says of ports that flows do not come and go with: those that are the kernel's
//! own, and forwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddrV4,
    ops::RangeInclusive,
};

use multihome_common::{
    flow::slot::FlowSlot,
    nat44::ports::{LINE, PortMemory, PortWord, RESERVED, Space, line_of},
};

use super::FlowTables;

/// The spaces in which ports are the kernel's own or forwards.
const PLANNED: [Space; 3] = [Space::Tcp, Space::Udp, Space::Query];

/// What the ports of one outside address are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortPlan {
    /// TCP and UDP ports that flows may get; all others are the kernel's.
    pub ranges: Vec<RangeInclusive<u16>>,
    /// The identifier of the gateway's own pings.
    pub own_query: Option<u16>,
    /// UDP ports that the gateway itself uses, although they may lie in these ranges.
    pub own_udp: BTreeSet<u16>,
    /// Forwards, by the number of their space and by port: host and port inside.
    pub forwards: BTreeMap<(u8, u16), SocketAddrV4>,
}

impl PortPlan {
    /// What the word of this port is to be; zero for ports that flows may have.
    fn wanted(&self, space: Space, port: u16) -> u64 {
        match self.forwards.get(&(space as u8, port)) {
            Some(inside) => forward(inside),
            None => self.without_forwards(space, port),
        }
    }

    /// The same of all ports of a space. A forward may be of very many ports, so they are not sought
    /// one by one.
    fn all_wanted(&self, space: Space) -> Vec<u64> {
        let mut wanted: Vec<u64> = (0..=u16::MAX)
            .map(|port| self.without_forwards(space, port))
            .collect();
        let of_space = (space as u8, 0)..=(space as u8, u16::MAX);
        for (&(_, port), inside) in self.forwards.range(of_space) {
            wanted[usize::from(port)] = forward(inside);
        }
        wanted
    }

    fn without_forwards(&self, space: Space, port: u16) -> u64 {
        let free = match space {
            Space::Udp if self.own_udp.contains(&port) => false,
            Space::Tcp | Space::Udp => self.ranges.iter().any(|range| range.contains(&port)),
            Space::Query => self.own_query != Some(port),
            Space::Pair => true,
        };
        if free { 0 } else { RESERVED }
    }

    /// Whether a flow has a port that is another's now, and must end: a forward that is gone or leads
    /// elsewhere, a port that became a forward, the identifier of the gateway's own pings, a port of its
    /// own.
    ///
    /// A flow whose port is merely no longer given out may keep it.
    pub fn ends(&self, slot: &FlowSlot) -> bool {
        let space = Space::of(slot.protocol());
        let port = slot.outside().port;
        let (address, inside_port) = slot.inside4();
        let wanted = PortWord(self.wanted(space, port));
        if slot.is_forward() || wanted.is_forward() {
            return !slot.is_forward() || wanted != PortWord::forward(address, inside_port);
        }
        match space {
            Space::Query => wanted.is_reserved(),
            Space::Udp => self.own_udp.contains(&port),
            Space::Tcp | Space::Pair => false,
        }
    }
}

fn forward(inside: &SocketAddrV4) -> u64 {
    PortWord::forward(inside.ip().to_bits(), inside.port()).0
}

impl FlowTables {
    /// Makes the ports of one outside address what the plan says; how many could not be, because
    /// flows still have them.
    ///
    /// To be repeated until all could.
    pub fn plan(&self, pool: u16, plan: &PortPlan) -> usize {
        let mut left = 0;
        for space in PLANNED {
            for (port, wanted) in (0..=u16::MAX).zip(plan.all_wanted(space)) {
                let Some(line) = self.port_line(line_of(pool, space, port)) else {
                    return left;
                };
                let word = &line.0[usize::from(port) % LINE];
                let old = PortWord(word.load());
                let permanent = old.is_reserved() || old.is_forward();
                if old.0 == wanted || wanted == 0 && !permanent {
                    continue;
                }
                // When it fails, another CPU gave the port out at this moment.
                let set = (permanent || old.is_free()) && word.change(old.0, wanted);
                left += usize::from(!set);
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use multihome_common::{
        flow::{
            FlowKey,
            slot::{FLAG_FORWARD, Outside},
        },
        uplink::HostEntry,
        wire::protocol,
    };

    use super::*;

    fn plan() -> PortPlan {
        PortPlan {
            ranges: vec![1024..=32_767, 61_000..=65_535],
            own_query: Some(77),
            own_udp: [3784].into(),
            forwards: [(
                (Space::Tcp as u8, 443),
                "10.0.0.5:8443".parse().expect("an address"),
            )]
            .into(),
        }
    }

    #[test]
    fn a_port_is_given_out_is_the_kernels_or_is_a_forward() {
        let plan = plan();
        for (port, wanted) in [
            (0, RESERVED),
            (1023, RESERVED),
            (1024, 0),
            (32_767, 0),
            (32_768, RESERVED),
            (60_999, RESERVED),
            (65_535, 0),
        ] {
            assert_eq!(plan.wanted(Space::Udp, port), wanted, "{port}");
        }
        let forward = PortWord(plan.wanted(Space::Tcp, 443));
        assert!(forward.is_forward());
        assert_eq!(
            (forward.inside(), forward.inside_port()),
            (0x0a00_0005, 8443)
        );
        assert_eq!(plan.wanted(Space::Udp, 443), RESERVED);
        assert_eq!(plan.wanted(Space::Udp, 3784), RESERVED);
        assert_eq!(plan.wanted(Space::Tcp, 3784), 0);
        assert_eq!(plan.wanted(Space::Query, 77), RESERVED);
        assert_eq!(plan.wanted(Space::Query, 78), 0);
        for space in PLANNED {
            let each = (0..=u16::MAX).map(|port| plan.wanted(space, port));
            assert!(each.eq(plan.all_wanted(space)), "{space:?}");
        }
    }

    /// A flow of this protocol and outside port, of the host 10.0.0.5.
    fn flow(protocol: u8, inside_port: u16, port: u16, flags: u64) -> FlowSlot {
        let slot = FlowSlot::default();
        let ports = u32::from(inside_port) << 16 | 5000;
        let outside = Outside {
            address: 0xc000_0202,
            port,
            pool: 0,
        };
        let key = FlowKey::v4(0x0a00_0005, 0xcb00_710a, ports, protocol);
        slot.fill(&key, 0, flags, outside, &HostEntry::default(), 1);
        slot
    }

    #[test]
    fn flows_end_whose_port_is_anothers_now() {
        let plan = plan();
        for (slot, ends, what) in [
            (flow(protocol::TCP, 5000, 5000, 0), false, "a flow"),
            (
                flow(protocol::TCP, 40_000, 40_000, 0),
                false,
                "no longer given out",
            ),
            (
                flow(protocol::TCP, 8443, 443, FLAG_FORWARD),
                false,
                "a forward's",
            ),
            (
                flow(protocol::TCP, 8444, 443, FLAG_FORWARD),
                true,
                "led elsewhere",
            ),
            (
                flow(protocol::TCP, 80, 80, FLAG_FORWARD),
                true,
                "forward is gone",
            ),
            (flow(protocol::TCP, 9000, 443, 0), true, "became a forward"),
            (
                flow(protocol::TCP, 8443, 443, 0),
                true,
                "became its own forward",
            ),
            (flow(protocol::ICMP, 77, 77, 0), true, "the gateway's own"),
            (flow(protocol::UDP, 3784, 3784, 0), true, "BFD's port"),
            (flow(protocol::TCP, 3784, 3784, 0), false, "not BFD's"),
            (flow(protocol::ICMP, 78, 78, 0), false, "a ping"),
            (flow(47, 0, 443, 0), false, "of a protocol without ports"),
        ] {
            assert_eq!(plan.ends(&slot), ends, "{what}");
        }
    }
}
