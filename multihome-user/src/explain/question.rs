//! What is asked, against itself and against what there is.

use std::net::IpAddr;

use multihome_common::{
    address::{Address4, Address6},
    limits::MAX_UPLINKS,
    port::{NO_SLOT, PORT_KERNEL, PortEntry, SLOT_FRAMED},
    tables::Tables as _,
    wire::protocol,
};

use super::{
    ExplainError,
    query::{self, Query, WhatIf},
};
use crate::{config::suggest, dataplane::Snapshot};

/// Two families in one question.
pub fn families(query: &Query) -> ExplainError {
    ExplainError::Families {
        source_address: query.source.address,
        destination: query.destination.address,
    }
}

/// Looks for contradictions in the question itself.
pub fn check(query: &Query) -> Result<(), ExplainError> {
    let (source, destination) = (query.source.address, query.destination.address);
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(families(query));
    }
    let (other, instead) = if source.is_ipv4() {
        (protocol::ICMP6, protocol::ICMP)
    } else {
        (protocol::ICMP, protocol::ICMP6)
    };
    if query.protocol.0 == other {
        return Err(ExplainError::OtherFamily {
            protocol: query.protocol,
            address: source,
            instead: query::Protocol(instead),
        });
    }
    let has_port = query.source.port.or(query.destination.port).is_some();
    if has_port && !query.protocol.has_ports() {
        return Err(ExplainError::NoPorts(query.protocol));
    }
    Ok(())
}

/// The LAN port that the packet comes in on: the one that was named, else the one with the VLAN, else the
/// one that the source is known at, else the first.
pub fn lan_port(
    snapshot: &Snapshot,
    devices: &[PortEntry],
    query: &Query,
) -> Result<PortEntry, ExplainError> {
    let mut lan = devices.to_vec();
    lan.retain(|entry| entry.is_lan() && entry.slot != NO_SLOT && entry.flags & PORT_KERNEL == 0);
    // A port on a VLAN device is entered for that device too; its frames come in on the one below.
    lan.sort_by_key(|entry| (entry.slot, entry.framing == 0));
    lan.dedup_by_key(|entry| entry.slot);
    let name = |entry: &PortEntry| snapshot.name(entry.slot as u8).unwrap_or("?").to_owned();
    if let Some(wanted) = &query.lan {
        let found = lan.iter().find(|entry| name(entry) == *wanted);
        let found = found.copied().ok_or_else(|| {
            let known: Vec<String> = lan.iter().map(name).collect();
            ExplainError::UnknownLan {
                name: wanted.clone(),
                suggestion: suggest::closest(wanted, known.iter().map(String::as_str)),
                known,
            }
        })?;
        return match query.vlan {
            Some(vlan) if found.is_framed() && !has_vlan(snapshot, &found, vlan) => {
                Err(ExplainError::OtherVlan {
                    lan: wanted.clone(),
                    framing: snapshot.framing(found.slot as u8).unwrap_or_default(),
                    vlan,
                })
            }
            Some(_) | None => Ok(found),
        };
    }
    if let Some(vlan) = query.vlan {
        let mut tagged = lan.iter();
        if let Some(port) = tagged.find(|entry| has_vlan(snapshot, entry, vlan)) {
            return Ok(*port);
        }
    }
    let host = match query.source.address {
        IpAddr::V4(v4) => snapshot.host4(Address4::from_bytes(v4.octets())),
        IpAddr::V6(v6) => snapshot.host6(Address6::from_bytes(v6.octets())),
    };
    let slot = host.map(|host| u32::from(host.slot & !SLOT_FRAMED));
    let known = lan.iter().find(|entry| Some(entry.slot) == slot);
    let chosen = known.or(lan.first()).copied();
    chosen.ok_or(ExplainError::NoLan)
}

/// Whether one of the tags of a port's frames is this VLAN's.
fn has_vlan(snapshot: &Snapshot, entry: &PortEntry, vlan: u16) -> bool {
    let framing = snapshot.framing(entry.slot as u8).unwrap_or_default();
    (0..framing.tag_count()).any(|place| framing.tag(place).1 == vlan)
}

/// The uplinks that are taken for down.
pub fn downs(snapshot: &Snapshot, query: &Query) -> Result<u64, ExplainError> {
    let known: Vec<(u8, &str)> = (0..MAX_UPLINKS as u8)
        .filter_map(|id| Some((id, snapshot.name(id)?)))
        .collect();
    let id_of = |WhatIf::Down(name): &WhatIf| {
        let found = known.iter().find(|(_, known)| known == name);
        found.map(|(id, _)| *id).ok_or_else(|| {
            let names = known.iter().map(|(_, name)| *name);
            ExplainError::UnknownUplink {
                name: name.clone(),
                suggestion: suggest::closest(name, names.clone()),
                known: names.map(str::to_owned).collect(),
            }
        })
    };
    query
        .what_if
        .iter()
        .try_fold(0, |word, down| Ok(word | 1 << id_of(down)?))
}
