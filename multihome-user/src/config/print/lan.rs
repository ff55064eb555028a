//! LAN ports and tags, printed.

use multihome_common::framing::Framing;
use serde::Serialize;

use super::super::{LanConfig, framing};

/// A LAN port: its device alone where that says all.
#[derive(Serialize)]
#[serde(untagged)]
pub enum PrintedLan<'c> {
    Device(&'c str),
    Port {
        device: &'c str,
        #[serde(skip_serializing_if = "Option::is_none")]
        vlan: Option<PrintedVlan>,
        #[serde(skip_serializing_if = "Option::is_none")]
        outer_tag: Option<&'static str>,
        name: &'c str,
    },
}

/// The ids of one or two tags.
#[derive(Serialize)]
#[serde(untagged)]
pub enum PrintedVlan {
    One(u16),
    Two([u16; 2]),
}

impl<'c> PrintedLan<'c> {
    pub fn new(port: &'c LanConfig) -> Self {
        if port.vlan.is_plain() && port.name == port.device {
            return Self::Device(&port.device);
        }
        let (vlan, outer_tag) = tags(port.vlan);
        Self::Port {
            device: &port.device,
            vlan,
            outer_tag,
            name: &port.name,
        }
    }
}

/// The keys that say these tags.
pub fn tags(tags: Framing) -> (Option<PrintedVlan>, Option<&'static str>) {
    let (vlan, outer) = framing::written(tags);
    let vlan = vlan.map(|vlan| match vlan.outer {
        Some(outer) => PrintedVlan::Two([outer, vlan.inner]),
        None => PrintedVlan::One(vlan.inner),
    });
    (vlan, outer.map(|outer| outer.name()))
}
