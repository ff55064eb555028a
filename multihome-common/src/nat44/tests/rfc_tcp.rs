//! What RFC 5382 and RFC 7857 ask of TCP connections: how they begin, how long they are kept, how they
//! end. docs/reference/rfc-compliance.md names these tests.

use std::prelude::v1::*;

use super::story::*;
use crate::{
    sim::SimTables,
    uplink::UPLINK_DROP_UNASKED,
    verdict::Verdict,
    wire::{protocol, tcp},
};

const SHARED: [u8; 4] = [192, 0, 2, 1];
const FIN: u8 = tcp::FIN | tcp::ACK;

/// A connection, by who sends what: `>` from the host, `<` from the far end.
struct Connection {
    tables: SimTables,
    out: Seen,
}

impl Connection {
    /// One that has seen these segments.
    fn after(steps: &[(char, u8)]) -> Self {
        let mut tables = one_uplink(64, &[SHARED], &[INSIDE]);
        let (_, out) = sent(&mut tables, Packet::out(protocol::TCP, 5000));
        let mut connection = Self { tables, out };
        for &(side, flags) in steps {
            assert_eq!(
                connection.step(side, flags),
                Verdict::Forwarded,
                "{side}{flags}"
            );
        }
        connection
    }

    fn step(&mut self, side: char, flags: u8) -> Verdict {
        if side == '>' {
            let packet = Packet::out(protocol::TCP, 5000).flags(flags);
            from_lan(&mut self.tables, packet).0.verdict()
        } else {
            let packet = reply(protocol::TCP, self.out).flags(flags);
            fate(&mut self.tables, 0, packet)
        }
    }

    /// Whether a segment still comes in after so many seconds without any.
    fn holds(mut self, seconds: u64) -> bool {
        pass(&mut self.tables, seconds);
        self.step('<', tcp::ACK) == Verdict::Forwarded
    }
}

const OPENED: [(char, u8); 2] = [('<', tcp::SYN | tcp::ACK), ('>', tcp::ACK)];

/// RFC 5382 REQ-1.
#[test]
fn one_inside_port_is_one_outside_port_for_connections_too() {
    let mut tables = one_uplink(64, &[SHARED], &[]);
    let packet = Packet::out(protocol::TCP, 5000);
    sent(&mut tables, packet.from([10, 0, 0, 6]));
    let port = sent(&mut tables, packet).1.source_port;
    assert_ne!(port, 5000);
    for last in 0..100 {
        let far = packet.to([203, 0, 114, last]);
        assert_eq!(sent(&mut tables, far).1.source_port, port);
    }
    check(&tables);
}

/// RFC 5382 REQ-2a: both ends send their first segment at once.
#[test]
fn a_simultaneous_open_succeeds() {
    let both = [
        ('<', tcp::SYN),
        ('>', tcp::SYN | tcp::ACK),
        ('<', tcp::SYN | tcp::ACK),
        ('>', tcp::ACK),
    ];
    for steps in [&both[..], &both[..3], &both[..1]] {
        assert!(Connection::after(steps).holds(2 * 3600));
    }
}

/// RFC 5382 REQ-2 and REQ-4: the far end's first segment comes too early, and is never answered where
/// the configuration says so; sent again, it arrives.
#[test]
fn an_opening_that_comes_too_early_is_dropped_in_silence_where_configured() {
    let mut tables = one_uplink(64, &[SHARED], &[INSIDE]);
    for uplink in &mut tables.uplinks {
        uplink.flags = UPLINK_DROP_UNASKED;
    }
    let early = Packet {
        source: (REMOTE, 443),
        destination: (SHARED, 5000),
        ..Packet::out(protocol::TCP, 443)
    };
    assert_eq!(fate(&mut tables, 0, early), Verdict::DropUnasked);
    assert_eq!(tables.asked, 0);
    sent(&mut tables, Packet::out(protocol::TCP, 5000));
    assert_eq!(received(&mut tables, 0, early).destination, INSIDE);
}

/// RFC 5382 REQ-4, for a port that a host has: no setting is needed.
#[test]
fn an_opening_for_a_hosts_port_is_dropped_in_silence() {
    let mut tables = one_uplink(64, &[SHARED], &[INSIDE]);
    let (_, out) = sent(&mut tables, Packet::out(protocol::TCP, 5000));
    let stranger = reply(protocol::TCP, out).from(OTHER).flags(tcp::SYN);
    assert_eq!(fate(&mut tables, 0, stranger), Verdict::DropFiltered);
    assert_eq!(tables.asked, 0);
    sent(&mut tables, Packet::out(protocol::TCP, 5000).to(OTHER));
    received(&mut tables, 0, stranger);
}

