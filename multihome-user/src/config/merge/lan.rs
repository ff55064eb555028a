//! The LAN ports: each device once, each name once.

use std::collections::BTreeMap;

use multihome_common::limits;

use super::{
    super::{
        LanConfig,
        error::{ConfigError, FramingError},
        framing,
        layer::LanLayer,
        origin::Located,
    },
    DeviceUsers,
};

/// Checks the LAN ports.
pub fn check(
    lan: Vec<Located<LanLayer>>,
    users: &mut DeviceUsers,
) -> Result<Vec<LanConfig>, ConfigError> {
    if lan.is_empty() {
        return Err(ConfigError::NoLan);
    }
    if let Some(extra) = lan.get(limits::MAX_LAN_PORTS) {
        return Err(ConfigError::TooManyLan {
            origin: extra.origin.clone(),
        });
    }
    let mut names = BTreeMap::new();
    let mut checked = Vec::new();
    for Located {
        value: port,
        origin,
    } in lan
    {
        users.take(&port.device, &origin, "a LAN device".into())?;
        if port.outer_tag.is_some() && port.vlan.is_none() {
            return Err(FramingError::OuterTagAlone { origin }.into());
        }
        let vlan = framing::tags(port.vlan, port.outer_tag);
        let device = port.device.0;
        let name = port
            .name
            .map_or_else(|| LanConfig::default_name(&device, vlan), |name| name.0);
        if let Some(first) = names.insert(name.clone(), origin.clone()) {
            return Err(FramingError::SameLanName {
                origin,
                name: name.into(),
                first,
            }
            .into());
        }
        checked.push(LanConfig { name, device, vlan });
    }
    Ok(checked)
}
