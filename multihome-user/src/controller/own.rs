//! What the gateway's own traffic and the kernel's settings depend on, of the controller's state.

use std::net::IpAddr;

use multihome_common::state::{IPV4, IPV6};

use super::{Controller, FAMILIES, Uplink, group::Group, path::Path};
use crate::{
    config::DEFAULT_GROUP,
    kernel_settings::Device,
    netlink::Address,
    routes::{Hop, desired::View},
};

impl Controller {
    /// The uplinks whose next hops and addresses routes are made of, in the order of the
    /// configuration.
    pub fn views(&self) -> Vec<View> {
        self.uplinks
            .iter()
            .map(|uplink| self.view(uplink))
            .collect()
    }

    /// Takes over next hops that an earlier controller knew, before the first look at the uplinks: after a
    /// flap of its link, no route may tell an uplink's any more.
    pub fn remember_next_hops(&mut self, hops: impl Iterator<Item = Hop>) {
        for hop in hops {
            let Some(link) = self.net.links.get(&hop.ifindex) else {
                continue;
            };
            let uplink = self.uplinks.iter_mut();
            let mut uplink = uplink.filter(|it| it.config.layer3() == link.name);
            let family = if hop.gateway.is_ipv4() { IPV4 } else { IPV6 };
            if let Some(uplink) = uplink.next() {
                uplink.paths[family].remember(hop.gateway);
            }
        }
    }

    /// The word by which packets that no rule concerns are steered: the eligible one of the default
    /// group, or what serves in its place.
    pub fn serving(&self, family: usize) -> u64 {
        let default = self.groups.iter().find(|it| it.name == DEFAULT_GROUP);
        let words = default.map(|group| &group.words[family]);
        words.map_or(0, |words| match words.eligible {
            0 => words.last_good,
            eligible => eligible,
        })
    }

    /// The devices whose settings matter, and whether IPv4 and IPv6 are in use.
    pub fn watched_devices(&self) -> (Vec<Device>, [bool; 2]) {
        let carried = FAMILIES.map(|family| {
            let mut uplinks = self.uplinks.iter();
            uplinks.any(|uplink| uplink.paths[family].exists())
        });
        let lan_has_ipv6 = self.lan_ports().any(|(_, _, ifindex)| {
            let mut addresses = ifindex.into_iter().flat_map(|it| self.net.addresses_of(it));
            addresses.any(|it| it.address.is_ipv6() && is_global(it.address))
        });
        let addresses = self.addresses4();
        let uplinks = self.uplinks.iter().map(|uplink| Device {
            name: uplink.config.layer3().to_owned(),
            uplink: true,
            awaits_ipv6: !uplink.paths[IPV6].exists()
                && (uplink.config.prefix.is_some() || lan_has_ipv6 && carried[IPV6]),
            shares_subnet: self.shares_subnet(uplink, &addresses),
        });
        let lan = self.lan.iter().map(|(_, port)| Device {
            name: port.device.clone(),
            ..Device::default()
        });
        (
            uplinks.chain(lan).collect(),
            [carried[IPV4], carried[IPV6] || lan_has_ipv6],
        )
    }

    fn view(&self, uplink: &Uplink) -> View {
        let link = uplink.link.as_ref().filter(|link| link.admin_up);
        let hop = |path: &Path| {
            Some(Hop {
                ifindex: link?.ifindex,
                gateway: path.next_hop()?,
            })
        };
        let outside = uplink.treatments[IPV4].outside().iter();
        let prefix = uplink.treatments[IPV6].prefix();
        let mut sources: Vec<(IpAddr, u8)> = self
            .addresses_of_uplink(uplink)
            .map(|it| it.address)
            .chain(outside.map(|&address| IpAddr::V4(address)))
            .filter(|&address| is_global(address))
            .map(|address| (address, if address.is_ipv4() { 32 } else { 128 }))
            .chain(prefix.map(|prefix| (prefix.network().into(), prefix.length())))
            .collect();
        sources.sort_unstable();
        sources.dedup();
        let (tier, weight) = self.own_rank(uplink);
        View {
            id: uplink.id,
            tier,
            weight,
            device: uplink.config.layer3().to_owned(),
            hops: [hop(&uplink.paths[IPV4]), hop(&uplink.paths[IPV6])],
            exists: [uplink.paths[IPV4].exists(), uplink.paths[IPV6].exists()],
            sources,
        }
    }

    /// Tier and weight in the default group, or the uplink's own where it is no member.
    fn own_rank(&self, uplink: &Uplink) -> (u8, u32) {
        let default = self.groups.iter().find(|it| it.name == DEFAULT_GROUP);
        let mut members = default.into_iter().flat_map(Group::ranked);
        members
            .find(|member| member.id == uplink.id)
            .map_or((uplink.config.tier, uplink.config.weight), |member| {
                (member.tier, member.weight)
            })
    }

    fn addresses_of_uplink(&self, uplink: &Uplink) -> impl Iterator<Item = &Address> {
        let ifindex = uplink.link.as_ref().map(|link| link.ifindex);
        ifindex.into_iter().flat_map(|it| self.net.addresses_of(it))
    }

    /// The IPv4 addresses of all uplinks' devices and whose they are, in order.
    fn addresses4(&self) -> Vec<(u32, u8)> {
        let of = |uplink: &Uplink| -> Vec<(u32, u8)> {
            let addresses = self.addresses_of_uplink(uplink);
            let of_family = addresses.filter_map(|it| match it.address {
                IpAddr::V4(v4) => Some((v4.to_bits(), uplink.id)),
                IpAddr::V6(_) => None,
            });
            of_family.collect()
        };
        let mut all: Vec<(u32, u8)> = self.uplinks.iter().flat_map(of).collect();
        all.sort_unstable();
        all
    }

    /// Whether an IPv4 subnet of the uplink's device has an address of another uplink's, of `all` in order.
    fn shares_subnet(&self, uplink: &Uplink, all: &[(u32, u8)]) -> bool {
        self.addresses_of_uplink(uplink).any(|own| {
            let IpAddr::V4(address) = own.address else {
                return false;
            };
            let hosts = u32::MAX.checked_shr(own.prefix_len.into()).unwrap_or(0);
            let first = address.to_bits() & !hosts;
            let from = all.partition_point(|(address, _)| *address < first);
            let within = all[from..].iter();
            let mut within = within.take_while(|(address, _)| *address <= first | hosts);
            own.prefix_len > 0 && within.any(|(_, id)| *id != uplink.id)
        })
    }
}

/// Whether an address is good beyond its link.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_loopback(),
    }
}
