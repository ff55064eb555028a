//! Merges the uplinks of two layers, and checks each alone and against the others.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use multihome_common::limits;

use super::{
    super::{
        BfdConfig, MAX_OUTSIDE, MAX_PROBES, Mode, Mode6, UplinkConfig,
        error::{ConfigError, FramingError},
        framing,
        layer::{BfdLayer, UplinkLayer},
        origin::{Located, Origin},
        target::Target,
        value::{Gateway, Ipv6Prefix, Outside, Quorum, UplinkName, UplinkPrefix},
    },
    DeviceUsers, bfd, quality,
};
use crate::probe::Family;

/// An uplink above with the name of one below replaces the keys it gives; a new name is added.
pub fn merge(
    below: Vec<UplinkLayer>,
    above: Vec<UplinkLayer>,
) -> Result<Vec<UplinkLayer>, ConfigError> {
    distinct_names(&below)?;
    distinct_names(&above)?;
    let mut merged = below;
    for uplink in above {
        match merged
            .iter_mut()
            .find(|known| known.name.value == uplink.name.value)
        {
            Some(known) => {
                known.device = uplink.device.or(known.device.take());
                known.vlan = uplink.vlan.or(known.vlan);
                known.outer_tag = uplink.outer_tag.or(known.outer_tag.take());
                known.pppoe = uplink.pppoe.or(known.pppoe.take());
                known.weight = uplink.weight.or(known.weight);
                known.tier = uplink.tier.or(known.tier);
                known.prefix = uplink.prefix.or(known.prefix.take());
                known.mss_clamp = uplink.mss_clamp.or(known.mss_clamp);
                known.carry = std::mem::take(&mut known.carry).under(uplink.carry);
                known.bfd = merge_bfd(known.bfd.take(), uplink.bfd);
                replace_list(&mut known.modes, uplink.modes);
                replace_list(&mut known.outsides, uplink.outsides);
                replace_list(&mut known.gateways, uplink.gateways);
                known.quorum = uplink.quorum.or(known.quorum.take());
                replace_list(&mut known.probes, uplink.probes);
            }
            None => merged.push(uplink),
        }
    }
    Ok(merged)
}

/// A list that is given replaces the one below.
fn replace_list<T>(known: &mut Vec<T>, given: Vec<T>) {
    if !given.is_empty() {
        *known = given;
    }
}

/// Fails when one layer has two uplinks of one name.
fn distinct_names(uplinks: &[UplinkLayer]) -> Result<(), ConfigError> {
    let mut seen = BTreeMap::new();
    for uplink in uplinks {
        if let Some(first) = seen.insert(&uplink.name.value, &uplink.name.origin) {
            return Err(ConfigError::SameName {
                origin: uplink.name.origin.clone(),
                name: uplink.name.value.0.clone(),
                first: first.clone(),
            });
        }
    }
    Ok(())
}

/// Checks all uplinks, each alone and against the others.
pub fn check(
    uplinks: Vec<UplinkLayer>,
    inside_prefix: Option<Ipv6Prefix>,
    quorum: Option<&Located<Quorum>>,
    users: &mut DeviceUsers,
) -> Result<Vec<UplinkConfig>, ConfigError> {
    if uplinks.is_empty() {
        return Err(ConfigError::NoUplink);
    }
    if let Some(extra) = uplinks.get(limits::MAX_UPLINKS) {
        return Err(ConfigError::TooManyUplinks {
            origin: extra.name.origin.clone(),
        });
    }
    distinct_prefixes(&uplinks, inside_prefix)?;
    let mut outside_users = OutsideUsers::default();
    uplinks
        .into_iter()
        .map(|uplink| check_one(uplink, inside_prefix, quorum, users, &mut outside_users))
        .collect()
}

/// Fails when a prefix has addresses of another one: nobody could tell whose they are.
fn distinct_prefixes(
    uplinks: &[UplinkLayer],
    inside_prefix: Option<Ipv6Prefix>,
) -> Result<(), ConfigError> {
    let mut known: Vec<(Ipv6Prefix, String)> = inside_prefix
        .map(|prefix| (prefix, format!("inside_prefix, {prefix}")))
        .into_iter()
        .collect();
    for uplink in uplinks {
        let Some(Located {
            value: UplinkPrefix::Fixed(prefix),
            origin,
        }) = &uplink.prefix
        else {
            continue;
        };
        let name = &uplink.name.value.0;
        if let Some((_, other)) = known.iter().find(|(other, _)| other.overlaps(*prefix)) {
            return Err(ConfigError::PrefixesOverlap {
                origin: origin.clone(),
                prefix: *prefix,
                name: name.clone(),
                other: other.clone(),
            });
        }
        known.push((*prefix, format!("{prefix} of uplink {name:?} ({origin})")));
    }
    Ok(())
}

