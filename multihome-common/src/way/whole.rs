//! The whole way at once, where there is no verifier to mind: plain memory, one stage after the
//! other.

use super::{
    Decision, errors, fragments, hairpin, inward, known, lan, outward,
    stages::{self, Stages},
    uplink,
};
use crate::{
    icmp_error,
    packet::Packet,
    parse::{self, Parsed},
    port::PortEntry,
    reset,
    sim::SimTables,
    tables::Tables as _,
    verdict::Verdict,
};

/// A packet with all that its stages need.
struct Whole<'a, P> {
    packet: &'a mut P,
    tables: &'a mut SimTables,
    port: &'a PortEntry,
    parsed: Parsed,
}

/// The whole way of a packet that came in on a LAN port, its answer included.
pub fn from_lan<P: Packet>(packet: &mut P, tables: &mut SimTables, port: &PortEntry) -> Decision {
    match known::from_lan(packet, tables, port) {
        Some(decision) => decision,
        None => from_lan_anew(packet, tables, port),
    }
}

/// The same, without the short way.
pub fn from_lan_anew<P: Packet>(
    packet: &mut P,
    tables: &mut SimTables,
    port: &PortEntry,
) -> Decision {
    let mut whole = Whole::new(packet, tables, port);
    let decision = match whole.parse() {
        Ok(()) => lan::decide(whole.packet, whole.tables, &whole.parsed),
        Err(verdict) => verdict.into(),
    };
    stages::after_lan(&mut whole, decision)
}

/// The whole way of a packet that came in on an uplink, its answer included.
pub fn from_uplink<P: Packet>(
    packet: &mut P,
    tables: &mut SimTables,
    port: &PortEntry,
) -> Decision {
    match known::from_uplink(packet, tables, port) {
        Some(decision) => decision,
        None => from_uplink_anew(packet, tables, port),
    }
}

/// The same, without the short way.
pub fn from_uplink_anew<P: Packet>(
    packet: &mut P,
    tables: &mut SimTables,
    port: &PortEntry,
) -> Decision {
    let mut whole = Whole::new(packet, tables, port);
    let decision = match whole.parse() {
        Ok(()) => uplink::decide(whole.packet, whole.tables, port, &whole.parsed),
        Err(verdict) => verdict.into(),
    };
    stages::after_uplink(&mut whole, decision)
}

impl<'a, P: Packet> Whole<'a, P> {
    fn new(packet: &'a mut P, tables: &'a mut SimTables, port: &'a PortEntry) -> Self {
        Self {
            packet,
            tables,
            port,
            parsed: Parsed::default(),
        }
    }

    fn parse(&mut self) -> Result<(), Verdict> {
        parse::headers(self.packet, self.port, &mut self.parsed)
    }
}

/// The decision of a stage that ended one way or the other.
fn either(result: Result<Decision, Verdict>) -> Decision {
    result.unwrap_or_else(Decision::from)
}

impl<P: Packet> Stages for Whole<'_, P> {
    fn outward(&mut self, flow: u32) -> Decision {
        let (tables, port) = (&*self.tables, self.port);
        either(outward::outward(
            self.packet,
            tables,
            port,
            &self.parsed,
            flow,
        ))
    }

    fn hairpin(&mut self, flow: u32) -> Decision {
        let (tables, port) = (&*self.tables, self.port);
        let parsed = &mut self.parsed;
        either(hairpin::outward(self.packet, tables, port, parsed, flow))
    }

    fn inward(&mut self, decision: Decision, flow: u32) -> Decision {
        let (tables, port) = (&*self.tables, self.port);
        let there = (decision.egress(), decision.pool());
        either(inward::inward(
            self.packet,
            tables,
            port,
            &self.parsed,
            there,
            flow,
        ))
    }

    fn outward_error(&mut self) -> Decision {
        let tables = &*self.tables;
        either(errors::outward(self.packet, tables, &self.parsed))
    }

    fn inward_error(&mut self, decision: Decision) -> Decision {
        let tables = &*self.tables;
        let there = (decision.egress(), decision.pool());
        either(errors::inward(self.packet, tables, &self.parsed, there))
    }

    fn fragment(&mut self) -> Decision {
        let (tables, port) = (&*self.tables, self.port);
        either(fragments::later(self.packet, tables, port, &self.parsed))
    }

    fn open(&mut self) -> Result<u32, Verdict> {
        let opening = *self
            .tables
            .opening
            .lock()
            .map_err(|_| Verdict::DropInternal)?;
        self.tables.open_flow(&self.tables.state, &opening)
    }

    fn reset(&mut self) -> Decision {
        reset::answer(self.packet, self.tables).into()
    }

    fn error(&mut self, decision: Decision) -> Decision {
        icmp_error::answer(self.packet, self.tables, self.port, decision)
    }
}
