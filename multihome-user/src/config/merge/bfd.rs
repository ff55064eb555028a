//! Lays what the flags say of an uplink's BFD over the file's, and checks it.

use std::net::IpAddr;

use super::super::{
    BfdConfig, BfdPeer,
    error::BfdMistake,
    layer::BfdLayer,
    origin::{Located, Origin},
    value::FamilyWord,
};

/// What is said above replaces what is said below; who turns BFD off says nothing else.
pub fn merge(below: Option<BfdLayer>, above: Option<BfdLayer>) -> Option<BfdLayer> {
    match (below, above) {
        (Some(below), Some(above)) if above.on => Some(BfdLayer {
            on: true,
            interval: above.interval.or(below.interval),
            multiplier: above.multiplier.or(below.multiplier),
            passive: above.passive.or(below.passive),
            peers: if above.peers.is_empty() {
                below.peers
            } else {
                above.peers
            },
            families: if above.families.is_empty() {
                below.families
            } else {
                above.families
            },
        }),
        (below, above) => above.or(below),
    }
}

/// The BFD of an uplink, if it is on. What is wrong comes with its place.
pub fn check(layer: Option<BfdLayer>) -> Result<Option<BfdConfig>, (Origin, BfdMistake)> {
    let Some(layer) = layer.filter(|layer| layer.on) else {
        return Ok(None);
    };
    let (mut peer4, mut peer6) = (None, None);
    for Located { value, origin } in &layer.peers {
        let first = match value.0 {
            IpAddr::V4(v4) => peer4.replace(v4).map(IpAddr::from),
            IpAddr::V6(v6) => peer6.replace(v6).map(IpAddr::from),
        };
        if let Some(first) = first {
            let second = value.0;
            return Err((origin.clone(), BfdMistake::TwoPeers { first, second }));
        }
    }
    let named = |word: FamilyWord| layer.families.iter().any(|family| family.value == word);
    // Who names a peer means its family, unless families are named too.
    let all = layer.families.is_empty() && layer.peers.is_empty();
    let (ipv4, ipv6) = if layer.families.is_empty() {
        (all || peer4.is_some(), all || peer6.is_some())
    } else {
        (named(FamilyWord::Ipv4), named(FamilyWord::Ipv6))
    };
    for Located { value, origin } in layer.peers {
        let wanted = if value.0.is_ipv4() { ipv4 } else { ipv6 };
        if !wanted {
            return Err((origin, BfdMistake::PeerOfOtherFamily { peer: value.0 }));
        }
    }
    Ok(Some(BfdConfig {
        interval: layer
            .interval
            .map_or(BfdConfig::DEFAULT_INTERVAL, |interval| interval.0),
        multiplier: layer
            .multiplier
            .map_or(BfdConfig::DEFAULT_MULTIPLIER, |multiplier| multiplier.0),
        passive: layer.passive.unwrap_or(false),
        ipv4: ipv4.then(|| peer4.map_or(BfdPeer::NextHop, BfdPeer::Address)),
        ipv6: ipv6.then(|| peer6.map_or(BfdPeer::NextHop, BfdPeer::Address)),
    }))
}
