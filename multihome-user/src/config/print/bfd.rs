//! BFD as it is printed: `false` or a table with all that is not found by itself.

use std::net::IpAddr;

use serde::Serialize;

use super::super::{BfdConfig, duration::TextDuration};

#[derive(Serialize)]
#[serde(untagged)]
pub enum PrintedBfd {
    Off(bool),
    On(PrintedTable),
}

#[derive(Serialize)]
pub struct PrintedTable {
    interval: String,
    multiplier: u8,
    passive: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peer: Vec<IpAddr>,
    families: Vec<&'static str>,
}

impl PrintedBfd {
    pub fn new(bfd: Option<&BfdConfig>) -> Self {
        let Some(bfd) = bfd else {
            return Self::Off(false);
        };
        let peers = [true, false].map(|ipv4| bfd.peer(ipv4));
        Self::On(PrintedTable {
            interval: TextDuration(bfd.interval).to_string(),
            multiplier: bfd.multiplier,
            passive: bfd.passive,
            peer: peers
                .iter()
                .flatten()
                .filter_map(|peer| peer.address())
                .collect(),
            families: peers
                .into_iter()
                .zip(["ipv4", "ipv6"])
                .filter_map(|(peer, family)| peer.map(|_| family))
                .collect(),
        })
    }
}
