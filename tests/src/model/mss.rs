//! What connections are opened with where they pass an uplink that cannot take all (RFC 2923 section 2.1):
//! the MSS that a SYN states is lowered, and nothing else.

use multihome_common::verdict::Verdict;

use super::{
    gateway::{Fate, Gateway},
    packet::{Packet, be, flag, number},
    site::Port,
};

impl Gateway {
    /// The packet that leaves, no larger an MSS in it than its uplink's.
    pub(super) fn clamped(&self, port: Port, packet: &Packet<'_>, fate: Fate) -> Fate {
        let passed = match port {
            Port::Lan => fate.uplink,
            Port::Uplink(id) => Some(id),
        };
        let opens = packet.protocol == number::TCP
            && !packet.fragment
            && packet.tcp_flags() & flag::SYN != 0
            && packet.payload().len() >= 20;
        let (Some(id), true, Verdict::Forwarded) = (passed, opens, fate.verdict) else {
            return fate;
        };
        let most = self.site.uplinks[usize::from(id)].mss[usize::from(packet.is_v6())];
        if most == 0 {
            return fate;
        }
        let header = usize::from(packet.payload()[12] >> 4) * 4;
        let end = packet.end.min(packet.transport + header);
        let options = packet.transport + 20..end.max(packet.transport + 20);
        let mut after = fate.out.bytes[options.clone()].to_vec();
        for at in values(&after) {
            if be(&after[at..]) > most {
                after[at..at + 2].copy_from_slice(&most.to_be_bytes());
            }
        }
        Fate {
            out: fate.out.options(packet.transport, options, &after),
            ..fate
        }
    }
}

/// Where the values of all MSS options of a list stand.
fn values(options: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut rest = options;
    while let Some(&kind) = rest.first() {
        let length = match (kind, rest.get(1)) {
            (0, _) => break,
            (1, _) => 1,
            (_, Some(&length)) if length >= 2 => usize::from(length),
            (_, _) => break,
        };
        if length > rest.len() {
            break;
        }
        if (kind, length) == (2, 4) {
            found.push(options.len() - rest.len() + 2);
        }
        rest = &rest[length..];
    }
    found
}
