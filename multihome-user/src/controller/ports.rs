//! The gateway's ports in the kernel's devices: on which device a port's frames come in, behind which tags, and
//! what the programs are told of that.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use multihome_common::{
    framing::Framing,
    limits::MAX_UPLINKS,
    port::{NO_SLOT, PORT_FRAMED, PORT_KERNEL, PORT_RESTORE, PORT_TRUNK, PortEntry},
    wire::ethernet,
};

use super::{Action, Controller};
use crate::{
    dataplane::{Runs, Tags},
    netlink::{Link, NetState},
    pppoe::Session,
};

/// What tells an entry of the port table from others, as [`PortEntry::is_same`] does: ifindex, framing, session, and
/// the session's other station.
pub(super) type PortKey = (u32, u32, u32, [u8; 6]);

/// The device that a port's frames come in on, and the tags that they have there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// The device's ifindex.
    pub ifindex: u32,
    /// Its name.
    pub device: String,
    /// The MAC that frames for the port bear.
    pub mac: Option<[u8; 6]>,
    /// The frames' tags.
    pub tags: Framing,
    /// The kernel has a VLAN device for them.
    pub vlan_device: bool,
    /// The device sees a peer.
    pub carrier: bool,
    /// The MTU of the device that frames come in on.
    pub mtu: u32,
}

impl Ground {
    /// Finds what a device stands on: a VLAN device of the kernel stands on its parent, and other devices on
    /// themselves, with the tags that were configured. `None` when it is not there.
    pub fn find(net: &NetState, device: &str, configured: Framing) -> Option<Self> {
        // What the programs cannot read stands on nothing.
        let top = net
            .link_by_name(device)
            .filter(|link| link.misfit().is_none())?;
        let (mut bottom, mut vlans) = (top, Vec::new());
        while let Some(vlan) = bottom.vlan_of {
            // A parent that is not listed cannot be reached: the VLAN device is a device like any other, then.
            let Some(parent) = net.links.get(&vlan.parent).filter(|_| vlans.len() < 2) else {
                break;
            };
            vlans.push(vlan);
            bottom = parent;
        }
        let tags = vlans
            .iter()
            .rev()
            .fold(Framing::PLAIN, |tags, vlan| tags.tagged(vlan.kind, vlan.id));
        let vlan_device = !vlans.is_empty();
        Some(Self {
            ifindex: bottom.ifindex,
            device: bottom.name.clone(),
            mac: top.mac,
            tags: if vlan_device { tags } else { configured },
            vlan_device,
            carrier: top.carrier,
            mtu: bottom.mtu,
        })
    }

    /// The largest IP packet of a port with this framing, whose own device says `mtu`. The kernel sends a frame
    /// that a program redirects if it has one tag beyond the device's MTU at most (`xdp_ok_fwd_dev` in
    /// linux/filter.h), and drops longer ones without a word.
    pub fn mtu(&self, framing: Framing, mtu: u32) -> u32 {
        let added = framing.link_len() - ethernet::LEN;
        let room = (self.mtu + ethernet::TAG_LEN as u32).saturating_sub(added as u32);
        mtu.min(room)
    }

    /// The tags that frames get which the kernel sends by the device itself.
    fn kernel_tags(&self) -> Framing {
        if self.vlan_device {
            Framing::PLAIN
        } else {
            self.tags
        }
    }
}

/// One port, and what it is made of now.
struct Port<'c> {
    slot: u32,
    ground: Ground,
    /// The device with the addresses.
    layer3: Option<&'c Link>,
    /// It is a PPPoE session's, and this is it, if there is one.
    session: Option<Option<&'c Session>>,
}

