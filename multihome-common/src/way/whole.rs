//! The whole way at once, where there is no verifier to mind: plain memory, one stage after the
//! other.

use super::{
    Decision, errors, fragments, hairpin, inward, known, lan,
    line::{self, Fate},
    mss, outward, policy,
    stages::{self, Stages},
    uplink, watch,
};
use crate::{
    framing::edge::{self, Entered, Removed},
    icmp_error,
    nat44::open::Opening,
    packet::Packet,
    parse::{self, Parsed},
    port::{PORT_RESTORE, PortEntry},
    reset,
    sim::SimTables,
    state::SharedState,
    tables::Tables,
    verdict::{Disposition, Verdict},
};

/// Tables that keep what the path prepares, until the flow is opened.
pub trait Prepared: Tables {
    /// The flow that was prepared last.
    ///
    /// # Errors
    /// When what keeps it is broken.
    fn prepared(&self) -> Result<Opening, Verdict>;
}

/// A packet with all that its stages need.
struct Whole<'a, P, T> {
    packet: &'a mut P,
    tables: &'a mut T,
    port: &'a PortEntry,
    parsed: Parsed,
}

/// The whole way of a frame that came in on a device whose ports are told apart by their framing; `None` when
/// it is the kernel's, untouched or without its tags.
pub fn from_trunk<P: Packet>(
    packet: &mut P,
    tables: &mut SimTables,
    ifindex: u32,
) -> Option<Decision> {
    let mut removed = Removed::default();
    let place = match edge::enter(packet, tables, ifindex, &mut removed) {
        Entered::Kernel => return None,
        Entered::Port(place) => place,
        Entered::Stray(_) => return Some(Verdict::DropUntagged.into()),
    };
    let port = *tables.port(place)?;
    let decision = if port.is_lan() {
        from_lan(packet, tables, &port)
    } else {
        from_uplink(packet, tables, &port)
    };
    if decision.disposition() == Disposition::Pass && port.is_framed() {
        edge::put_back(packet, &removed, port.flags & PORT_RESTORE != 0)?;
    }
    Some(decision)
}

/// Gives what is sent the framing of the port that it leaves by.
fn departs<P: Packet>(
    packet: &mut P,
    tables: &SimTables,
    port: &PortEntry,
    decision: Decision,
) -> Decision {
    let slot = match decision.disposition() {
        Disposition::Forward if decision.is_framed() => decision.egress(),
        Disposition::Reply if port.is_framed() => port.slot as u8,
        Disposition::Forward | Disposition::Reply | Disposition::Pass | Disposition::Drop => {
            return decision;
        }
    };
    let sent = tables
        .framing(slot)
        .and_then(|framing| edge::put_on(packet, framing));
    sent.map_or_else(|| Verdict::DropNoRoom.into(), |()| decision)
}

/// The whole way of a packet that came in on a LAN port, its answer and the line of its uplink included.
///
/// What the line loses is decided as forwarded in the kernel, and counted as both.
pub fn from_lan<P: Packet>(packet: &mut P, tables: &mut SimTables, port: &PortEntry) -> Decision {
    let decision = match known::from_lan(packet, tables, port) {
        Some(decision) => decision,
        None => from_lan_anew(packet, tables, port),
    };
    let decision = departs(packet, tables, port, decision);
    leaves(tables, decision)
}

/// The same, without the short way.
pub fn from_lan_anew<P: Packet, T: Prepared>(
    packet: &mut P,
    tables: &mut T,
    port: &PortEntry,
) -> Decision {
    let mut whole = Whole::new(packet, tables, port);
    let decision = match whole.parse().and_then(|()| whole.judge()) {
        Ok(()) => lan::decide(whole.packet, whole.tables, &whole.parsed),
        Err(verdict) => verdict.into(),
    };
    let decision = stages::after_lan(&mut whole, decision);
    watch::outward(whole.packet, whole.tables, &whole.parsed, decision);
    whole.clamp(decision, decision.egress());
    decision
}

