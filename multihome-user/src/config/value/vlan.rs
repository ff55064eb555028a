//! VLAN ids, and ports with them.

use std::{fmt, str::FromStr};

use multihome_common::framing::Framing;
use serde::{Deserialize, Deserializer, de};

use super::{Device, ValueError};

/// The VLAN ids of a port's tags, each 1 to 4094; in a rule, one id is that of any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The outer tag's, if there are two.
    pub outer: Option<u16>,
    /// The inner tag's, or the only one's.
    pub inner: u16,
}

impl Vlan {
    /// These ids, the outer one first; `None` if there are none, more than two, or one that is no VLAN's
    /// (IEEE 802.1Q, table 9-2).
    fn new(ids: &[u64]) -> Option<Self> {
        let id = |id: u64| u16::try_from(id).ok().filter(|id| (1..=4094).contains(id));
        match *ids {
            [inner] => Some(Self {
                outer: None,
                inner: id(inner)?,
            }),
            [outer, inner] => Some(Self {
                outer: Some(id(outer)?),
                inner: id(inner)?,
            }),
            _ => None,
        }
    }
}

impl Vlan {
    /// Whether frames with these tags are of this VLAN, for a rule.
    pub fn is_in(self, tags: Framing) -> bool {
        let mut ids = (0..tags.tag_count()).map(|place| tags.tag(place).1);
        match self.outer {
            None => ids.any(|id| id == self.inner),
            Some(outer) => ids.eq([outer, self.inner]),
        }
    }

    /// Whether all that is of the other VLAN is of this one too, for a rule.
    pub fn covers(self, other: Self) -> bool {
        self == other
            || self.outer.is_none()
                && (self.inner == other.inner || Some(self.inner) == other.outer)
    }
}

impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(outer) = self.outer {
            write!(f, "{outer}.")?;
        }
        write!(f, "{}", self.inner)
    }
}

impl FromStr for Vlan {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| plain)
        };
        let ids: Option<Vec<u64>> = text.split('.').map(number).collect();
        ids.and_then(|ids| Self::new(&ids))
            .ok_or_else(|| ValueError::Vlan(text.into()))
    }
}

impl<'de> Deserialize<'de> for Vlan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VlanVisitor)
    }
}

struct VlanVisitor;

impl<'de> de::Visitor<'de> for VlanVisitor {
    type Value = Vlan;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a VLAN id, or a list of two, the outer one first")
    }

    fn visit_i64<E: de::Error>(self, id: i64) -> Result<Vlan, E> {
        let ids = u64::try_from(id).map(|id| [id]);
        ids.ok()
            .and_then(|ids| Vlan::new(&ids))
            .ok_or_else(|| E::custom(ValueError::Vlan(id.to_string())))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vlan, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vlan, A::Error> {
        let mut ids: Vec<u64> = Vec::new();
        while let Some(id) = seq.next_element::<i64>()? {
            // What is no id becomes one that is none either.
            ids.push(u64::try_from(id).unwrap_or_default());
        }
        Vlan::new(&ids).ok_or_else(|| {
            let given: Vec<String> = ids.iter().map(u64::to_string).collect();
            de::Error::custom(ValueError::Vlan(given.join(".")))
        })
    }
}

/// A LAN port in one text: `DEV`, `DEV:VLAN` or `DEV:OUTER.INNER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanPort {
    /// The device.
    pub device: Device,
    /// The tags' ids.
    pub vlan: Option<Vlan>,
}

impl FromStr for LanPort {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (device, vlan) = match text.split_once(':') {
            Some((device, vlan)) => (device, Some(vlan.parse()?)),
            None => (text, None),
        };
        Ok(Self {
            device: device.parse()?,
            vlan,
        })
    }
}

impl fmt::Display for LanPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.device.0)?;
        self.vlan.map_or(Ok(()), |vlan| write!(f, ":{vlan}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_vlans() {
        for (text, outer, inner) in [
            ("1", None, 1),
            ("4094", None, 4094),
            ("200.100", Some(200), 100),
        ] {
            assert_eq!(text.parse(), Ok(Vlan { outer, inner }));
            assert_eq!(Vlan { outer, inner }.to_string(), text);
        }
        for text in [
            "", "0", "4095", "65537", "1.2.3", "1.", ".1", "+5", "-1", "x",
        ] {
            let error = text.parse::<Vlan>().unwrap_err().to_string();
            assert_eq!(
                error,
                format!(
                    "{text:?} is no VLAN: an id is 1 to 4094, and of two the outer one stands first, such \
                     as [200, 100] or \"200.100\""
                )
            );
        }
    }

    #[test]
    fn a_lan_port_is_a_device_with_or_without_tags() {
        for text in ["lan0", "trunk0:20", "trunk0:200.100"] {
            let port: LanPort = text.parse().expect(text);
            assert_eq!(port.to_string(), text);
        }
        for text in [":20", "trunk0:", "trunk0:0", "trunk0:1:2"] {
            assert!(text.parse::<LanPort>().is_err(), "{text}");
        }
    }
}