/// RFC 5382 REQ-2: connections that begin outside, where the filter lets them in.
#[test]
fn a_connection_from_outside_is_opened_and_answered() {
    let mut tables = one_uplink(64, &[SHARED], &[INSIDE]);
    filter_nothing(&mut tables);
    let (_, out) = sent(&mut tables, Packet::out(protocol::TCP, 5000));
    let stranger = reply(protocol::TCP, out).from(OTHER);
    received(&mut tables, 0, stranger.flags(tcp::SYN));
    let answer = Packet::out(protocol::TCP, 5000).to(OTHER);
    let (id, left) = sent(&mut tables, answer.flags(tcp::SYN | tcp::ACK));
    assert_eq!((id, left.source, left.source_port), (0, SHARED, 5000));
    pass(&mut tables, 2 * 3600);
    received(&mut tables, 0, stranger.flags(tcp::ACK));
    check(&tables);
}

/// RFC 5382 REQ-5 and RFC 7857 section 2.
#[test]
fn a_connection_is_kept_as_long_as_its_state_says() {
    let closed = [OPENED[0], OPENED[1], ('>', FIN), ('<', FIN)];
    let half_closed = [OPENED[0], OPENED[1], ('<', FIN)];
    let established = 2 * 3600 + 4 * 60;
    for (what, steps, seconds) in [
        ("unanswered", &[][..], 30),
        ("answered", &OPENED[..1], established),
        ("established", &OPENED[..], established),
        ("closed by one end", &half_closed[..], established),
        ("closed by both", &closed[..], 240),
    ] {
        assert!(Connection::after(steps).holds(seconds), "{what}");
        assert!(!Connection::after(steps).holds(seconds + 4), "{what}");
    }
}

/// RFC 5382 REQ-5: a connection that is being opened from outside.
#[test]
fn a_connection_that_a_host_does_not_answer_is_kept_for_four_minutes() {
    for (seconds, left) in [(240, Verdict::Forwarded), (244, Verdict::ReplyReset)] {
        let mut tables = one_uplink(64, &[SHARED], &[INSIDE]);
        filter_nothing(&mut tables);
        let (_, out) = sent(&mut tables, Packet::out(protocol::TCP, 5000));
        let stranger = reply(protocol::TCP, out).from(OTHER);
        received(&mut tables, 0, stranger.flags(tcp::SYN));
        pass(&mut tables, seconds);
        // A host's segment other than a first one does not open a flow.
        let packet = Packet::out(protocol::TCP, 5000).to(OTHER).flags(tcp::ACK);
        assert_eq!(from_lan(&mut tables, packet).0.verdict(), left);
    }
}

/// RFC 7857 section 2.2: a reset passes, and the connection is kept for 4 min behind it.
#[test]
fn a_reset_passes_and_leaves_four_minutes() {
    for side in ['>', '<'] {
        let steps = [OPENED[0], OPENED[1], (side, tcp::RST)];
        assert!(Connection::after(&steps).holds(240), "{side}");
        assert!(!Connection::after(&steps).holds(244), "{side}");
        let mut connection = Connection::after(&steps);
        for late in [tcp::ACK, FIN, tcp::RST] {
            assert_eq!(connection.step('<', late), Verdict::Forwarded);
            assert_eq!(connection.step('>', late), Verdict::Forwarded);
        }
    }
}

/// RFC 5382 REQ-2: segments that end a connection, in every order.
#[test]
fn a_connection_may_end_in_any_order() {
    let ends = [
        [('>', FIN), ('<', tcp::ACK), ('<', FIN), ('>', tcp::ACK)],
        [('<', FIN), ('>', tcp::ACK), ('>', FIN), ('<', tcp::ACK)],
        [('>', FIN), ('<', FIN), ('>', tcp::ACK), ('<', tcp::ACK)],
        [('>', FIN), ('<', FIN), ('<', FIN), ('>', tcp::RST)],
    ];
    for end in ends {
        let steps = [&OPENED[..], &end].concat();
        check(&Connection::after(&steps).tables);
    }
}

/// RFC 5382 REQ-5: a client may take the same port again at once.
#[test]
fn a_connection_of_the_same_ends_is_kept_like_any_other() {
    for end in [&[('>', FIN), ('<', FIN)][..], &[('<', tcp::RST)]] {
        let again = [('>', tcp::SYN), OPENED[0], OPENED[1]];
        let steps = [&OPENED[..], end, &again].concat();
        assert!(Connection::after(&steps).holds(2 * 3600));
    }
}

/// RFC 7857 section 2, figure 1: who goes on has not sent the reset.
#[test]
fn a_reset_that_the_sender_does_not_heed_ends_nothing() {
    let steps = [OPENED[0], OPENED[1], ('<', tcp::RST), ('<', tcp::ACK)];
    assert!(Connection::after(&steps).holds(2 * 3600));
}