impl Port<'_> {
    fn is_trunk(&self) -> bool {
        !self.ground.tags.is_plain() || self.session.is_some()
    }

    fn runs(&self) -> Runs {
        if (self.slot as usize) < MAX_UPLINKS {
            Runs::Uplink
        } else {
            Runs::Lan
        }
    }

    /// What stands between MACs and IP packets, if that is known.
    fn framing(&self) -> Option<Framing> {
        match self.session {
            None => Some(self.ground.tags),
            Some(session) => session.map(|session| self.ground.tags.in_session(session.id)),
        }
    }

    /// The port's entries.
    fn entries(&self, net: &NetState) -> Vec<PortEntry> {
        let mut entries = Vec::new();
        let (ground, tags) = (&self.ground, self.ground.tags);
        if let (Some(layer3), Some(framing)) = (self.layer3, self.framing()) {
            let mut flags = 0;
            if !framing.is_plain() {
                flags |= PORT_FRAMED;
            }
            if ground.vlan_device {
                flags |= PORT_RESTORE;
            }
            let entry = PortEntry {
                ifindex: ground.ifindex,
                framing: framing.key(),
                slot: self.slot,
                flags,
                mac: ground.mac.unwrap_or_default(),
                mtu: ground.mtu(framing, layer3.mtu),
                session: framing.session().unwrap_or_default().into(),
                peer: self
                    .session
                    .flatten()
                    .map_or(PortEntry::ANY, |session| session.peer),
                ..layer3_entry(net, layer3)
            };
            entries.push(entry);
            // The kernel names the VLAN device when it is asked for the way to a host.
            if layer3.ifindex != ground.ifindex && self.session.is_none() {
                entries.push(PortEntry {
                    ifindex: layer3.ifindex,
                    framing: 0,
                    ..entry
                });
            }
        }
        // What is no session's data is the kernel's, without the tags that it has no device for.
        if self.session.is_some() && !ground.kernel_tags().is_plain() {
            entries.push(PortEntry {
                ifindex: ground.ifindex,
                framing: tags.key(),
                slot: self.slot,
                flags: PORT_FRAMED | PORT_KERNEL,
                mac: ground.mac.unwrap_or_default(),
                ..PortEntry::default()
            });
        }
        entries
    }
}

impl Controller {
    /// The ports whose devices are there.
    fn found_ports(&self) -> Vec<Port<'_>> {
        let uplinks = self.uplinks.iter().filter_map(|uplink| {
            let session = uplink
                .config
                .pppoe
                .as_ref()
                .map(|_| uplink.session.as_ref());
            Some(Port {
                slot: uplink.id.into(),
                ground: uplink.ground.clone()?,
                layer3: uplink.link.as_ref(),
                session,
            })
        });
        let lan = self.lan.iter().filter_map(|(slot, port)| {
            Some(Port {
                slot: *slot,
                ground: Ground::find(&self.net, &port.device, port.vlan)?,
                layer3: self.net.link_by_name(&port.device),
                session: None,
            })
        });
        uplinks.chain(lan).collect()
    }

    /// Compares what frames get that are sent with what was told. It comes before what sends them.
    pub(super) fn refresh_framings(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        let found: Vec<(u32, Framing)> = self
            .found_ports()
            .iter()
            .filter_map(|port| Some((port.slot, port.framing()?)))
            .collect();
        for (slot, framing) in found {
            let before = self.applied.framings.insert(slot, framing);
            if before.unwrap_or(Framing::PLAIN) != framing {
                actions.push(Action::SetFraming(slot, framing));
            }
        }
        actions
    }

    /// Compares devices and port table with what was told.
    pub(super) fn refresh_ports(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut entries: BTreeMap<PortKey, (String, PortEntry)> = BTreeMap::new();
        let mut attached = BTreeMap::new();
        let found = self.found_ports();
        let trunks: BTreeSet<u32> = found
            .iter()
            .filter(|port| port.is_trunk())
            .map(|port| port.ground.ifindex)
            .collect();
        for port in &found {
            let ground = &port.ground;
            let runs = if trunks.contains(&ground.ifindex) {
                Runs::Trunk
            } else {
                port.runs()
            };
            let tags = tags_on(&found, ground.ifindex);
            attached.insert(port.slot, (ground.ifindex, runs, tags));
            if self.applied.attached.get(&port.slot) != attached.get(&port.slot) {
                actions.push(Action::Attach {
                    slot: port.slot,
                    device: ground.device.clone(),
                    ifindex: ground.ifindex,
                    runs,
                    tags,
                });
            }
            for entry in port.entries(&self.net) {
                entries.insert(key(&entry), (ground.device.clone(), entry));
            }
        }
        for port in &found {
            let ground = &port.ground;
            if trunks.contains(&ground.ifindex) {
                trunk(&mut entries, ground);
            }
        }
        let gone: BTreeSet<u32> = self.applied.ports.keys().map(|key| key.0).collect();
        let kept: BTreeSet<u32> = entries.keys().map(|key| key.0).collect();
        for (key, entry) in &self.applied.ports {
            if kept.contains(&key.0) && !entries.contains_key(key) {
                actions.push(Action::DropPort(*entry));
            }
        }
        for (key, (device, entry)) in &entries {
            if self.applied.ports.get(key) != Some(entry) {
                actions.push(Action::SetPort(device.clone(), *entry));
            }
        }
        let gone = gone.difference(&kept);
        actions.extend(gone.map(|&ifindex| Action::RemovePort(ifindex)));
        self.applied.attached = attached;
        self.applied.ports = entries
            .into_iter()
            .map(|(key, (_, entry))| (key, entry))
            .collect();
        actions
    }

    /// Whether the port table is to have this entry's port.
    pub fn knows_port(&self, entry: &PortEntry) -> bool {
        self.applied.ports.contains_key(&key(entry))
    }
}

