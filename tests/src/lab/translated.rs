//! A lab whose LAN's addresses are translated in both families: private IPv4 addresses, which nobody
//! has a way to, and an IPv6 prefix that becomes another one at each uplink.

use std::{fs, net::Ipv6Addr};

use anyhow::{Context as _, Result};

use super::{
    controller::Settings,
    topology::{GatewayLab, Plan},
};

/// The lab, and how its gateway is started.
pub struct Translated {
    /// The lab.
    pub lab: GatewayLab,
    /// What its gateway is told.
    pub settings: Settings,
}

/// The prefix that an uplink's provider leads to the gateway.
pub fn prefix(uplink: usize) -> String {
    format!("2001:db8:b{uplink}::/48")
}

/// Whether an address is under that prefix.
pub fn is_under(address: Ipv6Addr, uplink: usize) -> bool {
    address.segments()[..3] == [0x2001, 0xdb8, 0xb0 + uplink as u16]
}

/// Has an ISP send what is for the uplink's prefix to the gateway; also after the link was down, which
/// takes IPv6 routes away.
pub fn lead(lab: &GatewayLab, uplink: usize) -> Result<()> {
    let gateway = lab.uplinks[uplink].addresses.gateway6;
    let prefix = prefix(uplink);
    let route = format!("route replace {prefix} via {gateway} dev gw\n");
    lab.uplinks[uplink].isp.batch(&route)
}

impl Translated {
    /// The network of a plan with private addresses; `more` are lines of the configuration file.
    pub fn new(plan: &Plan, more: &str) -> Result<Self> {
        let lab = GatewayLab::new(&Plan {
            private: true,
            ..plan.clone()
        })?;
        let mut text = format!("inside_prefix = \"2001:db8:1::/48\"\n{more}\n");
        for (n, uplink) in lab.uplinks.iter().enumerate() {
            let (name, device, prefix) = (uplink.plan.name, &uplink.device, prefix(n));
            let addresses = &uplink.addresses;
            text += &format!(
                "[[uplink]]\nname = \"{name}\"\ndevice = \"{device}\"\nprefix = \"{prefix}\"\n"
            );
            lead(&lab, n)?;
            let to_isp = format!("route add {prefix} via {}\n", addresses.transit6);
            lab.internet.batch(&to_isp)?;
            // The LAN's own prefix is nobody's business any more.
            lab.routing.withdraw(n)?;
        }
        let path = lab.lab.dir().join("translated.toml");
        fs::write(&path, text)?;
        let path = path.to_str().context("a path of the lab's own")?;
        let mut settings = Settings {
            mode: "auto",
            ..Settings::from_environment()?
        };
        settings
            .options
            .extend(["--config", path].map(String::from));
        Ok(Self { lab, settings })
    }
}