/// Where the prefix of each uplink stands, by the uplink's name.
pub fn prefix_origins(uplinks: &[UplinkLayer]) -> BTreeMap<String, Origin> {
    let prefixes = uplinks.iter().filter_map(|uplink| {
        let prefix = uplink.prefix.as_ref()?;
        Some((uplink.name.value.0.clone(), prefix.origin.clone()))
    });
    prefixes.collect()
}

/// Which uplink has each outside address, and where that was written.
type OutsideUsers = BTreeMap<Ipv4Addr, (String, Origin)>;

fn check_one(
    uplink: UplinkLayer,
    inside_prefix: Option<Ipv6Prefix>,
    quorum: Option<&Located<Quorum>>,
    users: &mut DeviceUsers,
    outside_users: &mut OutsideUsers,
) -> Result<UplinkConfig, ConfigError> {
    check_quorum(&uplink, quorum)?;
    let mode = check_mode(&uplink.modes, &uplink.name.value)?;
    let prefix = check_prefix(&uplink, inside_prefix)?;
    let Located {
        value: UplinkName(name),
        origin,
    } = uplink.name;
    let Some(device) = uplink.device else {
        return Err(ConfigError::NoDevice { origin, name });
    };
    users.take(&device.value, &device.origin, format!("uplink {name:?}"))?;
    if let Some(session) = &uplink.pppoe {
        let user = format!("the PPPoE session of uplink {name:?}");
        users.take(&session.value, &session.origin, user)?;
        if let Some(bfd) = uplink.bfd.as_ref().filter(|bfd| bfd.value.on) {
            return Err(FramingError::SessionBfd {
                origin: bfd.origin.clone(),
                name: name.into(),
            }
            .into());
        }
    }
    let vlan = match (uplink.vlan, uplink.outer_tag) {
        (None, Some(kind)) => {
            return Err(FramingError::OuterTagAlone {
                origin: kind.origin,
            }
            .into());
        }
        (vlan, kind) => framing::tags(vlan, kind.map(|kind| kind.value)),
    };

    let (gateway4, gateway6) = check_gateways(uplink.gateways, &name)?;
    let (capacity, quota) = quality::carry(uplink.carry)?;
    Ok(UplinkConfig {
        device: device.value.0,
        vlan,
        pppoe: uplink.pppoe.map(|session| session.value.0),
        weight: uplink.weight.map_or(1, |weight| weight.0),
        tier: uplink.tier.map_or(1, |tier| tier.0),
        gateway4,
        gateway6,
        mode,
        outside: check_outsides(uplink.outsides, &name, outside_users)?,
        prefix,
        mss_clamp: uplink.mss_clamp.unwrap_or_default(),
        quorum: uplink.quorum.map(|quorum| quorum.value.0),
        probe: check_targets(uplink.probes, &name)?,
        capacity,
        quota,
        bfd: check_bfd(uplink.bfd, &name)?,
        name,
    })
}

/// What the modes of a list are together.
fn check_mode(modes: &[Located<Mode>], name: &UplinkName) -> Result<Mode, ConfigError> {
    let together = modes.iter().try_fold(None, |first: Option<Mode>, second| {
        let Some(first) = first else {
            return Ok(Some(second.value));
        };
        first
            .with(second.value)
            .map(Some)
            .ok_or_else(|| ConfigError::ModesApart {
                origin: second.origin.clone(),
                name: name.0.clone(),
                first: first.name(),
                second: second.value.name(),
            })
    })?;
    Ok(together.unwrap_or_default())
}

/// Whoever translates IPv6 needs a prefix to translate to, and the one to translate from. Without that, LAN hosts
/// bear addresses of the uplink's prefix themselves.
fn check_prefix(
    uplink: &UplinkLayer,
    inside_prefix: Option<Ipv6Prefix>,
) -> Result<Option<UplinkPrefix>, ConfigError> {
    let name = || uplink.name.value.0.clone();
    let nptv6 = |mode: &&Located<Mode>| mode.value.ipv6() == Mode6::Nptv6;
    match (&uplink.prefix, uplink.modes.iter().find(nptv6)) {
        (Some(prefix), Some(_)) if inside_prefix.is_none() => Err(ConfigError::NoInsidePrefix {
            origin: prefix.origin.clone(),
            name: name(),
        }),
        (Some(prefix), _) => Ok(Some(prefix.value)),
        (None, Some(mode)) => Err(ConfigError::NoPrefix {
            origin: mode.origin.clone(),
            name: name(),
        }),
        (None, None) => Ok(None),
    }
}

