//! What stands between a port's MACs and its IP packets, as the operator says it.

use multihome_common::{framing::Framing, wire::ethernet};

use super::value::Vlan;

/// A LAN port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanConfig {
    /// Its name in rules, status, metrics and logs: as given, else [`LanConfig::default_name`].
    pub name: String,
    /// The network device: the one that the kernel knows the LAN's addresses by.
    pub device: String,
    /// The tags that the programs put on and take off; of a VLAN device, the kernel says them.
    pub vlan: Framing,
}

impl LanConfig {
    /// A port without tags, named like its device.
    pub fn plain(device: impl Into<String>) -> Self {
        let device = device.into();
        Self {
            name: device.clone(),
            device,
            vlan: Framing::PLAIN,
        }
    }

    /// The name of a port that was given none: the device's, with the tags' ids behind it as the kernel's VLAN
    /// devices have them.
    pub fn default_name(device: &str, vlan: Framing) -> String {
        let ids = (0..vlan.tag_count()).map(|place| format!(".{}", vlan.tag(place).1));
        ids.fold(device.to_owned(), |name, id| name + &id)
    }
}

/// Which kind of tag the outer one is, or the only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OuterTag {
    /// A customer tag (IEEE 802.1Q, EtherType 0x8100).
    Dot1q,
    /// A service tag (IEEE 802.1ad, EtherType 0x88a8).
    Dot1ad,
}

impl OuterTag {
    /// The word for it in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dot1q => "802.1q",
            Self::Dot1ad => "802.1ad",
        }
    }

    const fn ethertype(self) -> u16 {
        match self {
            Self::Dot1q => ethernet::VLAN,
            Self::Dot1ad => ethernet::SERVICE_VLAN,
        }
    }

    /// What it is if nobody says so: of two tags a service tag, as the standard has it, else a customer tag.
    const fn of(vlan: Vlan) -> Self {
        match vlan.outer {
            Some(_) => Self::Dot1ad,
            None => Self::Dot1q,
        }
    }
}

/// The tags of a port.
pub fn tags(vlan: Option<Vlan>, outer: Option<OuterTag>) -> Framing {
    let Some(vlan) = vlan else {
        return Framing::PLAIN;
    };
    let kind = outer.unwrap_or(OuterTag::of(vlan)).ethertype();
    let ids = vlan.outer.into_iter().chain([vlan.inner]);
    ids.fold(Framing::PLAIN, |framing, id| framing.tagged(kind, id))
}

/// What the operator has written, or could have: the ids, and the kind of tag where it is not the usual one.
pub fn written(tags: Framing) -> (Option<Vlan>, Option<OuterTag>) {
    let vlan = match tags.tag_count() {
        0 => return (None, None),
        1 => Vlan {
            outer: None,
            inner: tags.tag(0).1,
        },
        _ => Vlan {
            outer: Some(tags.tag(0).1),
            inner: tags.tag(1).1,
        },
    };
    let outer = if tags.tag(0).0 == ethernet::SERVICE_VLAN {
        OuterTag::Dot1ad
    } else {
        OuterTag::Dot1q
    };
    (Some(vlan), (outer != OuterTag::of(vlan)).then_some(outer))
}
