//! The line of an uplink, between its device and whatever is beyond: where [faults](crate::fault) lose
//! packets.
//!
//! What comes in is lost before anything is known of it, and what is sent after all has been decided and
//! counted as sent: to the gateway a fault looks as it would on the provider's side. What the gateway
//! itself sends, such as probes, passes no program; so what comes in for it is drawn for twice, once for
//! its own way and once for that of whatever it answers.

use super::Decision;
use crate::{
    address::Class,
    family::{Family, V4, V6},
    parse::Parsed,
    state::SharedState,
    tables::Tables,
    verdict::{Disposition, Verdict},
    wire::ethernet,
};

/// What the line of an uplink did with a packet that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Fate {
    /// No fault concerns it.
    Spared = 0,
    /// It was in danger, and got through.
    Passed = 1,
    /// It is lost.
    Lost = 2,
}

/// What the line of uplink `id` does with a packet that comes in; `is_links` says whether the packet is
/// of the link itself, and is asked only where that matters.
#[inline(always)]
pub fn came_in<T: Tables>(
    tables: &T,
    state: &SharedState,
    id: u8,
    is_links: impl FnOnce() -> bool,
) -> Fate {
    let Some(fault) = tables.fault(id) else {
        return Fate::Spared;
    };
    if !fault.holds(tables.nanoseconds()) || (fault.spares_link() && is_links()) {
        Fate::Spared
    } else if fault.loses(state.seed) {
        Fate::Lost
    } else {
        Fate::Passed
    }
}

/// Whether a packet that came in is of the link itself, by what the parser said of it: no IP packet for
/// the gateway's MAC, or one from an address that is not in the internet, as the next hop's is.
#[inline(always)]
pub fn is_links<T: Tables>(
    tables: &T,
    state: &SharedState,
    parsed: Result<&Parsed, Verdict>,
) -> bool {
    let Ok(parsed) = parsed else {
        return true;
    };
    let class = if parsed.ethertype == ethernet::IPV4 {
        V4::class(tables, state, V4::network(parsed).source)
    } else {
        V6::class(tables, state, V6::network(parsed).source)
    };
    class != Some(Class::Internet)
}

/// What becomes of a packet that came in by uplink `id` and that the line let through, given what was
/// decided about it.
#[inline(always)]
pub fn went_on<T: Tables>(
    tables: &T,
    state: &SharedState,
    id: u8,
    fate: Fate,
    decision: Decision,
) -> Decision {
    if fate != Fate::Passed {
        return decision;
    }
    match decision.disposition() {
        // The other direction's draw, for packets that the gateway itself has asked for. One that the
        // kernel delivers to a LAN host was sent through the programs.
        Disposition::Pass
            if decision.verdict_number() != Verdict::PassNoNeighbour.number()
                && loses_outward(tables, state, id) =>
        {
            Verdict::DropFaultIn.into()
        }
        Disposition::Reply if loses_outward(tables, state, id) => Verdict::DropFaultOut.into(),
        Disposition::Pass | Disposition::Reply | Disposition::Forward | Disposition::Drop => {
            decision
        }
    }
}

/// Whether the line of uplink `id` loses a packet that is sent to somewhere beyond the link.
#[inline(always)]
pub fn loses_outward<T: Tables>(tables: &T, state: &SharedState, id: u8) -> bool {
    tables
        .fault(id)
        .is_some_and(|fault| fault.holds(tables.nanoseconds()) && fault.loses(state.seed))
}
