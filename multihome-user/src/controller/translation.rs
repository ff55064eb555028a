//! What each uplink does with addresses: as configured, or found from the LAN's own.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use multihome_common::{
    abi::owner_word,
    address::Address6,
    flow::slot::FlowSlot,
    limits::MAX_OUTSIDE,
    nptv6::{self, Prefix},
    state::{GROUP_HOLD, GroupWords, IPV4, IPV6, Policy},
    uplink::{
        MODE_NAT44, MODE_NPTV6, MODE_ROUTED, UPLINK_DROP_UNASKED, UPLINK_OPEN_FILTER, UplinkEntry,
    },
};

use super::{Action, Controller, FAMILIES, Uplink, group::Group};
use crate::{
    config::{
        Filtering, GroupConfig, HashPolicy, Ipv6Prefix, Mode4, Mode6, OnUplinkLoss, Unasked,
        UplinkConfig, UplinkPrefix,
    },
    netlink::{Link, NetState},
};

/// What an uplink does with the addresses of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Treatment {
    /// Nothing.
    #[default]
    Routed,
    /// Inside addresses and ports become these addresses and ports of theirs. None while the device
    /// has had no address yet.
    Nat44(Vec<Ipv4Addr>),
    /// The first prefix becomes the second. None while no prefix is delegated.
    Nptv6(Ipv6Prefix, Option<Ipv6Prefix>),
}

impl Treatment {
    /// The word for it in status and configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::Nat44(_) => "nat44",
            Self::Nptv6(..) => "nptv6",
        }
    }

    /// The outside addresses.
    pub fn outside(&self) -> &[Ipv4Addr] {
        match self {
            Self::Nat44(outside) => outside,
            Self::Routed | Self::Nptv6(..) => &[],
        }
    }

    /// The outside prefix.
    pub const fn prefix(&self) -> Option<Ipv6Prefix> {
        match self {
            Self::Nptv6(_, outside) => *outside,
            Self::Routed | Self::Nat44(_) => None,
        }
    }

    /// Whether there is no prefix to translate to, so that no packet may leave.
    pub const fn lacks_prefix(&self) -> bool {
        matches!(self, Self::Nptv6(_, None))
    }
}

impl fmt::Display for Treatment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Routed => f.write_str("addresses stay as they are (routed)"),
            Self::Nat44(outside) if outside.is_empty() => {
                f.write_str("to be translated (nat44), but the device has no address yet")
            }
            Self::Nat44(outside) => {
                let outside: Vec<String> = outside.iter().map(Ipv4Addr::to_string).collect();
                write!(f, "translated to {} (nat44)", outside.join(", "))
            }
            Self::Nptv6(inside, Some(outside)) => write!(f, "{inside} becomes {outside} (nptv6)"),
            Self::Nptv6(inside, None) => write!(
                f,
                "{inside} is to be translated (nptv6), but no prefix is delegated yet"
            ),
        }
    }
}

impl Controller {
    /// Notes whether all IPv4 addresses of the LAN's devices are private, so that the internet has
    /// no way back to them. While they have none, what was known holds: addresses that are set anew
    /// must not move flows.
    fn note_lan(&mut self) {
        let mut addresses = self
            .net
            .addresses
            .iter()
            .filter(|(ifindex, _)| self.lan_slot(**ifindex).is_some())
            .flat_map(|(_, addresses)| addresses)
            .filter_map(|address| match address.address {
                IpAddr::V4(v4) => Some(v4),
                IpAddr::V6(_) => None,
            })
            .peekable();
        if addresses.peek().is_some() {
            self.lan_is_private = addresses.all(is_private);
        }
    }

    /// The IPv6 prefixes that uplinks give to LAN hosts.
    pub(super) fn outside_prefixes(&self) -> Vec<Ipv6Prefix> {
        let treatments = self.uplinks.iter().map(|uplink| &uplink.treatments[IPV6]);
        treatments.filter_map(Treatment::prefix).collect()
    }

    /// Finds out what each uplink does with addresses now.
    pub(super) fn treat(&mut self) -> Vec<Action> {
        self.note_lan();
        let mut actions = Vec::new();
        for uplink in &mut self.uplinks {
            uplink.treatments[IPV4] = if translates4(&uplink.config, self.lan_is_private) {
                Treatment::Nat44(outside(&self.net, uplink))
            } else {
                Treatment::Routed
            };
            for family in FAMILIES {
                let (now, told) = (
                    &uplink.treatments[family],
                    &mut uplink.treatments_told[family],
                );
                if uplink.paths[family].exists() && told.as_ref() != Some(now) {
                    *told = Some(now.clone());
                    actions.push(Action::Treats(uplink.id, family, now.clone()));
                }
            }
        }
        actions
    }

