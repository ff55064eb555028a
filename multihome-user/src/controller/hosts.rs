//! LAN hosts: entered as the kernel's neighbour table shows them.

use std::{collections::HashMap, net::IpAddr};

use multihome_common::{
    port::SLOT_FRAMED,
    uplink::{Hop, HostEntry},
};

use super::{Action, Controller, Ground};
use crate::netlink::Link;

impl Controller {
    pub(super) fn lan_slot(&self, ifindex: u32) -> Option<u32> {
        let link = self.net.links.get(&ifindex)?;
        self.lan
            .iter()
            .find(|(_, port)| port.device == link.name)
            .map(|(slot, _)| *slot)
    }

    /// The slot of the LAN port with this device, [`SLOT_FRAMED`] included, and its MTU.
    fn lan_port(&self, link: &Link) -> Option<(u16, u32)> {
        let mut ports = self.lan.iter();
        let (slot, port) = ports.find(|(_, port)| port.device == link.name)?;
        let ground = Ground::find(&self.net, &port.device, port.vlan)?;
        let framed = if ground.tags.is_plain() {
            0
        } else {
            SLOT_FRAMED
        };
        Some((*slot as u16 | framed, ground.mtu(ground.tags, link.mtu)))
    }

    fn host_entry(&self, ifindex: u32, address: IpAddr) -> Option<HostEntry> {
        let neighbour = self.net.neighbour(ifindex, address).filter(|n| n.valid)?;
        let link = self.net.links.get(&ifindex)?;
        let (slot, mtu) = self.lan_port(link)?;
        Some(HostEntry {
            hop: Hop::new(neighbour.mac?, link.mac?),
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
            slot,
        })
    }

    pub(super) fn refresh_host(&mut self, ifindex: u32, address: IpAddr) -> Option<Action> {
        let entry = self.host_entry(ifindex, address).or_else(|| {
            // The host may have moved to another port, and this be the old one's farewell.
            let known = self.applied.hosts.get(&address)?;
            let other = self
                .lan
                .iter()
                .find(|(slot, _)| *slot == u32::from(known.slot & !SLOT_FRAMED))?;
            let other = self.net.link_by_name(&other.1.device)?.ifindex;
            if other == ifindex {
                None
            } else {
                self.host_entry(other, address)
            }
        });
        let changed = match entry {
            Some(entry) => self.applied.hosts.insert(address, entry) != Some(entry),
            None => self.applied.hosts.remove(&address).is_some(),
        };
        changed.then_some(Action::SetHost(address, entry))
    }

    pub(super) fn refresh_hosts(&mut self) -> Vec<Action> {
        let mut wanted = HashMap::new();
        for &(ifindex, address) in self.net.neighbours.keys() {
            if let Some(entry) = self.host_entry(ifindex, address) {
                wanted.insert(address, entry);
            }
        }
        let gone = self
            .applied
            .hosts
            .keys()
            .filter(|address| !wanted.contains_key(address));
        let mut actions: Vec<Action> = gone
            .map(|&address| Action::SetHost(address, None))
            .collect();
        for (&address, &entry) in &wanted {
            if self.applied.hosts.get(&address) != Some(&entry) {
                actions.push(Action::SetHost(address, Some(entry)));
            }
        }
        self.applied.hosts = wanted;
        actions
    }
}
