//! Inputs that are conversations: packets of few flows, in both directions, again and again, so that
//! many of them are of flows that are known.

use std::{prelude::v1::*, vec};

use proptest::{prelude::*, strategy::ValueTree as _};

use super::{Exercise, INSIDE, INSIDE_PREFIX, UPLINKS, outside, prefix};
use crate::{
    address::Address6,
    nptv6::Translation,
    wire::{protocol, tcp},
};

/// Who sends, and by which device.
#[derive(Clone, Copy, Debug)]
enum From {
    /// A LAN host.
    Inside,
    /// The far end, by this uplink, to the LAN host's own address.
    Routed(u8),
    /// The far end, by this uplink, to the address that the LAN host has there.
    Translated(u8),
}

/// One packet of a conversation.
#[derive(Clone, Copy, Debug)]
struct Said {
    from: From,
    v6: bool,
    tcp: bool,
    flags: u8,
    /// Which of the LAN's hosts, and of the far ends.
    ends: (u8, u8),
    /// Added to the inside port.
    port: u16,
    hop_limit: u8,
    payload: usize,
    /// The upper bits of the byte before a packet: what happens first.
    first: u8,
}

impl Said {
    /// As an input has it.
    fn bytes(self) -> Vec<u8> {
        let number = if self.tcp {
            protocol::TCP
        } else {
            protocol::UDP
        };
        let (host, remote) = (2 + self.ends.0, self.ends.1);
        let ports = [2000 + self.port, 443];
        let mut transport = match self.from {
            From::Inside => ports.map(u16::to_be_bytes).concat(),
            From::Routed(_) | From::Translated(_) => {
                [ports[1], ports[0]].map(u16::to_be_bytes).concat()
            }
        };
        if self.tcp {
            transport.extend([0; 8]);
            transport.extend([0x50, self.flags, 0xff, 0xff, 0x12, 0x34, 0, 0]);
        } else {
            transport.extend((8 + self.payload as u16).to_be_bytes());
            transport.extend([0x12, 0x34]);
        }
        transport.resize(transport.len() + self.payload, 0xaa);
        let network = if self.v6 {
            self.ipv6(number, host, remote, &transport)
        } else {
            self.ipv4(number, host, remote, &transport)
        };
        let slot = match self.from {
            From::Inside => 0,
            From::Routed(id) | From::Translated(id) => 1 + id,
        };
        let mut bytes = vec![self.first & 0xf8 | 4 | slot];
        bytes.extend((network.len() as u16).to_le_bytes());
        bytes.extend(network);
        bytes
    }

    fn ipv4(self, number: u8, host: u8, remote: u8, transport: &[u8]) -> Vec<u8> {
        let len = (20 + transport.len()) as u16;
        let inside = [10, 1, 0, host];
        let remote = [203, 0, 113, remote];
        let [source, destination] = match self.from {
            From::Inside => [inside, remote],
            From::Routed(_) => [remote, inside],
            From::Translated(id) => [remote, outside(id)],
        };
        let mut bytes = vec![8, 0, 0x45, 0];
        bytes.extend(len.to_be_bytes());
        bytes.extend([0, 0, 0x40, 0, self.hop_limit, number, 0, 0]);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(transport);
        bytes
    }

    fn ipv6(self, number: u8, host: u8, remote: u8, transport: &[u8]) -> Vec<u8> {
        let at = |high: u64, low: u64| [high.to_be_bytes(), low.to_be_bytes()].concat();
        let inside = at(INSIDE, host.into());
        let remote = at(0x2001_0db8_ffff_0000, remote.into());
        let [source, destination] = match self.from {
            From::Inside => [inside, remote],
            From::Routed(_) => [remote, inside],
            From::Translated(id) => {
                let translation = Translation::new(INSIDE_PREFIX, prefix(id)).unwrap();
                let inside = Address6 {
                    high: INSIDE,
                    low: host.into(),
                };
                [
                    remote,
                    translation.outward(inside).unwrap().bytes().to_vec(),
                ]
            }
        };
        let mut bytes = vec![0x86, 0xdd, 0x60, 0, 0, 0];
        bytes.extend((transport.len() as u16).to_be_bytes());
        bytes.extend([number, self.hop_limit]);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(transport);
        bytes
    }
}

fn said() -> impl Strategy<Value = Said> {
    let from = prop_oneof![
        3 => Just(From::Inside),
        1 => (0..UPLINKS).prop_map(From::Routed),
        2 => (0..UPLINKS).prop_map(From::Translated),
    ];
    let flags = prop_oneof![
        1 => Just(tcp::SYN),
        6 => Just(tcp::ACK),
        1 => Just(tcp::FIN | tcp::ACK),
        1 => Just(tcp::RST),
    ];
    let hop_limit = prop_oneof![8 => Just(64u8), 1 => 0..3u8];
    let payload = prop_oneof![8 => Just(8usize), 1 => Just(1380usize)];
    // Mostly nothing; else time passes, up to longer than known flows are taken for known, or the
    // world's words are exchanged.
    let first = prop_oneof![12 => Just(0u8), 2 => (1..8u8).prop_map(|n| n << 4), 1 => Just(8u8)];
    let ends = (0..2u8, 0..2u8);
    (
        (from, any::<bool>(), any::<bool>(), flags),
        (ends, 0..1u16, hop_limit, payload, first),
    )
        .prop_map(
            |((from, v6, tcp, flags), (ends, port, hop_limit, payload, first))| Said {
                from,
                v6,
                tcp,
                flags,
                ends,
                port,
                hop_limit,
                payload,
                first,
            },
        )
}

/// A world, and what is said in it.
fn talk() -> impl Strategy<Value = Vec<u8>> {
    let words = prop_oneof![4 => Just([0x03u8, 0x0f]), 1 => any::<[u8; 2]>()];
    let said = proptest::collection::vec(said(), 30..super::MOST_PACKETS);
    (any::<u8>(), words, said).prop_map(|(switches, words, said)| {
        let mut input = vec![switches];
        input.extend(words);
        for said in said {
            input.extend(said.bytes());
        }
        input
    })
}

/// The short way of known flows decides as the full one does, and is taken.
#[test]
fn known_flows_take_the_short_way_and_it_is_the_same() {
    let mut exercise = Exercise::default();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..1500 {
        let talk = talk().new_tree(&mut runner).unwrap().current();
        exercise.run(&talk);
    }
    assert!(
        exercise.short.iter().all(|&packets| packets > 50),
        "the short way: {:?}",
        exercise.short
    );
}

proptest! {
    /// The same, with other talks each time.
    #[test]
    fn whatever_is_said_the_short_way_is_the_same(talks in proptest::collection::vec(talk(), 1..8)) {
        let mut exercise = Exercise::default();
        for talk in talks {
            exercise.run(&talk);
        }
    }
}
