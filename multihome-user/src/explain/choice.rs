//! What decides about a flow's uplink: what is remembered of it, and the ranking of its bucket.

use multihome_common::{
    family::Family,
    flow::{
        FlowKey,
        pin::{self, Pin},
        slot::FlowSlot,
        table::FlowMemory as _,
    },
    rank::{NO_UPLINK, RankRow},
    rules::Judged,
    state::{IPV4, Policy},
    tables::Tables as _,
    way::steer::{self, Ends},
};
use serde::{Deserialize, Serialize};

use super::{document::Kept, query::Query};
use crate::dataplane::Snapshot;
use std::net::IpAddr;

/// Why an uplink was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The flow's record says so: it is translated.
    Flow,
    /// The flow is pinned to it.
    Pin,
    /// The source is under the uplink's own prefix, which no other uplink would carry (BCP 84).
    Own,
    /// The flow is new, and its hosts' other flows are on it.
    Relation,
    /// The flow is new, and it ranks first in the bucket among those that serve.
    Rank,
    /// The flow is new, and none of those that the bucket ranks serves: chosen by the hash among those that do.
    Spread,
}

/// What was found.
pub struct Choice {
    /// The bucket of the hash.
    pub bucket: u32,
    /// The uplinks that the bucket ranks, the best first.
    pub ranking: Vec<u8>,
    row: RankRow,
    /// What serves a new flow.
    serving: u64,
    flow: Option<u8>,
    pin: Option<u8>,
    relation: Option<u8>,
    own: Option<u8>,
}

/// Looks at what is known of a flow of which the rules say this.
pub fn look<F: Family>(
    snapshot: &Snapshot,
    judged: Judged,
    ends: &Ends<F::Address>,
    query: &Query,
) -> Choice {
    let state = &snapshot.state;
    let group = judged.group();
    let words = steer::group(state, group);
    let policy = words.policy(F::INDEX);
    let hash = F::hash(state.seed, policy, ends);
    let index = words.rows() as u32 + hash.bucket();
    let row = snapshot.row(index).unwrap_or(RankRow::EMPTY);
    let pinned = |hash| {
        let now = pin::time(snapshot.now());
        let pin = pin::find(snapshot, state.pin_lines as u32, hash);
        let holds = pin.is_some() && !pin.is_expired(now, &state.timeouts);
        holds.then(|| Pin::uplink(pin))
    };
    let serving = match words.eligible(F::INDEX) {
        0 => words.last_good(F::INDEX),
        eligible => eligible,
    };
    let has_relation = policy != Policy::FiveTuple;
    Choice {
        bucket: hash.bucket(),
        ranking: row
            .0
            .to_le_bytes()
            .into_iter()
            .take_while(|&id| id != NO_UPLINK)
            .collect(),
        row,
        serving,
        flow: flow(snapshot, query),
        pin: pinned(F::hash(state.seed, Policy::FiveTuple, ends)),
        relation: has_relation
            .then(|| pinned(steer::relation(hash, group)))
            .flatten(),
        own: judged.own(),
    }
}

/// The uplink of the flow's record.
fn flow(snapshot: &Snapshot, query: &Query) -> Option<u8> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) =
        (query.source.address, query.destination.address)
    else {
        return None;
    };
    if !snapshot.state.is_tracked(IPV4) {
        return None;
    }
    let (from, to) = query.ports();
    let ports = if query.protocol.has_ports() {
        u32::from(from) << 16 | u32::from(to)
    } else {
        // An echo request's identifier stands for the inside port.
        super::frame::inside_number(query) << 16
    };
    let key = FlowKey::v4(source.into(), destination.into(), ports, query.protocol.0);
    let index = snapshot.find_flow(&snapshot.state, &key)?;
    snapshot.flow(index).map(FlowSlot::uplink)
}

impl Choice {
    /// Whether the flow is known: its next packet is not its first.
    pub const fn is_known(&self) -> bool {
        self.flow.is_some() || self.pin.is_some()
    }

    /// What is remembered, with the uplinks' names.
    pub fn kept(&self, name: impl Fn(u8) -> String) -> Kept {
        Kept {
            flow: self.flow.map(&name),
            pin: self.pin.map(&name),
            relation: self.relation.map(&name),
        }
    }

    /// Why this uplink was chosen.
    pub fn reason(&self, uplink: u8) -> Option<Reason> {
        let reasons = [
            (self.flow, Reason::Flow),
            (self.pin, Reason::Pin),
            (self.own, Reason::Own),
            (self.row.first_in(self.serving), Reason::Rank),
            (self.relation, Reason::Relation),
        ];
        let found = reasons.iter().find(|(of, _)| *of == Some(uplink));
        found
            .map(|(_, reason)| *reason)
            .or_else(|| (self.serving >> (uplink & 63) & 1 == 1).then_some(Reason::Spread))
    }
}
