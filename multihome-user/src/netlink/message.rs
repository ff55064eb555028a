//! Reads the kernel's route netlink messages: from bytes to a [`Change`] of the mirror.
//!
//! Integers are in host byte order, addresses in network byte order. Unknown attributes and
//! messages are skipped; a message that contradicts its own lengths is an error.

use std::net::{IpAddr, Ipv4Addr};

use multihome_common::wire::ethernet;

use super::state::{Address, Neighbour, NeighbourState, Route, VlanOf};

mod route;

/// Not in the libc crate: linux/rtnetlink.h.
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
/// Operational states in which a device carries data (linux/if.h): unknown, for drivers that say
/// nothing, and up.
const CARRYING: [u8; 2] = [libc::IF_OPER_UNKNOWN as u8, libc::IF_OPER_UP as u8];

const MESSAGE_HEADER_LEN: usize = 16;
const ATTRIBUTE_HEADER_LEN: usize = 4;
const LINK_HEADER_LEN: usize = 16;
const ADDRESS_HEADER_LEN: usize = 8;
const NEIGHBOUR_HEADER_LEN: usize = 12;

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub seq: u32,
    pub payload: &'a [u8],
}

/// What one message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Link(LinkChange),
    LinkGone(u32),
    Address(u32, Address),
    AddressGone(u32, Address),
    Routes {
        how: RouteChange,
        key: RouteKey,
        routes: Vec<Route>,
    },
    Neighbour {
        ifindex: u32,
        address: IpAddr,
        neighbour: Neighbour,
    },
    NeighbourGone {
        ifindex: u32,
        address: IpAddr,
    },
    /// A next hop object changed; routes that use it changed with it, without a message.
    NextHopObject,
}

/// What a link message says; some leave out what did not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LinkChange {
    pub ifindex: u32,
    pub admin_up: bool,
    pub carrier: bool,
    pub name: Option<String>,
    pub mac: Option<Option<[u8; 6]>>,
    pub mtu: Option<u32>,
    /// For a VLAN device what it stands for, else `Some(None)`; `None` when the message does not say.
    pub vlan_of: Option<Option<VlanOf>>,
    pub hardware: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteChange {
    Added,
    /// Takes the place of routes with the same key.
    Replaced,
    Removed,
}

/// What a route is told from others by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RouteKey {
    pub destination: IpAddr,
    pub prefix_len: u8,
    pub table: u32,
    pub metric: u32,
}

/// A message whose lengths do not add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed netlink message")]
pub(super) struct Malformed;

/// The messages of a datagram. An error is the last item.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Malformed>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let message = split_message(rest);
        rest = message.map_or(&[], |(_, rest)| rest);
        Some(message.map(|(message, _)| message))
    })
}

fn split_message(bytes: &[u8]) -> Result<(Message<'_>, &[u8]), Malformed> {
    let header: &[u8; MESSAGE_HEADER_LEN] = bytes.first_chunk().ok_or(Malformed)?;
    let len = u32_at(header, 0)? as usize;
    let payload = bytes.get(MESSAGE_HEADER_LEN..len).ok_or(Malformed)?;
    let message = Message {
        kind: u16_at(header, 4)?,
        flags: u16_at(header, 6)?,
        seq: u32_at(header, 8)?,
        payload,
    };
    Ok((message, after(bytes, len)))
}

/// The attributes in these bytes, type and value.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), Malformed>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        // Up to three bytes may pad the last attribute.
        if rest.len() < ATTRIBUTE_HEADER_LEN {
            return None;
        }
        let attribute = split_attribute(rest);
        rest = attribute.map_or(&[], |(_, rest)| rest);
        Some(attribute.map(|(attribute, _)| attribute))
    })
}

type Attribute<'a> = (u16, &'a [u8]);

fn split_attribute(bytes: &[u8]) -> Result<(Attribute<'_>, &[u8]), Malformed> {
    let len = usize::from(u16_at(bytes, 0)?);
    let value = bytes.get(ATTRIBUTE_HEADER_LEN..len).ok_or(Malformed)?;
    let kind = u16_at(bytes, 2)? & libc::NLA_TYPE_MASK as u16;
    Ok(((kind, value), after(bytes, len)))
}

/// What follows an item of this length: items begin at multiples of four.
fn after(bytes: &[u8], len: usize) -> &[u8] {
    bytes.get(len.next_multiple_of(4)..).unwrap_or(&[])
}

