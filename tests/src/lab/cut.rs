//! Taking uplinks away and giving them back, at known moments.

use anyhow::{Context as _, Result};

pub use super::netlink::Moment;
use super::{
    Namespace,
    netlink::Netlink,
    topology::{GatewayLab, ISP_GATEWAY_INDEX},
};
use crate::traffic::clock;

/// A way in which an uplink fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The link to the ISP goes down, as when a cable is pulled: the gateway's device loses its
    /// carrier.
    Carrier,
    /// The ISP goes on answering for itself, and forwards nothing any more, in either direction.
    Blackhole,
    /// The ISP loses so many of a hundred packets that the gateway sends to the internet.
    Lossy(u8),
}

/// Where an ISP is cut.
pub(super) struct Switch {
    netlink: Netlink,
}

impl Switch {
    pub(super) fn open(isp: &Namespace) -> Result<Self> {
        Ok(Self {
            netlink: Netlink::open(isp)?,
        })
    }
}

impl GatewayLab {
    /// Cuts an uplink. The internet stops sending by it, too.
    ///
    /// The moment is that of the cut at the ISP alone.
    pub fn cut(&self, uplink: usize, cut: Cut) -> Result<Moment> {
        let moment = self.cut_here(uplink, cut, true)?;
        if !matches!(cut, Cut::Lossy(_)) {
            self.routing.withdraw(uplink)?;
        }
        Ok(moment)
    }

    /// Brings an uplink back. The moment is that from which the ISP forwards again; for
    /// [`Cut::Carrier`] it starts when the link comes up and ends when the ISP knows its routes.
    pub fn restore(&self, uplink: usize, cut: Cut) -> Result<Moment> {
        let mut moment = self.cut_here(uplink, cut, false)?;
        if cut == Cut::Carrier {
            self.configure_isp(uplink)?;
            moment.after = clock::now();
        }
        self.routing.announce(uplink)?;
        Ok(moment)
    }

    fn cut_here(&self, uplink: usize, cut: Cut, is_cut: bool) -> Result<Moment> {
        let netlink = &self.uplinks[uplink].switch.netlink;
        match cut {
            Cut::Carrier => netlink.set_link(ISP_GATEWAY_INDEX, !is_cut),
            Cut::Blackhole => netlink.blackhole(&["gw", "inet"], is_cut),
            Cut::Lossy(percent) => lose(&self.uplinks[uplink].isp, is_cut.then_some(percent)),
        }
        .with_context(|| format!("uplink {}", self.uplinks[uplink].plan.name))
    }
}

/// Has an ISP lose so many of a hundred packets from the gateway, or none any more.
fn lose(isp: &Namespace, percent: Option<u8>) -> Result<Moment> {
    let ruleset = match percent {
        Some(percent) => format!(
            "table inet lossy {{
               chain forward {{
                 type filter hook forward priority 0
                 iifname gw numgen random mod 100 < {percent} drop
               }}
             }}"
        ),
        None => String::from("delete table inet lossy"),
    };
    let before = clock::now();
    isp.nft(&ruleset)?;
    let after = clock::now();
    Ok(Moment { before, after })
}