/// Whose tags the frames of a device have.
fn tags_on(ports: &[Port<'_>], ifindex: u32) -> Tags {
    let grounds = || ports.iter().map(|port| &port.ground);
    let on_device = || grounds().filter(|ground| ground.ifindex == ifindex);
    if on_device().any(|ground| !ground.kernel_tags().is_plain()) {
        Tags::Own
    } else if on_device().any(|ground| !ground.tags.is_plain()) {
        Tags::Kernel
    } else {
        Tags::None
    }
}

fn key(entry: &PortEntry) -> PortKey {
    (entry.ifindex, entry.framing, entry.session, entry.peer)
}

/// The key of a port without a session.
fn plain_key(ifindex: u32, tags: Framing) -> PortKey {
    (ifindex, tags.key(), 0, PortEntry::ANY)
}

/// Makes the entry of a device whose ports are told apart by their framing, or marks that of the port that
/// the device itself is.
///
/// The kernel names the device itself when it is asked for the way to a host of a LAN port whose tags it has
/// no VLAN device for: then its entry says what that port's does, but nothing untagged comes in by it.
fn trunk(entries: &mut BTreeMap<PortKey, (String, PortEntry)>, ground: &Ground) {
    let own = entries.get(&plain_key(ground.ifindex, ground.kernel_tags()));
    let own = own.map(|(_, entry)| *entry);
    let own = own.filter(|entry| entry.is_lan() && entry.is_framed());
    let (_, entry) = entries
        .entry(plain_key(ground.ifindex, Framing::PLAIN))
        .or_insert_with(|| {
            let entry = PortEntry {
                ifindex: ground.ifindex,
                slot: NO_SLOT,
                flags: PORT_KERNEL,
                ..PortEntry::default()
            };
            (ground.device.clone(), entry)
        });
    if let Some(own) = own.filter(|_| entry.slot == NO_SLOT) {
        *entry = PortEntry {
            framing: 0,
            flags: own.flags | PORT_KERNEL,
            ..own
        };
    }
    entry.flags |= PORT_TRUNK;
    if !ground.kernel_tags().is_plain() {
        entry.kernel_tags = ground.kernel_tags().key();
    }
}

/// What the kernel says of the device that has a port's addresses.
fn layer3_entry(net: &NetState, link: &Link) -> PortEntry {
    let usable = || net.usable_addresses(link.ifindex);
    let address4 = usable().find_map(|address| match address.address {
        IpAddr::V4(address) => Some(address.octets()),
        IpAddr::V6(_) => None,
    });
    let v6 = |link_local: bool| {
        usable().find_map(move |address| {
            let IpAddr::V6(address) = address.address else {
                return None;
            };
            (address.is_unicast_link_local() == link_local).then(|| address.octets())
        })
    };
    PortEntry {
        mtu: link.mtu,
        layer3: link.ifindex,
        address4: address4.unwrap_or_default(),
        address6: v6(false).or_else(|| v6(true)).unwrap_or_default(),
        ..PortEntry::default()
    }
}