impl Message<'_> {
    /// What this message changes; `None` for what does not matter here.
    pub fn change(&self) -> Result<Option<Change>, Malformed> {
        match self.kind {
            libc::RTM_NEWLINK => link(self.payload).map(|link| link.map(Change::Link)),
            libc::RTM_DELLINK => {
                link(self.payload).map(|link| link.map(|link| Change::LinkGone(link.ifindex)))
            }
            libc::RTM_NEWADDR => {
                Ok(address(self.payload)?
                    .map(|(ifindex, address)| Change::Address(ifindex, address)))
            }
            libc::RTM_DELADDR => Ok(address(self.payload)?
                .map(|(ifindex, address)| Change::AddressGone(ifindex, address))),
            libc::RTM_NEWROUTE => {
                let replaced = self.flags & libc::NLM_F_REPLACE as u16 != 0;
                let how = if replaced {
                    RouteChange::Replaced
                } else {
                    RouteChange::Added
                };
                route::routes(self.payload, how)
            }
            libc::RTM_DELROUTE => route::routes(self.payload, RouteChange::Removed),
            libc::RTM_NEWNEIGH => Ok(neighbour(self.payload)?.map(
                |(ifindex, address, neighbour)| Change::Neighbour {
                    ifindex,
                    address,
                    neighbour,
                },
            )),
            libc::RTM_DELNEIGH => Ok(neighbour(self.payload)?
                .map(|(ifindex, address, _)| Change::NeighbourGone { ifindex, address })),
            RTM_NEWNEXTHOP | RTM_DELNEXTHOP => Ok(Some(Change::NextHopObject)),
            _ => Ok(None),
        }
    }
}

fn link(payload: &[u8]) -> Result<Option<LinkChange>, Malformed> {
    let header: &[u8; LINK_HEADER_LEN] = payload.first_chunk().ok_or(Malformed)?;
    // A bridge tells of its ports by link messages too: a port that leaves is "deleted".
    if i32::from(header[0]) != libc::AF_UNSPEC {
        return Ok(None);
    }
    let flags = u32_at(header, 8)?;
    let has = |flag: i32| flags & flag as u32 != 0;
    let mut carrying = true;
    let mut link = LinkChange {
        ifindex: u32_at(header, 4)?,
        admin_up: has(libc::IFF_UP),
        carrier: false,
        name: None,
        mac: None,
        mtu: None,
        vlan_of: None,
        hardware: u16_at(header, 2)?,
    };
    let (mut below, mut vlan, mut elsewhere) = (None, None, false);
    for attribute in attributes(&payload[LINK_HEADER_LEN..]) {
        match attribute? {
            (libc::IFLA_IFNAME, value) => {
                let name = value.split(|&byte| byte == 0).next().unwrap_or_default();
                link.name = Some(String::from_utf8_lossy(name).into_owned());
            }
            (libc::IFLA_ADDRESS, value) => link.mac = Some(value.try_into().ok()),
            (libc::IFLA_MTU, value) => link.mtu = Some(u32_at(value, 0)?),
            (libc::IFLA_LINK, value) => below = Some(u32_at(value, 0)?),
            // Then the number of the one below is of another network namespace.
            (libc::IFLA_LINK_NETNSID, _) => elsewhere = true,
            (libc::IFLA_LINKINFO, value) => vlan = Some(vlan_tag(value)),
            (libc::IFLA_OPERSTATE, value) => {
                carrying = CARRYING.contains(value.first().ok_or(Malformed)?);
            }
            _ => {}
        }
    }
    link.carrier = link.admin_up && has(libc::IFF_LOWER_UP) && carrying;
    // Short messages leave the kind out; then nothing is known anew.
    link.vlan_of = vlan.map(|vlan| {
        let ((kind, id), parent) = (vlan?, below.filter(|_| !elsewhere)?);
        Some(VlanOf { parent, id, kind })
    });
    Ok(Some(link))
}

