//! The upkeep of flows, pins and outside ports while the loop runs: what is over is taken away, what
//! is left is counted, and ports become the kernel's or forwards as soon as flows leave them.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    time::Instant,
};

use multihome_common::{
    flow::{self, lifetime::Timeouts, slot::FlowSlot},
    nat44::ports::{LINES, SPACES, Space},
};

use super::{
    monotonic_nanoseconds, pools,
    slices::{Slice, Slices, Tables},
};
use crate::{
    bfd::{
        SessionId,
        ports::{CONTROL, SourcePorts},
    },
    config::{Config, NatTimeouts, Protocol},
    controller::Controller,
    dataplane::{FlowTables, PortPlan, Swept},
    probe::Family,
};

/// What the upkeep remembers.
pub struct Upkeep {
    slices: Slices,
    timeouts: Timeouts,
    swept: Swept,
    /// The uplinks that had flows in the last pass, bit n = uplink n. Others have no ports to count.
    busy: u64,
    /// What the ports of each uplink's outside addresses are for, by its id.
    plans: BTreeMap<u8, Planned>,
    /// Parts of the port table that are not as planned yet, with their uplinks: flows may have ports
    /// that are to be another's.
    waiting: VecDeque<(u8, u16)>,
}

/// The ports of one uplink.
struct Planned {
    plan: PortPlan,
    /// The parts of the port table that it holds for.
    first: u16,
    count: u16,
}

impl Planned {
    /// The lines of the port table.
    fn lines(&self) -> Range<u32> {
        let line = |pool: u16| u32::from(pool) * SPACES * LINES;
        line(self.first)..line(self.first + self.count)
    }
}

/// What an uplink has in the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Flows.
    pub flows: u64,
    /// Outside ports.
    pub ports: u64,
}

impl Upkeep {
    /// Nothing is swept and no port is set yet. `base` has the first part of the port table of each
    /// uplink, in the order of the configuration, with its id; `plan` is what is alike for all,
    /// and `bfd` are the ports that BFD sends from, if it is spoken.
    pub fn new(
        config: &Config,
        base: &[(u8, u16)],
        plan: &PortPlan,
        bfd: Option<SourcePorts>,
        tables: &FlowTables,
    ) -> Self {
        let mut plans = BTreeMap::new();
        let mut waiting = VecDeque::new();
        for (uplink, &(id, first)) in config.uplinks.iter().zip(base) {
            let mut plan = plan.clone();
            if uplink.bfd.is_some_and(|bfd| bfd.ipv4.is_some()) {
                let family = Family::Ipv4;
                let source = bfd.map(|ports| ports.of(SessionId { uplink: id, family }));
                plan.own_udp.extend(source.into_iter().chain([CONTROL]));
            }
            for forward in config
                .forwards
                .iter()
                .filter(|forward| forward.is_on(uplink))
            {
                let space = match forward.protocol {
                    Protocol::Tcp => Space::Tcp,
                    Protocol::Udp => Space::Udp,
                };
                let ports = forward.outside.low()..=forward.outside.high();
                for (n, port) in (0..).zip(ports) {
                    let mut inside = forward.inside;
                    inside.set_port(inside.port().saturating_add(n));
                    plan.forwards.insert((space as u8, port), inside);
                }
            }
            let count = pools::needed(uplink);
            waiting.extend((0..count).map(|place| (id, first + place)));
            plans.insert(id, Planned { plan, first, count });
        }
        let sizes = Tables {
            buckets: tables.buckets(),
            pins: tables.pin_lines(),
            ports: tables.port_lines(),
        };
        Self {
            slices: Slices::new(sizes, Instant::now()),
            timeouts: timeouts(&config.nat.timeouts),
            swept: Swept::new(tables.pools()),
            busy: u64::MAX,
            plans,
            waiting,
        }
    }

    /// When the next slice is due.
    pub fn due(&self) -> Instant {
        self.slices.due()
    }

    /// Puts all in order at once: before traffic is taken over, and before anything can be in the
    /// way that an earlier controller's configuration has left.
    pub fn all(&mut self, tables: &mut FlowTables, controller: &Controller) -> Swept {
        self.set_all_ports(tables);
        let slices: Vec<Slice> = self.slices.rest(Instant::now()).collect();
        for slice in slices {
            self.sweep(tables, controller, slice);
        }
        self.set_all_ports(tables);
        self.end_pass(tables)
    }