/// The whole way of a packet that came in on an uplink, its answer and the uplink's line included.
pub fn from_uplink<P: Packet>(
    packet: &mut P,
    tables: &mut SimTables,
    port: &PortEntry,
) -> Decision {
    let fate = comes_in(packet, tables, port);
    if fate == Fate::Lost {
        return Verdict::DropFaultIn.into();
    }
    let decision = match known::from_uplink(packet, tables, port) {
        Some(decision) => decision,
        None => from_uplink_anew(packet, tables, port),
    };
    let decision = goes_on(tables, port, fate, decision);
    departs(packet, tables, port, decision)
}

/// What the line of the uplink `port` does with a packet that comes in.
pub fn comes_in<P: Packet>(packet: &P, tables: &SimTables, port: &PortEntry) -> Fate {
    if !tables.state.is_faulty(port.slot) {
        return Fate::Spared;
    }
    line::came_in(tables, &tables.state, port.slot as u8, || {
        let mut parsed = Parsed::default();
        let read = parse::headers(packet, port, &mut parsed);
        line::is_links(tables, &tables.state, read.map(|()| &parsed))
    })
}

/// What becomes of a packet that the line of the uplink `port` let through.
pub fn goes_on(tables: &SimTables, port: &PortEntry, fate: Fate, decision: Decision) -> Decision {
    if !tables.state.is_faulty(port.slot) {
        return decision;
    }
    line::went_on(tables, &tables.state, port.slot as u8, fate, decision)
}

/// What becomes of a packet from the LAN behind the device that it leaves by.
pub fn leaves(tables: &SimTables, decision: Decision) -> Decision {
    let id = decision.egress();
    let lost = decision.disposition() == Disposition::Forward
        && tables.state.is_faulty(id.into())
        && line::loses_outward(tables, &tables.state, id);
    if lost { decision.lost() } else { decision }
}

/// The same, without the short way.
pub fn from_uplink_anew<P: Packet, T: Prepared>(
    packet: &mut P,
    tables: &mut T,
    port: &PortEntry,
) -> Decision {
    let mut whole = Whole::new(packet, tables, port);
    let decision = match whole.parse() {
        Ok(()) => uplink::decide(whole.packet, whole.tables, port, &whole.parsed),
        Err(verdict) => verdict.into(),
    };
    let decision = stages::after_uplink(&mut whole, decision);
    let id = port.slot as u8;
    watch::inward(whole.packet, whole.tables, &whole.parsed, id, decision);
    whole.clamp(decision, id);
    decision
}

impl<'a, P: Packet, T: Prepared> Whole<'a, P, T> {
    fn new(packet: &'a mut P, tables: &'a mut T, port: &'a PortEntry) -> Self {
        Self {
            packet,
            tables,
            port,
            parsed: Parsed::default(),
        }
    }

    fn clamp(&mut self, decision: Decision, id: u8) {
        if decision.disposition() == Disposition::Forward {
            mss::clamp(self.packet, self.tables, &self.parsed, id);
        }
    }

    fn parse(&mut self) -> Result<(), Verdict> {
        parse::headers(self.packet, self.port, &mut self.parsed)
    }

    fn judge(&mut self) -> Result<(), Verdict> {
        let Some(in_force) = self.tables.state().and_then(SharedState::rulebook) else {
            return Ok(());
        };
        let tables = &*self.tables;
        policy::judge(self.packet, tables, self.port, &mut self.parsed, in_force)
    }
}

/// The decision of a stage that ended one way or the other.
fn either(result: Result<Decision, Verdict>) -> Decision {
    result.unwrap_or_else(Decision::from)
}

impl<P: Packet, T: Prepared> Stages for Whole<'_, P, T> {
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
        let opening = self.tables.prepared()?;
        let state = self.tables.state().ok_or(Verdict::DropInternal)?;
        self.tables.open_flow(state, &opening)
    }

    fn reset(&mut self) -> Decision {
        reset::answer(self.packet, self.tables).into()
    }

    fn error(&mut self, decision: Decision) -> Decision {
        icmp_error::answer(self.packet, self.tables, self.port, decision)
    }
}
