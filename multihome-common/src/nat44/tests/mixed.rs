//! Uplinks that translate beside one that does not: a private source never leaves by the former.

use std::prelude::v1::*;

use super::story::*;
use crate::{sim::SimTables, state::IPV4, uplink::MODE_ROUTED, verdict::Verdict, wire::protocol};

/// The uplink that does not translate.
const ROUTED: u8 = 2;

fn mixed() -> SimTables {
    let mut tables = tables(64);
    tables.pin(64);
    for uplink in &mut tables.uplinks[usize::from(ROUTED) * 2..][..2] {
        uplink.mode[IPV4] = MODE_ROUTED;
        uplink.outside_count = 0;
    }
    tables
}

/// Sends a datagram of this port; the uplink. It must have the source that it has to have there.
fn leaves(tables: &mut SimTables, port: u16) -> u8 {
    let (id, out) = sent(tables, Packet::out(protocol::UDP, port));
    let expected = if id == ROUTED { INSIDE } else { outside(id) };
    assert_eq!(out.source, expected, "by uplink {id}");
    id
}

/// When an uplink that translates has been up for long enough, flows go back to it from one that
/// does not.
#[test]
fn a_flow_that_moves_to_an_uplink_that_translates_is_translated() {
    let mut tables = mixed();
    let mut moved = 0;
    for port in 2000..2100 {
        tables.state.groups[0].eligible[IPV4] = 1 << ROUTED;
        tables.state.groups[0].settled[IPV4] = 0;
        assert_eq!(leaves(&mut tables, port), ROUTED);
        tables.state.groups[0].eligible[IPV4] = 0b111;
        tables.state.groups[0].settled[IPV4] = 0b111;
        moved += u32::from(leaves(&mut tables, port) != ROUTED);
    }
    assert!(moved > 30, "{moved}");
    check(&tables);
}

/// What came in by an uplink is answered by it while nothing is better, translated or not.
#[test]
fn an_answer_by_a_dead_uplink_that_translates_is_translated() {
    let mut tables = mixed();
    let host = crate::uplink::HostEntry {
        slot: LAN as u16,
        ..crate::testing::host()
    };
    let inside = crate::address::Address4::from_bytes(INSIDE);
    tables.hosts4.insert(inside, host);
    for port in 2000..2050 {
        tables.state.alive[IPV4] = 0b111;
        // For the host's own address, as a router on the link may send it.
        let asked = Packet {
            source: (REMOTE, 443),
            destination: (INSIDE, port),
            ..Packet::out(protocol::UDP, port)
        };
        assert_eq!(
            from_uplink(&mut tables, 0, asked).0.verdict(),
            Verdict::Forwarded
        );
        tables.state.alive[IPV4] = 0;
        tables.state.groups[0].eligible[IPV4] = 0;
        tables.state.groups[0].last_good[IPV4] = 1 << ROUTED;
        assert_eq!(leaves(&mut tables, port), 0);
    }
    check(&tables);
}