    /// The words that must be in place before an entry says that its uplink translates: a program
    /// that looks up no flows would send the LAN's addresses out as they are.
    pub(super) fn refresh_conduct(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.translates(IPV4) && self.applied.tracked >> IPV4 & 1 == 0 {
            self.applied.tracked |= 1 << IPV4;
            actions.push(Action::SetTracked(self.applied.tracked));
        }
        let translating = FAMILIES.map(|family| self.translating(family));
        for group in &mut self.groups {
            let translates = translating.map(|uplinks| uplinks & group.members() != 0);
            let conduct = conduct(&group.config, translates);
            if group.conduct_told.replace(conduct) != Some(conduct) {
                actions.push(Action::SetConduct(group.id, conduct));
            }
        }
        actions
    }

    /// What of a packet of a group chooses its uplink.
    pub fn hash_of(&self, group: &Group, family: usize) -> HashPolicy {
        let translates = self.translating(family) & group.members() != 0;
        hash(group.config(), translates)
    }

    /// So many flows were left in the whole table: without any, and without an uplink that
    /// translates, none needs to be looked up any more.
    pub(super) fn swept(&mut self, live: u64) -> Vec<Action> {
        let tracked = self.applied.tracked & !(1 << IPV4);
        if live > 0 || self.translates(IPV4) || tracked == self.applied.tracked {
            return Vec::new();
        }
        self.applied.tracked = tracked;
        vec![Action::SetTracked(tracked)]
    }

    /// Whether any uplink translates this family.
    fn translates(&self, family: usize) -> bool {
        self.translating(family) != 0
    }

    /// The uplinks that translate this family; bit n = uplink n.
    fn translating(&self, family: usize) -> u64 {
        let uplinks = self.uplinks.iter();
        uplinks
            .filter(|uplink| uplink.treatments[family] != Treatment::Routed)
            .fold(0, |word, uplink| word | 1 << uplink.id)
    }

    /// Enters into an uplink's entry how it translates.
    pub(super) fn translate(&self, uplink: &Uplink, entry: &mut UplinkEntry) {
        let [treatment4, treatment6] = &uplink.treatments;
        entry.mode = [MODE_ROUTED; 2];
        entry.pool = uplink.pool;
        entry.flags = flags(self.translation.filtering, self.translation.unasked);
        entry.outside = [0; MAX_OUTSIDE];
        for (place, address) in entry.outside.iter_mut().zip(treatment4.outside()) {
            *place = address.to_bits();
        }
        entry.outside_count = treatment4.outside().len().min(MAX_OUTSIDE) as u8;
        if let Treatment::Nat44(_) = treatment4 {
            entry.mode[IPV4] = MODE_NAT44;
        }
        let before = std::mem::take(&mut entry.prefix);
        if let Treatment::Nptv6(inside, outside) = treatment6 {
            entry.mode[IPV6] = MODE_NPTV6;
            // One that is withdrawn stays until another comes: a packet that was on its way when the
            // words left the uplink must not leave as it is.
            let prefixes = outside.and_then(|outside| translation(*inside, outside).ok());
            entry.prefix = prefixes.unwrap_or(before);
        }
    }

    /// Compares the outside addresses in force with what was told.
    pub(super) fn refresh_outsides(&mut self) -> Vec<Action> {
        let mut outsides = BTreeMap::new();
        for uplink in &self.uplinks {
            for (place, address) in (0..).zip(uplink.treatments[IPV4].outside()) {
                // Two providers may give the same private address; the first uplink's it is then.
                let owner = owner_word(uplink.id, uplink.pool + place);
                outsides.entry(*address).or_insert(owner);
            }
        }
        let before = std::mem::replace(&mut self.applied.outsides, outsides);
        let now = &self.applied.outsides;
        let gone = before.keys().filter(|address| !now.contains_key(address));
        let mut actions: Vec<Action> = gone.map(|&gone| Action::SetOutside(gone, None)).collect();
        for (&address, &owner) in now {
            if before.get(&address) != Some(&owner) {
                actions.push(Action::SetOutside(address, Some(owner)));
            }
        }
        // They are the gateway's own wherever they lie.
        self.behind.tables |= !before.keys().eq(now.keys());
        actions
    }

    /// Whether an outside address is in force.
    pub fn knows_outside(&self, address: Ipv4Addr) -> bool {
        self.applied.outsides.contains_key(&address)
    }

    /// Whether a translated flow can never go on: its uplink is gone, or its outside address.
    pub fn has_ended(&self, slot: &FlowSlot) -> bool {
        let outside = slot.outside();
        if outside.address == 0 {
            return false;
        }
        let id = slot.uplink();
        match self.applied.uplinks.get(&id) {
            Some(entry) => {
                let place = entry.outside_place(outside.address);
                place.is_none_or(|place| entry.pool.wrapping_add(place) != outside.pool)
            }
            // The device of an uplink that is there may come yet.
            None => self.uplinks.iter().all(|uplink| uplink.id != id),
        }
    }
}

fn translates4(config: &UplinkConfig, lan_is_private: bool) -> bool {
    match config.mode.ipv4() {
        Mode4::Routed => false,
        Mode4::Nat44 => true,
        Mode4::Auto => lan_is_private,
    }
}