/// The next hops, one of each family at most.
fn check_gateways(
    gateways: Vec<Located<Gateway>>,
    name: &str,
) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>), ConfigError> {
    let (mut gateway4, mut gateway6) = (None, None);
    for Located {
        value: gateway,
        origin,
    } in gateways
    {
        let (family, first) = match gateway.0 {
            IpAddr::V4(v4) => ("IPv4", gateway4.replace(v4).map(IpAddr::from)),
            IpAddr::V6(v6) => ("IPv6", gateway6.replace(v6).map(IpAddr::from)),
        };
        if let Some(first) = first {
            return Err(ConfigError::TwoGateways {
                origin,
                name: name.into(),
                family,
                first,
                second: gateway.0,
            });
        }
    }
    Ok((gateway4, gateway6))
}

/// The outside addresses, none of which another uplink has: an answer could come back over either.
fn check_outsides(
    outsides: Vec<Located<Outside>>,
    name: &str,
    users: &mut OutsideUsers,
) -> Result<Vec<Ipv4Addr>, ConfigError> {
    if let Some(extra) = outsides.get(MAX_OUTSIDE) {
        return Err(ConfigError::TooManyOutside {
            origin: extra.origin.clone(),
            name: name.into(),
        });
    }
    outsides
        .into_iter()
        .map(
            |Located {
                 value: Outside(address),
                 origin,
             }| {
                if let Some((user, first)) = users.get(&address) {
                    return Err(ConfigError::SameOutside {
                        origin,
                        address,
                        user: user.as_str().into(),
                        first: first.clone(),
                    });
                }
                users.insert(address, (name.into(), origin));
                Ok(address)
            },
        )
        .collect()
}

/// Fails when more targets must answer than an uplink has of either family; `common` is the quorum of
/// uplinks without one of their own.
fn check_quorum(uplink: &UplinkLayer, common: Option<&Located<Quorum>>) -> Result<(), ConfigError> {
    let of = |family| {
        let targets = uplink.probes.iter();
        targets
            .filter(|target| target.value.family() == family)
            .count()
    };
    let targets = of(Family::Ipv4).max(of(Family::Ipv6));
    match uplink.quorum.as_ref().or(common) {
        // Without any, the next hop judges alone.
        Some(quorum) if targets > 0 && quorum.value.0 as usize > targets => {
            Err(ConfigError::Quorum {
                origin: quorum.origin.clone(),
                quorum: quorum.value.0,
                name: uplink.name.value.0.clone(),
                targets,
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// BFD as the file and the flags say it together; its place is where it was said last.
fn merge_bfd(
    below: Option<Located<BfdLayer>>,
    above: Option<Located<BfdLayer>>,
) -> Option<Located<BfdLayer>> {
    let origin = above.as_ref().or(below.as_ref())?.origin.clone();
    let value = bfd::merge(
        below.map(|below| below.value),
        above.map(|above| above.value),
    )?;
    Some(Located { value, origin })
}

fn check_bfd(
    layer: Option<Located<BfdLayer>>,
    name: &str,
) -> Result<Option<BfdConfig>, ConfigError> {
    bfd::check(layer.map(|layer| layer.value)).map_err(|(origin, mistake)| ConfigError::Bfd {
        origin,
        name: name.into(),
        mistake,
    })
}

/// The remote targets, each once.
fn check_targets(targets: Vec<Located<Target>>, name: &str) -> Result<Vec<Target>, ConfigError> {
    let mut checked: Vec<Target> = Vec::new();
    for Located {
        value: target,
        origin,
    } in targets
    {
        let label = target.label();
        if checked.iter().any(|known| known.label() == label) {
            return Err(ConfigError::SameTarget {
                origin,
                name: name.into(),
                target: label,
            });
        }
        if checked.len() == MAX_PROBES {
            return Err(ConfigError::TooManyTargets {
                origin,
                name: name.into(),
            });
        }
        checked.push(target);
    }
    Ok(checked)
}