/// Type and id of a VLAN device's tag, by the information of its kind; `None` for devices of other kinds.
fn vlan_tag(information: &[u8]) -> Option<(u16, u16)> {
    /// Not in the libc crate: linux/if_link.h.
    const IFLA_VLAN_ID: u16 = 1;
    const IFLA_VLAN_PROTOCOL: u16 = 5;
    let find = |bytes, wanted| {
        let found = attributes(bytes)
            .flatten()
            .find(|(kind, _)| *kind == wanted);
        found.map(|(_, value)| value)
    };
    let kind = find(information, libc::IFLA_INFO_KIND)?;
    if kind.split(|&byte| byte == 0).next() != Some(b"vlan") {
        return None;
    }
    let data = find(information, libc::IFLA_INFO_DATA)?;
    let id = find(data, IFLA_VLAN_ID)?.first_chunk()?;
    let protocol = find(data, IFLA_VLAN_PROTOCOL).and_then(|value| value.first_chunk());
    let kind = protocol.map_or(ethernet::VLAN, |kind| u16::from_be_bytes(*kind));
    Some((kind, u16::from_ne_bytes(*id)))
}

fn address(payload: &[u8]) -> Result<Option<(u32, Address)>, Malformed> {
    let header: &[u8; ADDRESS_HEADER_LEN] = payload.first_chunk().ok_or(Malformed)?;
    let family = header[0];
    let mut flags = u32::from(header[2]);
    let (mut local, mut prefix_address, mut broadcast) = (None, None, None);
    for attribute in attributes(&payload[ADDRESS_HEADER_LEN..]) {
        match attribute? {
            (libc::IFA_LOCAL, value) => local = ip(family, value),
            (libc::IFA_ADDRESS, value) => prefix_address = ip(family, value),
            (libc::IFA_BROADCAST, value) => {
                broadcast = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
            }
            (libc::IFA_FLAGS, value) => flags = u32_at(value, 0)?,
            _ => {}
        }
    }
    // On a point-to-point link the other attribute is the peer's address.
    let Some(address) = local.or(prefix_address) else {
        return Ok(None);
    };
    let peer = prefix_address.filter(|&peer| peer != address);
    let has = |flag: u32| flags & flag != 0;
    let tentative = has(libc::IFA_F_TENTATIVE) && !has(libc::IFA_F_OPTIMISTIC);
    let usable = !tentative && !has(libc::IFA_F_DADFAILED);
    let address = Address {
        address,
        prefix_len: header[1],
        usable,
        deprecated: has(libc::IFA_F_DEPRECATED),
        broadcast,
        peer,
    };
    Ok(Some((u32_at(header, 4)?, address)))
}

fn neighbour(payload: &[u8]) -> Result<Option<(u32, IpAddr, Neighbour)>, Malformed> {
    let header: &[u8; NEIGHBOUR_HEADER_LEN] = payload.first_chunk().ok_or(Malformed)?;
    let family = header[0];
    // Proxy entries are about others; a bridge's forwarding entries have another family.
    if unspecified(family).is_none() || header[10] & libc::NTF_PROXY != 0 {
        return Ok(None);
    }
    let state = NeighbourState::from_bits(u16_at(header, 8)?);
    let (mut address, mut mac) = (None, None);
    for attribute in attributes(&payload[NEIGHBOUR_HEADER_LEN..]) {
        match attribute? {
            (libc::NDA_DST, value) => address = ip(family, value),
            (libc::NDA_LLADDR, value) => mac = <[u8; 6]>::try_from(value).ok(),
            _ => {}
        }
    }
    let neighbour = Neighbour {
        mac,
        valid: mac.is_some() && state.is_valid(),
        state,
    };
    let ifindex = u32_at(header, 4)?;
    Ok(address.map(|address| (ifindex, address, neighbour)))
}

/// The all-zero address of a family; `None` if it is neither IPv4 nor IPv6.
fn unspecified(family: u8) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(IpAddr::from([0; 4])),
        libc::AF_INET6 => Some(IpAddr::from([0; 16])),
        _ => None,
    }
}

pub(super) fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        libc::AF_INET6 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Malformed> {
    let bytes = bytes
        .get(at..)
        .and_then(|bytes| bytes.first_chunk())
        .ok_or(Malformed)?;
    Ok(u16::from_ne_bytes(*bytes))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    let bytes = bytes
        .get(at..)
        .and_then(|bytes| bytes.first_chunk())
        .ok_or(Malformed)?;
    Ok(u32::from_ne_bytes(*bytes))
}

/// The error code that ends an answer: zero, or a negative errno.
pub(super) fn error_code(payload: &[u8]) -> i32 {
    payload
        .first_chunk()
        .map_or(0, |code| i32::from_ne_bytes(*code))
}

#[cfg(test)]
mod tests;