    /// Sweeps one slice; what was found when it was the last one of a pass.
    pub fn slice(&mut self, tables: &mut FlowTables, controller: &Controller) -> Option<Swept> {
        let slice = self.slices.take(Instant::now());
        let last = slice.last;
        self.sweep(tables, controller, slice);
        if !last {
            return None;
        }
        // One part of the table alone: a look at all of its ports takes as long as a slice.
        self.set_ports(tables);
        Some(self.end_pass(tables))
    }

    /// What an uplink has, as a sweep found it.
    pub fn held(&self, id: u8, swept: &Swept) -> Held {
        let ports = self.plans.get(&id).map_or(0, |planned| {
            let parts =
                usize::from(planned.first)..usize::from(planned.first) + usize::from(planned.count);
            swept.ports.get(parts).into_iter().flatten().sum()
        });
        Held {
            flows: swept.live.get(usize::from(id)).copied().unwrap_or(0),
            ports,
        }
    }

    fn sweep(&mut self, tables: &mut FlowTables, controller: &Controller, slice: Slice) {
        let now = flow::ticks(monotonic_nanoseconds());
        let Self {
            timeouts,
            swept,
            plans,
            busy,
            ..
        } = self;
        let ends = |slot: &FlowSlot| {
            let anothers = |planned: &Planned| planned.plan.ends(slot);
            controller.has_ended(slot) || plans.get(&slot.uplink()).is_some_and(anothers)
        };
        tables.sweep(slice.buckets, timeouts, now, ends, swept);
        tables.sweep_pins(slice.pins, timeouts, now);
        for (id, planned) in plans.iter() {
            if *busy >> id & 1 == 1 {
                let ports = planned.lines();
                let from = ports.start.max(slice.ports.start);
                tables.count_ports(from..ports.end.min(slice.ports.end), swept);
            }
        }
        tables.give_back();
    }

    /// Sets the ports of all parts that wait for it.
    fn set_all_ports(&mut self, tables: &mut FlowTables) {
        for _ in 0..self.waiting.len() {
            self.set_ports(tables);
        }
    }

    /// Sets the ports of the part that has waited for longest; when it could not all be done, that
    /// waits anew.
    fn set_ports(&mut self, tables: &mut FlowTables) {
        if let Some((id, pool)) = self.waiting.pop_front()
            && let Some(planned) = self.plans.get(&id)
            && tables.plan(pool, &planned.plan) > 0
        {
            self.waiting.push_back((id, pool));
        }
        tables.give_back();
    }

    fn end_pass(&mut self, tables: &FlowTables) -> Swept {
        let has_flows = |(_, flows): &(u8, &u64)| **flows > 0;
        let busy = (0u8..).zip(&self.swept.live).filter(has_flows);
        self.busy = busy.fold(0, |busy, (id, _)| busy | 1 << id);
        std::mem::replace(&mut self.swept, Swept::new(tables.pools()))
    }
}

/// The configured times in ticks, rounded up: no flow may end too early.
pub fn timeouts(given: &NatTimeouts) -> Timeouts {
    let ticks = |time: std::time::Duration| {
        let ticks = time.as_nanos().div_ceil(1 << flow::TICK_SHIFT);
        u32::try_from(ticks).unwrap_or(u32::MAX)
    };
    // In the order of the kinds of flows.
    Timeouts([
        ticks(given.tcp_established),
        ticks(given.tcp_transitory),
        ticks(given.tcp_unanswered),
        ticks(given.udp),
        ticks(given.udp_unanswered),
        ticks(given.icmp),
        ticks(given.other),
        0,
    ])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use multihome_common::flow::lifetime::Kind;

    use super::*;

    #[test]
    fn times_are_rounded_up_and_each_stands_in_its_place() {
        let seconds = Duration::from_secs;
        let timeouts = timeouts(&NatTimeouts {
            tcp_established: seconds(7440),
            tcp_transitory: seconds(240),
            tcp_unanswered: seconds(1),
            udp: seconds(300),
            udp_unanswered: seconds(30),
            icmp: seconds(60),
            other: seconds(86_400),
        });
        for (kind, ticks) in [
            (Kind::TcpEstablished, 6930),
            (Kind::TcpTransitory, 224),
            (Kind::TcpUnanswered, 1),
            (Kind::Udp, 280),
            (Kind::UdpUnanswered, 28),
            (Kind::Icmp, 56),
            (Kind::Other, 80_467),
        ] {
            assert_eq!(timeouts.get(kind), ticks, "{kind:?}");
        }
    }
}
