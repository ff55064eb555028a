//! Checks forwards: each alone, against the uplinks, and against the others.

use super::super::{
    ForwardConfig, MAX_FORWARDS, Protocol, UplinkConfig,
    error::ForwardError,
    layer::ForwardLayer,
    origin::{Located, Origin},
    suggest,
    value::{Inside, PortRange, UplinkName},
};
use crate::bfd::ports::CONTROL;

/// The forwards, and where the outside ports of each stand.
pub fn check(
    forwards: Vec<ForwardLayer>,
    uplinks: &[UplinkConfig],
) -> Result<(Vec<ForwardConfig>, Vec<Origin>), ForwardError> {
    if let Some(extra) = forwards.get(MAX_FORWARDS) {
        return Err(ForwardError::TooMany {
            origin: extra.outside.origin.clone(),
        });
    }
    let mut taken = Vec::new();
    forwards
        .into_iter()
        .map(|forward| check_one(forward, uplinks, &mut taken))
        .collect::<Result<Vec<_>, _>>()
        .map(|forwards| forwards.into_iter().unzip())
}

/// Ports that a forward has taken.
struct Taken {
    protocol: Protocol,
    ports: PortRange,
    /// On which uplinks, a bit for each by its place.
    uplinks: u64,
    origin: Origin,
}

fn check_one(
    forward: ForwardLayer,
    uplinks: &[UplinkConfig],
    taken: &mut Vec<Taken>,
) -> Result<(ForwardConfig, Origin), ForwardError> {
    let Located {
        value: outside,
        origin,
    } = forward.outside;
    let config = ForwardConfig {
        protocol: forward.protocol,
        outside,
        inside: check_inside(forward.inside, outside)?.0,
        uplinks: check_uplinks(forward.uplinks, uplinks)?,
    };
    let on = uplinks
        .iter()
        .enumerate()
        .filter(|(_, uplink)| config.is_on(uplink))
        .fold(0, |word, (at, _)| word | 1_u64 << at);
    if on == 0 {
        return Err(ForwardError::Nowhere { origin });
    }
    if config.protocol == Protocol::Udp && (outside.low()..=outside.high()).contains(&CONTROL) {
        let needs = |uplink: &&UplinkConfig| {
            config.is_on(uplink) && uplink.bfd.is_some_and(|bfd| bfd.ipv4.is_some())
        };
        if let Some(uplink) = uplinks.iter().find(needs) {
            return Err(ForwardError::BfdPort {
                origin,
                ports: outside,
                uplink: uplink.name.as_str().into(),
            });
        }
    }
    for first in taken.iter() {
        let both = first.uplinks & on;
        if first.protocol == config.protocol && first.ports.overlaps(outside) && both != 0 {
            let at = usize::try_from(both.trailing_zeros()).expect("at most 63");
            return Err(ForwardError::Overlap {
                origin,
                protocol: config.protocol,
                ports: outside,
                uplink: uplinks[at].name.as_str().into(),
                first: first.origin.clone(),
            });
        }
    }
    taken.push(Taken {
        protocol: config.protocol,
        ports: outside,
        uplinks: on,
        origin: origin.clone(),
    });
    Ok((config, origin))
}

/// The inside ports run along with the outside ones, and must not run out.
fn check_inside(inside: Located<Inside>, outside: PortRange) -> Result<Inside, ForwardError> {
    let Located {
        value: inside,
        origin,
    } = inside;
    let more = outside.high() - outside.low();
    match inside.0.port().checked_add(more) {
        Some(_) => Ok(inside),
        None => Err(ForwardError::PastEnd {
            origin,
            count: u32::from(more) + 1,
            inside: inside.0,
        }),
    }
}

/// Names of uplinks that can have a forward, each once.
fn check_uplinks(
    names: Vec<Located<UplinkName>>,
    uplinks: &[UplinkConfig],
) -> Result<Vec<String>, ForwardError> {
    let mut checked = Vec::new();
    for Located {
        value: UplinkName(name),
        origin,
    } in names
    {
        let Some(uplink) = uplinks.iter().find(|uplink| uplink.name == name) else {
            let known = uplinks.iter().map(|uplink| uplink.name.as_str());
            return Err(ForwardError::UnknownUplink {
                origin,
                suggestion: suggest::closest(&name, known),
                name: name.into(),
            });
        };
        if !uplink.mode.takes_forwards() {
            return Err(ForwardError::NotTranslated {
                origin,
                name: name.into(),
                mode: uplink.mode.name(),
            });
        }
        if checked.contains(&name) {
            return Err(ForwardError::SameUplink {
                origin,
                name: name.into(),
            });
        }
        checked.push(name);
    }
    Ok(checked)
}