/// What an uplink does with IPv6 addresses while this prefix is delegated to it.
pub(super) fn treatment6(
    config: &UplinkConfig,
    inside: Option<Ipv6Prefix>,
    delegated: Option<Ipv6Prefix>,
) -> Treatment {
    match (config.mode.ipv6(), inside, config.prefix) {
        (Mode6::Auto | Mode6::Nptv6, Some(inside), Some(UplinkPrefix::Fixed(outside))) => {
            Treatment::Nptv6(inside, Some(outside))
        }
        (Mode6::Auto | Mode6::Nptv6, Some(inside), Some(UplinkPrefix::Delegated)) => {
            Treatment::Nptv6(inside, delegated)
        }
        (Mode6::Routed, ..) | (Mode6::Auto | Mode6::Nptv6, ..) => Treatment::Routed,
    }
}

/// How the addresses of two prefixes become each other.
///
/// # Errors
/// When RFC 6296 cannot translate one of them.
pub fn translation(
    inside: Ipv6Prefix,
    outside: Ipv6Prefix,
) -> Result<nptv6::Translation, nptv6::Error> {
    nptv6::Translation::new(prefix(inside), prefix(outside))
}

/// What of a group's flows is hashed in a family of which it is known whether an uplink translates it.
fn hash(group: &GroupConfig, translates: bool) -> HashPolicy {
    group.hash.unwrap_or(if translates {
        // Servers that tie a session to an address would else see a host come from several.
        HashPolicy::SrcDst
    } else {
        HashPolicy::FiveTuple
    })
}

/// What of a group's flows is hashed, by family, and what becomes of those of a lost uplink.
fn conduct(group: &GroupConfig, translates: [bool; 2]) -> u64 {
    let policy = |family: usize| match hash(group, translates[family]) {
        HashPolicy::FiveTuple => Policy::FiveTuple,
        HashPolicy::SrcDst => Policy::SourceDestination,
        HashPolicy::Src => Policy::Source,
    };
    let flags = match group.on_uplink_loss {
        OnUplinkLoss::Reset => 0,
        OnUplinkLoss::Hold => GROUP_HOLD,
    };
    GroupWords::conduct([policy(IPV4), policy(IPV6)], flags)
}

fn flags(filtering: Filtering, unasked: Unasked) -> u8 {
    let open = match filtering {
        Filtering::EndpointIndependent => UPLINK_OPEN_FILTER,
        Filtering::AddressAndPortDependent => 0,
    };
    let drop = match unasked {
        Unasked::Drop => UPLINK_DROP_UNASKED,
        Unasked::Kernel => 0,
    };
    open | drop
}

/// The outside addresses of an uplink: those configured, else the device's own. While the device has
/// none, the last one: a lease that is renewed must not end flows.
fn outside(net: &NetState, uplink: &Uplink) -> Vec<Ipv4Addr> {
    if !uplink.config.outside.is_empty() {
        return uplink
            .config
            .outside
            .iter()
            .take(MAX_OUTSIDE)
            .copied()
            .collect();
    }
    let last = uplink.treatments[IPV4].outside().first().copied();
    let found = uplink
        .link
        .as_ref()
        .and_then(|link| own(net, link, uplink.paths[IPV4].address(), last));
    found.or(last).into_iter().collect()
}

/// The address of a device that packets to its next hop bear: `preferred`, or one of the same subnet
/// that was in use before, else the first that reaches beyond the link.
fn own(
    net: &NetState,
    link: &Link,
    preferred: Option<IpAddr>,
    last: Option<Ipv4Addr>,
) -> Option<Ipv4Addr> {
    let usable = || {
        net.usable_addresses(link.ifindex)
            .filter_map(|address| match address.address {
                IpAddr::V4(v4) => Some((v4, address.prefix_len)),
                IpAddr::V6(_) => None,
            })
    };
    let of = |wanted: Ipv4Addr| usable().find(|(address, _)| *address == wanted);
    let preferred = preferred.and_then(|address| match address {
        IpAddr::V4(v4) => of(v4),
        IpAddr::V6(_) => None,
    });
    match (preferred, last.and_then(of)) {
        (Some(preferred), Some(last)) if network(preferred) == network(last) => Some(last.0),
        (Some(preferred), _) => Some(preferred.0),
        (None, Some(last)) => Some(last.0),
        (None, None) => usable()
            .map(|(address, _)| address)
            .find(|address| !address.is_link_local()),
    }
}

fn network((address, prefix_len): (Ipv4Addr, u8)) -> (u64, u8) {
    let host_bits = 32 - u32::from(prefix_len.min(32));
    (u64::from(address.to_bits()) >> host_bits, prefix_len)
}

fn prefix(prefix: Ipv6Prefix) -> Prefix {
    Prefix {
        address: Address6::from_bytes(prefix.network().octets()),
        length: prefix.length().into(),
    }
}

/// RFC 1918 and RFC 6598: addresses that the internet has no way back to.
fn is_private(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_private() || (a == 100 && b & 0xc0 == 64)
}
